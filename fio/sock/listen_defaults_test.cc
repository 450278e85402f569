#include "fio/sock/listen_defaults.h"

#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

class ListenDefaultsTest : public ::testing::Test {
 protected:
  // The complete url, or what is wrong.
  std::string Complete(std::string_view text) {
    const absl::StatusOr<Url> url =
        defaults_.Complete(text, [this](const char* name) {
          const auto found = environment_.find(name);
          return found == environment_.end() ? nullptr : found->second.c_str();
        });
    if (url.ok()) return url->ToString();
    EXPECT_TRUE(absl::IsInvalidArgument(url.status()));
    return std::string(url.status().message());
  }

  std::map<std::string, std::string> environment_;
  ListenDefaults defaults_;
};

TEST_F(ListenDefaultsTest, NothingIsPort3000OfEveryAddress) {
  EXPECT_EQ(Complete(""), "tcp://0.0.0.0:3000");
}

TEST_F(ListenDefaultsTest, EachUrlWithoutAPortGetsTheNextOne) {
  EXPECT_EQ(Complete("tcp://127.0.0.1"), "tcp://127.0.0.1:3000");
  EXPECT_EQ(Complete("tcp://127.0.0.1:80"), "tcp://127.0.0.1:80");
  EXPECT_EQ(Complete("tcp://:0"), "tcp://:0");
  EXPECT_EQ(Complete("http://localhost"), "http://localhost:80");
  EXPECT_EQ(Complete("tcp://"), "tcp://:3001");
  EXPECT_EQ(Complete("udp6://[::1]"), "udp6://[::1]:3002");
  EXPECT_EQ(Complete(""), "tcp://0.0.0.0:3003");
}

TEST_F(ListenDefaultsTest, WebSchemesHaveTheirOwnPort) {
  environment_["PORT"] = "4000";
  EXPECT_EQ(Complete("http://"), "http://:80");
  EXPECT_EQ(Complete("ws://"), "ws://:80");
  EXPECT_EQ(Complete("https://[::1]/"), "https://[::1]:443");
  EXPECT_EQ(Complete("wss://host"), "wss://host:443");
  EXPECT_EQ(Complete("http://:8080"), "http://:8080");
  EXPECT_EQ(Complete("tls://?cert=c&key=k"), "tls://:4000?cert=c&key=k");
}

TEST_F(ListenDefaultsTest, TheEnvironmentFillsIn) {
  environment_ = {{"ADDRESS", "127.0.0.1"}, {"PORT", "4000"}};
  EXPECT_EQ(Complete(""), "tcp://127.0.0.1:4000");
  EXPECT_EQ(Complete("tcp://"), "tcp://127.0.0.1:4001");
  EXPECT_EQ(Complete("tcp://:80"), "tcp://127.0.0.1:80");
  EXPECT_EQ(Complete("tcp://10.0.0.1"), "tcp://10.0.0.1:4002");
  EXPECT_EQ(Complete("tcp://10.0.0.1:80"), "tcp://10.0.0.1:80");
}

TEST_F(ListenDefaultsTest, AddressMayBeANameOrIpv6) {
  environment_["ADDRESS"] = "localhost";
  EXPECT_EQ(Complete(""), "tcp://localhost:3000");
  environment_["ADDRESS"] = "::1";
  EXPECT_EQ(Complete("http://"), "http://[::1]:80");
  environment_["ADDRESS"] = "[::1]";
  EXPECT_EQ(Complete("tcp://:7"), "tcp://[::1]:7");
}

TEST_F(ListenDefaultsTest, AnEmptyVariableIsNone) {
  environment_ = {{"ADDRESS", ""}, {"PORT", ""}};
  EXPECT_EQ(Complete(""), "tcp://0.0.0.0:3000");
}

TEST_F(ListenDefaultsTest, PortZeroStaysZero) {
  environment_["PORT"] = "0";
  EXPECT_EQ(Complete("tcp://127.0.0.1"), "tcp://127.0.0.1:0");
  EXPECT_EQ(Complete("tcp://127.0.0.1"), "tcp://127.0.0.1:0");
}

TEST_F(ListenDefaultsTest, PathsAreComplete) {
  environment_ = {{"ADDRESS", "127.0.0.1"}, {"PORT", "4000"}};
  for (const char* text : {"unix:///x", "unix://x", "unix://@x"}) {
    EXPECT_EQ(Complete(text), text);
  }
  EXPECT_EQ(Complete("/x"), "unix:///x");
}

TEST_F(ListenDefaultsTest, AQueryStaysBehindThePort) {
  EXPECT_EQ(Complete("tcp://?proxy=v1"), "tcp://:3000?proxy=v1");
  EXPECT_EQ(Complete("http://host/?proxy=v1"), "http://host:80?proxy=v1");
  environment_ = {{"ADDRESS", "::1"}, {"PORT", "4000"}};
  EXPECT_EQ(Complete("tcp://?proxy=v1"), "tcp://[::1]:4001?proxy=v1");
  environment_["ADDRESS"] = "10.0.0.1?proxy=v2";
  EXPECT_EQ(Complete("tcp://:1"),
            "ADDRESS in the environment is no host: "
            "tcp://10.0.0.1?proxy=v2:1");
}

TEST_F(ListenDefaultsTest, MalformedIsAnError) {
  EXPECT_THAT(Complete("nonsense"), HasSubstr("url 'nonsense'"));
  for (const char* address : {"a b", "127.0.0.1:80", "[::1]:80", "/x", "["}) {
    environment_["ADDRESS"] = address;
    EXPECT_THAT(Complete(""), HasSubstr("ADDRESS in the environment"));
    EXPECT_EQ(Complete("tcp://127.0.0.1:80"), "tcp://127.0.0.1:80");
  }
  environment_.erase("ADDRESS");
  for (const char* port : {"http", "65536", "-1", "80 "}) {
    environment_["PORT"] = port;
    EXPECT_THAT(Complete(""), HasSubstr("PORT in the environment"));
    EXPECT_EQ(Complete("tcp://127.0.0.1:80"), "tcp://127.0.0.1:80");
  }
}

TEST_F(ListenDefaultsTest, PortsMayRunOut) {
  environment_["PORT"] = "65535";
  EXPECT_EQ(Complete("tcp://127.0.0.1"), "tcp://127.0.0.1:65535");
  EXPECT_THAT(Complete("tcp://127.0.0.1"), HasSubstr("above 65535"));
}

TEST(ListenDefaults, AsksTheRealEnvironment) {
  ASSERT_EQ(setenv("ADDRESS", "127.0.0.9", 1), 0);
  ASSERT_EQ(setenv("PORT", "4000", 1), 0);
  EXPECT_EQ(ListenDefaults().Complete("")->ToString(), "tcp://127.0.0.9:4000");
}

}  // namespace
}  // namespace fio
