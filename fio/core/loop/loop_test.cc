#include "fio/core/loop/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/functional/function_ref.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/offload.h"
#include "fio/defer/thread_pool.h"
#include "fio/sock/socket.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::LoopbackPair;
using testing::ManualClock;

std::unique_ptr<Loop> CreateLoop(LoopOptions options = {}) {
  options.poller = kPoller;
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(options);
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

// One turn that does not wait.
void Turn(Loop& loop) {
  const absl::Status turn = loop.RunOnce(MonotonicTime::InfinitePast());
  EXPECT_TRUE(turn.ok()) << turn;
}

// Stays for as long as it was told, and counts its end.
class Stayer final : public Protocol {
 public:
  Stayer(absl::Duration stay, int& closed) : stay_(stay), closed_(closed) {}
  void OnData(Connection& connection) override { connection.Received(); }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    return stay_;
  }
  void OnClose(Connection& /*connection*/,
               const CloseReason& /*reason*/) override {
    ++closed_;
  }

 private:
  const absl::Duration stay_;
  int& closed_;
};

ConnectionId AdoptStayer(Loop& loop, LoopbackPair& pair, absl::Duration stay,
                         int& closed) {
  const absl::StatusOr<ConnectionId> id =
      loop.Adopt(std::move(pair.near), [&](Connection& connection) {
        connection.Attach(std::make_unique<Stayer>(stay, closed));
      });
  EXPECT_TRUE(id.ok()) << id.status();
  return *id;
}

TEST(Loop, RefusesOptionsThatMakeNoSense) {
  EXPECT_THAT(Loop::Create({.clock = nullptr}).status().message(),
              HasSubstr("clock"));
  EXPECT_THAT(Loop::Create({.receive_buffer_bytes = 0}).status().message(),
              HasSubstr("receive_buffer_bytes"));
  constexpr absl::Duration kNegative = absl::Milliseconds(-1);
  const std::pair<std::string, LoopOptions> negative[] = {
      {"turn_budget", {.turn_budget = kNegative}},
      {"close_timeout", {.close_timeout = kNegative}},
      {"stop_linger", {.stop_linger = kNegative}},
      {"attach_timeout", {.attach_timeout = kNegative}},
      {"stall", {.stall = kNegative}},
  };
  for (const auto& [name, options] : negative) {
    EXPECT_EQ(Loop::Create(options).status().message(),
              "LoopOptions::" + name + ": -1ms is negative");
  }
}

TEST(Loop, RunsOnAPollerOfItsCreator) {
  EXPECT_TRUE(absl::IsInvalidArgument(Loop::Create({}, nullptr).status()));
  absl::StatusOr<std::unique_ptr<Poller>> poller =
      CreatePoller(Clock::System(), kPoller);
  ASSERT_TRUE(poller.ok()) << poller.status();
  Poller* const given = poller->get();
  absl::StatusOr<std::unique_ptr<Loop>> loop =
      Loop::Create({}, *std::move(poller));
  ASSERT_TRUE(loop.ok()) << loop.status();
  LoopbackPair pair = LoopbackPair::Unix();
  const absl::StatusOr<ConnectionId> id =
      (*loop)->Adopt(std::move(pair.near), [](Connection&) {});
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_TRUE(absl::IsAlreadyExists(
      given->Add(id->fd(), Token{1}, Interest::kReadable, Trigger::kLevel)));
}

// --- Tasks ---

TEST(Loop, RunsTasksInOrderOneTurnLater) {
  const auto loop = CreateLoop();
  std::vector<int> order;
  loop->Post([&] {
    order.push_back(1);
    loop->Post([&] { order.push_back(3); });
  });
  loop->Post([&] { order.push_back(2); });
  Turn(*loop);
  EXPECT_THAT(order, ElementsAre(1, 2));
  Turn(*loop);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

// Nothing else would ever end the wait: there is no tick to fall back on.
TEST(Defer, ForeignThreadLatency) {
  const auto loop = CreateLoop();
  int rounds = 0;
  MoveOnlyFunction<void()> next;
  std::vector<std::thread> posters;
  next = [&] {
    if (++rounds == 100) return loop->Stop();
    posters.emplace_back([&] { loop->Post([&] { next(); }); });
  };
  posters.emplace_back([&] { loop->Post([&] { next(); }); });
  EXPECT_TRUE(loop->Run().ok());
  for (std::thread& poster : posters) poster.join();
  EXPECT_EQ(rounds, 100);
}

TEST(Loop, AWakeEndsTheWaitOfThisTurnOrTheNext) {
  const auto loop = CreateLoop();
  loop->Wake();
  EXPECT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  loop->Post([&] { loop->Wake(); });
  EXPECT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  std::thread other([&] { loop->Wake(); });
  EXPECT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  other.join();
}

TEST(Loop, NoPostFromAnotherThreadIsLost) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 10'000;
  const auto loop = CreateLoop();
  int ran = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kTasks; ++i) {
        loop->Post([&] {
          if (++ran == kThreads * kTasks) loop->Stop();
        });
      }
    });
  }
  EXPECT_TRUE(loop->Run().ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran, kThreads * kTasks);
}

