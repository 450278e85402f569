// How a reactor starts and stops, and what signals have to do with it.

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::AttachEcho;
using core_internal::ConnectMany;
using core_internal::ConnectTo;
using core_internal::ExpectChildPasses;
using core_internal::ListenOn;
using core_internal::Threads;
using testing::ReadToEnd;
using testing::ReadUntil;

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGPIPE};

// As Threads(), with the default signals.
ReactorOptions Hearing(int threads) {
  ReactorOptions options = Threads(threads);
  options.signals = SignalOptions();
  return options;
}

std::atomic<int> g_calls{0};  // Of CountCall().
void CountCall(int /*signal*/) { ++g_calls; }

// What a signal does, put back at the end.
class Disposition {
 public:
  Disposition(int signal, const struct sigaction& action) : signal_(signal) {
    EXPECT_EQ(sigaction(signal, &action, &before_), 0);
  }
  Disposition(int signal, void (*handler)(int))
      : Disposition(signal, ActionOf(handler)) {}
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { EXPECT_EQ(sigaction(signal_, &before_, nullptr), 0); }

 private:
  static struct sigaction ActionOf(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    return action;
  }

  const int signal_;
  struct sigaction before_ = {};
};

struct sigaction Current(int signal) {
  struct sigaction action = {};
  EXPECT_EQ(sigaction(signal, nullptr, &action), 0);
  return action;
}

void ExpectSame(const struct sigaction& a, const struct sigaction& b) {
  constexpr int kRestorer = 0x04000000;  // Of the C library's own.
  EXPECT_EQ(a.sa_flags & ~kRestorer, b.sa_flags & ~kRestorer);
  // Both members of the union.
  EXPECT_EQ(a.sa_handler, b.sa_handler);
  EXPECT_EQ(a.sa_sigaction, b.sa_sigaction);
  for (int signal = 1; signal < NSIG; ++signal) {
    EXPECT_EQ(sigismember(&a.sa_mask, signal), sigismember(&b.sa_mask, signal))
        << signal;
  }
}

// --- Options ---

// Also where one process does all.
void ExpectRefused(const ReactorOptions& options, const std::string& message) {
  Reactor reactor(options);
  for (const absl::Status& status :
       {reactor.Listen("tcp://127.0.0.1:0", {.on_open = AttachEcho}).status(),
        reactor.Run()}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(status.message(), message);
  }
}

TEST(Options, BadSignalsAreNamed) {
  const auto expect_refused = [](std::vector<int> stop,
                                 std::vector<int> restart,
                                 const std::string& message) {
    ReactorOptions options = Threads(1);
    options.signals = {.stop = std::move(stop), .restart = std::move(restart)};
    ExpectRefused(options, message);
  };
  expect_refused({SIGTERM, SIGKILL}, {},
                 "SignalOptions::stop: SIGKILL cannot be handled");
  expect_refused({}, {SIGSTOP},
                 "SignalOptions::restart: SIGSTOP cannot be handled");
  expect_refused({SIGINT, SIGTERM, SIGINT}, {},
                 "SignalOptions::stop: SIGINT is listed twice");
  expect_refused({SIGTERM, SIGUSR1}, {SIGUSR1},
                 "SignalOptions: SIGUSR1 is in stop and in restart");
  expect_refused({0}, {}, "SignalOptions::stop: signal 0 does not exist");
  expect_refused(
      {}, {NSIG},
      absl::StrCat("SignalOptions::restart: signal ", NSIG, " does not exist"));
}

TEST(Options, BadSignalsToReloadAreNamed) {
  const auto expect_refused = [](std::vector<int> reload,
                                 const std::string& message) {
    ReactorOptions options = Threads(1);
    options.signals = {.reload = std::move(reload)};
    ExpectRefused(options, message);
  };
  expect_refused({SIGKILL}, "SignalOptions::reload: SIGKILL cannot be handled");
  expect_refused({SIGUSR2, SIGTERM},
                 "SignalOptions: SIGTERM is in stop and in reload");
  expect_refused({SIGUSR1},
                 "SignalOptions: SIGUSR1 is in restart and in reload");
}

