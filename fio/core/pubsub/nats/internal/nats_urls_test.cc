#include "fio/core/pubsub/nats/internal/nats_urls.h"

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::nats_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

NatsUrls MustParse(std::string_view text) {
  absl::StatusOr<NatsUrls> urls = NatsUrls::Parse(text);
  EXPECT_TRUE(urls.ok()) << urls.status();
  return urls.ok() ? *urls : NatsUrls();
}

TEST(NatsUrls, OneServer) {
  const NatsUrls urls = MustParse("nats://example.org");
  EXPECT_THAT(urls.addresses, ElementsAre("example.org:4222"));
  EXPECT_FALSE(urls.secure);
  EXPECT_EQ(urls.user + urls.password + urls.token + urls.tls_query, "");
  EXPECT_THAT(MustParse("nats://[::1]:7").addresses, ElementsAre("[::1]:7"));
}

TEST(NatsUrls, Secrets) {
  NatsUrls urls = MustParse("nats://us%40er:p%3a:w@10.0.0.1:9");
  EXPECT_THAT(urls.addresses, ElementsAre("10.0.0.1:9"));
  EXPECT_EQ(urls.user, "us@er");
  EXPECT_EQ(urls.password, "p::w");
  EXPECT_EQ(urls.token, "");
  urls = MustParse("nats://t%2ck@h,nats://u:p@h");
  EXPECT_EQ(urls.token, "t,k");
  EXPECT_EQ(urls.user, "") << "that of the first is for all";
}

TEST(NatsUrls, SeveralWithTls) {
  const NatsUrls urls = MustParse("tls://u:p@a?alpn=x,y&ca=c.pem,nats://b:1");
  EXPECT_THAT(urls.addresses, ElementsAre("a:4222", "b:1"));
  EXPECT_TRUE(urls.secure);
  EXPECT_EQ(urls.tls_query, "?alpn=x,y&ca=c.pem");
  EXPECT_EQ(urls.password, "p");
}

TEST(NatsUrls, RefusesOthers) {
  for (const std::string_view text :
       {"", ",", "example.org", "tcp://a", "redis://u:secret@a", "nats://",
        "nats://:1", "nats://a:0", "nats://a:x", "nats://a/b", "nats://@a",
        "nats://:secret@a", "nats://u%4:secret@a", "nats://u:secret%zz@a",
        "nats://a?ca=x", "tls://a?what=x", "nats://a,", "nats://a,b"}) {
    const absl::Status status = NatsUrls::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(status.message(), Not(HasSubstr("secret"))) << text;
  }
}

}  // namespace
}  // namespace fio::nats_internal
