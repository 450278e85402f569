// Messages of the past, and those that follow them.

#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::LaneThread;
using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::ElementsAre;

void Keep(Broker& broker, const HistoryOptions& options = {}) {
  ASSERT_TRUE(broker.KeepHistory("news", Match::kExact, options).ok());
}

void PublishFromTo(Broker& broker, int first, int last) {
  for (int i = first; i <= last; ++i) {
    MustPublish(broker, "news", absl::StrCat(i));
  }
}

// "<body>" of what is replayed, and behind it "(lost)".
std::string NameOf(const Delivery& delivery) {
  std::string name(delivery.body());
  if (delivery.replayed()) name = absl::StrCat("<", name, ">");
  if (delivery.lost() > 0) absl::StrAppend(&name, "(", delivery.lost(), ")");
  return name;
}

OnMessage NoteNames(Strings& seen) {
  return [&seen](Delivery& delivery) { seen.push_back(NameOf(delivery)); };
}

// "end LAST/LOST", and "anew" behind it.
SubscribeOptions ReplayOf(ReplayFrom from, Strings& seen) {
  return {
      .channel = "news",
      .replay = from,
      .on_replay_end = [&seen](const ReplayEnd& end) {
        seen.push_back(absl::StrCat("end ", end.last_sequence, "/", end.lost,
                                    end.begun_anew ? " anew" : ""));
      }};
}

TEST(Replay, ThenLiveOrder) {
  Broker broker;
  Keep(broker);
  Strings seen;
  PublishFromTo(broker, 1, 3);
  const Subscription subscription =
      MustSubscribe(broker, ReplayOf({}, seen), NoteNames(seen));
  PublishFromTo(broker, 4, 5);
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<1>", "<2>", "<3>", "end 3/0", "4", "5"));
  EXPECT_EQ(subscription.stats().delivered, 5u);
  EXPECT_EQ(subscription.stats().waiting, 0u);
}

TEST(Replay, ThenLiveOrderAlsoIfItIsParked) {
  Broker broker;
  Keep(broker);
  Strings seen;
  PublishFromTo(broker, 1, 3);
  Subscription subscription =
      MustSubscribe(broker, ReplayOf({}, seen),
                    [&, parked = false](Delivery& delivery) mutable {
                      seen.push_back(NameOf(delivery));
                      if (delivery.body() != "2" || parked) return;
                      parked = true;
                      delivery.Park();
                    });
  PublishFromTo(broker, 4, 5);
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<1>", "<2>"));
  PublishFromTo(broker, 6, 6);
  subscription.Resume();
  RunAll(broker);
  EXPECT_THAT(
      seen, ElementsAre("<1>", "<2>", "<2>", "<3>", "end 3/0", "4", "5", "6"));
}

TEST(Replay, OfTheLastAndOfThoseAfter) {
  Broker broker;
  Keep(broker);
  PublishFromTo(broker, 1, 5);
  const auto replay = [&](ReplayFrom from) {
    Strings seen;
    const Subscription subscription =
        MustSubscribe(broker, ReplayOf(from, seen), NoteNames(seen));
    RunAll(broker);
    return seen;
  };
  EXPECT_THAT(replay({.last = 2}), ElementsAre("<4>", "<5>", "end 5/0"));
  EXPECT_THAT(replay({.last = 0}), ElementsAre("end 5/0"));
  EXPECT_THAT(replay({.after_sequence = 3}),
              ElementsAre("<4>", "<5>", "end 5/0"));
  EXPECT_THAT(replay({.after_sequence = 5}), ElementsAre("end 5/0"));
  EXPECT_THAT(replay({.after_sequence = 9, .last = 1}),
              ElementsAre("<5>", "end 5/0 anew"));
}

TEST(Replay, OfSomeTime) {
  testing::ManualClock clock;
  Broker broker({.clock = &clock});
  Keep(broker);
  MustPublish(broker, "news", "old");
  clock.Advance(absl::Hours(24 * 25));
  MustPublish(broker, "news", "new");
  Strings seen;
  const Subscription subscription = MustSubscribe(
      broker, ReplayOf({.age = absl::Hours(1)}, seen), NoteNames(seen));
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<new>", "end 2/0"));
}

TEST(Replay, EvictedReportsGap) {
  Broker broker;
  Keep(broker, {.max_messages = 3});
  PublishFromTo(broker, 1, 10);
  Strings seen;
  const Subscription subscription = MustSubscribe(
      broker, ReplayOf({.after_sequence = 2}, seen), NoteNames(seen));
  PublishFromTo(broker, 11, 11);
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<8>(5)", "<9>", "<10>", "end 10/5", "11"));
  EXPECT_EQ(subscription.stats().dropped, 0u) << "that is by its SlowPolicy";
}

