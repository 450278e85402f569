#include "fio/defer/internal/spin_lock.h"

#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace fio::defer_internal {
namespace {

TEST(SpinLock, LetsInOneAtATime) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 100'000;
  SpinLock lock;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        SpinLockHolder hold(lock);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, kThreads * kRounds);
}

TEST(SpinLock, MayBeDestroyedByWhoeverHeldItLast) {
  for (int round = 0; round < 1000; ++round) {
    auto lock = std::make_unique<SpinLock>();
    std::latch held(1);
    std::thread other([&held, &lock = *lock] {
      SpinLockHolder hold(lock);
      held.count_down();
    });
    held.wait();
    { SpinLockHolder hold(*lock); }
    lock.reset();
    other.join();
  }
}

}  // namespace
}  // namespace fio::defer_internal