// With a connection that is closed, never was, or whose loop ends.
TEST(Defer, IoTaskClosedUuid) {
  int closed = 0;
  std::vector<bool> found;
  const auto look = [&](Connection* connection) {
    found.push_back(connection != nullptr);
  };
  {
    const auto loop = CreateLoop();
    LoopbackPair pair = LoopbackPair::Unix();
    const ConnectionId id =
        AdoptStayer(*loop, pair, absl::ZeroDuration(), closed);
    loop->Post(id, look);
    loop->Post(ConnectionId(), look);
    loop->Post(id, [&](Connection* connection) { connection->Close(); });
    Turn(*loop);
    EXPECT_THAT(found, ElementsAre(true, false));
    loop->Post(id, look);
    Turn(*loop);
    EXPECT_THAT(found, ElementsAre(true, false, false));
    loop->Post(id, look);
  }
  EXPECT_THAT(found, ElementsAre(true, false, false, false));
}

// A pipe that has room and bytes, asked for one and then for the other.
TEST(Loop, AWatchMayAskForSomethingElse) {
  const auto loop = CreateLoop();
  LoopbackPair pair = LoopbackPair::Unix();
  ASSERT_TRUE(pair.far.TryWrite("x").ok());
  std::vector<bool> readable;
  const absl::StatusOr<WatchId> watch = loop->Watch(
      pair.near.fd(), Interest::kWritable, Trigger::kEdge,
      [&](Readiness readiness) { readable.push_back(readiness.readable()); });
  ASSERT_TRUE(watch.ok()) << watch.status();
  Turn(*loop);
  Turn(*loop);
  EXPECT_THAT(readable, ElementsAre(false));
  EXPECT_TRUE(loop->Rewatch(*watch, Interest::kReadable, Trigger::kEdge).ok());
  Turn(*loop);
  EXPECT_THAT(readable, ElementsAre(false, true));
  loop->Unwatch(*watch);
  EXPECT_TRUE(absl::IsNotFound(
      loop->Rewatch(*watch, Interest::kReadable, Trigger::kEdge)));
}

TEST(Loop, ATaskForAConnectionAllocatesNothing) {
  const auto loop = CreateLoop();
  int64_t sum = 0;
  const std::array<int64_t, 3> values = {1, 2, 4};  // And a pointer: 32.
  const auto post = [&] {
    loop->Post(ConnectionId(), [&sum, values](Connection* /*connection*/) {
      sum += values[2];
    });
    Turn(*loop);
  };
  for (int i = 0; i < 4; ++i) post();  // Until the queue has grown.
  const testing::AllocationCounter counter;
  post();
  EXPECT_EQ(counter.allocations(), 0);
  EXPECT_EQ(sum, 20);
  loop->Post(ConnectionId(), nullptr);  // Is nothing.
  Turn(*loop);
}

class Excluding final : public Protocol {
 public:
  explicit Excluding(absl::FunctionRef<void(size_t bytes)> on_data)
      : on_data_(on_data) {}
  void OnData(Connection& connection) override {
    on_data_(connection.Received().size());
  }

 private:
  absl::FunctionRef<void(size_t bytes)> on_data_;
};

// While OnData() or a task for its connection runs, no other does.
TEST(Defer, IoTaskExcludesOnData) {
  constexpr size_t kThreads = 4;
  constexpr size_t kTasks = 1000;
  constexpr size_t kTasksPerByte = 40;
  std::atomic<int> inside = 0;
  size_t bytes = 0;
  size_t ran = 0;
  const auto loop = CreateLoop();
  LoopbackPair pair = LoopbackPair::Unix();
  const auto stop_when_done = [&] {
    if (ran == kThreads * kTasks && bytes == ran / kTasksPerByte) loop->Stop();
  };
  const auto on_data = [&](size_t count) {
    EXPECT_EQ(inside++, 0);
    bytes += count;
    stop_when_done();
    EXPECT_EQ(--inside, 0);
  };
  const absl::StatusOr<ConnectionId> id =
      loop->Adopt(std::move(pair.near), [&](Connection& connection) {
        connection.Attach(std::make_unique<Excluding>(on_data));
      });
  ASSERT_TRUE(id.ok()) << id.status();
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < kTasks; ++i) {
        loop->Post(*id, [&, i](Connection* connection) {
          EXPECT_EQ(inside++, 0);
          EXPECT_NE(connection, nullptr);
          if (i % kTasksPerByte == 0) {
            EXPECT_TRUE(pair.far.TryWrite("x").ok());
          }
          ++ran;
          stop_when_done();
          EXPECT_EQ(--inside, 0);
        });
      }
    });
  }
  EXPECT_TRUE(loop->Run().ok());
  for (std::thread& thread : threads) thread.join();
}

TEST(Loop, OffloadedWorkComesBackToIt) {
  const auto loop = CreateLoop();
  const auto pool = *ThreadPool::Create({.threads = 2});
  int sum = 0;
  for (int i = 1; i <= 100; ++i) {
    Offload(
        *pool, *loop, [i] { return i; },
        [&](absl::StatusOr<int> result) {
          sum += *result;
          if (sum == 5050) loop->Stop();
        });
  }
  EXPECT_TRUE(loop->Run().ok());
}

// A handle is a value: neither it nor the loop must outlive the work.
TEST(Loop, OffloadedWorkComesBackThroughAHandle) {
  auto loop = CreateLoop();
  const auto pool = *ThreadPool::Create({.threads = 1});
  int result = 0;
  {
    const auto handle = std::make_unique<LoopHandle>(loop->handle());
    Offload(
        *pool, *handle, [] { return 42; },
        [&](const absl::StatusOr<int>& n) {
          result = *n;
          loop->Stop();
        });
  }
  EXPECT_TRUE(loop->Run().ok());
  EXPECT_EQ(result, 42);
  const LoopHandle outlives = loop->handle();
  loop = nullptr;
  Offload(
      *pool, outlives, [] {}, [](const absl::Status&) { ADD_FAILURE(); });
  pool->Stop(ThreadPool::OnStop::kDrain);
}