TEST(Options, NegativeDurationsAreNamed) {
  const std::pair<absl::Duration ReactorOptions::*, std::string> spans[] = {
      {&ReactorOptions::drain_time, "drain_time"},
      {&ReactorOptions::shutdown_timeout, "shutdown_timeout"},
      {&ReactorOptions::linger_timeout, "linger_timeout"},
      {&ReactorOptions::respawn_delay, "respawn_delay"},
      {&ReactorOptions::max_respawn_delay, "max_respawn_delay"},
      {&ReactorOptions::worker_min_lifetime, "worker_min_lifetime"},
  };
  for (const auto& [span, name] : spans) {
    for (const int workers : {1, 2}) {
      ReactorOptions options = Threads(1);
      options.workers = workers;
      options.*span = -absl::Seconds(1);
      ExpectRefused(options, "ReactorOptions::" + name + ": -1s is negative");
    }
  }
}

// --- Start ---

TEST(Start, ReturnsAfterStop) {
  for (const int threads : {1, 4}) {
    Reactor reactor(Threads(threads));
    std::string log;
    ASSERT_TRUE(
        reactor
            .RunEvery({.callback = [] { return TimerWheel::Next::kContinue; },
                       .interval = absl::Hours(1),
                       .on_finish = [&] { log += "timer "; }})
            .ok());
    reactor.lifecycle().Add(LifecycleEvent::kOnFinish,
                            [&] { log += "finish "; });
    reactor.Post([&] {
      log += "task ";
      reactor.Stop();
      reactor.Post([&] { log += "last "; });
    });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(log, "task last timer finish ");
  }
}

TEST(Start, TwiceInOneProcess) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    int started = 0;
    int timers = 0;
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] { ++started; });
    for (int run = 1; run <= 3; ++run) {
      const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
      ASSERT_TRUE(
          reactor
              .RunEvery({.callback = [] { return TimerWheel::Next::kContinue; },
                         .interval = absl::Microseconds(1),
                         .on_finish = [&] { ++timers; }})
              .ok());
      std::thread client([&] {
        for (int i = 0; i < 10; ++i) {
          Socket socket = ConnectTo(address);
          EXPECT_TRUE(socket.TryWrite("hello").ok());
          EXPECT_EQ(ReadUntil(socket, 5), "hello");
          if (i < 9) continue;
          reactor.Stop();
          EXPECT_EQ(ReadToEnd(socket), "bye");
        }
      });
      EXPECT_TRUE(reactor.Run().ok());
      client.join();
      EXPECT_EQ(started, run);
      EXPECT_EQ(timers, run);
      EXPECT_EQ(reactor.loop().connection_count(), 0u);
      EXPECT_EQ(reactor.handles().size(), 1u);
      EXPECT_LT(core_internal::TryConnectTo(address).fd(), 0);
    }
  }
}

// --- Stop ---

Reactor* g_reactor = nullptr;
void StopReactor(int /*signal*/) { g_reactor->Stop(); }

// Asks for the stop from elsewhere, when the main loop is about to wait and has
// nothing to wake it: it returns at all, and it does so in a few turns.
void ExpectStops(Reactor& reactor, const std::function<void()>& ask) {
  Loop& loop = reactor.loop();
  absl::Notification waits;
  bool serves = false;
  std::atomic<uint64_t> turn{0};
  loop.OnTurnBegin([&] {
    if (!serves || waits.HasBeenNotified()) return;
    turn = loop.turn();
    waits.Notify();
  });
  reactor.Defer([&] { serves = true; });
  std::thread asks([&] {
    waits.WaitForNotification();
    ask();
  });
  EXPECT_TRUE(reactor.Run().ok());
  asks.join();
  EXPECT_LE(loop.turn() - turn, 8u);
  loop.OnTurnBegin(nullptr);
}

