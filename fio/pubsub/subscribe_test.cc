// Who gets a message, and how a subscription begins and ends.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/lane.h"
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
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(PubSub, SubBasic) {
  Broker broker;
  Strings seen;
  MustPublish(broker, "news", "too early");
  const Subscription news =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  EXPECT_TRUE(news.active());
  MustPublish(broker, "news", "one");
  MustPublish(broker, "olds", "other");
  MustPublish(broker, "news", "two");
  EXPECT_THAT(seen, IsEmpty()) << "delivered inside of Publish()";
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("news=one", "news=two"));
  EXPECT_EQ(news.stats().delivered, 2u);
  EXPECT_EQ(broker.main_lane().stats().delivered, 2u);
}

TEST(PubSub, TwoSubsDropOne) {
  Broker broker;
  Strings first;
  Strings second;
  Subscription dropped =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(first));
  const Subscription kept =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(second));
  MustPublish(broker, "news", "to both");
  RunAll(broker);
  dropped.Unsubscribe();
  EXPECT_FALSE(dropped.active());
  MustPublish(broker, "news", "to one");
  RunAll(broker);
  EXPECT_THAT(first, ElementsAre("news=to both"));
  EXPECT_THAT(second, ElementsAre("news=to both", "news=to one"));
}

TEST(PubSub, DupGlobal) {
  Broker broker;
  Strings seen;
  std::vector<Subscription> subscriptions;
  for (int i = 0; i < 3; ++i) {
    subscriptions.push_back(
        MustSubscribe(broker, {.channel = "news"}, NoteIn(seen)));
  }
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("news=x", "news=x", "news=x"));
}

TEST(PubSub, ChanEmpty) {
  Broker broker;
  Strings seen;
  const Subscription subscription = MustSubscribe(broker, {}, NoteIn(seen));
  EXPECT_TRUE(subscription.active());
  EXPECT_EQ(subscription.channel(), "");
  MustPublish(broker, "", "to nobody's name");
  MustPublish(broker, "x", "other");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("=to nobody's name"));
}

TEST(PubSub, ChanBinaryNul) {
  Broker broker;
  Strings seen;
  const std::string first("a\0b", 3);
  const std::string second("a\0c", 3);
  const Subscription subscription =
      MustSubscribe(broker, {.channel = first}, NoteIn(seen));
  EXPECT_EQ(subscription.channel(), first);
  MustPublish(broker, second, "other");
  MustPublish(broker, "a", "cut");
  MustPublish(broker, first, "right");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre(first + "=right"));
}

TEST(PubSub, ChanTooLong) {
  Broker broker;
  Strings seen;
  const std::string longest(65'535, 'c');
  const std::string too_long(65'536, 'c');
  const Subscription subscription =
      MustSubscribe(broker, {.channel = longest}, NoteIn(seen));
  MustPublish(broker, longest, "x");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre(longest + "=x"));
  EXPECT_EQ(
      broker.Subscribe({.channel = too_long}, NoteIn(seen)).status().code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(broker
                .Subscribe({.channel = too_long, .match = Match::kRedis},
                           NoteIn(seen))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(broker.Publish(too_long, "x").code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(PubSub, SubChannelName) {
  Broker broker;
  Strings seen;
  std::string name = "news.*";
  Subscription subscription = MustSubscribe(
      broker, {.channel = name, .match = Match::kRedis, .filter = 7},
      NoteIn(seen));
  name.assign("gone");
  EXPECT_EQ(subscription.channel(), "news.*");
  EXPECT_EQ(subscription.filter(), 7);
  Subscription moved = std::move(subscription);
  EXPECT_EQ(moved.channel(), "news.*");
  EXPECT_EQ(subscription.channel(), "");  // NOLINT(bugprone-use-after-move)
  moved.Unsubscribe();
  EXPECT_EQ(moved.channel(), "");
  EXPECT_EQ(moved.filter(), 0);
  EXPECT_EQ(Subscription().channel(), "");
}

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

TEST(PubSub, ExactPlusPatternTwoCalls) {
  Broker broker;
  Strings seen;
  const Subscription exact =
      MustSubscribe(broker, {.channel = "news.a"}, NoteIn(seen));
  const Subscription redis = MustSubscribe(
      broker, {.channel = "news.*", .match = Match::kRedis}, NoteIn(seen));
  MustPublish(broker, "news.a", "x");
  MustPublish(broker, "news.b", "x");
  RunAll(broker);
  EXPECT_THAT(seen, UnorderedElementsAre("news.a=x", "news.a=x", "news.b=x"));
}

TEST(PubSub, PatternsOfBothModes) {
  Broker broker;
  Strings redis;
  Strings nats;
  Strings exact;
  const Subscription one = MustSubscribe(
      broker, {.channel = "a.*", .match = Match::kRedis}, NoteIn(redis));
  Subscription two = MustSubscribe(
      broker, {.channel = "a.*", .match = Match::kNats}, NoteIn(nats));
  const Subscription three =
      MustSubscribe(broker, {.channel = "a.*"}, NoteIn(exact));
  for (const std::string_view channel : {"a.b", "a.b.c", "a.", "a.*", "b.a"}) {
    MustPublish(broker, channel, "");
  }
  RunAll(broker);
  EXPECT_THAT(redis, ElementsAre("a.b=", "a.b.c=", "a.=", "a.*="));
  EXPECT_THAT(nats, ElementsAre("a.b=", "a.*="));
  EXPECT_THAT(exact, ElementsAre("a.*="));
  two.Unsubscribe();
  MustPublish(broker, "a.z", "");
  RunAll(broker);
  EXPECT_EQ(redis.back(), "a.z=");
  EXPECT_EQ(nats.size(), 2u);
}

TEST(PubSub, FilterIsolated) {
  Broker broker;
  Strings plain;
  Strings filtered;
  Strings other;
  const Subscription a =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(plain));
  const Subscription b = MustSubscribe(
      broker, {.channel = "*", .match = Match::kRedis}, NoteIn(plain));
  const Subscription c =
      MustSubscribe(broker, {.channel = "news", .filter = 1}, NoteIn(filtered));
  const Subscription d = MustSubscribe(
      broker, {.channel = "n*", .match = Match::kRedis, .filter = 1},
      NoteIn(filtered));
  const Subscription e =
      MustSubscribe(broker, {.channel = "news", .filter = 2}, NoteIn(other));
  MustPublish(broker, "news", "filtered", {.filter = 1});
  RunAll(broker);
  EXPECT_THAT(plain, IsEmpty());
  EXPECT_THAT(filtered, ElementsAre("news=filtered", "news=filtered"));
  EXPECT_THAT(other, IsEmpty());
  MustPublish(broker, "news", "plain");
  RunAll(broker);
  EXPECT_THAT(plain, ElementsAre("news=plain", "news=plain"));
  EXPECT_EQ(filtered.size(), 2u);
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

TEST(PubSub, SubscribesInACallback) {
  Broker broker;
  Strings seen;
  std::vector<Subscription> inner;
  const Subscription outer =
      MustSubscribe(broker, {.channel = "news"}, [&](Delivery& delivery) {
        seen.push_back(absl::StrCat("outer ", delivery.body()));
        if (!inner.empty()) return;
        inner.push_back(
            MustSubscribe(broker, {.channel = "news"}, NoteIn(seen)));
        MustPublish(broker, "news", "three");
      });
  MustPublish(broker, "news", "one");
  MustPublish(broker, "news", "two");
  RunAll(broker);
  EXPECT_THAT(
      seen, ElementsAre("outer one", "outer two", "outer three", "news=three"));
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
