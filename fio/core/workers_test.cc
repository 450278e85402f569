// Workers crash, are restarted and stopped, and so is their root.

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/supervisor_stats.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "fio/sock/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;

// The ways in which a worker can end by itself; all but one are crashes.
enum class Death : uint8_t { kSegv, kKill, kAbort, kExit3, kExit0 };
constexpr Death kDeaths[] = {Death::kSegv, Death::kKill, Death::kAbort,
                             Death::kExit3, Death::kExit0};
constexpr size_t kCrashes = 4;

void Die(Death death) {
  switch (death) {
    case Death::kSegv:
      raise(SIGSEGV);
      break;
    case Death::kKill:
      raise(SIGKILL);
      break;
    case Death::kAbort:
      std::abort();
    case Death::kExit3:
      std::exit(3);
    case Death::kExit0:
      std::exit(0);
  }
}

// Sends back what it gets, and has a connection stay until its peer goes; a
// digit is how to die.
class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    const std::string received(connection.Received());
    if (received.size() == 1) {
      Die(Death{static_cast<uint8_t>(received[0] - '0')});
    }
    connection.Write(received);
  }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    return absl::Minutes(1);
  }
};

void AttachEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
}

// Two workers that echo, and are replaced at once however they end.
int RunEchoCluster(const Trace& trace,
                   const std::function<void(Reactor&)>& set_up = nullptr,
                   int threads = 1) {
  Reactor reactor({.threads = threads,
                   .workers = 2,
                   .respawn_delay = absl::ZeroDuration(),
                   .max_respawn_delay = absl::ZeroDuration()});
  trace.Follow(reactor.lifecycle());
  if (set_up != nullptr) set_up(reactor);
  trace.Listen(reactor, {.on_open = AttachEcho});
  const absl::Status status = reactor.Run();
  trace.Tell("returned");
  // No zombie is left.
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  return ::testing::Test::HasFailure() ? 2 : ExitWith(status);
}

void ExpectEcho(const SocketAddress& address, std::string_view bytes) {
  TestClient client(address);
  client.Send(bytes);
  ASSERT_EQ(client.Receive(bytes.size()), bytes);
  ASSERT_EQ(client.error(), 0);
}

size_t CountOf(const std::vector<std::string>& trace, std::string_view event) {
  return static_cast<size_t>(std::count(trace.begin(), trace.end(), event));
}

// --- Crashes ---

TEST(Workers, CrashRespawn) {
  TestCluster cluster([](const Trace& trace) { return RunEchoCluster(trace); });
  const SocketAddress address = cluster.AwaitAddress();
  size_t started = 2;
  cluster.Await("start", started);
  for (const Death death : kDeaths) {
    TestClient client(address);
    client.Send(absl::StrCat(static_cast<int>(death)));
    EXPECT_EQ(client.ReceiveToEnd(), "");
    cluster.AwaitMore("start", started, 1);
    ++started;
    ExpectEcho(address, "hello");
  }
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  const std::vector<std::string> root = cluster.TraceOf(cluster.root());
  EXPECT_EQ(CountOf(root, "child_crash"), kCrashes);
  EXPECT_EQ(CountOf(root, "before_fork"), started);
  EXPECT_EQ(CountOf(root, "in_root"), started);
  EXPECT_EQ(cluster.Count("child_crash"), kCrashes);
  EXPECT_EQ(cluster.Count("start"), started);
}

TEST(Workers, TheReactorTellsWhatItsSupervisorDid) {
  TestCluster cluster([](const Trace& trace) {
    return RunEchoCluster(trace, [&trace](Reactor& reactor) {
      const auto tell = [&reactor, trace] {
        const SupervisorStats stats = reactor.supervisor_stats();
        trace.Tell(absl::StrCat("stats ", stats.forked, " ", stats.respawned,
                                " ", stats.crashed));
      };
      Lifecycle& lifecycle = reactor.lifecycle();
      lifecycle.Add(LifecycleEvent::kOnStart, tell);
      lifecycle.Add(LifecycleEvent::kOnFinish, tell);
      lifecycle.Add(LifecycleEvent::kOnChildCrash,
                    [&reactor, tell] { reactor.Post(tell); });
    });
  });
  cluster.Signal(cluster.Await("start", 2).at(0), SIGKILL);
  cluster.Await("stats 3 1 1");
  cluster.Await("start", 3);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("stats 3 1 1"), 2u);
  // In workers it is not known: three that start, and two that finish.
  EXPECT_EQ(cluster.Count("stats 0 0 0"), 5u);
}

