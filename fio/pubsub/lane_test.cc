// Lanes: when they are woken, what a Run() delivers, what they hold at most,
// and how they end.

#include "fio/pubsub/lane.h"

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
using ::testing::IsEmpty;

void Ignore(Delivery&) {}

TEST(PubSub, LaneIsWokenOnceUntilItRuns) {
  int main_woken = 0;
  int woken = 0;
  Broker broker({}, [&] { ++main_woken; });
  const std::shared_ptr<Lane> lane = broker.NewLane([&] { ++woken; });
  Strings seen;
  const Subscription subscription =
      MustSubscribe(*lane, broker, {.channel = "news"}, NoteIn(seen));
  MustPublish(broker, "news", "a");
  MustPublish(broker, "news", "b");
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(lane->stats().waiting, 3u);
  lane->Run();
  EXPECT_EQ(lane->stats().waiting, 0u);
  EXPECT_EQ(woken, 1);
  MustPublish(broker, "news", "c");
  lane->Post([] {});
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(main_woken, 0);
  broker.main_lane().Post([] {});
  EXPECT_EQ(main_woken, 1);
}

TEST(PubSub, LaneRunsTasksInTheirTurn) {
  Broker broker;
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  Lane& lane = broker.main_lane();
  MustPublish(broker, "news", "a");
  lane.Post([&] {
    seen.push_back("task");
    lane.Post([&] { seen.push_back("inner"); });
  });
  lane.Post(nullptr);
  MustPublish(broker, "news", "b");
  lane.Run();
  EXPECT_THAT(seen, ElementsAre("news=a", "task", "news=b"));
  lane.Run();
  EXPECT_EQ(seen.back(), "inner");
}

TEST(PubSub, LaneStopsEarly) {
  int woken = 0;
  Broker broker({}, [&] { ++woken; });
  Lane& lane = broker.main_lane();
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  lane.Run();
  woken = 0;
  for (const char* const body : {"a", "b", "c"}) {
    MustPublish(broker, "news", body);
  }
  EXPECT_TRUE(lane.Run([] { return true; }));
  EXPECT_THAT(seen, ElementsAre("news=a"));
  EXPECT_EQ(lane.stats().waiting, 2u);
  EXPECT_EQ(woken, 1);
  MustPublish(broker, "news", "d");
  EXPECT_EQ(woken, 2);
  // Who was woken calls once, and gets all.
  EXPECT_FALSE(lane.Run([] { return false; }));
  EXPECT_THAT(seen, ElementsAre("news=a", "news=b", "news=c", "news=d"));
  EXPECT_EQ(lane.stats().waiting, 0u);
}

// Who runs it only when it is woken gets all.
TEST(PubSub, LaneIsWokenForWhatIsLeft) {
  Broker broker;
  int woken = 0;
  const std::shared_ptr<Lane> lane = broker.NewLane([&] { ++woken; });
  const auto run_while_woken = [&] {
    while (std::exchange(woken, 0) > 0) lane->Run();
  };
  bool parked = true;
  int got = 0;
  Subscription subscription = MustSubscribe(*lane, broker, {.channel = "news"},
                                            [&](Delivery& delivery) {
                                              if (parked)
                                                return delivery.Park();
                                              if (++got == 1) delivery.Defer();
                                            });
  for (int i = 0; i < 500; ++i) MustPublish(broker, "news", "x");
  run_while_woken();
  EXPECT_EQ(subscription.stats().waiting, 500u);
  parked = false;
  subscription.Resume();
  run_while_woken();
  EXPECT_EQ(got, 501);
  EXPECT_EQ(subscription.stats().waiting, 0u);
  EXPECT_FALSE(lane->Run([] { return false; }));
}

// The last of the rest was delivered, but there is more.
TEST(PubSub, LaneStopsEarlyAtTheEndOfTheRest) {
  Broker broker;
  Lane& lane = broker.main_lane();
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(seen));
  lane.Run();
  MustPublish(broker, "news", "a");
  MustPublish(broker, "news", "b");
  EXPECT_TRUE(lane.Run([] { return true; }));
  MustPublish(broker, "news", "c");
  EXPECT_TRUE(lane.Run([] { return true; }));
  EXPECT_THAT(seen, ElementsAre("news=a", "news=b"));
  EXPECT_FALSE(lane.Run([] { return true; }));
  EXPECT_EQ(seen.back(), "news=c");
}

