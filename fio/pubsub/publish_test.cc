// What a message is when it arrives, and what publishing refuses and costs.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::MessageBlock;
using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::NoteIn;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Notes the messages themselves.
OnMessage KeepIn(std::vector<Message>& messages) {
  return [&messages](Delivery& delivery) {
    messages.push_back(delivery.message());
  };
}

TEST(PubSub, EmptyBody) {
  Broker broker;
  std::vector<Message> seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, KeepIn(seen));
  MustPublish(broker, "news", {});
  MustPublish(broker, "news", "");
  RunAll(broker);
  ASSERT_EQ(seen.size(), 2u);
  for (const Message& message : seen) {
    EXPECT_TRUE(message);
    EXPECT_EQ(message.body().data(), nullptr);
    EXPECT_EQ(message.body().size(), 0u);
  }
}

TEST(PubSub, PublishCopiesArgs) {
  Broker broker;
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  {
    auto channel = std::make_unique<std::string>("news");
    auto body = std::make_unique<std::string>(1000, 'b');
    MustPublish(broker, *channel, *body);
    channel->assign("gone");
    body->assign(1000, 'x');
  }
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("news=" + std::string(1000, 'b')));
}

TEST(PubSub, PubFlagsArrive) {
  Broker broker;
  std::vector<Message> seen;
  const Subscription plain =
      MustSubscribe(broker, {.channel = "news"}, KeepIn(seen));
  const Subscription filtered =
      MustSubscribe(broker, {.channel = "news", .filter = -9}, KeepIn(seen));
  MustPublish(broker, "news", "{}", {.is_json = true});
  MustPublish(broker, "news", "text");
  MustPublish(broker, "news", "[]", {.filter = -9, .is_json = true});
  RunAll(broker);
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_TRUE(seen[0].is_json());
  EXPECT_EQ(seen[0].filter(), 0);
  EXPECT_FALSE(seen[1].is_json());
  EXPECT_TRUE(seen[2].is_json());
  EXPECT_EQ(seen[2].filter(), -9);
}

