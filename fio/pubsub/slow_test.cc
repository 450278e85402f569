// Subscriptions that have more waiting than they may.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;

// Notes "body" or, if so many were lost before it, "body(lost)". Parks the
// first message once.
OnMessage ParkFirst(Strings& seen) {
  return [&seen, parked = false](Delivery& delivery) mutable {
    seen.push_back(delivery.lost() == 0 ? std::string(delivery.body())
                                        : absl::StrCat(delivery.body(), "(",
                                                       delivery.lost(), ")"));
    if (!parked) delivery.Park();
    parked = true;
  };
}

// Publishes "0" and so on, of which the first is parked by the second.
void PublishUpTo(Broker& broker, int last) {
  for (int i = 0; i <= last; ++i) MustPublish(broker, "news", absl::StrCat(i));
  RunAll(broker);
}

TEST(PubSub, SlowDropsTheOldest) {
  Broker broker;
  Strings seen;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news",
       .slow = {.policy = SlowPolicy::kDropOldest, .max_messages = 3}},
      ParkFirst(seen));
  PublishUpTo(broker, 5);
  EXPECT_THAT(seen, ElementsAre("0"));
  EXPECT_EQ(subscription.stats().waiting, 3u);
  EXPECT_EQ(subscription.stats().dropped, 3u);
  subscription.Resume();
  RunAll(broker);
  MustPublish(broker, "news", "6");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("0", "0", "4(3)", "5", "6"));
  EXPECT_EQ(subscription.stats().delivered, 4u);
  EXPECT_EQ(subscription.stats().dropped, 3u);
  EXPECT_EQ(subscription.stats().waiting, 0u);
}

TEST(PubSub, SlowDropsTheNewest) {
  Broker broker;
  Strings seen;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news",
       .slow = {.policy = SlowPolicy::kDropNewest, .max_messages = 3}},
      ParkFirst(seen));
  PublishUpTo(broker, 5);
  EXPECT_EQ(subscription.stats().waiting, 3u);
  EXPECT_EQ(subscription.stats().dropped, 3u);
  subscription.Resume();
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("0", "0", "1", "2"));
  MustPublish(broker, "news", "6");
  MustPublish(broker, "news", "7");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("0", "0", "1", "2", "6(3)", "7"));
}

TEST(PubSub, SlowCloses) {
  Broker broker;
  Strings seen;
  Subscription subscription =
      MustSubscribe(broker,
                    {.channel = "news",
                     .slow = {.policy = SlowPolicy::kClose, .max_messages = 3},
                     .on_slow = [&] { seen.push_back("slow"); },
                     .on_unsubscribe = [&] { seen.push_back("end"); }},
                    ParkFirst(seen));
  PublishUpTo(broker, 2);
  EXPECT_TRUE(subscription.active());
  EXPECT_THAT(seen, ElementsAre("0"));
  MustPublish(broker, "news", "3");
  MustPublish(broker, "news", "4");
  subscription.Resume();
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("0", "slow", "end"));
  EXPECT_FALSE(subscription.active());
  EXPECT_EQ(subscription.stats().waiting, 0u);
  subscription.Resume();
  subscription.Unsubscribe();
  RunAll(broker);
  EXPECT_EQ(seen.size(), 3u);
}

TEST(PubSub, SlowByBytes) {
  Broker broker;
  Strings seen;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news",
       .slow = {.policy = SlowPolicy::kDropOldest, .max_bytes = 1000}},
      ParkFirst(seen));
  MustPublish(broker, "news", "0");
  for (const char letter : {'a', 'b', 'c'}) {
    MustPublish(broker, "news", std::string(400, letter));
  }
  RunAll(broker);
  EXPECT_EQ(subscription.stats().dropped, 1u);
  subscription.Resume();
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("0", "0", std::string(400, 'b') + "(1)",
                                std::string(400, 'c')));
}

TEST(PubSub, SlowHasRoomForOneOfAnySize) {
  Broker broker;
  Strings seen;
  Subscription subscription =
      MustSubscribe(broker,
                    {.channel = "news",
                     .slow = {.policy = SlowPolicy::kClose,
                              .max_messages = 1,
                              .max_bytes = 1}},
                    ParkFirst(seen));
  MustPublish(broker, "news", "larger than that");
  RunAll(broker);
  EXPECT_TRUE(subscription.active());
  EXPECT_EQ(subscription.stats().waiting, 1u);
  subscription.Resume();
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("larger than that", "larger than that"));
}

// What has been delivered before is never dropped, and the count of the lost is
// the same each time.
TEST(PubSub, SlowKeepsWhatIsDeferred) {
  Broker broker;
  Strings seen;
  int deferred = 0;
  const Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news",
       .slow = {.policy = SlowPolicy::kDropOldest, .max_messages = 2}},
      [&](Delivery& delivery) {
        seen.push_back(absl::StrCat(delivery.body(), delivery.lost()));
        if (++deferred < 4) delivery.Defer();
      });
  for (const char letter : {'A', 'B', 'C', 'D'}) {
    MustPublish(broker, "news", std::string(1, letter));
  }
  broker.main_lane().Run();  // A; B and C are dropped.
  broker.main_lane().Run();  // A
  MustPublish(broker, "news", "E");
  broker.main_lane().Run();  // A, and D is dropped.
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("A0", "A0", "A0", "A0", "E3"));
  EXPECT_EQ(subscription.stats().dropped, 3u);
}

// Only who is slow pays.
TEST(PubSub, SlowIsNobodyElse) {
  Broker broker;
  Strings slow;
  Strings quick;
  const Subscription one =
      MustSubscribe(broker, {.channel = "news", .slow = {.max_messages = 1}},
                    ParkFirst(slow));
  int got = 0;
  const Subscription two =
      MustSubscribe(broker, {.channel = "news", .slow = {.max_messages = 1}},
                    [&](Delivery& delivery) {
                      ++got;
                      EXPECT_EQ(delivery.lost(), 0u);
                    });
  PublishUpTo(broker, 99);
  EXPECT_EQ(got, 100);
  EXPECT_EQ(two.stats().dropped, 0u);
  EXPECT_EQ(one.stats().dropped, 99u);
}

}  // namespace
}  // namespace fio