TEST(PubSub, LaneDropsWhatIsTooMuch) {
  Broker broker;
  const std::shared_ptr<Lane> other = broker.NewLane(nullptr);
  const std::string body(Lane::kMaxWaitingBytes / 4, 'b');
  int got = 0;
  const auto count = [&](Delivery&) { ++got; };
  const Subscription full = MustSubscribe(broker, {.channel = "news"}, count);
  for (int i = 0; i < 4; ++i) MustPublish(broker, "news", body);
  Subscription late = MustSubscribe(*other, broker, {.channel = "news"}, count);
  MustPublish(broker, "news", body);
  EXPECT_EQ(broker.main_lane().stats().dropped, 2u);
  EXPECT_EQ(broker.main_lane().stats().waiting, 4u);
  EXPECT_EQ(other->stats().dropped, 0u);
  // What is no message has room.
  late.Unsubscribe();
  broker.main_lane().Post([&] { got += 100; });
  RunAll(broker);
  EXPECT_EQ(got, 103);
  EXPECT_EQ(broker.main_lane().stats().delivered, 3u);
  MustPublish(broker, "news", body);
  RunAll(broker);
  EXPECT_EQ(got, 104);
  EXPECT_EQ(broker.main_lane().stats().dropped, 2u);
}

TEST(PubSub, LaneEndsBeforeItsBroker) {
  Broker broker;
  std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  Strings seen;
  Subscription noticed = MustSubscribe(
      *lane, broker,
      {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
      NoteIn(seen));
  lane->Run();
  MustPublish(broker, "news", "never delivered");
  Subscription waiting = MustSubscribe(
      *lane, broker,
      {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
      NoteIn(seen));
  Subscription leaving = MustSubscribe(
      *lane, broker,
      {.channel = "other", .on_unsubscribe = [&] { seen.push_back("end"); }},
      NoteIn(seen));
  leaving.Unsubscribe();
  Strings main;
  const Subscription stays =
      MustSubscribe(broker, {.channel = "news"}, NoteIn(main));
  lane = nullptr;
  EXPECT_THAT(seen, ElementsAre("end", "end", "end"));
  EXPECT_FALSE(noticed.active());
  EXPECT_FALSE(waiting.active());
  EXPECT_EQ(noticed.channel(), "");
  noticed.Resume();
  noticed.Unsubscribe();
  MustPublish(broker, "news", "x");
  RunAll(broker);
  EXPECT_THAT(main, ElementsAre("news=x"));
  EXPECT_EQ(seen.size(), 3u);
}

TEST(PubSub, LaneOutlivesItsBroker) {
  std::shared_ptr<Lane> lane;
  Strings seen;
  Subscription one;
  Subscription two;
  {
    Broker broker;
    lane = broker.NewLane(nullptr);
    one = MustSubscribe(
        *lane, broker,
        {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
        NoteIn(seen));
    two = MustSubscribe(*lane, broker, {.channel = "news"}, NoteIn(seen));
    MustPublish(broker, "news", "x");
  }
  EXPECT_TRUE(one.active());
  lane->Post([&] { seen.push_back("task"); });
  lane->Run();
  EXPECT_THAT(seen, ElementsAre("news=x", "news=x", "task"));
  one.Unsubscribe();
  lane->Run();
  EXPECT_EQ(seen.back(), "end");
  lane = nullptr;
  EXPECT_FALSE(two.active());
  two.Unsubscribe();
}

TEST(PubSub, LaneOfAnotherBroker) {
  Broker broker;
  Broker other;
  int ends = 0;
  const auto try_it = [&](Lane& lane) {
    return broker
        .Subscribe(lane, {.channel = "a", .on_unsubscribe = [&] { ++ends; }},
                   Ignore)
        .status()
        .code();
  };
  EXPECT_EQ(try_it(other.main_lane()), absl::StatusCode::kFailedPrecondition);
  std::shared_ptr<Lane> orphan;
  {
    Broker gone;
    orphan = gone.NewLane(nullptr);
  }
  EXPECT_EQ(try_it(*orphan), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ends, 2);
}

// Tasks and callbacks that never run own subscriptions of the same lane.
TEST(PubSub, LaneEndsWithTasksThatOwnSubscriptions) {
  Broker broker;
  std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  Strings seen;
  const auto make = [&] {
    return MustSubscribe(
        *lane, broker,
        {.channel = "news", .on_unsubscribe = [&] { seen.push_back("end"); }},
        NoteIn(seen));
  };
  lane->Post([one = make()] {});
  const Subscription two = MustSubscribe(*lane, broker, {.channel = "a"},
                                         [one = make()](Delivery&) {});
  lane = nullptr;
  EXPECT_THAT(seen, ElementsAre("end", "end"));
}

TEST(PubSub, LaneEndsWhileItsOwnerSubscribesAgain) {
  Broker broker;
  std::shared_ptr<Lane> lane = broker.NewLane(nullptr);
  Lane* const raw = lane.get();
  absl::StatusCode code = absl::StatusCode::kOk;
  const Subscription subscription = MustSubscribe(
      *lane, broker,
      {.channel = "news",
       .on_unsubscribe =
           [&] {
             code = broker.Subscribe(*raw, {.channel = "news"}, Ignore)
                        .status()
                        .code();
           }},
      Ignore);
  lane = nullptr;
  EXPECT_EQ(code, absl::StatusCode::kFailedPrecondition);
  MustPublish(broker, "news", "x");
}

}  // namespace
}  // namespace fio
