#include "fio/core/loop/internal/callback_lock.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <latch>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace fio::loop_internal {
namespace {

using Attempt = CallbackLock::Attempt;
constexpr CallbackLock::Kind kTask = CallbackLock::kTask;
constexpr CallbackLock::Kind kWrite = CallbackLock::kWrite;
constexpr CallbackLock::Kind kBoth = CallbackLock::kBoth;

// With and without membarrier(2), where the kernel has it.
std::vector<bool> Modes() {
  if (UseMembarrier()) return {false, true};
  return {false};
}

TEST(CallbackLock, KindsExcludeOnlyThemselves) {
  for (const bool membarrier : Modes()) {
    CallbackLock lock;
    EXPECT_EQ(lock.TryLock(kTask, membarrier), Attempt::kLocked);
    EXPECT_EQ(lock.TryLock(kTask, membarrier), Attempt::kBusy);
    EXPECT_TRUE(lock.Enter(kWrite, membarrier));
    EXPECT_EQ(lock.TryLock(kWrite, membarrier), Attempt::kBusy);
    lock.Leave(kWrite);
    EXPECT_EQ(lock.TryLock(kWrite, membarrier), Attempt::kLocked);
    EXPECT_FALSE(lock.Unlock(kTask)) << "nobody was turned away";
    EXPECT_FALSE(lock.Unlock(kWrite));
    EXPECT_TRUE(lock.Enter(kBoth, membarrier));
    EXPECT_EQ(lock.TryLock(kTask, membarrier), Attempt::kBusy);
    EXPECT_EQ(lock.TryLock(kWrite, membarrier), Attempt::kBusy);
    lock.Leave(kBoth);
    EXPECT_EQ(lock.TryLock(kTask, membarrier), Attempt::kLocked);
  }
}

TEST(CallbackLock, WhoTurnsTheLoopAwayIsToldToSaySo) {
  for (const bool membarrier : Modes()) {
    for (const CallbackLock::Kind kind : {kTask, kWrite}) {
      CallbackLock lock;
      EXPECT_EQ(lock.TryLock(kind, membarrier), Attempt::kLocked);
      EXPECT_FALSE(lock.Enter(kind, membarrier));
      EXPECT_FALSE(lock.Enter(kBoth, membarrier));
      EXPECT_TRUE(lock.Unlock(kind));
      EXPECT_TRUE(lock.Enter(kBoth, membarrier));
      lock.Leave(kBoth);
      EXPECT_EQ(lock.TryLock(kind, membarrier), Attempt::kLocked);
      EXPECT_FALSE(lock.Unlock(kind)) << "only once";
    }
  }
}

// The loop runs callbacks of one kind while it was turned away from the other.
TEST(CallbackLock, ALoopThatIsTurnedAwayHasLeft) {
  for (const bool membarrier : Modes()) {
    CallbackLock lock;
    EXPECT_EQ(lock.TryLock(kWrite, membarrier), Attempt::kLocked);
    EXPECT_FALSE(lock.Enter(kBoth, membarrier));
    EXPECT_EQ(lock.TryLock(kTask, membarrier), Attempt::kLocked);
    EXPECT_TRUE(lock.Unlock(kTask)) << "or the other, but one of them";
  }
}

TEST(CallbackLock, ABrokenLockLetsTheLoopIn) {
  for (const bool membarrier : Modes()) {
    CallbackLock lock;
    EXPECT_EQ(lock.TryLock(kTask, membarrier), Attempt::kLocked);
    EXPECT_FALSE(lock.Enter(kTask, membarrier));
    lock.Break();
    EXPECT_TRUE(lock.Enter(kTask, membarrier));
    lock.Leave(kTask);
    EXPECT_FALSE(lock.Unlock(kTask)) << "harmless";
  }
}

// Never two inside, and what one has written the next one sees.
TEST(CallbackLock, Excludes) {
  constexpr int kThreads = 3;
  constexpr int kRounds = 20'000;
  for (const bool membarrier : Modes()) {
    CallbackLock lock;
    int plain[2] = {};  // Of kTask and kWrite; TSan looks on.
    std::array<std::atomic<int>, 2> inside = {};
    std::atomic<int> running = kThreads;
    std::latch start(kThreads + 1);
    const auto work = [&](int i) {
      EXPECT_EQ(inside[i]++, 0);
      ++plain[i];
      EXPECT_EQ(--inside[i], 0);
    };
    std::vector<std::thread> threads;
    int locked[kThreads] = {};
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        start.arrive_and_wait();
        for (int i = 0; i < kRounds; ++i) {
          const int index = (t + i) % 2;
          const CallbackLock::Kind kind = index == 0 ? kTask : kWrite;
          if (lock.TryLock(kind, membarrier) != Attempt::kLocked) continue;
          work(index);
          ++locked[t];
          static_cast<void>(lock.Unlock(kind));
        }
        --running;
      });
    }
    start.arrive_and_wait();
    int entered = 0;
    while (running > 0) {
      for (const CallbackLock::Kind kind : {kTask, kWrite, kBoth}) {
        if (!lock.Enter(kind, membarrier)) continue;
        if ((kind & kTask) != 0) work(0), ++entered;
        if ((kind & kWrite) != 0) work(1), ++entered;
        lock.Leave(kind);
      }
    }
    for (std::thread& thread : threads) thread.join();
    int total = entered;
    for (const int n : locked) total += n;
    EXPECT_EQ(plain[0] + plain[1], total);
    EXPECT_TRUE(lock.Enter(kBoth, membarrier)) << "nothing is left locked";
  }
}

// A loop that was turned away sleeps until it is told to come again: so of the
// unlocks after that, one must say so.
TEST(CallbackLock, NoWakeUpIsLost) {
  constexpr int kThreads = 3;
  constexpr int kRounds = 20'000;
  for (const bool membarrier : Modes()) {
    for (const CallbackLock::Kind wanted : {kTask, kWrite, kBoth}) {
      CallbackLock lock;
      std::atomic<uint64_t> told = 0;
      std::atomic<int> running = kThreads;
      std::latch start(kThreads + 1);
      std::vector<std::thread> threads;
      for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          start.arrive_and_wait();
          for (int i = 0; i < kRounds; ++i) {
            const CallbackLock::Kind kind = (t + i) % 2 == 0 ? kTask : kWrite;
            bool tell = false;
            switch (lock.TryLock(kind, membarrier)) {
              case Attempt::kLocked:
                tell = lock.Unlock(kind);
                break;
              case Attempt::kBusyAndWanted:
                tell = true;
                break;
              case Attempt::kBusy:
                break;
            }
            if (tell) ++told;
          }
          --running;
        });
      }
      start.arrive_and_wait();
      while (running > 0) {
        const uint64_t before = told;
        if (lock.Enter(wanted, membarrier)) {
          lock.Leave(wanted);
          continue;
        }
        // Sleeps. When all threads have ended, all locks are free, and if it
        // was not told by then it sleeps for ever.
        while (told == before && running > 0) std::this_thread::yield();
        if (running == 0) {
          EXPECT_GT(told, before);
        }
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_TRUE(lock.Enter(kBoth, membarrier));
    }
  }
}

}  // namespace
}  // namespace fio::loop_internal
