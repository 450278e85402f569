#include "fio/core/pubsub/redis/internal/redis_url.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace fio::redis_internal {
namespace {

void Expect(std::string_view text, std::string_view address,
            std::string_view user = "", std::string_view password = "") {
  const absl::StatusOr<RedisUrl> url = RedisUrl::Parse(text);
  ASSERT_TRUE(url.ok()) << text << ": " << url.status();
  EXPECT_EQ(url->address, address) << text;
  EXPECT_EQ(url->user, user) << text;
  EXPECT_EQ(url->password, password) << text;
}

TEST(RedisUrl, NamesServersAndUsers) {
  Expect("redis://h", "tcp://h:6379");
  Expect("redis://h/", "tcp://h:6379");
  Expect("redis://h:1/", "tcp://h:1");
  Expect("redis://[::1]", "tcp://[::1]:6379");
  Expect("redis://[::1]:1", "tcp://[::1]:1");
  Expect("redis://:p@h", "tcp://h:6379", "", "p");
  Expect("redis://u:p@h:1", "tcp://h:1", "u", "p");
  Expect("redis://u%3a:%40%2F:@@h", "tcp://h:6379", "u:", "@/:@");
  Expect("rediss://u:p@h:1/?ca=/a@b", "tls://h:1?ca=/a@b", "u", "p");
  Expect("rediss://h?ca=a", "tls://h:6379?ca=a");
  Expect("redis+unix:///run/redis", "unix:///run/redis");
  Expect("redis+unix:///run/a@b", "unix:///run/a@b");
  Expect("redis+unix://u:p@/run/redis", "unix:///run/redis", "u", "p");
}

TEST(RedisUrl, RefusesWhatIsWrong) {
  for (const std::string_view text :
       {"", "h", "tcp://h", "http://h", "redis://", "redis:///", "redis://h/1",
        "redis://u@h", "redis://u:%4@h", "redis://u:%zz@h", "redis+unix://",
        "redis://u:p@"}) {
    const absl::StatusOr<RedisUrl> url = RedisUrl::Parse(text);
    EXPECT_TRUE(absl::IsInvalidArgument(url.status())) << text;
  }
}

TEST(RedisUrl, WipesPasswords) {
  std::string secret = "of more than fifteen bytes";
  const char* const bytes = secret.data();
  const size_t size = secret.size();
  Wipe(secret);
  EXPECT_EQ(secret, "");
  EXPECT_EQ(std::string_view(bytes, size), std::string(size, '\0'));
}

}  // namespace
}  // namespace fio::redis_internal
