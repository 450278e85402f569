#include "fio/defer/task_queue.h"

#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;

TEST(TaskQueue, RunsInTheOrderOfPosting) {
  TaskQueue queue;
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) queue.Post([&order, i] { order.push_back(i); });
  EXPECT_TRUE(queue.HasTasks());
  EXPECT_EQ(queue.RunPosted(), 3u);
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_FALSE(queue.HasTasks());
  EXPECT_EQ(queue.RunPosted(), 0u);
}

TEST(TaskQueue, WhatATaskPostsWaitsForTheNextRun) {
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

TEST(TaskQueue, CarriesMoveOnlyTasks) {
  TaskQueue queue;
  int seen = 0;
  queue.Post([value = std::make_unique<int>(7), &seen] { seen = *value; });
  queue.RunPosted();
  EXPECT_EQ(seen, 7);
}

TEST(TaskQueue, DestroysEachTaskOnceRunOrNot) {
  const auto owned = std::make_shared<int>();
  {
    TaskQueue queue;
    queue.Post([owned] {});
    EXPECT_EQ(owned.use_count(), 2);
    queue.RunPosted();
    EXPECT_EQ(owned.use_count(), 1);
    queue.Post([owned] {});
    EXPECT_EQ(owned.use_count(), 2);
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(TaskQueue, ManyProducersLoseNothingAndKeepTheirOrder) {
  constexpr int kProducers = 4;
  constexpr int kTasks = 10'000;
  TaskQueue queue;
  std::vector<int> next(kProducers, 0);
  bool ordered = true;
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kTasks; ++i) {
        queue.Post(
            [&, p, i] { ordered &= std::exchange(next[p], i + 1) == i; });
      }
    });
  }
  size_t ran = 0;
  while (ran < size_t{kProducers} * kTasks) ran += queue.RunPosted();
  for (std::thread& producer : producers) producer.join();
  EXPECT_TRUE(ordered);
  EXPECT_THAT(next, ::testing::Each(kTasks));
  EXPECT_FALSE(queue.HasTasks());
}

TEST(TaskQueueDeathTest, RefusesNoTask) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TaskQueue queue;
  EXPECT_DEATH(queue.Post(nullptr), "TaskQueue::Post: no task");
}

}  // namespace
}  // namespace fio
