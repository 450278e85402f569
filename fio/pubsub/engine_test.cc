// What an engine is told, and when.

#include "fio/pubsub/engine.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::NoteIn;
using pubsub_internal::NotingEngine;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

void Ignore(Delivery&) {}

TEST(PubSub, AttachReplaysExisting) {
  NotingEngine engine;
  Broker broker;
  const Subscription exact = MustSubscribe(broker, {.channel = "a"}, Ignore);
  const Subscription again = MustSubscribe(broker, {.channel = "a"}, Ignore);
  const Subscription pattern =
      MustSubscribe(broker, {.channel = "b*", .match = Match::kRedis}, Ignore);
  const Subscription member =
      MustSubscribe(broker, {.channel = "c", .group = "g"}, Ignore);
  const Subscription filtered =
      MustSubscribe(broker, {.channel = "d", .filter = 1}, Ignore);
  ASSERT_TRUE(broker.Attach(engine).ok());
  EXPECT_THAT(engine.notes, IsEmpty()) << "called inside of Attach()";
  RunAll(broker);
  ASSERT_EQ(engine.notes.size(), 4u);
  EXPECT_EQ(engine.notes[0], "attach");
  EXPECT_THAT(engine.notes, UnorderedElementsAre("attach", "+a", "+*b*", "+c"));
}

TEST(PubSub, EngineHearsOfFirstAndLast) {
  NotingEngine engine;
  Broker broker;
  ASSERT_TRUE(broker.Attach(engine).ok());
  const std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  Subscription one = MustSubscribe(broker, {.channel = "a"}, Ignore);
  Subscription two = MustSubscribe(*lane, broker, {.channel = "a"}, Ignore);
  Subscription three =
      MustSubscribe(broker, {.channel = "a", .group = "g"}, Ignore);
  Subscription nats =
      MustSubscribe(broker, {.channel = "n.>", .match = Match::kNats}, Ignore);
  RunAll(broker);
  EXPECT_THAT(engine.notes, ElementsAre("attach", "+a", "+*n.>"));
  engine.notes.clear();
  one.Unsubscribe();
  three.Unsubscribe();
  RunAll(broker);
  EXPECT_THAT(engine.notes, IsEmpty());
  two.Unsubscribe();
  nats.Unsubscribe();
  one = MustSubscribe(broker, {.channel = "a"}, Ignore);
  RunAll(broker);
  EXPECT_THAT(engine.notes, ElementsAre("-a", "-*n.>", "+a"));
}

TEST(PubSub, EngineHearsOfTheEndOfALane) {
  NotingEngine engine;
  Broker broker;
  ASSERT_TRUE(broker.Attach(engine).ok());
  std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  const Subscription noticed =
      MustSubscribe(*lane, broker, {.channel = "a"}, Ignore);
  lane->Run();
  const Subscription waiting =
      MustSubscribe(*lane, broker, {.channel = "b", .group = "g"}, Ignore);
  lane = nullptr;
  RunAll(broker);
  EXPECT_THAT(engine.notes,
              UnorderedElementsAre("attach", "+a", "+b", "-a", "-b"));
}

