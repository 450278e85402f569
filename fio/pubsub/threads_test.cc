// A broker of many threads.

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::LaneThread;
using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;
using pubsub_internal::NoteIn;
using pubsub_internal::NotingEngine;
using pubsub_internal::RunAll;
using pubsub_internal::Strings;
using ::testing::IsEmpty;

// Calls `call` with 0 and so on, each on a thread of its own, and waits.
void InThreads(int count, const std::function<void(int)>& call) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(call, i);
  for (std::thread& thread : threads) thread.join();
}

std::vector<std::unique_ptr<LaneThread>> MakeLanes(Broker& broker, int count) {
  std::vector<std::unique_ptr<LaneThread>> lanes;
  for (int i = 0; i < count; ++i) {
    lanes.push_back(std::make_unique<LaneThread>(broker));
  }
  return lanes;
}

uint64_t NumberIn(std::string_view text) {
  uint64_t number = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << text;
  return number;
}

TEST(PubSub, NoSelfConcurrency) {
  constexpr int kMessages = 2'000;
  Broker broker;
  auto lanes = MakeLanes(broker, 3);
  struct Subscriber {
    std::atomic<bool> inside = false;
    int calls = 0;  // For TSan, too.
  };
  std::array<Subscriber, 6> subscribers;
  std::atomic<int> concurrent = 0;
  std::vector<Subscription> subscriptions;
  for (size_t i = 0; i < subscribers.size(); ++i) {
    Subscriber& one = subscribers[i];
    subscriptions.push_back(MustSubscribe(lanes[i % 3]->lane(), broker,
                                          {.channel = "news"}, [&](Delivery&) {
                                            if (one.inside.exchange(true))
                                              ++concurrent;
                                            ++one.calls;
                                            one.inside = false;
                                          }));
  }
  InThreads(4, [&](int) {
    for (int i = 0; i < kMessages; ++i) MustPublish(broker, "news", "x");
  });
  lanes.clear();
  EXPECT_EQ(concurrent, 0);
  for (const Subscriber& one : subscribers) {
    EXPECT_EQ(one.calls, 4 * kMessages);
  }
}

TEST(PubSub, FifoPerPublisher) {
#ifdef NDEBUG
  constexpr uint64_t kEach = 250'000;
#else
  constexpr uint64_t kEach = 5'000;
#endif
  constexpr int kPublishers = 4;
  static constexpr std::array<std::string_view, kPublishers> kNames = {
      "a", "b", "c", "d"};
  Broker broker;
  auto lanes = MakeLanes(broker, 4);
  struct Seen {
    std::array<uint64_t, kPublishers> next = {};
    uint64_t inversions = 0;
  };
  std::array<Seen, 4> seen;
  std::vector<Subscription> subscriptions;
  for (size_t i = 0; i < seen.size(); ++i) {
    subscriptions.push_back(
        MustSubscribe(lanes[i]->lane(), broker, {.channel = "news"},
                      [&mine = seen[i]](Delivery& delivery) {
                        uint64_t& next = mine.next[delivery.body()[0] - 'a'];
                        if (NumberIn(delivery.body().substr(1)) != next)
                          ++mine.inversions;
                        ++next;
                      }));
  }
  InThreads(kPublishers, [&](int publisher) {
    for (uint64_t i = 0; i < kEach; ++i) {
      MustPublish(broker, "news", absl::StrCat(kNames[publisher], i));
    }
  });
  lanes.clear();
  for (const Seen& each : seen) {
    EXPECT_EQ(each.inversions, 0u);
    for (const uint64_t next : each.next) EXPECT_EQ(next, kEach);
  }
}

void ExpectTheSameOrder(Broker& broker, const PublishOptions& options) {
  constexpr int kMessages = 5'000;
  auto lanes = MakeLanes(broker, 2);
  std::array<Strings, 2> seen;
  std::vector<Subscription> subscriptions;
  for (size_t i = 0; i < seen.size(); ++i) {
    subscriptions.push_back(MustSubscribe(
        lanes[i]->lane(), broker, {.channel = "news"}, NoteIn(seen[i])));
  }
  InThreads(2, [&](int publisher) {
    for (int i = 0; i < kMessages; ++i) {
      MustPublish(broker, "news", absl::StrCat(publisher, " ", i), options);
    }
  });
  lanes.clear();
  EXPECT_EQ(seen[0].size(), 2u * kMessages);
  EXPECT_TRUE(seen[0] == seen[1]);
}