// --- Timers ---

TEST(Loop, TimersRunWhenDueAndNotBefore) {
  ManualClock clock;
  const auto loop = CreateLoop({.clock = &clock});
  std::vector<int> fired;
  loop->RunAfter(absl::Milliseconds(20), [&] { fired.push_back(2); });
  loop->RunAfter(absl::Milliseconds(10), [&] { fired.push_back(1); });
  const TimerId cancelled =
      loop->RunAfter(absl::Milliseconds(15), [&] { fired.push_back(3); });
  EXPECT_TRUE(loop->Cancel(cancelled));
  clock.Advance(absl::Milliseconds(10) - absl::Nanoseconds(1));
  Turn(*loop);
  Turn(*loop);
  EXPECT_THAT(fired, ElementsAre());
  clock.Advance(absl::Nanoseconds(1));
  Turn(*loop);  // Reads the clock after its wait,
  Turn(*loop);  // so this one runs the timer.
  EXPECT_THAT(fired, ElementsAre(1));
  clock.Advance(absl::Hours(24 * 25));
  Turn(*loop);
  Turn(*loop);
  EXPECT_THAT(fired, ElementsAre(1, 2));
}

// A timer ends the wait, whatever else is armed, and is never early.
TEST(Timer, ShortWhileIdle) {
  const auto loop = CreateLoop();
  const Clock& clock = *loop->options().clock;
  loop->RunAfter(absl::Hours(24 * 25), [] { ADD_FAILURE(); });
  for (const int ms : {1, 2, 5}) {
    const MonotonicTime deadline = clock.Now() + absl::Milliseconds(ms);
    MonotonicTime fired;
    loop->RunAt(deadline, [&] {
      fired = clock.Now();
      loop->Stop();
    });
    EXPECT_TRUE(loop->Run().ok());
    EXPECT_GE(fired, deadline);
  }
}

// On the grid of its interval, as often as told, and finished once.
TEST(Loop, RunsATimerAgainAndAgain) {
  ManualClock clock;
  const auto loop = CreateLoop({.clock = &clock});
  int ran = 0;
  int finished = 0;
  const TimerId id = loop->RunEvery({.callback =
                                         [&] {
                                           ++ran;
                                           return TimerWheel::Next::kContinue;
                                         },
                                     .interval = absl::Milliseconds(10),
                                     .repetitions = 3,
                                     .on_finish = [&] { ++finished; }});
  EXPECT_NE(id, TimerId::kNone);
  for (int i = 1; i <= 5; ++i) {
    clock.Advance(absl::Milliseconds(10));
    Turn(*loop);
    EXPECT_EQ(ran, std::min(i, 3));
    EXPECT_EQ(finished, i >= 3);
  }
  EXPECT_FALSE(loop->Cancel(id));
}

// What is due in great numbers is spread over turns; tasks are not kept waiting
// for all of it.
TEST(Loop, ATurnRunsABoundedNumberOfTimers) {
  ManualClock clock;
  const auto loop = CreateLoop({.clock = &clock});
  constexpr int kTimers = 10'000;
  int fired = 0;
  for (int i = 0; i < kTimers; ++i) {
    loop->RunAfter(absl::Milliseconds(1), [&] { ++fired; });
  }
  clock.Advance(absl::Milliseconds(1));
  Turn(*loop);
  EXPECT_GT(fired, 0);
  EXPECT_LT(fired, kTimers / 10);
  while (fired < kTimers) {
    const int before = fired;
    EXPECT_LE(loop->next_deadline(), clock.Now());
    Turn(*loop);
    ASSERT_GT(fired, before);
  }
}

// Stop() ends all timers, each repeated one with its `on_finish`, and runs the
// tasks that wait; the next Run() sees none of them.
TEST(Loop, RunEndsTimersAndTasks) {
  int finished = 0;
  int ran = 0;
  const auto loop = CreateLoop();
  loop->RunAfter(absl::Hours(1), [] { FAIL(); });
  loop->RunEvery({.callback =
                      [] {
                        ADD_FAILURE();
                        return TimerWheel::Next::kStop;
                      },
                  .interval = absl::Hours(1),
                  .on_finish = [&] { ++finished; }});
  loop->Stop();
  loop->Post([&] { loop->Post([&] { ++ran; }); });
  EXPECT_TRUE(loop->Run().ok());
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(ran, 1);
  loop->Stop();
  EXPECT_TRUE(loop->Run().ok());
  EXPECT_EQ(finished, 1);
}

// The loop is still whole then, but takes nothing new.
TEST(Loop, TheDestructorFinishesRepeatedTimers) {
  int finished = 0;
  auto loop = CreateLoop();
  LoopbackPair pair = LoopbackPair::Unix();
  loop->RunEvery({.callback = [] { return TimerWheel::Next::kContinue; },
                  .interval = absl::Hours(1),
                  .on_finish =
                      [&finished, &pair, loop = loop.get()] {
                        ++finished;
                        const absl::StatusOr<WatchId> watch =
                            loop->Watch(pair.far.fd(), Interest::kReadable,
                                        Trigger::kLevel, [](Readiness) {});
                        EXPECT_TRUE(absl::IsFailedPrecondition(watch.status()))
                            << watch.status();
                      }});
  loop = nullptr;
  EXPECT_EQ(finished, 1);
}

