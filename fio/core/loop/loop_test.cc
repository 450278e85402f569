#include "fio/core/loop/loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/offload.h"
#include "fio/defer/thread_pool.h"
#include "fio/sock/socket.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// The tests run once on each of these; see BUILD.
#ifndef FIO_TEST_POLLER
#define FIO_TEST_POLLER kAuto
#endif

namespace fio {
namespace {

constexpr PollerKind kPoller = PollerKind::FIO_TEST_POLLER;

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
  EXPECT_TRUE(absl::IsAlreadyExists(given->Add(
      id->fd(), Token{1}, Interest::kReadable, Trigger::kLevel)));
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

TEST(Loop, ATaskForAConnectionAllocatesNothing) {
  const auto loop = CreateLoop();
  int64_t sum = 0;
  const std::array<int64_t, 4> values = {1, 2, 3, 4};  // And a pointer: 40.
  const auto post = [&] {
    loop->Post(ConnectionId(), [&sum, values](Connection* /*connection*/) {
      sum += values[3];
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