TEST(PubSub, TotalOrderTwoPublishers) {
  Broker broker;
  ExpectTheSameOrder(broker, {.total_order = true});
}

TEST(PubSub, TotalOrderOfWhatIsKept) {
  Broker broker;
  ASSERT_TRUE(broker.KeepHistory("news", Match::kExact, {}).ok());
  ExpectTheSameOrder(broker, {});
}

// What a callback uses is freed when its subscription has ended.
TEST(PubSub, UnsubRace) {
  constexpr int kRounds = 300;
  Broker broker;
  LaneThread lane(broker);
  std::atomic<bool> done = false;
  std::thread publisher([&] {
    while (!done) MustPublish(broker, "news", "x");
  });
  int too_many = 0;
  for (int i = 0; i < kRounds; ++i) {
    std::atomic<int> calls = 0;
    std::latch ended(1);
    auto* const used = new int(0);
    Subscription subscription = MustSubscribe(lane.lane(), broker,
                                              {.channel = "news",
                                               .on_unsubscribe =
                                                   [&, used] {
                                                     delete used;
                                                     ended.count_down();
                                                   }},
                                              [&, used](Delivery&) {
                                                ++*used;
                                                ++calls;
                                              });
    while (calls == 0) std::this_thread::yield();
    subscription.Unsubscribe();
    const int before = calls;
    ended.wait();
    // The one that ran.
    if (calls > before + 1) ++too_many;
  }
  done = true;
  publisher.join();
  EXPECT_EQ(too_many, 0);
}

TEST(PubSub, SubUnsubStorm) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2'000;
  static constexpr std::array<std::string_view, 3> kChannels = {"a", "b", "c"};
  std::atomic<int> ends = 0;
  int expected = 0;
  {
    NotingEngine engine;
    Broker broker;
    ASSERT_TRUE(broker.Attach(engine).ok());
    auto lanes = MakeLanes(broker, 2);
    InThreads(kThreads, [&](int thread) {
      std::array<Subscription, 4> live;
      for (int i = 0; i < kRounds; ++i) {
        SubscribeOptions options = {
            .channel = kChannels[i % kChannels.size()],
            .match = i % 5 == 0 ? Match::kRedis : Match::kExact,
            .group = i % 7 == 0 ? "g" : "",
            .on_unsubscribe = [&ends] { ++ends; }};
        Subscription& one = live[i % live.size()];
        one = MustSubscribe(lanes[(i + thread) % 2]->lane(), broker,
                            std::move(options), [&broker](Delivery& delivery) {
                              if (delivery.body() == "echo") return;
                              MustPublish(broker, delivery.channel(), "echo");
                            });
        if (i % 16 == 0) MustPublish(broker, "a", "x");
        if (i % 3 == 0) one.Unsubscribe();
      }
    });
    expected = kThreads * kRounds;
    lanes.clear();
    EXPECT_EQ(ends, expected);
    RunAll(broker);
    // Whatever has begun has ended, and in this order.
    std::array<int, 2> balance = {};
    for (size_t i = 1; i < engine.notes.size(); ++i) {
      const std::string& note = engine.notes[i];
      if (note != "+b" && note != "-b") continue;
      balance[0] += note[0] == '+' ? 1 : -1;
      if (balance[0] < 0 || balance[0] > 1) ++balance[1];
    }
    EXPECT_EQ(balance[0], 0);
    EXPECT_EQ(balance[1], 0);
  }
  EXPECT_EQ(ends, expected);
}

// The lists of the other lanes are theirs.
TEST(PubSub, LaneEndsWhileOthersRun) {
  Broker broker;
  LaneThread steady(broker);
  std::atomic<int> got = 0;
  std::atomic<bool> done = false;
  const Subscription stays = MustSubscribe(
      steady.lane(), broker, {.channel = "news"}, [&](Delivery&) { ++got; });
  std::thread joiner([&] {
    while (!done) {
      const Subscription one = MustSubscribe(
          steady.lane(), broker, {.channel = "news"}, [](Delivery&) {});
      MustPublish(broker, "news", "x");
    }
  });
  for (int i = 0; i < 200; ++i) {
    LaneThread lane(broker);
    Subscription one = MustSubscribe(lane.lane(), broker, {.channel = "news"},
                                     [](Delivery&) {});
    one.Keep();
  }
  done = true;
  joiner.join();
  MustPublish(broker, "news", "last");
  steady.Stop();
  EXPECT_GT(got, 0);
}