TEST(Workers, CrashInChildRespawn) {
  constexpr size_t kDying = std::size(kDeaths);
  TestCluster cluster([](const Trace& trace) {
    size_t forks = 0;
    return RunEchoCluster(trace, [&forks](Reactor& reactor) {
      reactor.lifecycle().Add(LifecycleEvent::kBeforeFork,
                              [&forks] { ++forks; });
      reactor.lifecycle().Add(LifecycleEvent::kInChild, [&forks] {
        if (forks <= kDying) Die(kDeaths[forks - 1]);
      });
    });
  });
  cluster.Await("start", 2);
  ExpectEcho(cluster.AwaitAddress(), "hello");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  const std::vector<std::string> root = cluster.TraceOf(cluster.root());
  EXPECT_EQ(CountOf(root, "child_crash"), kCrashes);
  EXPECT_EQ(CountOf(root, "before_fork"), 2 + kDying);
  EXPECT_EQ(cluster.Count("start"), 2u);
}

TEST(Workers, WithoutRespawnACrashStopsAll) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2, .respawn = false});
    trace.Follow(reactor.lifecycle());
    const absl::Status ran = reactor.Run();
    trace.Tell(absl::StrCat("ran ", ran.message()));
    return ExitWith(ran);
  });
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  // One that ends well is replaced all the same.
  cluster.Signal(workers[0], SIGTERM);
  cluster.AwaitMore("start", 2, 1);
  cluster.Signal(workers[1], SIGKILL);
  EXPECT_EQ(cluster.AwaitEnd(), 1);
  EXPECT_THAT(cluster.AwaitValue("ran"),
              ContainsRegex(absl::StrCat("^worker [01] .process ", workers[1],
                                         ". crashed: signal 9$")));
  EXPECT_EQ(cluster.Count("child_crash"), 1u);
  EXPECT_EQ(cluster.Count("start"), 3u);
  const std::vector<std::string> root = cluster.TraceOf(cluster.root());
  EXPECT_EQ(CountOf(root, "shutdown"), 1u);
  EXPECT_EQ(CountOf(root, "finish"), 1u);
}

// The delays double, up to the longest; nobody is forked early.
TEST(Workers, CrashLoopBacksOff) {
  constexpr size_t kForks = 6;
  constexpr int64_t kMilli = 1'000'000;
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 1,
                     .supervise_single_worker = true,
                     .respawn_delay = absl::Milliseconds(10),
                     .max_respawn_delay = absl::Milliseconds(40)});
    size_t forks = 0;
    reactor.lifecycle().Add(LifecycleEvent::kBeforeFork, [&] {
      trace.Tell(absl::StrCat("fork ", Clock::System().Now().nanoseconds()));
      if (++forks == kForks) reactor.Stop();
    });
    reactor.lifecycle().Add(LifecycleEvent::kInChild,
                            [&] { Die(Death::kExit3); });
    trace.Follow(reactor.lifecycle());
    return ExitWith(reactor.Run());
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_GE(cluster.Count("child_crash"), kForks - 1);
  const std::vector<std::string> forks = cluster.Values("fork");
  ASSERT_EQ(forks.size(), kForks);
  std::vector<int64_t> times(kForks);
  for (size_t i = 0; i < kForks; ++i) {
    ASSERT_TRUE(absl::SimpleAtoi(forks[i], &times[i]));
    if (i == 0) continue;
    EXPECT_GE(times[i] - times[i - 1],
              std::min<int64_t>(40, 10 << (i - 1)) * kMilli);
  }
}