// --- Turns ---

TEST(Loop, HooksRunOncePerTurnInOrder) {
  const auto loop = CreateLoop();
  std::vector<std::string> told;
  loop->OnTurnBegin([&] { told.push_back("begin"); });
  loop->OnTurnEnd([&] { told.push_back("end"); });
  loop->Post([&] { told.push_back("task"); });
  Turn(*loop);
  EXPECT_THAT(told, ElementsAre("begin", "task", "end"));
  EXPECT_EQ(loop->turn(), 1u);
  loop->OnTurnBegin(nullptr);
  loop->OnTurnEnd(nullptr);
  Turn(*loop);
  EXPECT_EQ(told.size(), 3u);
  EXPECT_EQ(loop->turn(), 2u);
}

// A flood of tasks ends the turn when its time is up, and none is lost.
TEST(Loop, TasksAreBoundByTheTurnsBudget) {
  ManualClock clock;
  const auto loop =
      CreateLoop({.clock = &clock, .turn_budget = absl::Milliseconds(10)});
  int ran = 0;
  for (int i = 0; i < 100; ++i) {
    loop->Post([&] {
      ++ran;
      clock.Advance(absl::Milliseconds(1));
    });
  }
  Turn(*loop);
  EXPECT_EQ(ran, 11);
  EXPECT_LE(loop->next_deadline(), clock.Now()) << "there is more to do";
  while (ran < 100) Turn(*loop);
}

// So do connections, and whoever was not served comes first in the next one.
TEST(Loop, ConnectionsAreBoundByTheTurnsBudget) {
  class Slow final : public Protocol {
   public:
    Slow(ManualClock& clock, std::vector<int>& served, int index)
        : clock_(clock), served_(served), index_(index) {}
    void OnData(Connection& connection) override {
      char byte;
      connection.Read(absl::MakeSpan(&byte, 1));
      served_.push_back(index_);
      clock_.Advance(absl::Milliseconds(1));
    }

   private:
    ManualClock& clock_;
    std::vector<int>& served_;
    const int index_;
  };
  constexpr int kConnections = 20;
  ManualClock clock;
  std::vector<int> served;
  const auto loop =
      CreateLoop({.clock = &clock, .turn_budget = absl::Milliseconds(10)});
  std::vector<LoopbackPair> pairs;
  for (int i = 0; i < kConnections; ++i) {
    pairs.push_back(LoopbackPair::Unix());
    ASSERT_TRUE(pairs.back().far.TryWrite("xx").ok());
    ASSERT_TRUE(loop->Adopt(std::move(pairs.back().near),
                            [&](Connection& connection) {
                              connection.Attach(
                                  std::make_unique<Slow>(clock, served, i));
                            })
                    .ok());
  }
  Turn(*loop);
  EXPECT_EQ(served.size(), 11u);
  Turn(*loop);
  ASSERT_EQ(served.size(), 22u);
  // Each has had one byte before any has had its second.
  std::vector<int> first(served.begin(), served.begin() + kConnections);
  std::sort(first.begin(), first.end());
  for (int i = 0; i < kConnections; ++i) EXPECT_EQ(first[i], i);
}

// As in a foreign loop, which watches fd() and waits until next_deadline().
TEST(Loop, EmbedsInAnotherLoop) {
  ManualClock clock;
  int closed = 0;
  const auto loop = CreateLoop({.clock = &clock});
  if (loop->fd() < 0) {
    EXPECT_EQ(kPoller, PollerKind::kPoll);
    return;
  }
  const auto readable = [&] {
    pollfd ready = {.fd = loop->fd(), .events = POLLIN, .revents = 0};
    return poll(&ready, 1, 0) == 1;
  };
  Turn(*loop);
  EXPECT_FALSE(readable());
  EXPECT_EQ(loop->next_deadline(), MonotonicTime::InfiniteFuture());
  // A timer.
  int fired = 0;
  loop->RunAfter(absl::Milliseconds(10), [&] { ++fired; });
  EXPECT_EQ(loop->next_deadline(), clock.Now() + absl::Milliseconds(10));
  clock.Advance(absl::Milliseconds(10));
  Turn(*loop);
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(loop->next_deadline(), MonotonicTime::InfiniteFuture());
  // A task from elsewhere.
  int ran = 0;
  std::thread([&] { loop->Post([&] { ++ran; }); }).join();
  EXPECT_TRUE(readable());
  Turn(*loop);
  EXPECT_EQ(ran, 1);
  Turn(*loop);
  EXPECT_FALSE(readable());
  // Bytes.
  LoopbackPair pair = LoopbackPair::Unix();
  const ConnectionId id =
      AdoptStayer(*loop, pair, absl::ZeroDuration(), closed);
  EXPECT_EQ(loop->next_deadline(), MonotonicTime::InfinitePast())
      << "OnReady() is due";
  for (int i = 0; i < 2; ++i) Turn(*loop);
  EXPECT_FALSE(readable());
  ASSERT_TRUE(pair.far.TryWrite("x").ok());
  EXPECT_TRUE(readable());
  Turn(*loop);
  EXPECT_FALSE(readable());
  // An idle timeout.
  loop->Find(id)->SetTimeout(absl::Milliseconds(5));
  EXPECT_EQ(loop->next_deadline(), clock.Now() + absl::Milliseconds(5));
  clock.Advance(absl::Milliseconds(5));
  Turn(*loop);
  EXPECT_EQ(closed, 1);
}

