// What the callbacks of an engine may do, and the last ones of a broker.

#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/history_options.h"
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

void Ignore(Delivery&) {}

// Calls `act` in each of its callbacks.
class ActingEngine : public Engine {
 public:
  using Act = absl::AnyInvocable<void(std::string_view callback)>;
  explicit ActingEngine(Act act) : act_(std::move(act)) {}

  void OnAttach() override { act_("attach"); }
  void OnDetach() override { act_("detach"); }
  void Subscribe(std::string_view, Match) override { act_("subscribe"); }
  void Unsubscribe(std::string_view, Match) override { act_("unsubscribe"); }
  void Publish(const Message&) override { act_("publish"); }

 private:
  Act act_;
};

TEST(PubSub, EngineReentrancyRejected) {
  NotingEngine other;
  Broker broker;
  ASSERT_TRUE(broker.Attach(other).ok());
  Strings callbacks;
  int ends = 0;
  ActingEngine engine([&](std::string_view callback) {
    callbacks.push_back(std::string(callback));
    const auto is_refused = [&](const absl::Status& status) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition)
          << callback << ": " << status;
    };
    is_refused(
        broker
            .Subscribe({.channel = "x", .on_unsubscribe = [&] { ++ends; }},
                       Ignore)
            .status());
    NotingEngine one_more;
    is_refused(broker.Attach(one_more));
    is_refused(broker.Detach(other));
    EXPECT_FALSE(broker.IsAttached(one_more));
  });
  ASSERT_TRUE(broker.Attach(engine).ok());
  Subscription subscription = MustSubscribe(broker, {.channel = "a"}, Ignore);
  MustPublish(broker, "a", "x", {.engine = &engine});
  RunAll(broker);
  subscription.Unsubscribe();
  RunAll(broker);
  ASSERT_TRUE(broker.Detach(engine).ok());
  EXPECT_THAT(callbacks, ElementsAre("attach", "subscribe", "publish",
                                     "unsubscribe", "detach"));
  EXPECT_EQ(ends, 5);
  EXPECT_TRUE(broker.Subscribe({.channel = "x"}, Ignore).ok());
  EXPECT_TRUE(broker.IsAttached(other));
}

TEST(PubSub, EngineMayPostWhatItMayNotDo) {
  Broker broker;
  Subscription made;
  ActingEngine engine([&](std::string_view callback) {
    if (callback != "attach") return;
    broker.main_lane().Post(
        [&] { made = MustSubscribe(broker, {.channel = "x"}, Ignore); });
  });
  ASSERT_TRUE(broker.Attach(engine).ok());
  RunAll(broker);
  EXPECT_TRUE(made.active());
  ASSERT_TRUE(broker.Detach(engine).ok());
}

TEST(PubSub, EngineCallbacksPublish) {
  Broker broker;
  Strings seen;
  Subscription all = MustSubscribe(
      broker, {.channel = "*", .match = Match::kRedis}, NoteIn(seen));
  ActingEngine engine([&](std::string_view callback) {
    MustPublish(broker, "engine", callback, {.reach = Reach::kCluster});
  });
  ASSERT_TRUE(broker.Attach(engine).ok());
  MustPublish(broker, "a", "x", {.engine = &engine});
  RunAll(broker);
  ASSERT_TRUE(broker.Detach(engine).ok());
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("engine=attach", "engine=subscribe",
                                "engine=publish", "engine=detach"));
}

// One that is told of a subscription drops the last handle of it.
TEST(PubSub, EngineCallbacksUnsubscribe) {
  Broker broker;
  Subscription subscription;
  Strings callbacks;
  ActingEngine engine([&](std::string_view callback) {
    callbacks.push_back(std::string(callback));
    if (callback == "subscribe") subscription.Unsubscribe();
  });
  ASSERT_TRUE(broker.Attach(engine).ok());
  subscription = MustSubscribe(broker, {.channel = "a"}, Ignore);
  RunAll(broker);
  EXPECT_THAT(callbacks, ElementsAre("attach", "subscribe", "unsubscribe"));
  ASSERT_TRUE(broker.Detach(engine).ok());
}

// As long as the last callbacks run the broker can be used.
TEST(PubSub, LastCallbacksUseTheBroker) {
  Strings callbacks;
  Broker* the_broker = nullptr;
  const auto use = [&](std::string_view callback) {
    callbacks.push_back(std::string(callback));
    MustPublish(*the_broker, "a", callback);
    the_broker->main_lane().Post([] {});
    the_broker->main_lane().Run();
    Strings none;
    EXPECT_FALSE(the_broker->Subscribe({.channel = "a"}, NoteIn(none)).ok());
  };
  ActingEngine engine(use);
  Subscription subscription;
  {
    Broker broker;
    the_broker = &broker;
    ASSERT_TRUE(broker.KeepHistory("a", Match::kExact, HistoryOptions()).ok());
    subscription = MustSubscribe(
        broker, {.channel = "a", .on_unsubscribe = [&] { use("end"); }},
        Ignore);
    ASSERT_TRUE(broker.Attach(engine).ok());
  }
  EXPECT_THAT(callbacks, ElementsAre("detach", "end"));
}

}  // namespace
}  // namespace fio