TEST(Workers, MasterSigkill) {
  TestCluster cluster([](const Trace& trace) { return RunEchoCluster(trace); });
  const SocketAddress address = cluster.AwaitAddress();
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  TestClient client(address);
  client.Send("hello");
  EXPECT_EQ(client.Receive(5), "hello");
  cluster.Signal(SIGKILL);
  cluster.Await("parent_crash", 2);
  // Its connection stays, as in every graceful stop.
  cluster.Await("at_exit");
  client.Send("again");
  EXPECT_EQ(client.Receive(5), "again");
  client.Close();
  EXPECT_EQ(cluster.AwaitEnd(), 1000 + SIGKILL);
  for (const pid_t worker : workers) {
    EXPECT_THAT(cluster.TraceOf(worker),
                ElementsAre("after_fork", "in_child", "start", "parent_crash",
                            "shutdown", "finish", "at_exit"));
  }
}

// --- Restarts ---

TEST(Workers, HotRestartNoRefusal) {
  for (const int threads : {1, 2}) {
    TestCluster cluster([threads](const Trace& trace) {
      return RunEchoCluster(trace, nullptr, threads);
    });
    const SocketAddress address = cluster.AwaitAddress();
    cluster.Await("start", 2);
    int served = 0;
    for (size_t restart = 1; restart <= 5; ++restart) {
      cluster.Signal(SIGUSR1);
      while (cluster.Count("start") < 2 + 2 * restart ||
             cluster.Count("at_exit") < 2 * restart) {
        ASSERT_NO_FATAL_FAILURE(
            ExpectEcho(address, absl::StrCat("hello ", served)));
        ASSERT_LT(++served, 1'000'000);
      }
    }
    EXPECT_GT(served, 0);
    EXPECT_EQ(cluster.Count("child_crash"), 0u);
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
    EXPECT_EQ(cluster.Count("start"), 12u);
  }
}

TEST(Workers, RestartStorm) {
  TestCluster cluster([](const Trace& trace) { return RunEchoCluster(trace); });
  const SocketAddress address = cluster.AwaitAddress();
  cluster.Await("start", 2);
  TestClient stays(address);
  stays.Send("hello");
  EXPECT_EQ(stays.Receive(5), "hello");
  for (int i = 0; i < 100; ++i) {
    cluster.Signal(SIGUSR1);
    ASSERT_NO_FATAL_FAILURE(ExpectEcho(address, absl::StrCat("hello ", i)));
  }
  cluster.Await("start", 3);
  // The restart has begun, so these ask for one more.
  for (int i = 0; i < 100; ++i) cluster.Signal(SIGUSR1);
  cluster.Await("start", 5);
  ASSERT_NO_FATAL_FAILURE(ExpectEcho(address, "after the storm"));
  stays.Send("again");
  EXPECT_EQ(stays.Receive(5), "again");
  stays.Close();
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
  // All of them have ended in good order.
  EXPECT_EQ(cluster.Count("in_child"), cluster.Count("in_root"));
  EXPECT_EQ(cluster.Count("at_exit"), cluster.Count("in_child") + 1);
}