// --- What keeps RunWhileBusy() going ---

TEST(Loop, RunWhileBusyEndsWhenNothingIsLeft) {
  const auto loop = CreateLoop();
  EXPECT_TRUE(loop->RunWhileBusy().ok());
  bool fired = false;
  int ran = 0;
  loop->RunAfter(absl::Milliseconds(1), [&] {
    fired = true;
    loop->Post([&] { ++ran; });
  });
  EXPECT_TRUE(loop->RunWhileBusy().ok());
  EXPECT_TRUE(fired);
  EXPECT_EQ(ran, 1);
}

TEST(Loop, OnlyWhatIsUnreferencedMayBeLeft) {
  ManualClock clock;
  int closed = 0;
  int turns = 0;
  const auto loop = CreateLoop({.clock = &clock});
  LoopbackPair pair = LoopbackPair::Unix();
  const ConnectionId id = AdoptStayer(*loop, pair, absl::Hours(1), closed);
  const absl::StatusOr<WatchId> watch =
      loop->Watch(pair.far.fd(), Interest::kPriority, Trigger::kLevel,
                  [](Readiness) { ADD_FAILURE(); });
  ASSERT_TRUE(watch.ok()) << watch.status();
  const TimerId timer = loop->RunAfter(absl::Hours(1), [] { FAIL(); });
  // Each keeps it going until it is named, in a turn of the loop.
  loop->OnTurnEnd([&] {
    switch (++turns) {
      case 3:
        loop->Unref(timer);
        break;
      case 5:
        loop->Unref(*watch);
        loop->Unref(*watch);
        break;
      case 7:
        loop->Find(id)->Unref();
        loop->Find(id)->Unref();
        break;
    }
    loop->Wake();
  });
  EXPECT_TRUE(loop->RunWhileBusy().ok());
  EXPECT_EQ(turns, 7);
  EXPECT_EQ(closed, 0) << "it only returns";
  EXPECT_TRUE(loop->Cancel(timer));
}

// uSockets ended its loop when a timer was closed that did not count.
TEST(Loop, TheEndOfWhatIsUnreferencedDoesNotEndIt) {
  ManualClock clock;
  int turns = 0;
  const auto loop = CreateLoop({.clock = &clock});
  loop->RunAfter(absl::Hours(1), [] {});
  const TimerId cancelled = loop->RunAfter(absl::Hours(1), [] { FAIL(); });
  const TimerId fires = loop->RunAfter(absl::Milliseconds(1), [] {});
  loop->Unref(cancelled);
  loop->Unref(fires);
  loop->Unref(TimerId::kNone);
  loop->Unref(WatchId::kNone);
  loop->Cancel(cancelled);
  loop->OnTurnEnd([&] {
    if (++turns == 5) clock.Advance(absl::Hours(2));
    loop->Wake();
  });
  EXPECT_TRUE(loop->RunWhileBusy().ok());
  EXPECT_EQ(turns, 6);
}

// A hundred thousand of them cost a turn nothing, and naming one allocates
// nothing.
TEST(Loop, UnrefCostsNothing) {
  ManualClock clock;
  const auto loop = CreateLoop({.clock = &clock});
  std::vector<TimerId> timers;
  for (int i = 0; i < 100'000; ++i) {
    timers.push_back(loop->RunAfter(absl::Hours(1), [] {}));
  }
  int repeated = 0;
  const TimerId repeats = loop->RunEvery(
      {.callback = [&] { ++repeated; }, .interval = absl::Milliseconds(1)});
  {
    const testing::AllocationCounter counter;
    for (const TimerId timer : timers) loop->Unref(timer);
    loop->Unref(repeats);
    EXPECT_EQ(counter.allocations(), 0);
  }
  EXPECT_TRUE(loop->RunWhileBusy().ok());
  EXPECT_EQ(loop->turn(), 0u) << "nothing keeps it";
  // A timer that counts, of an id that another had before.
  loop->Cancel(timers.front());
  const TimerId counts = loop->RunAfter(absl::Milliseconds(3), [] {});
  loop->Unref(timers.front());
  loop->OnTurnEnd([&] {
    clock.Advance(absl::Milliseconds(1));
    loop->Wake();
  });
  EXPECT_TRUE(loop->RunWhileBusy().ok());
  EXPECT_FALSE(loop->Cancel(counts)) << "it has run";
  EXPECT_GE(repeated, 2) << "and a repeated one counts no more than before";
}

// --- Timers inside objects ---

class Alarm final : public Timer {
 public:
  int rang = 0;

 private:
  void OnTimer(TimerWheel& /*wheel*/) override { ++rang; }
};

