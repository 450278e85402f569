#include "fio/core/pubsub/redis/internal/redis_subscriptions.h"

#include <optional>
#include <string_view>

#include "fio/pubsub/subscribe_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::redis_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr TopicKind kChannel = TopicKind::kChannel;
constexpr TopicKind kPattern = TopicKind::kPattern;

class Subscriptions : public ::testing::Test {
 protected:
  void Confirm(std::string_view pattern) {
    its_.Want(pattern, Match::kRedis);
    its_.Confirm(kPattern, pattern, true);
  }

  RedisSubscriptions its_;
};

TEST_F(Subscriptions, ToldOfTheFirstAndTheLast) {
  EXPECT_TRUE(its_.Want("a", Match::kExact).has_value());
  EXPECT_TRUE(its_.Want("a", Match::kRedis).has_value());
  EXPECT_FALSE(its_.Want("a", Match::kExact).has_value());  // As Reattach().
  EXPECT_THAT(its_.Wanted(kChannel), ElementsAre("a"));
  EXPECT_TRUE(its_.Unwant("a", Match::kExact).has_value());
  EXPECT_FALSE(its_.Unwant("a", Match::kExact).has_value());
  EXPECT_THAT(its_.Wanted(kChannel), IsEmpty());
  EXPECT_THAT(its_.Wanted(kPattern), ElementsAre("a"));
}

TEST_F(Subscriptions, PatternsOfNatsShareOneOfRedis) {
  const std::optional<RedisTopic> topic = its_.Want("a.[b].*", Match::kNats);
  ASSERT_TRUE(topic.has_value());
  EXPECT_EQ(topic->kind, kPattern);
  EXPECT_EQ(topic->name, "a.\\[b\\].*");
  EXPECT_FALSE(its_.Want("a.[b].>", Match::kNats).has_value());
  EXPECT_FALSE(its_.Want("a.[b].>", Match::kNats).has_value());
  EXPECT_FALSE(its_.Unwant("a.[b].*", Match::kNats).has_value());
  EXPECT_TRUE(its_.Unwant("a.[b].>", Match::kNats).has_value());
  EXPECT_EQ(its_.Want("a*.*.b>", Match::kNats)->name, "a\\*.*.b>");
}

TEST_F(Subscriptions, OneOfSeveralPatternsIsFirst) {
  Confirm("X*");
  Confirm("*Y");
  EXPECT_TRUE(its_.IsFirst("X*", "XY"));
  EXPECT_FALSE(its_.IsFirst("*Y", "XY"));
  EXPECT_TRUE(its_.IsFirst("*Y", "Y"));
  EXPECT_FALSE(its_.IsFirst("never confirmed", "Y"));
  its_.Confirm(kPattern, "X*", false);
  EXPECT_FALSE(its_.IsFirst("X*", "XY"));
  EXPECT_TRUE(its_.IsFirst("*Y", "XY"));
}

TEST_F(Subscriptions, AConfirmedChannelIsBeforeAllPatterns) {
  Confirm("X*");
  its_.Want("XY", Match::kExact);
  EXPECT_TRUE(its_.IsFirst("X*", "XY"));
  its_.Confirm(kChannel, "XY", true);
  EXPECT_FALSE(its_.IsFirst("X*", "XY"));
  // Until the server has said that it is over.
  its_.Unwant("XY", Match::kExact);
  EXPECT_FALSE(its_.IsFirst("X*", "XY"));
  its_.Confirm(kChannel, "XY", false);
  EXPECT_TRUE(its_.IsFirst("X*", "XY"));
}

TEST_F(Subscriptions, AServerForgets) {
  Confirm("X*");
  its_.Want("Y", Match::kExact);
  its_.Confirm(kChannel, "unasked", true);
  its_.ForgetConfirmed();
  EXPECT_FALSE(its_.IsFirst("X*", "X"));
  EXPECT_THAT(its_.Wanted(kChannel), ElementsAre("Y"));
  EXPECT_THAT(its_.Wanted(kPattern), UnorderedElementsAre("X*"));
  its_.Confirm(kPattern, "X*", true);
  EXPECT_TRUE(its_.IsFirst("X*", "X"));
}

}  // namespace
}  // namespace fio::redis_internal