TEST(PubSub, DetachQuiesces) {
  class Slow : public NotingEngine {
   public:
    void Publish(const Message&) override {
      if (entered.HasBeenNotified()) return;
      inside = true;
      entered.Notify();
      detaching.WaitForNotification();
      // The detacher gets every chance to be too early.
      for (int i = 0; i < 50; ++i) std::this_thread::yield();
      inside = false;
    }
    std::atomic<bool> inside = false;
    absl::Notification entered;
    absl::Notification detaching;
  } engine;
  Broker broker;
  ASSERT_TRUE(broker.Attach(engine).ok());
  RunAll(broker);
  MustPublish(broker, "a", "one", {.engine = &engine});
  MustPublish(broker, "a", "two", {.engine = &engine});
  bool was_inside = true;
  std::thread detacher([&] {
    engine.entered.WaitForNotification();
    engine.detaching.Notify();
    EXPECT_TRUE(broker.Detach(engine).ok());
    was_inside = engine.inside;
  });
  RunAll(broker);
  detacher.join();
  EXPECT_FALSE(was_inside);
  EXPECT_THAT(engine.notes, ::testing::ElementsAre("attach", "detach"));
  EXPECT_EQ(broker.Detach(engine).code(), absl::StatusCode::kNotFound);
}

// Nobody touches a default engine that has gone, and no message of others is
// refused because of it.
TEST(PubSub, DetachWhileOthersPublish) {
  Broker broker;
  std::atomic<bool> done = false;
  std::atomic<int> published = 0;
  std::atomic<int> refused = 0;
  std::vector<std::thread> publishers;
  for (int i = 0; i < 2; ++i) {
    publishers.emplace_back([&] {
      while (!done) {
        if (!broker.Publish("a", "x").ok()) ++refused;
        ++published;
        std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    auto engine = std::make_unique<NotingEngine>();
    ASSERT_TRUE(broker.Attach(*engine).ok());
    ASSERT_TRUE(broker.SetDefault(*engine).ok());
    const int before = published;
    while (published == before) std::this_thread::yield();
    broker.main_lane().Run();
    ASSERT_TRUE(broker.Detach(*engine).ok());
  }
  done = true;
  for (std::thread& publisher : publishers) publisher.join();
  EXPECT_EQ(refused, 0);
}

// Metadata is complete before an engine or a lane sees the message.
TEST(PubSub, LocalEchoFromManyThreads) {
  Broker broker;
  const MetadataId id = broker.AddMetadata([](const Message& message) {
    return std::make_shared<const std::string>(message.body());
  });
  class Reading : public NotingEngine {
   public:
    explicit Reading(MetadataId i) : NotingEngine(true), id(i) {}
    void Publish(const Message& message) override {
      const auto* const made = message.metadata<std::string>(id);
      if (made == nullptr || *made != message.body()) ++wrong;
      ++count;
    }
    const MetadataId id;
    int wrong = 0;
    int count = 0;
  } engine(id);
  const Subscription subscription =
      MustSubscribe(broker, {.channel = "a"}, [](Delivery&) {});
  ASSERT_TRUE(broker.Attach(engine).ok());
  std::atomic<int> publishing = 2;
  std::vector<std::thread> publishers;
  for (int i = 0; i < 2; ++i) {
    publishers.emplace_back([&] {
      for (int n = 0; n < 2'000; ++n) {
        MustPublish(broker, "a", absl::StrCat(n), {.engine = &engine});
      }
      --publishing;
    });
  }
  while (publishing > 0) broker.main_lane().Run();
  for (std::thread& publisher : publishers) publisher.join();
  RunAll(broker);
  EXPECT_EQ(engine.wrong, 0);
  EXPECT_EQ(engine.count, 4'000);
  EXPECT_TRUE(broker.Detach(engine).ok());
}

}  // namespace
}  // namespace fio