TEST(Loop, EmbeddedTimersAllocateNothing) {
  ManualClock clock;
  const auto loop = CreateLoop({.clock = &clock});
  Alarm alarm;
  Turn(*loop);  // The first makes the poller's buffers.
  const testing::AllocationCounter counter;
  loop->Arm(alarm, absl::Milliseconds(5));
  EXPECT_TRUE(alarm.armed());
  EXPECT_EQ(loop->next_deadline(), clock.Now() + absl::Milliseconds(5));
  clock.Advance(absl::Milliseconds(4));
  Turn(*loop);
  EXPECT_EQ(alarm.rang, 0);
  clock.Advance(absl::Milliseconds(1));
  Turn(*loop);
  EXPECT_EQ(alarm.rang, 1);
  EXPECT_FALSE(alarm.armed());
  loop->Arm(alarm, clock.Now());
  EXPECT_TRUE(loop->Cancel(alarm));
  EXPECT_FALSE(loop->Cancel(alarm));
  EXPECT_EQ(counter.allocations(), 0);
}

// --- What may be done from anywhere ---

TEST(Loop, AHookMayReplaceItself) {
  const auto loop = CreateLoop();
  std::string told;
  loop->OnTurnBegin([&, text = std::string(100, 'x')] {
    loop->OnTurnBegin([&] { told += "second "; });
    told += text;
  });
  loop->OnTurnEnd([&, text = std::string(100, 'y')] {
    loop->OnTurnEnd(nullptr);
    told += text;
  });
  for (int i = 0; i < 3; ++i) Turn(*loop);
  EXPECT_EQ(told,
            std::string(100, 'x') + std::string(100, 'y') + "second second ");
}

// Whatever a callback owns may call the loop when it is destroyed, at the
// loop's end, too.
TEST(Loop, WhatCallbacksOwnMayCallTheDyingLoop) {
  auto loop = CreateLoop();
  LoopbackPair pairs[] = {LoopbackPair::Unix(), LoopbackPair::Unix()};
  int calls = 0;
  struct Caller {
    Caller(Loop* loop, int* calls) : loop(loop), calls(calls) {}
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller() {
      ++*calls;
      loop->Unwatch(watch);
      EXPECT_EQ(loop->RunAfter(absl::ZeroDuration(), [] {}), TimerId::kNone);
      EXPECT_FALSE(
          loop->Watch(0, Interest::kReadable, Trigger::kLevel, [](Readiness) {})
              .ok());
      EXPECT_FALSE(
          loop->Adopt(LoopbackPair::Unix().near, [](Connection&) {}).ok());
      loop->Unref(watch);
      loop->Stop();
    }
    Loop* loop;
    int* calls;
    WatchId watch = WatchId::kNone;
  };
  for (LoopbackPair& pair : pairs) {
    const auto caller = std::make_shared<Caller>(loop.get(), &calls);
    caller->watch = *loop->Watch(pair.near.fd(), Interest::kReadable,
                                 Trigger::kLevel, [caller](Readiness) {});
  }
  const auto owner = [&] {
    return std::make_unique<Caller>(loop.get(), &calls);
  };
  loop->RunAfter(absl::Hours(1), [caller = owner()] {});
  loop->RunEvery({.callback = [caller = owner()] {},
                  .interval = absl::Hours(1),
                  .on_finish = [caller = owner()] {}});
  loop->Post([caller = owner()] {});
  loop->Post(ConnectionId(), [caller = owner()](Connection*) {});
  loop = nullptr;
  EXPECT_EQ(calls, 7);
}

// --- What it tells of itself ---

class EchoOnce final : public Protocol {
 public:
  explicit EchoOnce(absl::FunctionRef<void()> before) : before_(before) {}
  void OnData(Connection& connection) override {
    before_();
    connection.Write(connection.Received());
  }

 private:
  absl::FunctionRef<void()> before_;
};

TEST(Loop, CountsWhatItDoes) {
  const auto nothing = [] {};
  const auto loop = CreateLoop();
  LoopbackPair pair = LoopbackPair::Unix();
  const absl::StatusOr<ConnectionId> id =
      loop->Adopt(std::move(pair.near), [&](Connection& connection) {
        connection.Attach(std::make_unique<EchoOnce>(nothing));
      });
  ASSERT_TRUE(id.ok()) << id.status();
  Turn(*loop);
  const LoopStats before = loop->stats();
  EXPECT_EQ(before.opened, 1u);
  ASSERT_TRUE(pair.far.TryWrite("hello").ok());
  Turn(*loop);
  const LoopStats after = loop->stats();
  EXPECT_EQ(after.turns - before.turns, 1u);
  EXPECT_EQ(after.events - before.events, 1u);
  EXPECT_EQ(after.bytes_read - before.bytes_read, 5u);
  EXPECT_EQ(after.bytes_written - before.bytes_written, 5u);
  // The wait, recv and send; and of a Unix socket, whose short reads do not
  // tell that nothing is left, getsockopt (once) and another recv.
  EXPECT_EQ(after.system_calls - before.system_calls, 5u);
  loop->Find(*id)->Abort();
  loop->Post([] {});
  Turn(*loop);
  const LoopStats end = loop->stats();
  EXPECT_EQ(end.closed, 1u);
  EXPECT_EQ(end.tasks, 1u);
  EXPECT_EQ(end.wakes_sent + end.wakes_merged, 1u);
  uint64_t turns = 0;
  for (const uint64_t count : end.lag) turns += count;
  EXPECT_EQ(turns, end.turns);
}

// A million wakes cost a write for each sleep at most.
TEST(Loop, WakesAreMerged) {
  constexpr int kThreads = 4;
  constexpr int kWakes = 250'000;
  const auto loop = CreateLoop();
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kWakes; ++i) loop->Wake();
      if (++done == kThreads) loop->Stop();
    });
  }
  EXPECT_TRUE(loop->Run().ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(loop->stats().wakes_sent, loop->stats().turns + 1);
}

