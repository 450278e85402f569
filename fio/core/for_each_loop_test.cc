#include <atomic>
#include <csignal>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <set>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/test_cluster.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Threads;
using core_internal::Trace;

// What ForEachLoop() has called.
class Calls {
 public:
  std::function<void(Loop&)> task() {
    return [this](Loop& loop) {
      const std::lock_guard lock(mutex_);
      ++tasks_;
      loops_.insert(&loop);
      threads_.insert(std::this_thread::get_id());
    };
  }
  // Expects that `tasks` have returned.
  std::function<void()> done(size_t tasks) {
    return [this, tasks] {
      const std::lock_guard lock(mutex_);
      ++dones_;
      EXPECT_EQ(tasks_, tasks);
      done_on_ = std::this_thread::get_id();
    };
  }

  size_t tasks() const { return tasks_; }
  size_t dones() const { return dones_; }
  size_t loops() const { return loops_.size(); }
  size_t threads() const { return threads_.size(); }
  std::thread::id done_on() const { return done_on_; }

 private:
  std::mutex mutex_;
  size_t tasks_ = 0;
  size_t dones_ = 0;
  std::set<const Loop*> loops_;
  std::set<std::thread::id> threads_;
  std::thread::id done_on_;
};

TEST(ForEachLoop, RunsOnEachLoopAndThenOnTheMainLoop) {
  for (const size_t threads : {1, 3}) {
    Reactor reactor(Threads(static_cast<int>(threads)));
    Calls calls;
    std::thread caller([&] {
      absl::Notification serves;
      reactor.Post([&] { serves.Notify(); });
      serves.WaitForNotification();
      EXPECT_TRUE(reactor.ForEachLoop(calls.task(), [&] {
        calls.done(threads)();
        reactor.Stop();
      }));
    });
    EXPECT_TRUE(reactor.Run().ok());
    caller.join();
    EXPECT_EQ(calls.tasks(), threads);
    EXPECT_EQ(calls.loops(), threads);
    EXPECT_EQ(calls.threads(), threads);
    EXPECT_EQ(calls.dones(), 1u);
    EXPECT_EQ(calls.done_on(), std::this_thread::get_id());
  }
}

TEST(ForEachLoop, BeforeRunItWaitsForTheLoopsThatRunStarts) {
  Reactor reactor(Threads(3));
  Calls calls;
  EXPECT_TRUE(reactor.ForEachLoop(calls.task(), [&] { reactor.Stop(); }));
  EXPECT_EQ(calls.tasks(), 0u);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(calls.loops(), 3u);
  EXPECT_EQ(calls.threads(), 3u);
}

TEST(ForEachLoop, FromATaskOfAnyLoop) {
  Reactor reactor(Threads(3));
  Calls calls;
  reactor.Post([&] {
    reactor.handles().back().Post([&] {
      reactor.ForEachLoop(calls.task(), [&] {
        reactor.ForEachLoop(calls.task(), [&] { reactor.Stop(); });
      });
    });
  });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(calls.tasks(), 6u);
}

TEST(ForEachLoop, WhatIsMissingIsRefused) {
  Reactor reactor(Threads(1));
  bool done = false;
  EXPECT_FALSE(reactor.ForEachLoop(nullptr, [&] { done = true; }));
  Calls calls;
  EXPECT_TRUE(reactor.ForEachLoop(calls.task()));
  reactor.Post([&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(calls.tasks(), 1u);
  EXPECT_FALSE(done);

  Reactor broken({.drain_time = -absl::Seconds(1)});
  EXPECT_FALSE(broken.ForEachLoop(calls.task()));
}

TEST(ForEachLoop, WithoutARunItIsDropped) {
  Calls calls;
  const auto kept = std::make_shared<int>(0);
  {
    Reactor reactor(Threads(2));
    EXPECT_TRUE(reactor.ForEachLoop(calls.task(), [kept] {}));
    EXPECT_EQ(kept.use_count(), 2);
  }
  EXPECT_EQ(kept.use_count(), 1);
  EXPECT_EQ(calls.tasks(), 0u);
}

// In each moment of a stop: in its callbacks, in tasks that run when the
// threads of the loops have ended, and from another thread at any time. What
// comes too late for one run is done by the next.
TEST(ForEachLoop, NoCallIsLostWhileRunStops) {
  constexpr size_t kThreads = 3;
  Reactor reactor(Threads(kThreads));
  std::atomic<size_t> asked{0};
  std::atomic<size_t> tasks{0};
  std::atomic<size_t> dones{0};
  std::counting_semaphore<> tokens{16};  // How many the thread has open.
  const auto ask = [&] {
    ++asked;
    EXPECT_TRUE(reactor.ForEachLoop([&](Loop&) { ++tasks; }, [&] { ++dones; }));
  };
  for (const LifecycleEvent event :
       {LifecycleEvent::kPreStart, LifecycleEvent::kOnStart,
        LifecycleEvent::kOnShutdown}) {
    reactor.lifecycle().Add(event, ask);
  }
  for (int run = 0; run < 20; ++run) {
    std::atomic<bool> over{false};
    std::thread asks([&] {
      for (tokens.acquire(); !over; tokens.acquire()) {
        ++asked;
        reactor.ForEachLoop([&](Loop&) { ++tasks; },
                            [&] {
                              ++dones;
                              tokens.release();
                            });
      }
    });
    reactor.Defer([&] {
      for (const LoopHandle& handle : reactor.handles()) {
        handle.Post([&] {
          ask();
          reactor.Stop();
          ask();
        });
      }
    });
    EXPECT_TRUE(reactor.Run().ok());
    over = true;
    tokens.release();
    asks.join();
    EXPECT_EQ(tasks, dones * kThreads);
  }
  reactor.Post([&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(dones, asked);
  EXPECT_EQ(tasks, asked * kThreads);
}

TEST(ForEachLoop, InAWorkerItReachesTheLoopsOfThatWorker) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.threads = 3, .workers = 2});
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
      reactor.ForEachLoop([&](Loop&) { trace.Tell("loop"); },
                          [&] { trace.Tell("done"); });
    });
    return ExitWith(reactor.Run());
  });
  cluster.Await("done", 2);
  EXPECT_EQ(cluster.Count("loop"), 6u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
