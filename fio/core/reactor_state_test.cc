// What a reactor tells of itself, and when it calls the callbacks of its
// lifecycle.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::AttachEcho;
using core_internal::ConnectTo;
using core_internal::Echo;
using core_internal::InChild;
using core_internal::ListenOn;
using core_internal::NoSignals;
using core_internal::Threads;
using core_internal::WriteTo;
using testing::LoopbackPair;
using testing::ManualClock;
using testing::ReadToEnd;
using testing::ReadUntil;

// --- State ---

TEST(State, IsRunningSingleAndCluster) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    std::string log;
    const auto note = [&](char name) {
      return [&log, &reactor, name] {
        log += absl::StrCat(std::string(1, name), reactor.running_workers());
      };
    };
    Lifecycle& lifecycle = reactor.lifecycle();
    lifecycle.Add(LifecycleEvent::kOnInitialize, note('i'));
    lifecycle.Add(LifecycleEvent::kPreStart, note('p'));
    lifecycle.Add(LifecycleEvent::kOnStart, note('s'));
    lifecycle.Add(LifecycleEvent::kOnShutdown, note('e'));
    lifecycle.Add(LifecycleEvent::kOnFinish, note('f'));
    reactor.Defer([&] {
      note('t')();
      reactor.Stop();
    });
    EXPECT_EQ(reactor.running_workers(), 0);
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(reactor.running_workers(), 0);
    EXPECT_EQ(log, "i0p0s1t1e0f0");
  }

  int status = -1;
  const auto cluster = [](int pipe_to_test) {
    std::array<int, 2> ends;
    ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    Reactor reactor({.threads = 1, .workers = 3, .signals = NoSignals()});
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
      WriteTo(ends[1], reactor.running_workers() == 3 ? "w" : "?");
    });
    int workers = 0;
    const absl::StatusOr<WatchId> watch = reactor.loop().Watch(
        ends[0], Interest::kReadable, Trigger::kLevel, [&](Readiness) {
          char told = 0;
          ASSERT_EQ(read(ends[0], &told, 1), 1);
          EXPECT_EQ(told, 'w');
          if (++workers < 3) return;
          WriteTo(pipe_to_test,
                  absl::StrCat("root ", reactor.running_workers()));
          reactor.Stop();
        });
    ASSERT_TRUE(watch.ok()) << watch.status();
    EXPECT_EQ(reactor.running_workers(), 0);
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(reactor.running_workers(), 0);
  };
  EXPECT_EQ(InChild(cluster, status), "root 3");
  EXPECT_EQ(status, 0);
}