TEST(LoopStats, LagIsCountedByPowersOfTwo) {
  EXPECT_EQ(LoopStats::LagBucket(absl::ZeroDuration()), 0u);
  EXPECT_EQ(LoopStats::LagBucket(absl::Nanoseconds(999)), 0u);
  EXPECT_EQ(LoopStats::LagBucket(absl::Microseconds(1)), 1u);
  EXPECT_EQ(LoopStats::LagBucket(absl::Microseconds(3)), 2u);
  EXPECT_EQ(LoopStats::LagBucket(absl::Microseconds(4)), 3u);
  EXPECT_EQ(LoopStats::LagBucket(absl::Hours(24 * 25)),
            LoopStats::kLagBuckets - 1);
}

TEST(Loop, TheLagOfATurnIsWhatItTook) {
  ManualClock clock;
  const auto loop = CreateLoop({.clock = &clock});
  loop->Post([&] { clock.Advance(absl::Milliseconds(3)); });
  Turn(*loop);
  EXPECT_EQ(loop->stats().lag[LoopStats::LagBucket(absl::Milliseconds(3))], 1u);
}

// Names who it was, once a second at most; counts them all.
TEST(Loop, ReportsACallbackThatStalls) {
  ManualClock clock;
  absl::Duration takes = absl::Milliseconds(50);
  const auto work = [&] { clock.Advance(takes); };
  const auto loop =
      CreateLoop({.clock = &clock, .stall = absl::Milliseconds(50)});
  LoopbackPair pair = LoopbackPair::Unix();
  ASSERT_TRUE(loop->Adopt(std::move(pair.near),
                          [&](Connection& connection) {
                            connection.Attach(std::make_unique<EchoOnce>(work));
                          })
                  .ok());
  ASSERT_TRUE(pair.far.TryWrite("x").ok());
  Turn(*loop);
  EXPECT_EQ(loop->stats().stalls, 0u);
  absl::ScopedMockLog log(absl::MockLogDefault::kIgnoreUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, ::testing::_,
                       HasSubstr("EchoOnce has stalled its loop for 51ms")))
      .Times(1);
  log.StartCapturingLogs();
  takes = absl::Milliseconds(51);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pair.far.TryWrite("x").ok());
    Turn(*loop);
  }
  EXPECT_EQ(loop->stats().stalls, 3u);
  loop->Post([&] { clock.Advance(absl::Seconds(1)); });
  Turn(*loop);
  EXPECT_EQ(loop->stats().stalls, 4u);
}

// --- Other descriptors ---

TEST(Loop, WatchTellsOfReadiness) {
  const auto loop = CreateLoop();
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
  const UniqueFd reader(fds[0]);
  const UniqueFd writer(fds[1]);
  int told = 0;
  const absl::StatusOr<WatchId> watch =
      loop->Watch(reader.get(), Interest::kReadable, Trigger::kLevel,
                  [&](Readiness readiness) { told += readiness.readable(); });
  ASSERT_TRUE(watch.ok()) << watch.status();
  Turn(*loop);
  EXPECT_EQ(told, 0);
  ASSERT_EQ(write(writer.get(), "x", 1), 1);
  Turn(*loop);
  EXPECT_EQ(told, 1);
  loop->Unwatch(*watch);
  loop->Unwatch(*watch);
  Turn(*loop);
  EXPECT_EQ(told, 1);
  EXPECT_GE(fcntl(reader.get(), F_GETFD), 0) << "not ours to close";
}

TEST(Loop, UnwatchInsideItsOwnCallbackAndOfTheOtherInTheSameTurn) {
  const auto loop = CreateLoop();
  LoopbackPair pair = LoopbackPair::Unix();
  int told = 0;
  WatchId watches[2];
  int i = 0;
  for (Socket* socket : {&pair.near, &pair.far}) {
    const absl::StatusOr<WatchId> watch = loop->Watch(
        socket->fd(), Interest::kWritable, Trigger::kLevel,
        [&, owned = std::make_unique<int>(7)](Readiness) {
          for (const WatchId other : watches) loop->Unwatch(other);
          told += *owned / 7;  // What the callback owns is still there.
        });
    ASSERT_TRUE(watch.ok()) << watch.status();
    watches[i++] = *watch;
  }
  Turn(*loop);
  EXPECT_EQ(told, 1);
  Turn(*loop);
  EXPECT_EQ(told, 1);
}

TEST(Loop, WatchErrorsPassThrough) {
  const auto loop = CreateLoop();
  EXPECT_TRUE(absl::IsFailedPrecondition(
      loop->Watch(-1, Interest::kReadable, Trigger::kLevel, [](Readiness) {})
          .status()));
}

// --- Adopting ---

TEST(Loop, AdoptRefusesWhatIsNoSocket) {
  const auto loop = CreateLoop();
  const auto adopt = [&](Socket socket) {
    return loop->Adopt(std::move(socket), [](Connection&) { FAIL(); }).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(adopt(Socket())));
  // A regular file cannot be watched; the descriptor is closed all the same.
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  EXPECT_TRUE(absl::IsPermissionDenied(adopt(Socket(UniqueFd(file)))));
  EXPECT_LT(fcntl(file, F_GETFD), 0);
  EXPECT_EQ(loop->connection_count(), 0u);
}

// --- Stopping ---