TEST(PubSub, IsAttached) {
  NotingEngine engine;
  NotingEngine other;
  Broker broker;
  EXPECT_FALSE(broker.IsAttached(engine));
  ASSERT_TRUE(broker.Attach(engine).ok());
  EXPECT_TRUE(broker.IsAttached(engine));
  EXPECT_FALSE(broker.IsAttached(other));
  EXPECT_EQ(broker.Attach(engine).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(broker.Detach(other).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(broker.Detach(engine).ok());
  EXPECT_FALSE(broker.IsAttached(engine));
  EXPECT_EQ(broker.Detach(engine).code(), absl::StatusCode::kNotFound);
}

TEST(PubSub, SixteenEngines) {
  std::vector<std::unique_ptr<NotingEngine>> engines;
  NotingEngine one_more;
  Broker broker;
  for (int i = 0; i < 16; ++i) {
    engines.push_back(std::make_unique<NotingEngine>());
    ASSERT_TRUE(broker.Attach(*engines.back()).ok()) << i;
  }
  EXPECT_EQ(broker.Attach(one_more).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(broker.IsAttached(one_more));
  ASSERT_TRUE(broker.Detach(*engines[3]).ok());
  ASSERT_TRUE(broker.Attach(one_more).ok());
  const Subscription a = MustSubscribe(broker, {.channel = "a"}, Ignore);
  MustPublish(broker, "a", "x", {.engine = engines[5].get()});
  RunAll(broker);
  EXPECT_THAT(engines[5]->notes, ElementsAre("attach", "+a", "a=x"));
  EXPECT_THAT(engines[3]->notes, ElementsAre("detach"));
  EXPECT_THAT(one_more.notes, ElementsAre("attach", "+a"));
}

TEST(PubSub, LocalEcho) {
  NotingEngine silent;
  NotingEngine echoing(/*local_echo=*/true);
  Broker broker;
  ASSERT_TRUE(broker.Attach(silent).ok());
  ASSERT_TRUE(broker.Attach(echoing).ok());
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "a"}, NoteIn(seen));
  MustPublish(broker, "a", "one", {.engine = &silent});
  RunAll(broker);
  EXPECT_THAT(silent.notes, ElementsAre("attach", "+a", "a=one"));
  EXPECT_THAT(seen, IsEmpty());
  MustPublish(broker, "a", "two", {.engine = &echoing});
  RunAll(broker);
  EXPECT_THAT(echoing.notes, ElementsAre("attach", "+a", "a=two"));
  EXPECT_THAT(seen, ElementsAre("a=two"));
  EXPECT_EQ(silent.notes.size(), 3u);
}

// What comes with the echo is there when the engine gets the message.
TEST(PubSub, LocalEchoIsCompleteForTheEngine) {
  class Watching : public NotingEngine {
   public:
    Watching() : NotingEngine(/*local_echo=*/true) {}
    void Publish(const Message& message) override { got.push_back(message); }
    std::vector<Message> got;
  } engine;
  Broker broker;
  ASSERT_TRUE(broker.KeepHistory("a", Match::kExact, {}).ok());
  ASSERT_TRUE(broker.Attach(engine).ok());
  Strings seen;
  // The engine's task comes behind the message in the same lane.
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "a"}, [&](Delivery& delivery) {
        EXPECT_EQ(delivery.message().sequence(), 1u);
        EXPECT_TRUE(engine.got.empty());
      });
  MustPublish(broker, "a", "x", {.engine = &engine});
  RunAll(broker);
  ASSERT_EQ(engine.got.size(), 1u);
  EXPECT_EQ(engine.got[0].sequence(), 1u);
}

TEST(PubSub, FilterNotToEngine) {
  NotingEngine engine;
  Broker broker;
  ASSERT_TRUE(broker.Attach(engine).ok());
  ASSERT_TRUE(broker.SetDefault(engine).ok());
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "a", .filter = 1}, NoteIn(seen));
  EXPECT_EQ(broker.Publish("a", "x", {.engine = &engine, .filter = 1}).code(),
            absl::StatusCode::kInvalidArgument);
  RunAll(broker);
  EXPECT_THAT(seen, IsEmpty());
  MustPublish(broker, "a", "x", {.filter = 1});
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("a=x"));
  EXPECT_THAT(engine.notes, ElementsAre("attach"));
}

