#include "fio/sock/proxy_options.h"

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/sock/address_range.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Versions = ProxyHeaderOptions::Versions;

AddressRange Range(std::string_view text) {
  const absl::StatusOr<AddressRange> range = AddressRange::Parse(text);
  EXPECT_TRUE(range.ok()) << range.status();
  return *range;
}

absl::Status Apply(std::string_view url, std::optional<ProxyOptions>& options) {
  const absl::StatusOr<Url> parsed = Url::Parse(url);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return ApplyQuery(*parsed, options);
}

TEST(ProxyOptions, NobodyIsTrustedThatIsNotNamed) {
  ProxyOptions options;
  EXPECT_FALSE(options.Trusts(*SocketAddress::Parse("127.0.0.1:1")));
  EXPECT_THAT(options.Check().message(),
              HasSubstr("no proxy is trusted: name them in "
                        "ProxyOptions::trusted, or in the url"));
  options.trusted = {Range("10.0.0.0/8"), Range("unix:")};
  EXPECT_TRUE(options.Check().ok());
  EXPECT_TRUE(options.Trusts(*SocketAddress::Parse("10.1.2.3:1")));
  EXPECT_TRUE(options.Trusts(*SocketAddress::Parse("unix:")));
  EXPECT_FALSE(options.Trusts(*SocketAddress::Parse("127.0.0.1:1")));
  EXPECT_FALSE(options.Trusts(SocketAddress()));
}

TEST(ProxyOptions, AreCheckedByName) {
  ProxyOptions options = {.trusted = {Range("::1")},
                          .timeout = absl::ZeroDuration()};
  EXPECT_THAT(options.Check().message(), HasSubstr("timeout is not positive"));
  options.timeout = absl::Seconds(1);
  options.header.max_v2_bytes = 15;
  EXPECT_THAT(options.Check().message(), HasSubstr("max_v2_bytes"));
  options.header.versions = Versions::kV1;
  EXPECT_TRUE(options.Check().ok());
}

TEST(ProxyOptions, AUrlSaysVersionsAndTrust) {
  const struct {
    const char* url;
    Versions versions;
  } cases[] = {{"tcp://h?proxy=v1", Versions::kV1},
               {"http://h/?proxy=v2", Versions::kV2},
               {"wss://h:1?proxy=any", Versions::kBoth}};
  for (const auto& c : cases) {
    std::optional<ProxyOptions> options;
    EXPECT_TRUE(Apply(c.url, options).ok());
    ASSERT_TRUE(options.has_value()) << c.url;
    EXPECT_EQ(options->header.versions, c.versions);
    EXPECT_TRUE(options->trusted.empty());
  }
  std::optional<ProxyOptions> options;
  EXPECT_TRUE(
      Apply("tcp://h?proxy_trust=10.0.0.0/8,fd00::/8,::1&proxy=v2", options)
          .ok());
  EXPECT_THAT(options->trusted, ElementsAre(Range("10.0.0.0/8"),
                                            Range("fd00::/8"), Range("::1")));
}

TEST(ProxyOptions, AUrlReplacesOnlyWhatItSays) {
  std::optional<ProxyOptions> options =
      ProxyOptions{.header = {.versions = Versions::kV1},
                   .trusted = {Range("10.0.0.0/8")},
                   .timeout = absl::Seconds(1)};
  EXPECT_TRUE(Apply("tcp://h", options).ok());
  EXPECT_EQ(options->header.versions, Versions::kV1);
  EXPECT_TRUE(Apply("tcp://h?proxy=v2", options).ok());
  EXPECT_EQ(options->header.versions, Versions::kV2);
  EXPECT_THAT(options->trusted, ElementsAre(Range("10.0.0.0/8")));
  EXPECT_TRUE(Apply("tcp://h?proxy_trust=::1", options).ok());
  EXPECT_THAT(options->trusted, ElementsAre(Range("::1")));
  EXPECT_EQ(options->timeout, absl::Seconds(1));
  options = std::nullopt;
  EXPECT_TRUE(Apply("tcp://h", options).ok());
  EXPECT_FALSE(options.has_value());
}

TEST(ProxyOptions, ErrorsOfAUrlNameTheKey) {
  const struct {
    const char* url;
    const char* wrong;
  } cases[] = {
      {"tcp://h?proxy=v3", "proxy=v3 is none of v1, v2, any"},
      {"tcp://h?proxy=V1", "proxy=V1 is none of v1, v2, any"},
      {"tcp://h?proxy_trust=::1", "proxy_trust is there, but proxy is not"},
      {"tcp://h?proxy=v1&proxy_trust=10.0.0.1/8", "proxy_trust: '10.0.0.1/8'"},
      {"tcp://h?proxy=v1&proxy_trust=::1,", "proxy_trust: ''"},
  };
  for (const auto& c : cases) {
    std::optional<ProxyOptions> options;
    const absl::Status status = Apply(c.url, options);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.url;
    EXPECT_THAT(status.message(), HasSubstr(c.wrong));
  }
}

}  // namespace
}  // namespace fio