TEST(Stop, FromTaskThreadSignal) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Hearing(threads));
    g_reactor = &reactor;
    const Disposition usr2(SIGUSR2, &StopReactor);
    // From a task.
    reactor.Post([&] { reactor.Stop(); });
    EXPECT_TRUE(reactor.Run().ok());
    // From another thread.
    ExpectStops(reactor, [&] { reactor.Stop(); });
    // From a task of another loop.
    ExpectStops(reactor, [&] {
      reactor.handles().back().Post([&] { reactor.Stop(); });
    });
    // From a handler of the user's own, on this thread and on another.
    const pthread_t main = pthread_self();
    ExpectStops(reactor, [&] { pthread_kill(main, SIGUSR2); });
    ExpectStops(reactor, [&] { raise(SIGUSR2); });
    // By the signals that it hears.
    for (const int signal : {SIGTERM, SIGINT, SIGQUIT}) {
      ExpectStops(reactor, [&] { kill(getpid(), signal); });
      ExpectStops(reactor, [&] { pthread_kill(main, signal); });
    }
    g_reactor = nullptr;
  }
}

TEST(Stop, WhileNotRunningDoesNothing) {
  Reactor reactor(Threads(2));
  for (int run = 0; run < 2; ++run) {
    reactor.Stop();
    reactor.Stop(absl::ZeroDuration());
    bool ran = false;
    reactor.Defer([&] {
      ran = true;
      reactor.Stop();
    });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_TRUE(ran);
    reactor.Stop();
  }
}

TEST(Stop, InPreStartCancelsTheStart) {
  for (const absl::Duration timeout :
       {absl::Seconds(262), absl::InfiniteDuration()}) {
    for (const int threads : {1, 3}) {
      ReactorOptions options = Hearing(threads);
      options.shutdown_timeout = timeout;
      Reactor reactor(options);
      std::string log;
      bool by_signal = false;
      const Lifecycle::CallbackId cancels =
          reactor.lifecycle().Add(LifecycleEvent::kPreStart, [&] {
            log += 'p';
            by_signal ? static_cast<void>(raise(SIGTERM)) : reactor.Stop();
          });
      reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] { log += 's'; });
      reactor.lifecycle().Add(LifecycleEvent::kOnShutdown, [&] { log += 'e'; });
      reactor.lifecycle().Add(LifecycleEvent::kOnFinish, [&] { log += 'f'; });
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(log, "pf");
      by_signal = true;
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(log, "pfpf");
      EXPECT_TRUE(reactor.lifecycle().Remove(cancels));
      reactor.Defer([&] { reactor.Stop(); });
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(log, "pfpfsef");
    }
  }
}

TEST(Stop, InEachCallbackAndTwice) {
  for (const LifecycleEvent event :
       {LifecycleEvent::kOnStart, LifecycleEvent::kOnIdle,
        LifecycleEvent::kOnShutdown, LifecycleEvent::kOnFinish}) {
    for (const int threads : {1, 3}) {
      Reactor reactor(Threads(threads));
      int calls = 0;
      reactor.lifecycle().Add(event, [&] {
        ++calls;
        reactor.Stop();
        reactor.Stop();
      });
      if (event > LifecycleEvent::kOnIdle) {
        reactor.Defer([&] { reactor.Stop(); });
      }
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(calls, 1);
    }
  }
}

// --- Signals ---

class NeverLeaves final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    return absl::Hours(1);
  }
};

