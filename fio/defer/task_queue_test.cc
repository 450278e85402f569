#include "fio/defer/task_queue.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "fio/base/move_only_function.h"
#include "fio/defer/task.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using Consumers = TaskQueueOptions::Consumers;
using OnClose = TaskQueue::OnClose;

// --- One thread ---

TEST(Defer, FifoSingle) {
  for (const Consumers consumers : {Consumers::kOne, Consumers::kMany}) {
    TaskQueue queue({.consumers = consumers});
    std::vector<int> order;
    std::vector<int> expected;
    for (int i = 0; i < 1000; ++i) {
      EXPECT_TRUE(queue.Post([&order, i] { order.push_back(i); }));
      expected.push_back(i);
    }
    EXPECT_EQ(queue.Perform(), 1000u);
    EXPECT_EQ(order, expected);
    EXPECT_EQ(queue.Perform(), 0u);
  }
}

TEST(Defer, NullTaskIsRefused) {
  TaskQueue queue;
  EXPECT_FALSE(queue.Post(nullptr));
  EXPECT_FALSE(queue.PostUrgent(nullptr));
  EXPECT_FALSE(queue.TryPost(nullptr));
  EXPECT_FALSE(queue.HasTasks());
}

TEST(Defer, PerformDrainsNested) {
  TaskQueue queue;
  std::vector<int> order;
  queue.Post([&] {
    order.push_back(1);
    queue.Post([&] {
      order.push_back(3);
      queue.Post([&] { order.push_back(4); });
    });
  });
  queue.Post([&] { order.push_back(2); });
  EXPECT_EQ(queue.Perform(), 4u);
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
}

TEST(Defer, PerformIsReentrant) {
  for (const Consumers consumers : {Consumers::kOne, Consumers::kMany}) {
    TaskQueue queue({.consumers = consumers});
    std::vector<int> order;
    queue.Post([&order, &queue, owned = std::make_shared<int>(1)] {
      order.push_back(*owned);
      EXPECT_EQ(queue.Perform(),
                2u);  // What waits behind it, and what it posts.
      order.push_back(10 * *owned);
    });
    queue.Post([&] {
      order.push_back(2);
      queue.Post([&] { order.push_back(3); });
    });
    EXPECT_EQ(queue.Perform(), 1u);
    EXPECT_THAT(order, ElementsAre(1, 2, 3, 10));
  }
}

// Queued, not running.
TEST(Defer, HasQueue) {
  TaskQueue queue;
  EXPECT_FALSE(queue.HasTasks());
  queue.Post([&] { EXPECT_FALSE(queue.HasTasks()); });
  EXPECT_TRUE(queue.HasTasks());
  EXPECT_TRUE(queue.RunOne());
  EXPECT_FALSE(queue.HasTasks());
  EXPECT_FALSE(queue.RunOne());
}

TEST(TaskQueue, RunPostedLeavesWhatATaskPosts) {
  TaskQueue queue;
  int runs = 0;
  queue.Post([&] {
    ++runs;
    queue.Post([&] { ++runs; });
  });
  EXPECT_EQ(queue.RunPosted(), 1u);
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(queue.HasTasks());
  EXPECT_EQ(queue.RunPosted(), 1u);
  EXPECT_EQ(runs, 2);
}

TEST(TaskQueue, RunPostedStopsWhenItIsTold) {
  TaskQueue queue;
  int runs = 0;
  for (int i = 0; i < 5; ++i) queue.Post([&] { ++runs; });
  EXPECT_EQ(queue.RunPosted([&] { return runs < 3; }), 3u);
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(queue.RunPosted(), 2u);
  EXPECT_EQ(queue.posted(), 5u);
}

TEST(TaskQueue, CarriesMoveOnlyAndLargeTasks) {
  TaskQueue queue;
  int seen = 0;
  queue.Post([value = std::make_unique<int>(7), &seen] { seen += *value; });
  std::array<int, 100> large = {};
  large[99] = 35;
  queue.Post([large, &seen] { seen += large[99]; });
  queue.Perform();
  EXPECT_EQ(seen, 42);
}

TEST(TaskQueue, DestroysEachTaskOnceRunOrNot) {
  const auto owned = std::make_shared<int>();
  {
    TaskQueue queue;
    queue.Post([owned] {});
    EXPECT_EQ(owned.use_count(), 2);
    queue.Perform();
    EXPECT_EQ(owned.use_count(), 1);
    for (int i = 0; i < 100; ++i) queue.Post([owned] {});
    queue.RunOne();
    EXPECT_EQ(owned.use_count(), 100);
  }
  EXPECT_EQ(owned.use_count(), 1);
}

// --- The urgent lane ---

