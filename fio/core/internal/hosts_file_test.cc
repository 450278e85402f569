#include "fio/core/internal/hosts_file.h"

#include <cstddef>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Write(std::string_view text) {
  std::string path = ::testing::TempDir() + "/fio_hosts_file_test";
  std::ofstream(path) << text;
  return path;
}

std::vector<std::string> Find(std::string_view url, const std::string& path) {
  const absl::StatusOr<Url> parsed = Url::Parse(url);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  std::vector<std::string> found;
  for (const SocketAddress& address : FindKnownHost(*parsed, path.c_str())) {
    found.push_back(address.ToString());
  }
  return found;
}

TEST(HostsFile, FindsNamesAndAliases) {
  const std::string path = Write(
      "# 192.0.2.9 commented\n"
      "192.0.2.1 first.test alias\t Other.Test # 192.0.2.8 not.test\n"
      "\n"
      "no-address bad.test\n"
      "2001:db8::1\tfirst.test\r\n"
      "192.0.2.1 first.test\n"
      "192.0.2.3 last.test");
  EXPECT_THAT(Find("tcp://first.test:80", path),
              ElementsAre("192.0.2.1:80", "[2001:db8::1]:80"));
  EXPECT_THAT(Find("tcp4://FIRST.test:80", path), ElementsAre("192.0.2.1:80"));
  EXPECT_THAT(Find("tcp6://first.test.:80", path),
              ElementsAre("[2001:db8::1]:80"));
  EXPECT_THAT(Find("http://alias", path), ElementsAre("192.0.2.1:80"));
  EXPECT_THAT(Find("udp://other.test:5", path), ElementsAre("192.0.2.1:5"));
  EXPECT_THAT(Find("tcp://last.test:1", path), ElementsAre("192.0.2.3:1"));
  for (const char* unknown :
       {"tcp://commented:80", "tcp://not.test:80", "tcp://bad.test:80",
        "tcp6://last.test:80", "tcp://192.0.2.1:80", "tcp://test:80"}) {
    EXPECT_THAT(Find(unknown, path), IsEmpty()) << unknown;
  }
}

TEST(HostsFile, UnreadableOnesHaveNoNames) {
  EXPECT_THAT(Find("tcp://first.test:80", "/nonexistent/hosts"), IsEmpty());
  EXPECT_THAT(Find("tcp://first.test:80", "/dev"), IsEmpty());
  std::string large = "192.0.2.1 first.test\n";
  large.resize(kMaxHostsFile + 1, '#');
  EXPECT_THAT(Find("tcp://first.test:80", Write(large)), IsEmpty());
  large.resize(kMaxHostsFile);
  EXPECT_THAT(Find("tcp://first.test:80", Write(large)),
              ElementsAre("192.0.2.1:80"));
}

}  // namespace
}  // namespace fio::core_internal