TEST(Signals, ASecondOneCutsOff) {
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT}) {
    for (const int threads : {1, 3}) {
      Reactor reactor(Hearing(threads));
      std::atomic<int> opened{0};
      const SocketAddress address =
          ListenOn(reactor, {.on_open = [&](Connection& connection) {
                     connection.Attach(std::make_unique<NeverLeaves>());
                     if (++opened == 6) kill(getpid(), signal);
                   }});
      bool stopping = false;
      reactor.lifecycle().Add(LifecycleEvent::kOnShutdown,
                              [&] { stopping = true; });
      int turns = 0;
      reactor.loop().OnTurnEnd([&] {
        if (!stopping) return;
        if (++turns == 10) raise(signal);
        if (turns < 10) reactor.loop().Wake();
      });
      std::vector<Socket> clients = ConnectMany(address, 6);
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_GE(turns, 10);
      for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), "");
    }
  }
}

TEST(Signals, OldHandlersRestored) {
  std::vector<struct sigaction> actions(5);
  actions[0].sa_handler = SIG_DFL;
  actions[1].sa_handler = SIG_IGN;
  actions[2].sa_handler = &CountCall;
  sigaddset(&actions[2].sa_mask, SIGHUP);
  actions[3].sa_sigaction = [](int, siginfo_t*, void*) { ++g_calls; };
  actions[3].sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
  actions[4].sa_handler = &CountCall;
  actions[4].sa_flags = SA_RESETHAND;
  for (const struct sigaction& action : actions) {
    std::vector<std::unique_ptr<Disposition>> set;
    std::vector<struct sigaction> before;
    for (const int signal : kSignals) {
      set.push_back(std::make_unique<Disposition>(signal, action));
      before.push_back(Current(signal));
    }
    const auto expect_restored = [&] {
      for (size_t i = 0; i < kSignals.size(); ++i) {
        SCOPED_TRACE(kSignals[i]);
        ExpectSame(Current(kSignals[i]), before[i]);
      }
    };
    g_calls = 0;
    Reactor reactor(Hearing(2));
    expect_restored();  // Until Run() they are the user's.
    for (int run = 0; run < 2; ++run) {
      reactor.Defer([] {
        // A write to a pipe without a reader is an error and no more.
        std::array<int, 2> pipe_ends;
        ASSERT_EQ(pipe(pipe_ends.data()), 0);
        close(pipe_ends[0]);
        EXPECT_EQ(write(pipe_ends[1], "x", 1), -1);
        EXPECT_EQ(errno, EPIPE);
        close(pipe_ends[1]);
        raise(SIGUSR1);
        raise(SIGTERM);
      });
      EXPECT_TRUE(reactor.Run().ok());
      expect_restored();
    }
    // Cancelled.
    reactor.lifecycle().Add(LifecycleEvent::kPreStart, [&] { reactor.Stop(); });
    EXPECT_TRUE(reactor.Run().ok());
    expect_restored();
    // Failed, with some of them installed.
    for (const int bad : {SIGKILL, SIGTERM, 0}) {
      ReactorOptions options = Hearing(1);
      options.signals.restart = {SIGUSR1, bad};
      Reactor fails(options);
      EXPECT_FALSE(fails.Run().ok());
      expect_restored();
    }
    EXPECT_EQ(g_calls, 0);
    // They are at work again.
    if (action.sa_handler == &CountCall) {
      for (const int signal : kSignals) raise(signal);
      EXPECT_EQ(g_calls, static_cast<int>(kSignals.size()));
    }
  }
}

TEST(Signals, StartTwiceNoRecursion) {
  const Disposition term(SIGTERM, &CountCall);
  g_calls = 0;
  // In a row, one inside of another's life, and both at once.
  Reactor outer(Hearing(1));
  for (int i = 0; i < 3; ++i) {
    outer.Defer([] { raise(SIGTERM); });
    EXPECT_TRUE(outer.Run().ok());
    Reactor inner(Hearing(1));
    outer.Defer([&] {
      inner.Defer([] { raise(SIGTERM); });
      EXPECT_TRUE(inner.Run().ok());
    });
    EXPECT_TRUE(outer.Run().ok());
  }
  EXPECT_EQ(g_calls, 0);
  raise(SIGTERM);
  EXPECT_EQ(g_calls, 1);
}