TEST(State, RolesPerProcess) {
  Reactor reactor(Threads(2));
  const auto expect_single = [&] {
    EXPECT_TRUE(reactor.is_worker());
    EXPECT_TRUE(reactor.is_root());
    EXPECT_EQ(reactor.root_pid(), getpid());
    EXPECT_EQ(reactor.worker_place(), 0);
  };
  expect_single();
  reactor.lifecycle().Add(LifecycleEvent::kPreStart, expect_single);
  reactor.lifecycle().Add(LifecycleEvent::kOnStart, expect_single);
  reactor.lifecycle().Add(LifecycleEvent::kOnFinish, expect_single);
  reactor.Defer([&] {
    expect_single();
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  expect_single();

  // A root of workers, before it has any.
  const Reactor root({.workers = 2});
  EXPECT_FALSE(root.is_worker());
  EXPECT_TRUE(root.is_root());
  const Reactor supervised(
      {.threads = 1, .workers = 1, .supervise_single_worker = true});
  EXPECT_FALSE(supervised.is_worker());
  EXPECT_TRUE(supervised.is_root());
}

TEST(State, AnyThreadMayAsk) {
  Reactor reactor(Threads(3));
  std::atomic<bool> over{false};
  std::thread asks([&] {
    int running = 0;
    while (!over) {
      running += reactor.running_workers();
      EXPECT_EQ(reactor.root_pid(), getpid());
      EXPECT_TRUE(reactor.is_worker() && reactor.is_root());
      EXPECT_GE(reactor.handles().size(), 1u);
      EXPECT_FALSE(reactor.HandleOf(ConnectionId()).expired());
      EXPECT_GT(reactor.last_tick(), absl::UnixEpoch());
      EXPECT_EQ(reactor.concurrency().threads, 3);
      EXPECT_FALSE(reactor.engine().empty());
      static_cast<void>(reactor.capacity());
      reactor.Post([] {});
    }
    EXPECT_GE(running, 0);
  });
  for (int i = 0; i < 20; ++i) {
    reactor.Defer([&] { reactor.Stop(); });
    EXPECT_TRUE(reactor.Run().ok());
  }
  over = true;
  asks.join();
}

TEST(Tick, AdvancesAndBeforeStart) {
  ManualClock clock;
  ReactorOptions options = Threads(1);
  options.loop.clock = &clock;
  Reactor reactor(options);
  EXPECT_EQ(reactor.last_tick(), clock.WallNow());
  clock.Advance(absl::Seconds(100));
  EXPECT_EQ(reactor.last_tick(), clock.WallNow());
  // That of the turn before, as long as a turn goes on.
  reactor.Defer([&] {
    const absl::Time tick = clock.WallNow();
    reactor.Defer([&, tick] {
      EXPECT_EQ(reactor.last_tick(), tick);
      clock.Advance(absl::Seconds(7));
      EXPECT_EQ(reactor.last_tick(), tick);
      reactor.Defer([&, tick] {
        EXPECT_EQ(reactor.last_tick(), tick);
        reactor.Defer([&, tick] {
          EXPECT_EQ(reactor.last_tick(), tick + absl::Seconds(7));
          reactor.Stop();
        });
      });
    });
  });
  EXPECT_TRUE(reactor.Run().ok());
  const absl::Time tick = reactor.last_tick();
  EXPECT_EQ(tick, clock.WallNow());
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(reactor.last_tick(), tick);

  // By the system's clock it is wall time.
  const Reactor real(Threads(1));
  EXPECT_GT(real.last_tick(),
            absl::FromCivil(absl::CivilYear(2020), absl::UTCTimeZone()));
}

// --- Capa ---

TEST(Capa, LimitsAndLifetime) {
  rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  rlimit low = original;
  low.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  for (const size_t wanted : {size_t{100}, size_t{0}, size_t{200}}) {
    ReactorOptions options = Threads(1);
    options.max_descriptors = wanted;
    Reactor reactor(options);
    EXPECT_EQ(reactor.capacity(), 0u);
    size_t seen = 0;
    reactor.lifecycle().Add(LifecycleEvent::kPreStart,
                            [&] { seen = reactor.capacity(); });
    reactor.Defer([&] {
      EXPECT_EQ(reactor.capacity(), seen);
      reactor.Stop();
    });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(reactor.capacity(), 0u);
    rlimit now;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
    EXPECT_EQ(seen, now.rlim_cur);
    EXPECT_EQ(seen, wanted == 0 ? 100 : wanted);
  }
  // Never above what the system allows.
  ReactorOptions options = Threads(1);
  options.max_descriptors = static_cast<size_t>(original.rlim_max);
  Reactor reactor(options);
  reactor.Defer([&] {
    EXPECT_EQ(reactor.capacity(), original.rlim_max);
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
}

// It was opened when the limit was higher.
TEST(Capa, FdAboveCapa) {
  constexpr int kHigh = 900;
  rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  LoopbackPair pair = LoopbackPair::Unix();
  UniqueFd high(fcntl(pair.near.fd(), F_DUPFD_CLOEXEC, kHigh));
  ASSERT_GE(high.get(), kHigh);
  pair.near = Socket();
  rlimit low = original;
  low.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  ReactorOptions options = Threads(1);
  options.max_descriptors = 0;
  Reactor reactor(options);
  ASSERT_TRUE(pair.far.TryWrite("hello").ok());
  reactor.Defer([&] {
    EXPECT_EQ(reactor.capacity(), 256u);
    const absl::StatusOr<ConnectionId> id =
        reactor.loop().Adopt(std::move(high), std::make_unique<Echo>());
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_GE(id->fd(), kHigh);
  });
  std::thread peer([&] {
    EXPECT_EQ(ReadUntil(pair.far, 5), "hello");
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  peer.join();
  EXPECT_EQ(ReadToEnd(pair.far), "bye");
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
}

// --- Callbacks of the lifecycle ---

TEST(StateCb, IdleOncePerEdge) {
  constexpr int kEdges = 50;
  for (const int threads : {1, 3}) {
    // Whose loop is busy in between: the main one, or the last.
    for (const bool last : {false, true}) {
      Reactor reactor(Threads(threads));
      int idle = 0;
      int work = 0;
      reactor.lifecycle().Add(LifecycleEvent::kOnIdle, [&] {
        ++idle;
        EXPECT_EQ(idle, work + 1);
        EXPECT_EQ(reactor.running_workers(), 1);
        if (idle == kEdges) {
          reactor.Stop();
          return;
        }
        // From elsewhere, since it is no work to run this callback.
        std::thread([&] {
          const LoopHandle to =
              last ? reactor.handles().back() : reactor.handles().front();
          to.Post([&] { ++work; });
        }).detach();
      });
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(work, kEdges - 1);
      EXPECT_EQ(idle, kEdges);
    }
  }
}

// No edge without an end of the work, however many turns there are; and one is
// missed by nobody who comes later.
TEST(StateCb, IdleOnlyWhereNobodyIsBusy) {
  Reactor reactor(Threads(1));
  int idle = 0;
  int turns = 0;
  const std::function<void()> busy = [&] {
    EXPECT_EQ(idle, 0);
    reactor.Defer(++turns < 100 ? busy : [] {});
  };
  reactor.lifecycle().Add(LifecycleEvent::kOnIdle, [&] {
    ++idle;
    EXPECT_EQ(turns, 100);
    reactor.lifecycle().Add(LifecycleEvent::kOnIdle, [&] { idle += 10; });
    reactor.Defer([&] {
      EXPECT_EQ(idle, 1);
      reactor.Defer([&] {
        reactor.Stop();
        reactor.Defer([] {});
      });
    });
  });
  reactor.Defer(busy);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(idle, 1);  // None while it stops.
}

class Noted final : public Protocol {
 public:
  explicit Noted(std::string& log) : log_(log) {}
  void OnData(Connection& connection) override { connection.Received(); }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    log_ += "shutdown ";
    return absl::ZeroDuration();
  }
  void OnClose(Connection&, const CloseReason&) override { log_ += "close "; }

 private:
  std::string& log_;
};

TEST(StateCb, ShutdownFinishOrder) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    std::string log;
    const auto note = [&log](const char* what) {
      return [&log, what] { log += what; };
    };
    Lifecycle& lifecycle = reactor.lifecycle();
    for (const char* name : {"a", "b"}) {
      const auto add = [&, name](LifecycleEvent event, std::string what) {
        lifecycle.Add(event, [&log, name, what] {
          log += absl::StrCat(what, name, " ");
        });
      };
      add(LifecycleEvent::kOnInitialize, "initialize-");
      add(LifecycleEvent::kPreStart, "pre-");
      add(LifecycleEvent::kOnStart, "start-");
      add(LifecycleEvent::kOnShutdown, "end-");
      add(LifecycleEvent::kOnFinish, "finish-");
    }
    for (const LifecycleEvent never :
         {LifecycleEvent::kBeforeFork, LifecycleEvent::kAfterFork,
          LifecycleEvent::kInChild, LifecycleEvent::kInRoot,
          LifecycleEvent::kOnUser, LifecycleEvent::kOnUserReverse,
          LifecycleEvent::kOnPubSubConnect, LifecycleEvent::kOnPubSubError,
          LifecycleEvent::kOnParentCrash, LifecycleEvent::kOnChildCrash}) {
      lifecycle.Add(never, note("never "));
    }
    // It is of the main loop, so that the order is one.
    const SocketAddress address = ListenOn(
        reactor, {.on_open =
                      [&](Connection& connection) {
                        connection.Attach(std::make_unique<Noted>(log));
                        reactor.Stop();
                      },
                  .on_finish = note("listener "),
                  .balance = AcceptBalance::kLeastConnections});
    ASSERT_TRUE(
        reactor
            .RunEvery({.callback = [] { return TimerWheel::Next::kContinue; },
                       .interval = absl::Hours(1),
                       .on_finish = note("timer ")})
            .ok());
    reactor.Defer(note("task "));
    Socket client = ConnectTo(address);
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(log,
              "initialize-a initialize-b pre-a pre-b start-a start-b task "
              "end-b end-a listener shutdown close timer finish-b finish-a ");
  }
}

TEST(StateCb, AtExitLast) {
  enum class End { kReturns, kExits, kNeverRuns };
  for (const End end : {End::kReturns, End::kExits, End::kNeverRuns}) {
    for (const int threads : {1, 3}) {
      const auto run = [=](int pipe) {
        {
          Reactor reactor(Threads(threads));
          const auto note = [pipe](const char* what) {
            return [pipe, what] { WriteTo(pipe, what); };
          };
          reactor.lifecycle().Add(LifecycleEvent::kAtExit, note("exit1"));
          reactor.lifecycle().Add(LifecycleEvent::kAtExit, note("exit2 "));
          reactor.lifecycle().Add(LifecycleEvent::kOnFinish, note("finish "));
          ASSERT_TRUE(
              reactor
                  .RunEvery(
                      {.callback = [] { return TimerWheel::Next::kContinue; },
                       .interval = absl::Hours(1),
                       .on_finish = note("timer ")})
                  .ok());
          ListenOn(reactor,
                   {.on_open = AttachEcho, .on_finish = note("listener ")});
          reactor.Defer([&] {
            reactor.Stop();
            reactor.Post([&, note] {
              note("task ")();
              for (const LoopHandle& handle : reactor.handles()) {
                handle.Post(note("left "));
              }
            });
          });
          if (end != End::kNeverRuns) {
            EXPECT_TRUE(reactor.Run().ok());
          }
          if (end == End::kExits) std::exit(3);
        }
        std::exit(4);
      };
      int status = -1;
      const std::string log = InChild(run, status);
      ASSERT_TRUE(WIFEXITED(status)) << status;
      EXPECT_EQ(WEXITSTATUS(status), end == End::kExits ? 3 : 4);
      if (end == End::kNeverRuns) {
        EXPECT_EQ(log, "timer listener exit2 exit1");
        continue;
      }
      const std::string last = "finish exit2 exit1";
      ASSERT_GT(log.size(), last.size());
      EXPECT_EQ(log.substr(log.size() - last.size()), last);
      const auto count = [&log](const std::string& what) {
        int found = 0;
        for (size_t at = log.find(what); at != std::string::npos;
             at = log.find(what, at + 1)) {
          ++found;
        }
        return found;
      };
      EXPECT_EQ(count("timer "), 1) << log;
      EXPECT_EQ(count("listener "), 1) << log;
      EXPECT_EQ(count("task "), 1) << log;
      EXPECT_EQ(count("left "), threads) << log;
    }
  }
}

}  // namespace
}  // namespace fio