TEST(Workers, Usr1ToOneWorker) {
  TestCluster cluster([](const Trace& trace) { return RunEchoCluster(trace); });
  const SocketAddress address = cluster.AwaitAddress();
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  for (size_t i = 0; i < 5; ++i) {
    const pid_t replaced =
        i == 0 ? workers[0] : cluster.Await("start", 2 + i).back();
    cluster.Signal(replaced, SIGUSR1);
    cluster.AwaitMore("start", 2 + i, 1);
    ASSERT_NO_FATAL_FAILURE(ExpectEcho(address, "hello"));
    cluster.Await("at_exit", 1 + i);
    EXPECT_EQ(cluster.TraceOf(replaced).back(), "at_exit");
  }
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
  EXPECT_EQ(cluster.Count("shutdown"), 5u);
  EXPECT_EQ(CountOf(cluster.TraceOf(workers[1]), "shutdown"), 0u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

// --- Stops ---

void ExpectNoForkAfterShutdown(TestCluster& cluster) {
  const std::vector<std::string> root = cluster.TraceOf(cluster.root());
  const auto shutdown = std::find(root.begin(), root.end(), "shutdown");
  EXPECT_NE(shutdown, root.end());
  EXPECT_EQ(std::count(shutdown, root.end(), "before_fork"), 0);
  EXPECT_EQ(std::count(shutdown, root.end(), "child_crash"), 0);
}

TEST(Workers, NoSpawnAfterStop) {
  {
    // While one drains.
    TestCluster cluster(
        [](const Trace& trace) { return RunEchoCluster(trace); });
    const SocketAddress address = cluster.AwaitAddress();
    cluster.Await("start", 2);
    TestClient client(address);
    client.Send("hello");
    EXPECT_EQ(client.Receive(5), "hello");
    cluster.Signal(SIGTERM);
    cluster.Await("shutdown", 3);
    const pid_t idle = cluster.Await("at_exit").front();
    for (const pid_t worker : cluster.Await("start", 2)) {
      if (worker != idle) cluster.Signal(worker, SIGKILL);
    }
    EXPECT_EQ(cluster.AwaitEnd(), 0);
    ExpectNoForkAfterShutdown(cluster);
  }
  {
    // While one is to be forked after a delay.
    TestCluster cluster([](const Trace& trace) {
      Reactor reactor({.workers = 2,
                       .respawn_delay = absl::Hours(1),
                       .max_respawn_delay = absl::Hours(1)});
      trace.Follow(reactor.lifecycle());
      reactor.lifecycle().Add(LifecycleEvent::kInChild,
                              [] { Die(Death::kExit3); });
      return ExitWith(reactor.Run());
    });
    cluster.Await("child_crash", 2);
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
    ExpectNoForkAfterShutdown(cluster);
    EXPECT_EQ(cluster.Count("in_root"), 2u);
  }
  for (int i = 0; i < 10; ++i) {
    // At the same time.
    TestCluster cluster(
        [](const Trace& trace) { return RunEchoCluster(trace); });
    const std::vector<pid_t> workers = cluster.Await("start", 2);
    cluster.Signal(workers[0], SIGKILL);
    cluster.Signal(SIGUSR1);
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
    ExpectNoForkAfterShutdown(cluster);
  }
}

// --- The user's own children ---

TEST(Workers, OtherChildrenAreLeftAlone) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    const pid_t stays = fork();
    while (stays == 0) pause();
    const pid_t ends = fork();
    if (ends == 0) _exit(7);
    const absl::Status status = reactor.Run();
    trace.Tell("returned");
    int code = -1;
    if (waitpid(stays, &code, WNOHANG) != 0) return 10;
    if (waitpid(ends, &code, 0) != ends || WEXITSTATUS(code) != 7) return 11;
    if (kill(stays, SIGKILL) != 0) return 12;
    if (waitpid(stays, &code, 0) != stays || WTERMSIG(code) != SIGKILL) {
      return 13;
    }
    if (waitpid(-1, &code, WNOHANG) != -1) return 14;
    return ExitWith(status);
  });
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  cluster.Signal(workers[0], SIGKILL);
  cluster.AwaitMore("start", 2, 1);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("child_crash"), 1u);
}

// --- The stress scenarios of processes ---

// What signals meet: a root that runs, and runs once more after that, with
// handlers of its own before and after.
class BadTimes {
 public:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1, SIGCHLD};

  static void OwnHandler(int /*signal*/) {}

  static void Install() {
    struct sigaction own = {};
    own.sa_handler = &OwnHandler;
    own.sa_flags = SA_RESTART;
    sigaddset(&own.sa_mask, SIGALRM);
    for (const int signal : kSignals) sigaction(signal, &own, nullptr);
  }

  static bool AreRestored() {
    return std::all_of(std::begin(kSignals), std::end(kSignals),
                       [](int signal) {
                         struct sigaction now;
                         sigaction(signal, nullptr, &now);
                         return now.sa_handler == &OwnHandler &&
                                sigismember(&now.sa_mask, SIGALRM) == 1 &&
                                (now.sa_flags & SA_RESTART) != 0;
                       });
  }

  // `set_up` is called before the first run, which is to end by itself.
  static int Run(const Trace& trace,
                 const std::function<void(Reactor&)>& set_up) {
    Install();
    Reactor reactor({.workers = 2,
                     .respawn_delay = absl::Milliseconds(1),
                     .max_respawn_delay = absl::Milliseconds(1)});
    trace.Follow(reactor.lifecycle());
    set_up(reactor);
    if (!reactor.Run().ok()) return 10;
    trace.Tell("returned");
    if (!AreRestored()) return 11;
    for (const int signal : kSignals) raise(signal);
    if (waitpid(-1, nullptr, WNOHANG) != -1) return 12;
    // Again, undisturbed.
    for (int event = 0; event < static_cast<int>(LifecycleEvent::kNever);
         ++event) {
      if (event == static_cast<int>(LifecycleEvent::kAtExit)) continue;
      reactor.lifecycle().Clear(static_cast<LifecycleEvent>(event));
    }
    reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&] { reactor.Stop(); });
    if (!reactor.Run().ok()) return 13;
    return AreRestored() ? 0 : 14;
  }
};

