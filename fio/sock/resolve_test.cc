#include "fio/sock/resolve.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

// What the machine is called, as long as one of these lives. With a canonical
// name, a lookup of any name finds that one, without asking anybody.
class FakeHostName {
 public:
  explicit FakeHostName(std::string name, std::string canonical = "") {
    name_ = std::move(name);
    canonical_ = std::move(canonical);
  }
  ~FakeHostName() {
    name_.clear();
    canonical_.clear();
  }

  static std::string name_;
  static std::string canonical_;
};

std::string FakeHostName::name_;
std::string FakeHostName::canonical_;

}  // namespace

// These take the place of the C library's. Named by a label, for some headers
// define an inline function of that name.
int FakeGetHostName(char* out, size_t size) __asm__("gethostname");
int FakeGetHostName(char* out, size_t size) {
  const std::string& name = FakeHostName::name_;
  if (size <= name.size()) {
    errno = ENAMETOOLONG;
    return -1;
  }
  *std::copy(name.begin(), name.end(), out) = '\0';
  return 0;
}

int FakeGetAddrInfo(const char* host, const char* service,
                    const addrinfo* hints,
                    addrinfo** found) __asm__("getaddrinfo");
int FakeGetAddrInfo(const char* host, const char* service,
                    const addrinfo* hints, addrinfo** found) {
  static const auto real = reinterpret_cast<decltype(&FakeGetAddrInfo)>(
      dlsym(RTLD_NEXT, "getaddrinfo"));
  const std::string& canonical = FakeHostName::canonical_;
  if (canonical.empty()) return real(host, service, hints, found);
  const int error = real("127.0.0.1", service, hints, found);
  if (error == 0 && (*found)->ai_canonname != nullptr) {
    std::free((*found)->ai_canonname);  // As freeaddrinfo(3) will.
    (*found)->ai_canonname = strdup(canonical.c_str());
  }
  return error;
}

namespace {

// All addresses, or the error.
std::string All(std::string_view text) {
  const absl::StatusOr<std::vector<SocketAddress>> addresses =
      Resolve(*Url::Parse(text));
  if (!addresses.ok()) return addresses.status().ToString();
  return absl::StrJoin(*addresses, " ",
                       [](std::string* out, const SocketAddress& address) {
                         absl::StrAppend(out, address.ToString());
                       });
}

TEST(Resolve, TakesLiteralsAsTheyAre) {
  EXPECT_EQ(All("tcp://127.0.0.1:3000"), "127.0.0.1:3000");
  EXPECT_EQ(All("tcp://[::1]:80"), "[::1]:80");
  EXPECT_EQ(All("udp://127.0.0.1:53"), "127.0.0.1:53");
  EXPECT_EQ(All("tcp://[::1%1]:80"), "[::1%1]:80");
}

TEST(Resolve, NoHostIsEveryAddressOfThisMachine) {
  EXPECT_EQ(All("tcp://:3000"), "0.0.0.0:3000");
  EXPECT_EQ(All("tcp4://:3000"), "0.0.0.0:3000");
  EXPECT_EQ(All("tcp6://:3000"), "[::]:3000");
  EXPECT_EQ(All("udp://:3000"), "0.0.0.0:3000");
  EXPECT_EQ(All("udp6://:3000"), "[::]:3000");
}

TEST(Resolve, SchemeChoosesTheFamily) {
  EXPECT_EQ(All("tcp4://localhost:1"), "127.0.0.1:1");
  EXPECT_EQ(All("udp4://localhost:1"), "127.0.0.1:1");
  EXPECT_FALSE(Resolve(*Url::Parse("tcp4://[::1]:80")).ok());
  EXPECT_FALSE(Resolve(*Url::Parse("udp6://127.0.0.1:80")).ok());
}

// Whatever /etc/hosts says.
TEST(Resolve, LocalhostIsTheLoopbackOfBothFamilies) {
  EXPECT_EQ(All("tcp://localhost:1"), "127.0.0.1:1 [::1]:1");
  EXPECT_EQ(All("udp://a.LOCALHOST.:1"), "127.0.0.1:1 [::1]:1");
  EXPECT_EQ(All("http://localhost"), "127.0.0.1:80 [::1]:80");
  EXPECT_EQ(All("tcp6://localhost:0"), "[::1]:0");
  EXPECT_EQ(All("udp6://localhost:1"), "[::1]:1");
}

TEST(Resolve, SchemesHaveTheirPorts) {
  EXPECT_EQ(All("http://127.0.0.1"), "127.0.0.1:80");
  EXPECT_EQ(All("ws://127.0.0.1"), "127.0.0.1:80");
  EXPECT_EQ(All("https://127.0.0.1"), "127.0.0.1:443");
  EXPECT_EQ(All("wss://[::1]/"), "[::1]:443");
  EXPECT_EQ(All("https://127.0.0.1:8443"), "127.0.0.1:8443");
}

TEST(Resolve, APathIsItsOneAddress) {
  EXPECT_EQ(All("unix:///run/x"), "/run/x");
  EXPECT_EQ(All("/run/x"), "/run/x");
  EXPECT_EQ(All("unix://x"), "unix:x");
  EXPECT_EQ(All("unix://@x"), "@x");
}

TEST(Resolve, ALongPathIsTooLong) {
  for (const char* start : {"/", "unix://", "unix://@"}) {
    const std::string text = start + std::string(109, 'x');
    const absl::Status status = Resolve(*Url::Parse(text)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(status.message(), HasSubstr("File name too long"));
    EXPECT_THAT(status.message(), HasSubstr(std::string(109, 'x')));
  }
}

TEST(Resolve, ErrorsNameTheUrl) {
  for (const char* text : {"tcp://localhost", "udp://127.0.0.1", "tcp://"}) {
    const absl::Status no_port = Resolve(*Url::Parse(text)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(no_port));
    EXPECT_THAT(no_port.message(), HasSubstr(text));
  }
  // No label may be that long, so no server need be asked: RFC 1035, 2.3.4.
  const std::string bad = "tcp://" + std::string(64, 'a') + ".invalid:1";
  const absl::Status no_host = Resolve(*Url::Parse(bad)).status();
  EXPECT_FALSE(no_host.ok());
  EXPECT_THAT(no_host.message(), HasSubstr(bad));
}

// The longest host name there is. That it is also 127.0.0.1, in hexadecimal,
// spares asking a server.
TEST(Addr, LocalTruncation) {
  const std::string longest = "0x" + std::string(54, '0') + "7f000001";
  ASSERT_EQ(longest.size(), size_t{HOST_NAME_MAX});
  const FakeHostName host(longest);
  const absl::StatusOr<std::string> name = LocalHostName();
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, longest);
}

TEST(Addr, LocalHostNameIsCanonical) {
  const FakeHostName host("short", "short.example.org");
  const absl::StatusOr<std::string> name = LocalHostName();
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, "short.example.org");
}

TEST(Addr, AnUnknownLocalHostNameIsAnErrorThatNamesIt) {
  const std::string unknown = std::string(64, 'a');
  const FakeHostName host(unknown);
  const absl::Status status = LocalHostName().status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr(unknown));
}

TEST(Addr, NoLocalHostNameIsAnError) {
  for (const std::string& name : {std::string(), std::string(65, 'a')}) {
    const FakeHostName host(name);
    EXPECT_FALSE(LocalHostName().ok()) << name;
  }
}

}  // namespace
}  // namespace fio