TEST(PubSub, DefaultSetNull) {
  NotingEngine engine;
  Broker broker;
  EXPECT_EQ(broker.SetDefault(engine).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(broker.Attach(engine).ok());
  ASSERT_TRUE(broker.SetDefault(engine).ok());
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "a"}, NoteIn(seen));
  MustPublish(broker, "a", "to the engine");
  MustPublish(broker, "a", "not", {.reach = Reach::kProcess});
  RunAll(broker);
  EXPECT_THAT(engine.notes, ElementsAre("attach", "+a", "a=to the engine"));
  EXPECT_THAT(seen, ElementsAre("a=not"));
  broker.SetDefault(Reach::kDefault);
  MustPublish(broker, "a", "to all");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("a=not", "a=to all"));
  EXPECT_EQ(engine.notes.size(), 3u);
}

TEST(PubSub, DetachResetsDefault) {
  NotingEngine engine;
  Broker broker;
  ASSERT_TRUE(broker.Attach(engine).ok());
  ASSERT_TRUE(broker.SetDefault(engine).ok());
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "a"}, NoteIn(seen));
  ASSERT_TRUE(broker.Detach(engine).ok());
  MustPublish(broker, "a", "x");
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("a=x"));
  EXPECT_EQ(broker.Publish("a", "x", {.engine = &engine}).code(),
            absl::StatusCode::kNotFound);
}

TEST(PubSub, DetachEndsTheCallbacks) {
  Broker broker;
  auto engine = std::make_unique<NotingEngine>();
  ASSERT_TRUE(broker.Attach(*engine).ok());
  RunAll(broker);
  Subscription subscription = MustSubscribe(broker, {.channel = "a"}, Ignore);
  MustPublish(broker, "a", "x", {.engine = engine.get()});
  ASSERT_TRUE(broker.Detach(*engine).ok());
  EXPECT_THAT(engine->notes, ElementsAre("attach", "detach"));
  engine = nullptr;  // What waits in the lane does not touch it.
  subscription.Unsubscribe();
  RunAll(broker);
}

TEST(PubSub, ReattachAll) {
  NotingEngine engine;
  NotingEngine other;
  Broker broker;
  EXPECT_EQ(broker.Reattach(engine).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(broker.Attach(engine).ok());
  ASSERT_TRUE(broker.Attach(other).ok());
  const Subscription exact = MustSubscribe(broker, {.channel = "a"}, Ignore);
  const Subscription pattern =
      MustSubscribe(broker, {.channel = "b*", .match = Match::kRedis}, Ignore);
  Subscription gone = MustSubscribe(broker, {.channel = "c"}, Ignore);
  gone.Unsubscribe();
  RunAll(broker);
  engine.notes.clear();
  other.notes.clear();
  ASSERT_TRUE(broker.Reattach(engine).ok());
  EXPECT_THAT(engine.notes, IsEmpty()) << "called inside of Reattach()";
  RunAll(broker);
  EXPECT_THAT(engine.notes, UnorderedElementsAre("+a", "+*b*"));
  EXPECT_THAT(other.notes, IsEmpty());
}

TEST(PubSub, BrokerEndDetachesEngines) {
  NotingEngine engine;
  {
    Broker broker;
    ASSERT_TRUE(broker.Attach(engine).ok());
    RunAll(broker);
  }
  EXPECT_THAT(engine.notes, ElementsAre("attach", "detach"));
}

// Nobody else is to pay for an engine that is slow.
TEST(PubSub, WhatWaitsForAnEngineHasABound) {
  constexpr int kMessages = 80;
  const std::string body(size_t{1} << 20, 'x');
  NotingEngine engine;
  Broker broker;
  ASSERT_TRUE(broker.Attach(engine).ok());
  for (int i = 0; i < kMessages; ++i) {
    MustPublish(broker, "a", body, {.engine = &engine});
  }
  EXPECT_EQ(broker.main_lane().stats().dropped, uint64_t{kMessages - 63});
  RunAll(broker);
  EXPECT_EQ(engine.notes.size(), size_t{1 + 63});
  // There is room again.
  MustPublish(broker, "a", "last", {.engine = &engine});
  RunAll(broker);
  EXPECT_EQ(engine.notes.back(), "a=last");
}

}  // namespace
}  // namespace fio
