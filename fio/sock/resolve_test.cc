#include "fio/sock/resolve.h"

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

std::string First(const char* text) {
  const absl::StatusOr<std::vector<SocketAddress>> addresses =
      Resolve(*Url::Parse(text));
  return addresses.ok() ? addresses->front().ToString()
                        : addresses.status().ToString();
}

TEST(Resolve, TakesLiteralsAsTheyAre) {
  EXPECT_EQ(First("tcp://127.0.0.1:3000"), "127.0.0.1:3000");
  EXPECT_EQ(First("tcp://[::1]:80"), "[::1]:80");
}

TEST(Resolve, NoHostIsEveryAddressOfThisMachine) {
  EXPECT_EQ(First("tcp://:3000"), "0.0.0.0:3000");
  EXPECT_EQ(First("tcp6://:3000"), "[::]:3000");
}

TEST(Resolve, SchemeChoosesTheFamily) {
  EXPECT_EQ(First("tcp4://localhost:1"), "127.0.0.1:1");
  EXPECT_FALSE(Resolve(*Url::Parse("tcp4://[::1]:80")).ok());
}

TEST(Resolve, ErrorsNameTheUrl) {
  const absl::Status no_port = Resolve(*Url::Parse("tcp://localhost")).status();
  EXPECT_TRUE(absl::IsInvalidArgument(no_port));
  EXPECT_THAT(no_port.message(), HasSubstr("tcp://localhost"));
  // No label may be that long, so no server need be asked: RFC 1035, 2.3.4.
  const std::string bad = "tcp://" + std::string(64, 'a') + ".invalid:1";
  const absl::Status no_host = Resolve(*Url::Parse(bad)).status();
  EXPECT_FALSE(no_host.ok());
  EXPECT_THAT(no_host.message(), HasSubstr(bad));
}

}  // namespace
}  // namespace fio