TEST(TaskQueue, UrgentTasksOvertakeInTheirOwnOrder) {
  TaskQueue queue;
  std::vector<int> order;
  for (int i : {3, 4}) queue.Post([&order, i] { order.push_back(i); });
  EXPECT_TRUE(queue.RunOne());
  for (int i : {1, 2}) queue.PostUrgent([&order, i] { order.push_back(i); });
  queue.Perform();
  EXPECT_THAT(order, ElementsAre(3, 1, 2, 4));
}

TEST(TaskQueue, UrgentTasksDoNotStarveTheOthers) {
  TaskQueue queue;
  int urgent = 0;
  std::vector<int> seen_by_ordinary;
  // Urgent tasks that post their like for ever.
  MoveOnlyFunction<void()> again = [&] {
    if (++urgent < 100) queue.PostUrgent([&] { again(); });
  };
  queue.PostUrgent([&] { again(); });
  for (int i = 0; i < 3; ++i) {
    queue.Post([&] { seen_by_ordinary.push_back(urgent); });
  }
  queue.Perform();
  EXPECT_EQ(urgent, 100);
  EXPECT_THAT(seen_by_ordinary,
              ElementsAre(TaskQueue::kUrgentBurst, 2 * TaskQueue::kUrgentBurst,
                          3 * TaskQueue::kUrgentBurst));
}

// --- The bound ---

TEST(TaskQueue, TryPostHandsTheTaskBackWhenFull) {
  TaskQueue queue({.capacity = 2});
  int runs = 0;
  const auto task = [&runs] { return Task([&runs] { ++runs; }); };
  EXPECT_TRUE(queue.TryPost(task()));
  EXPECT_TRUE(queue.TryPost(task()));
  Task kept = task();
  EXPECT_FALSE(queue.TryPost(std::move(kept)));
  ASSERT_FALSE(kept == nullptr);  // NOLINT(bugprone-use-after-move): promised.
  EXPECT_TRUE(queue.Post(task()));  // Has no bound.
  EXPECT_TRUE(queue.RunOne());
  EXPECT_FALSE(queue.TryPost(std::move(kept)));
  EXPECT_TRUE(queue.RunOne());
  EXPECT_TRUE(queue.TryPost(std::move(kept)));
  EXPECT_TRUE(kept == nullptr);
  EXPECT_EQ(queue.Perform(), 2u);
  EXPECT_EQ(runs, 4);
}

TEST(TaskQueue, ManyProducersNeverExceedTheBound) {
  constexpr size_t kCapacity = 8;
  TaskQueue queue({.capacity = kCapacity});
  std::atomic<int> accepted = 0;
  std::vector<std::thread> producers;
  for (int p = 0; p < 4; ++p) {
    producers.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) accepted += queue.TryPost([] {}) ? 1 : 0;
    });
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(accepted, static_cast<int>(kCapacity));
  EXPECT_EQ(queue.Perform(), kCapacity);
}

// --- Close ---

TEST(TaskQueue, AClosedQueueRunsOrDropsWhatWaits) {
  for (const OnClose on_close : {OnClose::kRun, OnClose::kDrop}) {
    const auto owned = std::make_shared<int>();
    TaskQueue queue;
    int runs = 0;
    for (int i = 0; i < 200; ++i) queue.Post([owned, &runs] { ++runs; });
    queue.PostUrgent([owned, &runs] { ++runs; });
    queue.RunOne();
    EXPECT_FALSE(queue.closed());
    queue.Close(on_close);
    EXPECT_TRUE(queue.closed());
    Task kept = [owned] {};
    EXPECT_FALSE(queue.TryPost(std::move(kept)));
    EXPECT_FALSE(kept ==
                 nullptr);  // NOLINT(bugprone-use-after-move): promised.
    kept = nullptr;
    EXPECT_FALSE(queue.Post([owned] {}));
    const bool drop = on_close == OnClose::kDrop;
    EXPECT_EQ(owned.use_count(), drop ? 1 : 201);
    EXPECT_EQ(queue.HasTasks(), !drop);
    EXPECT_EQ(queue.Perform(), drop ? 0u : 200u);
    EXPECT_EQ(runs, drop ? 1 : 201);
    EXPECT_EQ(owned.use_count(), 1);
  }
}

TEST(TaskQueue, ALaterCloseMayDrop) {
  TaskQueue queue;
  queue.Post([] { FAIL(); });
  queue.Close(OnClose::kRun);
  queue.Close(OnClose::kDrop);
  EXPECT_EQ(queue.Perform(), 0u);
}