TEST(Loop, StopEndsRunWithoutConnections) {
  const auto loop = CreateLoop();
  loop->Stop();
  EXPECT_TRUE(loop->Run().ok());
}

TEST(Loop, RunsAgainAfterStop) {
  const auto loop = CreateLoop();
  for (int i = 0; i < 3; ++i) {
    bool ran = false;
    loop->Post([&] {
      ran = true;
      loop->Stop(absl::ZeroDuration());
    });
    EXPECT_TRUE(loop->Run().ok());
    EXPECT_TRUE(ran);
  }
}

TEST(Loop, StopKeepsConnectionsForAsLongAsTheySay) {
  ManualClock clock;
  int closed_now = 0;
  int closed_later = 0;
  int closed_last = 0;
  const auto loop = CreateLoop({.clock = &clock});
  LoopbackPair now = LoopbackPair::Unix();
  LoopbackPair later = LoopbackPair::Unix();
  LoopbackPair last = LoopbackPair::Unix();
  AdoptStayer(*loop, now, absl::ZeroDuration(), closed_now);
  AdoptStayer(*loop, later, absl::Seconds(3), closed_later);
  AdoptStayer(*loop, last, absl::InfiniteDuration(), closed_last);
  loop->Stop();
  for (int i = 0; i < 4; ++i) Turn(*loop);
  EXPECT_EQ(closed_now, 1);
  EXPECT_EQ(closed_later, 0);
  clock.Advance(absl::Seconds(3));
  for (int i = 0; i < 4; ++i) Turn(*loop);
  EXPECT_EQ(closed_later, 1);
  EXPECT_EQ(closed_last, 1) << "no other stays";
  EXPECT_EQ(loop->connection_count(), 0u);
  EXPECT_EQ(testing::ReadToEnd(last.far), "");
}

TEST(Loop, GraceCutsOffWhoStays) {
  ManualClock clock;
  int closed = 0;
  const auto loop = CreateLoop({.clock = &clock});
  LoopbackPair pair = LoopbackPair::Unix();
  LoopbackPair other = LoopbackPair::Unix();
  AdoptStayer(*loop, pair, absl::Hours(1), closed);
  AdoptStayer(*loop, other, absl::InfiniteDuration(), closed);
  loop->Stop(absl::Seconds(2));
  Turn(*loop);
  clock.Advance(absl::Seconds(2) - absl::Nanoseconds(1));
  for (int i = 0; i < 3; ++i) Turn(*loop);
  EXPECT_EQ(closed, 0);
  clock.Advance(absl::Nanoseconds(1));
  for (int i = 0; i < 3; ++i) Turn(*loop);
  EXPECT_EQ(closed, 2);
}

TEST(Loop, ALaterStopCanOnlyShortenTheGrace) {
  ManualClock clock;
  int closed = 0;
  const auto loop = CreateLoop({.clock = &clock});
  LoopbackPair pair = LoopbackPair::Unix();
  AdoptStayer(*loop, pair, absl::Hours(1), closed);
  loop->Stop(absl::Seconds(2));
  loop->Stop();
  loop->Stop(absl::Seconds(1));
  Turn(*loop);
  clock.Advance(absl::Seconds(1));
  for (int i = 0; i < 3; ++i) Turn(*loop);
  EXPECT_EQ(closed, 1);
}

TEST(Loop, TakesNoConnectionsWhileItStops) {
  int closed = 0;
  const auto loop = CreateLoop();
  LoopbackPair pair = LoopbackPair::Unix();
  AdoptStayer(*loop, pair, absl::Hours(1), closed);
  loop->Stop();
  Turn(*loop);
  LoopbackPair late = LoopbackPair::Unix();
  EXPECT_TRUE(absl::IsFailedPrecondition(
      loop->Adopt(std::move(late.near), [](Connection&) { FAIL(); }).status()));
  EXPECT_EQ(testing::ReadToEnd(late.far), "");
}

TEST(Loop, DestructorClosesEachConnectionOnce) {
  int closed = 0;
  std::vector<LoopbackPair> pairs;
  {
    const auto loop = CreateLoop();
    for (int i = 0; i < 100; ++i) {
      pairs.push_back(LoopbackPair::Unix());
      AdoptStayer(*loop, pairs.back(), absl::Hours(1), closed);
    }
    loop->RunAfter(absl::Hours(1), [] { FAIL(); });
    loop->Post([] { FAIL(); });
  }
  EXPECT_EQ(closed, 100);
  for (LoopbackPair& pair : pairs) EXPECT_EQ(testing::ReadToEnd(pair.far), "");
}

#ifndef NDEBUG
TEST(LoopDeathTest, DebugBuildsCheckTheThread) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto misuse = [](bool on_a_connection) {
    int closed = 0;
    const auto loop = CreateLoop();
    LoopbackPair pair = LoopbackPair::Unix();
    const ConnectionId id =
        AdoptStayer(*loop, pair, absl::ZeroDuration(), closed);
    loop->Post([&] {
      Connection* connection = loop->Find(id);
      std::thread([&] {
        if (on_a_connection) {
          connection->Write("x");
        } else {
          loop->RunAfter(absl::Seconds(1), [] {});
        }
      }).join();
    });
    Turn(*loop);
  };
  EXPECT_DEATH(misuse(true), "Connection: used from another thread");
  EXPECT_DEATH(misuse(false), "Loop::RunAt: from another thread");
}
#endif

}  // namespace
}  // namespace fio