TEST(PubSub, PubOversizeRefused) {
  Broker broker({.max_body_bytes = 100});
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  EXPECT_EQ(broker.Publish("news", std::string(101, 'b')).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(broker.Publish(std::string(65'536, 'c'), "").code(),
            absl::StatusCode::kInvalidArgument);
  RunAll(broker);
  EXPECT_THAT(seen, IsEmpty());
  EXPECT_TRUE(broker.Publish("news", std::string(100, 'b')).ok());
  EXPECT_TRUE(broker.Publish("nobody listens", "").ok());
  RunAll(broker);
  EXPECT_EQ(seen.size(), 1u);
}

TEST(PubSub, FromSuppressesEcho) {
  Broker broker;
  Strings sender;
  Strings other;
  Strings nobody;
  const Subscription a =
      MustSubscribe(broker, {.channel = "chat", .owner = 7}, NoteIn(sender));
  const Subscription b = MustSubscribe(
      broker, {.channel = "c*", .match = Match::kRedis, .owner = 7},
      NoteIn(sender));
  const Subscription c =
      MustSubscribe(broker, {.channel = "chat", .owner = 8}, NoteIn(other));
  const Subscription d =
      MustSubscribe(broker, {.channel = "chat"}, NoteIn(nobody));
  MustPublish(broker, "chat", "mine", {.from = 7});
  RunAll(broker);
  EXPECT_THAT(sender, IsEmpty());
  EXPECT_THAT(other, ElementsAre("chat=mine"));
  EXPECT_THAT(nobody, ElementsAre("chat=mine"));
  MustPublish(broker, "chat", "anybody's");
  RunAll(broker);
  EXPECT_EQ(sender.size(), 2u);
  EXPECT_EQ(nobody.size(), 2u);
}

TEST(PubSub, MsgDupOutlivesCallback) {
  std::vector<Message> kept;
  {
    Broker broker;
    const Subscription subscription =
        MustSubscribe(broker, {.channel = "news"}, KeepIn(kept));
    MustPublish(broker, "news", std::string(500, 'b'));
    RunAll(broker);
  }
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].channel(), "news");
  EXPECT_EQ(kept[0].body(), std::string(500, 'b'));
  EXPECT_EQ(*(kept[0].body().data() + 500), '\0');
  kept.clear();
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST(PubSub, OneAllocPerProcess) {
  Broker broker;
  const std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  int calls = 0;
  std::vector<const char*> bodies(6);
  std::vector<Subscription> subscriptions;
  for (size_t i = 0; i < bodies.size(); ++i) {
    subscriptions.push_back(
        MustSubscribe(i % 2 == 0 ? broker.main_lane() : *lane, broker,
                      {.channel = "news"}, [&, i](Delivery& delivery) {
                        ++calls;
                        bodies[i] = delivery.body().data();
                      }));
  }
  // Each lane uses two lists by turns.
  for (int i = 0; i < 4; ++i) {
    MustPublish(broker, "news", "first");
    RunAll(broker);
    RunAll(*lane);
  }
  calls = 0;
  const testing::AllocationCounter counter;
  for (int i = 0; i < 10; ++i) {
    MustPublish(broker, "news", "0123456789");
    broker.main_lane().Run();
    lane->Run();
  }
  EXPECT_EQ(counter.allocations(), 10);
  EXPECT_EQ(calls, 60);
  for (const char* const body : bodies) EXPECT_EQ(body, bodies[0]);
}

TEST(PubSub, RefcountToZeroOnShutdown) {
  ASSERT_EQ(MessageBlock::live(), 0);
  std::shared_ptr<Lane> lane;
  std::vector<Subscription> subscriptions;
  {
    Broker broker;
    lane = broker.NewLane(nullptr);
    ASSERT_TRUE(broker.KeepHistory("kept", Match::kExact, {}).ok());
    for (Lane* const one : {&broker.main_lane(), lane.get()}) {
      subscriptions.push_back(
          MustSubscribe(*one, broker, {.channel = "queued"}, [](Delivery&) {}));
      subscriptions.push_back(
          MustSubscribe(*one, broker, {.channel = "deferred"},
                        [](Delivery& delivery) { delivery.Defer(); }));
      subscriptions.push_back(
          MustSubscribe(*one, broker, {.channel = "parked"},
                        [](Delivery& delivery) { delivery.Park(); }));
      subscriptions.push_back(MustSubscribe(
          *one, broker, {.channel = "queued", .group = "g"}, [](Delivery&) {}));
    }
    for (int i = 0; i < 3; ++i) {
      MustPublish(broker, "deferred", "x");
      MustPublish(broker, "parked", "x");
      broker.main_lane().Run();
      lane->Run();
      MustPublish(broker, "kept", "x");
      MustPublish(broker, "queued", "x");
    }
    EXPECT_GT(MessageBlock::live(), 0);
  }
  lane = nullptr;
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST(PubSub, PublishesInACallback) {
  Broker broker;
  Strings seen;
  const Subscription subscription = MustSubscribe(
      broker, {.channel = "*", .match = Match::kRedis},
      [&](Delivery& delivery) {
        seen.push_back(std::string(delivery.body()));
        if (delivery.body().size() == 3) return;
        MustPublish(broker, "next", absl::StrCat(delivery.body(), "+"));
        broker.main_lane().Run();  // Does nothing here.
      });
  MustPublish(broker, "first", "a");
  MustPublish(broker, "first", "b");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("a", "b", "a+", "b+", "a++", "b++"));
}

// A single process is the root, and the only one.
TEST(PubSub, ReachesOfASingleProcess) {
  Broker broker;
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  const Subscription member =
      MustSubscribe(broker, {.channel = "news", .group = "g"}, NoteIn(seen));
  MustPublish(broker, "news", "siblings", {.reach = Reach::kSiblings});
  RunAll(broker);
  EXPECT_THAT(seen, IsEmpty());
  for (const Reach reach :
       {Reach::kDefault, Reach::kProcess, Reach::kCluster, Reach::kRoot}) {
    seen.clear();
    MustPublish(broker, "news", "x", {.reach = reach});
    RunAll(broker);
    EXPECT_THAT(seen, ElementsAre("news=x", "news=x"));
  }
  broker.SetDefault(Reach::kSiblings);
  seen.clear();
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_THAT(seen, IsEmpty());
}

}  // namespace
}  // namespace fio