TEST(TaskQueue, ADroppedTaskMayPostFromItsDestructor) {
  TaskQueue queue;
  struct Poster {
    explicit Poster(TaskQueue& queue) : queue(&queue) {}
    Poster(Poster&& other) noexcept
        : queue(std::exchange(other.queue, nullptr)) {}
    ~Poster() {
      if (queue != nullptr) {
        EXPECT_FALSE(queue->Post([] {}));
      }
    }
    void operator()() const {}
    TaskQueue* queue;
  };
  queue.Post(Poster(queue));
  queue.Close(OnClose::kDrop);
  EXPECT_FALSE(queue.HasTasks());
}

TEST(TaskQueue, ATaskMayCloseItsQueue) {
  TaskQueue queue;
  int runs = 0;
  queue.Post([&] {
    ++runs;
    queue.Close(OnClose::kDrop);
  });
  queue.Post([&] { ++runs; });
  EXPECT_EQ(queue.Perform(), 1u);
  EXPECT_EQ(runs, 1);
}

// --- Sleep ---

TEST(TaskQueue, CallsTheWakerOncePerSleepAndNeverElse) {
  int wakes = 0;
  TaskQueue queue({.waker = [&] { ++wakes; }});
  queue.Post([] {});
  EXPECT_EQ(wakes, 0);                   // Nobody sleeps.
  EXPECT_FALSE(queue.PrepareToSleep());  // Something waits.
  queue.Perform();
  ASSERT_TRUE(queue.PrepareToSleep());
  for (int i = 0; i < 100; ++i) queue.Post([] {});
  EXPECT_EQ(wakes, 1);
  queue.Perform();
  ASSERT_TRUE(queue.PrepareToSleep());
  queue.EndSleep();
  queue.Post([] {});
  EXPECT_EQ(wakes, 1);
  queue.Perform();
  queue.Wake();
  EXPECT_EQ(wakes, 1);
  ASSERT_TRUE(queue.PrepareToSleep());
  queue.Wake();
  queue.Wake();
  queue.PostUrgent([] {});
  EXPECT_EQ(wakes, 2);
}

TEST(TaskQueue, ClosingWakesAllWhoSleepAndLetsNobodyFallAsleep) {
  int wakes = 0;
  TaskQueue queue({.waker = [&] { ++wakes; }});
  ASSERT_TRUE(queue.PrepareToSleep());
  ASSERT_TRUE(queue.PrepareToSleep());
  queue.Close(OnClose::kRun);
  EXPECT_EQ(wakes, 2);
  EXPECT_FALSE(queue.PrepareToSleep());
}

// --- Memory ---

TEST(TaskQueue, AllocatesNothingOnceItHasGrown) {
  TaskQueue queue;
  int64_t sum = 0;
  const std::array<int64_t, 7> values = {};  // And the pointer: 64 bytes.
  const auto round = [&] {
    for (int64_t i = 0; i < 1000; ++i) {
      queue.Post([&sum, values] { sum += values[6]; });
    }
    queue.Perform();
  };
  round();
  round();
  const testing::AllocationCounter counter;
  for (int i = 0; i < 10; ++i) round();
  for (int i = 0; i < 1000; ++i) {
    queue.Post([&sum] { ++sum; });
    queue.RunOne();
  }
  EXPECT_EQ(counter.allocations(), 0);
}

TEST(TaskQueue, ABurstsMemoryIsGivenBack) {
  constexpr int kBurst = 100'000;
  TaskQueue queue;
  const auto burst = [&] {
    for (int i = 0; i < kBurst; ++i) queue.Post([] {});
    queue.Perform();
  };
  burst();
  // Not there for the next one but for 256 KiB: 64 chunks of 56 tasks.
  const testing::AllocationCounter counter;
  burst();
  EXPECT_GE(counter.allocations(), kBurst / 56 - 64);
}

TEST(TaskQueue, WhatHasRunMakesRoomWhileTheRestWaits) {
  constexpr int kTasks = 56 * 64;
  TaskQueue queue;
  for (int i = 0; i < kTasks; ++i) queue.Post([] {});
  for (int i = 0; i < kTasks / 2; ++i) queue.RunOne();
  const testing::AllocationCounter counter;
  for (int i = 0; i < kTasks / 4; ++i) queue.Post([] {});
  EXPECT_EQ(counter.allocations(), 0);
}

// --- Threads ---