TEST(Signals, TwoReactorsOnTwoThreadsHearThem) {
  for (int i = 0; i < 10; ++i) {
    Reactor first(Hearing(1));
    Reactor second(Hearing(2));
    absl::Notification first_runs;
    absl::Notification second_runs;
    first.Defer([&] { first_runs.Notify(); });
    second.Defer([&] { second_runs.Notify(); });
    std::thread other([&] { EXPECT_TRUE(second.Run().ok()); });
    std::thread killer([&] {
      first_runs.WaitForNotification();
      second_runs.WaitForNotification();
      kill(getpid(), SIGTERM);
    });
    EXPECT_TRUE(first.Run().ok());
    other.join();
    killer.join();
  }
}

TEST(Signals, SharedWithOtherWatches) {
  const auto elsewhere = SignalWatch::Create({SIGINT});
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.status();
  Reactor reactor(Hearing(1));
  reactor.Post([] { raise(SIGINT); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ((*elsewhere)->Next(), SIGINT);
}

TEST(Signals, StopRaisesNothing) {
  std::vector<std::unique_ptr<Disposition>> counted;
  for (int signal = 1; signal < 32; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP || signal == SIGSEGV ||
        signal == SIGBUS || signal == SIGABRT || signal == SIGILL ||
        signal == SIGFPE || signal == SIGTRAP || signal == SIGALRM) {
      continue;
    }
    counted.push_back(std::make_unique<Disposition>(signal, &CountCall));
  }
  g_calls = 0;
  for (const int threads : {1, 3}) {
    // That hears signals, and whose user would hear them.
    for (const bool hears : {true, false}) {
      Reactor reactor(hears ? Hearing(threads) : Threads(threads));
      const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
      std::thread client([&] {
        Socket socket = ConnectTo(address);
        EXPECT_TRUE(socket.TryWrite("hello").ok());
        EXPECT_EQ(ReadUntil(socket, 5), "hello");
        reactor.Restart();
        reactor.Stop();
        EXPECT_EQ(ReadToEnd(socket), "bye");
      });
      EXPECT_TRUE(reactor.Run().ok());
      client.join();
    }
  }
  EXPECT_EQ(g_calls, 0);
}

TEST(Signals, RestartIsIgnoredByASingleProcess) {
  Reactor reactor(Hearing(1));
  std::string log;
  reactor.Defer([&] {
    raise(SIGUSR1);
    reactor.Restart();
  });
  int turns = 0;
  reactor.loop().OnTurnEnd([&] {
    EXPECT_EQ(reactor.running_workers(), turns < 10 ? 1 : 0);
    if (++turns == 10) reactor.Stop();
    if (turns < 10) reactor.loop().Wake();
  });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_GE(turns, 10);
}

// Raises all signals that a reactor hears from another thread, in gusts. A
// storm without a pause would let nothing but the handlers run.
class Storm {
 public:
  Storm()
      : thread_([this] {
          for (gusts_.acquire(); !over_; gusts_.acquire()) {
            for (int i = 0; i < 8; ++i) {
              for (const int signal : {SIGINT, SIGUSR1, SIGTERM, SIGUSR2}) {
                kill(getpid(), signal);
              }
            }
          }
        }) {}
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  ~Storm() {
    over_ = true;
    Gust();
    thread_.join();
  }

  void Gust() { gusts_.release(); }

 private:
  std::atomic<bool> over_{false};
  std::counting_semaphore<> gusts_{0};
  std::thread thread_;
};

TEST(Signals, DuringTeardown) {
  for (const int threads : {1, 3}) {
    ExpectChildPasses([threads] {
      // The user's own, which are never asked while it runs.
      const Disposition handlers[] = {{SIGINT, &CountCall},
                                      {SIGTERM, &CountCall},
                                      {SIGQUIT, &CountCall},
                                      {SIGUSR1, &CountCall},
                                      {SIGUSR2, &StopReactor}};
      // One at each callback, and right after the return.
      for (const LifecycleEvent event :
           {LifecycleEvent::kOnInitialize, LifecycleEvent::kPreStart,
            LifecycleEvent::kOnStart, LifecycleEvent::kOnIdle,
            LifecycleEvent::kOnShutdown, LifecycleEvent::kOnFinish}) {
        SCOPED_TRACE(static_cast<int>(event));
        for (const int signal : {SIGTERM, SIGUSR1}) {
          g_calls = 0;
          Reactor reactor(Hearing(threads));
          int calls = 0;
          reactor.lifecycle().Add(event, [&] {
            ++calls;
            raise(signal);
            if (event == LifecycleEvent::kOnIdle) reactor.Stop();
          });
          if (event != LifecycleEvent::kOnIdle) {
            reactor.Defer([&] { reactor.Stop(); });
          }
          EXPECT_TRUE(reactor.Run().ok());
          EXPECT_EQ(calls, 1);
          EXPECT_EQ(g_calls, 0);
          raise(signal);
          EXPECT_EQ(g_calls, 1);
        }
      }
      // Many, beside each callback and between the runs, which nothing else
      // stops: each run has one clean stop.
      Reactor reactor(Hearing(threads));
      g_reactor = &reactor;
      int finished = 0;
      reactor.lifecycle().Add(LifecycleEvent::kOnFinish, [&] { ++finished; });
      {
        Storm storm;
        std::vector<Lifecycle::CallbackId> gusts;
        for (const LifecycleEvent event :
             {LifecycleEvent::kOnInitialize, LifecycleEvent::kPreStart,
              LifecycleEvent::kOnStart, LifecycleEvent::kOnShutdown,
              LifecycleEvent::kOnFinish}) {
          gusts.push_back(
              reactor.lifecycle().Add(event, [&storm] { storm.Gust(); }));
        }
        for (int run = 1; run <= 30; ++run) {
          storm.Gust();
          ListenOn(reactor, {.on_open = AttachEcho});
          EXPECT_TRUE(reactor.Run().ok());
          EXPECT_EQ(finished, run);
        }
        for (const auto gust : gusts) reactor.lifecycle().Remove(gust);
      }
      for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGUSR1}) {
        EXPECT_EQ(Current(signal).sa_handler, &CountCall);
      }
      // A start after that works.
      bool ran = false;
      reactor.Defer([&] {
        ran = true;
        reactor.Stop();
      });
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_TRUE(ran);
    });
  }
}

TEST(Signals, GroupSiblingSurvives) {
  for (const int workers : {1, 2}) {
    SCOPED_TRACE(workers);
    ExpectChildPasses([workers] {
      ASSERT_EQ(setpgid(0, 0), 0);
      const pid_t sibling = fork();
      if (sibling == 0) {
        alarm(120);
        for (;;) pause();
      }
      ASSERT_GT(sibling, 0);
      ReactorOptions options = Hearing(1);
      options.workers = workers;
      Reactor reactor(options);
      int forks = 0;
      if (workers == 1) {
        reactor.Defer([&] {
          reactor.Restart();
          raise(SIGUSR1);
          reactor.Defer([] { raise(SIGTERM); });
        });
      } else {
        reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&] {
          ++forks;
          if (forks == 2) raise(SIGUSR1);
          if (forks == 4) raise(SIGTERM);
        });
      }
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(forks, workers == 1 ? 0 : 4);
      EXPECT_EQ(waitpid(sibling, nullptr, WNOHANG), 0);
      EXPECT_EQ(kill(sibling, SIGKILL), 0);
      int status;
      EXPECT_EQ(waitpid(sibling, &status, 0), sibling);
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    });
  }
}

}  // namespace
}  // namespace fio