TEST(Replay, EvictedReportsGapIfNothingIsLeft) {
  testing::ManualClock clock;
  Broker broker({.clock = &clock});
  Keep(broker, {.max_age = absl::Minutes(1)});
  PublishFromTo(broker, 1, 3);
  clock.Advance(absl::Minutes(2));
  Strings seen;
  const Subscription subscription = MustSubscribe(
      broker, ReplayOf({.after_sequence = 1}, seen), NoteNames(seen));
  RunAll(broker);
  PublishFromTo(broker, 4, 5);
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("end 3/2", "4(2)", "5"));
}

TEST(Replay, OfAChannelThatIsNotKept) {
  Broker broker;
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, ReplayOf({}, seen), NoteNames(seen));
  PublishFromTo(broker, 1, 2);
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("end 0/0", "1", "2"));
}

// Only what goes to the cluster, without a filter, is kept.
TEST(Replay, OfWhatIsForAll) {
  Broker broker;
  Keep(broker);
  MustPublish(broker, "news", "process", {.reach = Reach::kProcess});
  MustPublish(broker, "news", "siblings", {.reach = Reach::kSiblings});
  MustPublish(broker, "news", "filter", {.filter = 1});
  MustPublish(broker, "olds", "other");
  MustPublish(broker, "news", "all");
  Strings seen;
  const Subscription subscription =
      MustSubscribe(broker, ReplayOf({}, seen), NoteNames(seen));
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<all>", "end 1/0"));
}

TEST(Replay, EndsWithItsSubscription) {
  Broker broker;
  Keep(broker);
  PublishFromTo(broker, 1, 100);
  Strings seen;
  Subscription subscription;
  subscription =
      MustSubscribe(broker, ReplayOf({}, seen), [&](Delivery& delivery) {
        seen.push_back(NameOf(delivery));
        subscription.Unsubscribe();
      });
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<1>"));
}

// The callback that runs is destroyed when it has returned.
TEST(Replay, IsReplacedInsideOfOnReplayEnd) {
  Broker broker;
  Keep(broker);
  PublishFromTo(broker, 1, 1);
  Strings seen;
  SubscribeOptions next{.channel = "news"};
  OnMessage on_next = [&seen](Delivery& delivery) {
    seen.push_back(absl::StrCat("next ", delivery.body()));
  };
  Subscription subscription;
  subscription = MustSubscribe(
      broker,
      {.channel = "news",
       .replay = ReplayFrom{},
       .on_replay_end =
           [&, name = std::make_unique<std::string>("end")](const ReplayEnd&) {
             EXPECT_TRUE(broker.Replace(subscription, next, on_next));
             seen.push_back(*name);
           },
       .on_unsubscribe = [&seen] { seen.push_back("replaced"); }},
      NoteNames(seen));
  PublishFromTo(broker, 2, 2);
  RunAll(broker);
  EXPECT_THAT(seen, ElementsAre("<1>", "end", "replaced", "next 2"));
}

// A publisher at full rate, and subscribers that come meanwhile.
TEST(Replay, NoDupNoGap) {
  constexpr int kMessages = 20'000;
  constexpr int kSubscribers = 8;
  struct Seen {
    uint64_t last = 0;
    uint64_t replayed = 0;
    uint64_t wrong = 0;
  };
  std::vector<Seen> seen(kSubscribers);
  Broker broker;
  Keep(broker, {.max_messages = kMessages, .max_bytes = SIZE_MAX});
  LaneThread one(broker);
  LaneThread two(broker);
  std::vector<std::unique_ptr<std::latch>> marks;
  for (int i = 0; i < kSubscribers; ++i) {
    marks.push_back(std::make_unique<std::latch>(1));
  }
  std::thread publisher([&] {
    for (int i = 0; i < kMessages; ++i) {
      if (i % (kMessages / kSubscribers) == 0) {
        marks[i / (kMessages / kSubscribers)]->count_down();
      }
      MustPublish(broker, "news", "x");
    }
  });
  std::vector<Subscription> subscriptions;
  for (int i = 0; i < kSubscribers; ++i) {
    marks[i]->wait();
    subscriptions.push_back(MustSubscribe(
        (i % 2 == 0 ? one : two).lane(), broker,
        {.channel = "news",
         .slow = {.max_messages = SIZE_MAX, .max_bytes = SIZE_MAX},
         .replay = ReplayFrom{.after_sequence = 0}},
        [&mine = seen[i]](Delivery& delivery) {
          const uint64_t sequence = delivery.message().sequence();
          if (sequence != mine.last + 1 || delivery.lost() != 0) ++mine.wrong;
          mine.last = sequence;
          if (delivery.replayed()) ++mine.replayed;
        }));
  }
  publisher.join();
  one.Stop();
  two.Stop();
  for (const Seen& each : seen) {
    EXPECT_EQ(each.wrong, 0u);
    EXPECT_EQ(each.last, uint64_t{kMessages});
  }
  EXPECT_GE(seen.back().replayed,
            uint64_t{kMessages - kMessages / kSubscribers});
}

}  // namespace
}  // namespace fio