// A process of the root's group that has nothing to do with it.
class Sibling {
 public:
  explicit Sibling(const TestCluster& cluster) : process_(fork()) {
    while (process_ == 0) pause();
    EXPECT_EQ(setpgid(process_, cluster.root()), 0);
  }
  ~Sibling() {
    EXPECT_EQ(waitpid(process_, nullptr, WNOHANG), 0) << "it has died";
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

 private:
  const pid_t process_;
};

void ExpectOneCleanStop(TestCluster& cluster) {
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
  const std::vector<std::string> root = cluster.TraceOf(cluster.root());
  EXPECT_EQ(CountOf(root, "pre_start"), 1u);
  EXPECT_LE(CountOf(root, "shutdown"), 1u);
  EXPECT_EQ(CountOf(root, "finish"), 1u);
}

// Once in each process, inside of each callback.
TEST(Scenario, SignalsAtBadTimes) {
  constexpr LifecycleEvent kEvents[] = {
      LifecycleEvent::kPreStart,   LifecycleEvent::kBeforeFork,
      LifecycleEvent::kAfterFork,  LifecycleEvent::kInChild,
      LifecycleEvent::kInRoot,     LifecycleEvent::kOnStart,
      LifecycleEvent::kOnShutdown, LifecycleEvent::kOnFinish};
  for (const LifecycleEvent event : kEvents) {
    for (const int signal : BadTimes::kSignals) {
      SCOPED_TRACE(absl::StrCat(static_cast<int>(event), " ", signal));
      TestCluster cluster([event, signal](const Trace& trace) {
        pid_t raised_in = 0;
        return BadTimes::Run(trace, [&](Reactor& reactor) {
          reactor.lifecycle().Add(event, [&raised_in, signal] {
            if (std::exchange(raised_in, getpid()) != getpid()) raise(signal);
          });
          reactor.Defer([&reactor] {
            if (reactor.is_root()) {
              reactor.loop().RunAfter(absl::Milliseconds(2),
                                      [&reactor] { reactor.Stop(); });
            }
          });
        });
      });
      const Sibling sibling(cluster);
      ExpectOneCleanStop(cluster);
    }
  }
}

// At any time, from its start to its end.
TEST(Scenario, SignalBurstsAtBadTimes) {
  for (int round = 0; round < 20; ++round) {
    TestCluster cluster([](const Trace& trace) {
      return BadTimes::Run(trace, [&trace](Reactor&) { trace.Tell("begin"); });
    });
    const Sibling sibling(cluster);
    cluster.Await("begin");
    for (int i = round; cluster.Count("returned") == 0; ++i) {
      // Rarely those that stop, and ever fewer others before them.
      const bool stops = i % 40 > 37;
      cluster.Signal(stops ? BadTimes::kSignals[i % 2]
                           : BadTimes::kSignals[2 + i % 2]);
    }
    ExpectOneCleanStop(cluster);
  }
}

// The root dies while workers come and go.
TEST(Scenario, ProcessDeath) {
  for (const Death death : kDeaths) {
    TestCluster cluster([death](const Trace& trace) {
      return RunEchoCluster(trace, [death](Reactor& reactor) {
        // One place crashes for ever.
        reactor.lifecycle().Add(LifecycleEvent::kInChild, [&reactor, death] {
          if (reactor.worker_place() == 1) Die(death);
        });
      });
    });
    const pid_t serves = cluster.Await("start").front();
    cluster.Await("in_child", 10);
    cluster.Signal(SIGKILL);
    EXPECT_EQ(cluster.AwaitEnd(), 1000 + SIGKILL);
    EXPECT_EQ(CountOf(cluster.TraceOf(serves), "parent_crash"), 1u);
    EXPECT_EQ(cluster.Count("start"), 1u);
    EXPECT_LE(cluster.Count("parent_crash"), 2u);
  }
}

}  // namespace
}  // namespace fio
