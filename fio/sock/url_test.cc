#include "fio/sock/url.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

TEST(Url, ParsesHostAndPort) {
  const absl::StatusOr<Url> url = Url::Parse("tcp://example.org:3000");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme(), Url::Scheme::kTcp);
  EXPECT_EQ(url->host(), "example.org");
  EXPECT_EQ(url->port(), 3000);
}

TEST(Url, ParsesBracketedIpv6) {
  const absl::StatusOr<Url> url = Url::Parse("tcp6://[::1]:80");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme(), Url::Scheme::kTcp6);
  EXPECT_EQ(url->host(), "::1");
  EXPECT_EQ(url->port(), 80);
}

TEST(Url, HostAndPortMayBeAbsent) {
  EXPECT_EQ(Url::Parse("tcp://")->host(), "");
  EXPECT_EQ(Url::Parse("tcp://:0")->port(), 0);
  EXPECT_EQ(Url::Parse("tcp4://localhost")->port(), std::nullopt);
  EXPECT_EQ(Url::Parse("tcp://[::]")->port(), std::nullopt);
}

TEST(Url, RoundTrips) {
  for (const char* text :
       {"tcp://127.0.0.1:3000", "tcp4://localhost", "tcp6://[fe80::1%eth0]:1",
        "tcp://", "tcp://:65535", "tcp://[::]"}) {
    const absl::StatusOr<Url> url = Url::Parse(text);
    ASSERT_TRUE(url.ok()) << url.status();
    EXPECT_EQ(url->ToString(), text);
    EXPECT_EQ(*Url::Parse(url->ToString()), *url);
  }
}

TEST(Url, RefusesWhatItCannotMean) {
  for (const char* text :
       {"", "localhost:3000", "http://localhost", "TCP://localhost", "tcp:/x",
        "tcp://host:", "tcp://host:65536", "tcp://host:-1", "tcp://host:+1",
        "tcp://host: 1", "tcp://host:000001", "tcp://host:1/path",
        "tcp://a b:1", "tcp://[::1", "tcp://[::1]x", "tcp://[host]:1",
        "tcp://[]:1", "tcp://::1:80", "tcp://user@host:1"}) {
    const absl::StatusOr<Url> url = Url::Parse(text);
    EXPECT_TRUE(absl::IsInvalidArgument(url.status())) << text;
    EXPECT_THAT(url.status().message(), HasSubstr(text));
  }
}

TEST(Url, ErrorsStayShortAndPrintable) {
  const absl::Status status = Url::Parse(std::string(1'000'000, '\n')).status();
  EXPECT_LT(status.message().size(), 1'000);
  EXPECT_THAT(status.message(), HasSubstr("\\n"));
  EXPECT_FALSE(Url::Parse("tcp://" + std::string(256, 'a') + ":1").ok());
}

}  // namespace
}  // namespace fio