// What many producers post comes out, each task once, and each producer's in
// the order of posting; with `consumers` threads that sleep when idle.
void CarryAll(int consumers, uint32_t tasks) {
  constexpr uint32_t kProducers = 4;
  std::atomic<uint32_t> tokens = 0;
  std::atomic<int64_t> wakes = 0;
  std::atomic<int64_t> sleeps = 0;
  std::atomic<int64_t> left = int64_t{kProducers} * tasks;
  // Tasks start in order; with several consumers each sees an ordered part.
  std::vector<std::array<uint32_t, kProducers>> last(consumers);
  std::vector<std::vector<uint8_t>> runs(kProducers,
                                         std::vector<uint8_t>(tasks));
  std::atomic<bool> ordered = true;
  thread_local std::array<uint32_t, kProducers>* mine = nullptr;
  TaskQueue queue({
      .consumers = consumers == 1 ? Consumers::kOne : Consumers::kMany,
      .waker =
          [&] {
            ++wakes;
            ++tokens;
            tokens.notify_one();
          },
  });
  const auto consume = [&](int c) {
    mine = &last[c];
    while (left > 0) {
      while (queue.RunOne()) --left;
      if (left == 0 || !queue.PrepareToSleep()) continue;
      ++sleeps;
      for (uint32_t n = tokens;;) {
        if (n == 0) {
          tokens.wait(0);
          n = tokens;
        } else if (tokens.compare_exchange_weak(n, n - 1)) {
          break;
        }
      }
    }
    queue.Close(OnClose::kRun);  // Wakes the others.
  };
  std::vector<std::thread> threads;
  for (int c = 0; c < consumers; ++c) threads.emplace_back(consume, c);
  for (uint32_t p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      for (uint32_t i = 0; i < tasks; ++i) {
        ASSERT_TRUE(queue.Post([&, p, i] {
          ++runs[p][i];
          if ((*mine)[p] > i) ordered = false;
          (*mine)[p] = i;
        }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ordered);
  for (const std::vector<uint8_t>& of_one : runs) EXPECT_THAT(of_one, Each(1));
  EXPECT_LE(wakes, sleeps);
  ::testing::Test::RecordProperty("sleeps", static_cast<int>(sleeps));
  ::testing::Test::RecordProperty("wakes", static_cast<int>(wakes));
}

constexpr uint32_t kTasks = 1'000'000;

TEST(Defer, MpmcNoLoss) { CarryAll(4, kTasks); }
TEST(Defer, MpscNoLoss) { CarryAll(1, kTasks); }

// Whoever posts before someone else's post is ahead of it.
TEST(TaskQueue, KeepsTheOrderOfThreadsThatSynchronize) {
  TaskQueue queue;
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) {
    std::thread([&, i] { queue.Post([&, i] { order.push_back(i); }); }).join();
  }
  queue.Perform();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(TaskQueue, MayDieAsSoonAsItsLastTaskHasRun) {
  for (int round = 0; round < 2000; ++round) {
    std::atomic<int> tokens = 0;
    auto queue =
        std::make_unique<TaskQueue>(TaskQueueOptions{.waker = [&tokens] {
          ++tokens;
          tokens.notify_one();
        }});
    const bool asleep = queue->PrepareToSleep();
    ASSERT_TRUE(asleep);
    std::thread poster([&queue = *queue] { queue.Post([] {}); });
    tokens.wait(0);
    while (!queue->RunOne()) {
    }
    queue.reset();
    poster.join();
  }
}

TEST(TaskQueue, ItsEndWaitsForAWakerThatStillRuns) {
  std::latch waking(1);
  std::latch go_on(1);
  std::atomic<bool> destroyed = false;
  auto queue =
      std::make_unique<TaskQueue>(TaskQueueOptions{.waker = [&waking, &go_on] {
        waking.count_down();
        go_on.wait();
      }});
  ASSERT_TRUE(queue->PrepareToSleep());
  std::thread poster([&queue = *queue] { queue.Post([] {}); });
  waking.wait();
  EXPECT_TRUE(queue->RunOne());
  std::latch ending(1);
  std::thread ender([&] {
    ending.count_down();
    queue.reset();
    destroyed = true;
  });
  ending.wait();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_FALSE(destroyed);
    std::this_thread::yield();
  }
  go_on.count_down();
  poster.join();
  ender.join();
}

TEST(TaskQueue, CloseRacesWithPostsWithoutLosingOrDoublingATask) {
  for (int round = 0; round < 200; ++round) {
    const auto owned = std::make_shared<int>();
    TaskQueue queue;
    std::atomic<int> accepted = 0;
    std::atomic<int> ran = 0;
    std::latch start(3);
    std::vector<std::thread> posters;
    for (int p = 0; p < 2; ++p) {
      posters.emplace_back([&] {
        start.arrive_and_wait();
        while (queue.Post([owned, &ran] { ++ran; })) ++accepted;
      });
    }
    start.arrive_and_wait();
    while (accepted < 10) std::this_thread::yield();
    queue.Close(OnClose::kRun);
    queue.Perform();
    for (std::thread& poster : posters) poster.join();
    queue.Perform();
    EXPECT_EQ(ran, accepted);
    EXPECT_EQ(owned.use_count(), 1);
  }
}

}  // namespace
}  // namespace fio
