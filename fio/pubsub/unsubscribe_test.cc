// How a subscription ends, and what is called then.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
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
using pubsub_internal::NoteIn;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;

TEST(PubSub, OnUnsubOnce) {
  Broker broker;
  Strings seen;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
      NoteIn(seen));
  MustPublish(broker, "news", "one");
  RunAll(broker);
  MustPublish(broker, "news", "dropped");
  subscription.Unsubscribe();
  EXPECT_THAT(seen, ElementsAre("news=one")) << "called inside";
  subscription.Unsubscribe();
  MustPublish(broker, "news", "behind");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("news=one", "end"));
}

TEST(PubSub, OnUnsubOnceAtTheEndOfTheBroker) {
  Strings seen;
  Subscription subscription;
  {
    Broker broker;
    subscription = MustSubscribe(
        broker,
        {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
        NoteIn(seen));
    MustPublish(broker, "news", "never delivered");
  }
  EXPECT_THAT(seen, ElementsAre("end"));
  EXPECT_FALSE(subscription.active());
  subscription.Unsubscribe();
  EXPECT_THAT(seen, ElementsAre("end"));
}

TEST(PubSub, OnUnsubOnError) {
  Broker broker;
  int ends = 0;
  const auto count = [&ends] { ++ends; };
  const auto ignore = [](Delivery&) {};
  const std::string too_long(65'536, 'c');
  std::vector<absl::Status> all;
  const auto try_it = [&](SubscribeOptions options, OnMessage on_message) {
    const int before = ends;
    options.on_unsubscribe = count;
    all.push_back(
        broker.Subscribe(std::move(options), std::move(on_message)).status());
    EXPECT_EQ(ends, before + 1) << all.back();
  };
  try_it({.channel = "news"}, nullptr);
  try_it({.channel = too_long}, ignore);
  try_it({.channel = "a..b", .match = Match::kNats}, ignore);
  try_it({.channel = "n", .match = Match::kRedis, .replay = ReplayFrom()},
         ignore);
  try_it({.channel = "n", .filter = 1, .replay = ReplayFrom()}, ignore);
  try_it({.channel = "n", .group = "g", .replay = ReplayFrom()}, ignore);
  try_it({.channel = "n", .group = too_long}, ignore);
  for (const absl::Status& status : all) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  RunAll(broker);
  EXPECT_EQ(ends, 7);
}

TEST(PubSub, UnsubInOwnCallback) {
  Broker broker;
  Strings seen;
  Subscription subscription;
  subscription = MustSubscribe(
      broker,
      {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
      [&](Delivery& delivery) {
        seen.push_back(std::string(delivery.body()));
        subscription.Unsubscribe();
        subscription.Unsubscribe();
        // What it has is there until it returns.
        seen.push_back(absl::StrCat("still ", delivery.body()));
      });
  MustPublish(broker, "news", "one");
  MustPublish(broker, "news", "already queued");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("one", "still one", "end"));
}

// Although there is a handle yet.
TEST(PubSub, CallbacksAreDestroyedWhenItHasEnded) {
  const auto token = std::make_shared<int>();
  Subscription subscription;
  {
    Broker broker;
    subscription = MustSubscribe(
        broker,
        {.channel = "news",
         .on_slow = [token] {},
         .replay = ReplayFrom(),
         .on_replay_end = [token](const ReplayEnd&) {},
         .on_unsubscribe = [token] { EXPECT_EQ(token.use_count(), 2); }},
        [token](Delivery&) {});
    EXPECT_EQ(token.use_count(), 5);
  }
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_FALSE(subscription.active());
}

TEST(PubSub, ACallbackMayOwnItsSubscription) {
  Broker broker;
  auto own = std::make_shared<Subscription>();
  const std::weak_ptr<Subscription> watch = own;
  *own = MustSubscribe(broker, {.channel = "news"},
                       [own](Delivery&) { own->Unsubscribe(); });
  own = nullptr;
  MustPublish(broker, "news", "x");
  EXPECT_FALSE(watch.expired());
  RunAll(broker);
  EXPECT_TRUE(watch.expired());
}

TEST(PubSub, KeptWithoutHandle) {
  Strings seen;
  {
    Broker broker;
    Subscription subscription = MustSubscribe(
        broker,
        {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
        NoteIn(seen));
    subscription.Keep();
    EXPECT_FALSE(subscription.active());
    MustPublish(broker, "news", "x");
    RunAll(broker);
    EXPECT_THAT(seen, ElementsAre("news=x"));
  }
  EXPECT_THAT(seen, ElementsAre("news=x", "end"));
}

// Both are there when the message comes; whoever is first ends the other.
TEST(PubSub, UnsubscribesAnotherInACallback) {
  Broker broker;
  int calls = 0;
  Subscription first;
  Subscription second;
  const auto end_both = [&](Delivery&) {
    ++calls;
    first.Unsubscribe();
    second.Unsubscribe();
  };
  first = MustSubscribe(broker, {.channel = "news"}, end_both);
  second = MustSubscribe(broker, {.channel = "news"}, end_both);
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_EQ(calls, 1);
}

TEST(PubSub, SubscribesAgainWhenItEnds) {
  Broker broker;
  Strings seen;
  Subscription again;
  Subscription subscription = MustSubscribe(
      broker,
      {.channel = "news",
       .on_unsubscribe =
           [&] {
             again = MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
           }},
      NoteIn(seen));
  subscription.Unsubscribe();
  RunAll(broker);
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("news=x"));
}

}  // namespace
}  // namespace fio
