// Who is told to reload, and when.

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_event.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;

// What a program reads at its start, and again when it reloads.
int g_version = 1;

// Tells "reload PLACE.GENERATION" and "reload".
void TellReloads(Reactor& reactor, const Trace& trace) {
  reactor.lifecycle().Add(LifecycleEvent::kOnReload, [&](WorkerEvent& worker) {
    ++g_version;
    trace.Tell(absl::StrCat("reload ", worker.place(), ".", worker.generation(),
                            worker.pid() == getpid() ? " self" : " nobody"));
    trace.Tell("reload");
  });
  reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&trace] {
    trace.Tell(absl::StrCat("version ", g_version));
  });
}

// A root, which runs `set_up` before Run().
TestCluster NewCluster(ReactorOptions options,
                       std::function<void(Reactor& reactor, const Trace& trace)>
                           set_up = nullptr) {
  return TestCluster([options, set_up](const Trace& trace) {
    Reactor reactor(options);
    trace.Follow(reactor.lifecycle());
    TellReloads(reactor, trace);
    if (set_up != nullptr) set_up(reactor, trace);
    return ExitWith(reactor.Run());
  });
}

ReactorOptions Workers(int workers) {
  return {.threads = 1, .workers = workers, .supervise_single_worker = true};
}

ReactorOptions Single() { return {.threads = 2, .workers = 1}; }

void StopAll(TestCluster& cluster) {
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

TEST(Reload, OfASingleProcess) {
  TestCluster cluster = NewCluster(Single());
  cluster.Await("start");
  cluster.Signal(SIGHUP);
  cluster.Await("reload");
  cluster.Signal(SIGHUP);
  cluster.Await("reload", 2);
  StopAll(cluster);
  EXPECT_THAT(cluster.Values("reload"), ElementsAre("0.0 self", "0.0 self"));
}

TEST(Reload, OfTheRootAndThenOfEachWorker) {
  TestCluster cluster = NewCluster(Workers(2));
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  cluster.Signal(SIGHUP);
  std::vector<pid_t> who = cluster.Await("reload", 3);
  ASSERT_EQ(who.size(), 3u);
  EXPECT_EQ(who.front(), cluster.root());
  who.erase(who.begin());
  EXPECT_THAT(who, UnorderedElementsAreArray(workers));
  StopAll(cluster);
  EXPECT_EQ(cluster.Count("reload"), 3u);
  EXPECT_THAT(cluster.TraceOf(cluster.root()), Contains("reload 0.0 nobody"));
  EXPECT_THAT(cluster.Values("reload"), Contains("0.1 self"));
  EXPECT_THAT(cluster.Values("reload"), Contains("1.1 self"));
}

TEST(Reload, OfOneWorkerThatAloneGetsTheSignal) {
  TestCluster cluster = NewCluster(Workers(2));
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  cluster.Signal(workers.back(), SIGHUP);
  EXPECT_THAT(cluster.Await("reload"), ElementsAre(workers.back()));
  StopAll(cluster);
  EXPECT_EQ(cluster.Count("reload"), 1u);
}

// Requests before the callbacks are one, and those inside of them another.
TEST(Reload, AgainIfAskedForMeanwhile) {
  for (const bool by_signal : {false, true}) {
    TestCluster cluster =
        NewCluster(Single(), [by_signal](Reactor& reactor, const Trace& trace) {
          const auto ask = [by_signal, &reactor] {
            for (int i = 0; i < 3; ++i) {
              by_signal ? static_cast<void>(raise(SIGHUP)) : reactor.Reload();
            }
          };
          reactor.lifecycle().Add(LifecycleEvent::kOnReload, [&, ask] {
            if (g_version == 2) return ask();
            reactor.Defer([&trace] { trace.Tell("afterwards"); });
          });
          reactor.Defer(ask);
        });
    cluster.Await("afterwards");
    StopAll(cluster);
    EXPECT_EQ(cluster.Count("reload"), 2u);
  }
}

// A reload that is asked for around the fork of a worker.
class ReloadAtFork : public ::testing::TestWithParam<LifecycleEvent> {};
INSTANTIATE_TEST_SUITE_P(Reload, ReloadAtFork,
                         ::testing::Values(LifecycleEvent::kBeforeFork,
                                           LifecycleEvent::kInRoot));

// The worker has been forked, and does not serve before the root has reloaded.
TEST_P(ReloadAtFork, IsNotMissedByTheNewWorker) {
  int pipe[2];
  ASSERT_EQ(pipe2(pipe, O_CLOEXEC), 0);
  const UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  const LifecycleEvent moment = GetParam();
  TestCluster cluster = NewCluster(Workers(2), [&](Reactor& reactor,
                                                   const Trace&) {
    reactor.lifecycle().Add(moment, [&reactor](WorkerEvent& worker) {
      if (worker.place() == 0 && worker.generation() == 2) {
        reactor.Reload();
      }
    });
    reactor.lifecycle().Add(LifecycleEvent::kOnReload,
                            [&](WorkerEvent& worker) {
                              if (worker.pid() == 0) {
                                EXPECT_EQ(write(write_end.get(), "x", 1), 1);
                              }
                            });
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&](WorkerEvent& worker) {
      char byte;
      if (worker.place() == 0 && worker.generation() == 2) {
        EXPECT_EQ(read(read_end.get(), &byte, 1), 1);
      }
    });
  });
  cluster.Await("start", 2);
  cluster.Signal(SIGUSR1);
  const std::vector<pid_t> replacements = cluster.AwaitMore("start", 2, 2);
  ASSERT_EQ(replacements.size(), 2u);
  const pid_t first = replacements.front();
  // All that were there: the root, the two old ones, the one that starts.
  EXPECT_THAT(cluster.Await("reload", 4), Contains(first));
  StopAll(cluster);
  EXPECT_THAT(cluster.TraceOf(first), Contains("version 1"));
  // It is a copy of a root that has reloaded.
  EXPECT_THAT(cluster.TraceOf(replacements.back()), Contains("version 2"));
  EXPECT_THAT(cluster.TraceOf(replacements.back()), Not(Contains("reload")));
  EXPECT_EQ(cluster.Count("reload"), 4u);
}

// It reloads before it forks.
TEST(Reload, OfARootThatStarts) {
  TestCluster cluster =
      NewCluster(Workers(2), [](Reactor& reactor, const Trace&) {
        reactor.lifecycle().Add(LifecycleEvent::kPreStart,
                                [&reactor] { reactor.Reload(); });
      });
  cluster.Await("start", 2);
  StopAll(cluster);
  EXPECT_EQ(cluster.Count("reload"), 1u);
  EXPECT_EQ(cluster.Count("version 2"), 2u);
}

// It serves first, and nothing else wakes it.
TEST(Reload, OfASingleProcessThatStarts) {
  for (const bool by_signal : {false, true}) {
    TestCluster cluster =
        NewCluster(Single(), [by_signal](Reactor& reactor, const Trace&) {
          reactor.lifecycle().Add(LifecycleEvent::kPreStart, [=, &reactor] {
            by_signal ? static_cast<void>(raise(SIGHUP)) : reactor.Reload();
          });
        });
    cluster.Await("reload");
    StopAll(cluster);
    EXPECT_THAT(
        cluster.TraceOf(cluster.root()),
        ElementsAre("pre_start", "start", "version 1", "reload 0.0 self",
                    "reload", "shutdown", "finish", "at_exit"));
  }
}

// Has nothing to say, and stays until its peer goes.
class Stayer final : public Protocol {
 public:
  explicit Stayer(const Trace& trace) : trace_(trace) {}
  void OnOpen(Connection&) override { trace_.Tell("open"); }
  void OnData(Connection& connection) override { connection.Received(); }
  void OnDrain(Connection&) override { trace_.Tell("drain"); }
  absl::Duration OnShutdown(Connection&) override {
    trace_.Tell("stay");
    return absl::InfiniteDuration();
  }

 private:
  const Trace trace_;
};

void ListenForStayers(Reactor& reactor, const Trace& trace) {
  trace.Listen(reactor, {.on_open = [trace](Connection& connection) {
                 connection.Attach(std::make_unique<Stayer>(trace));
               }});
}

TEST(Reload, OfAWorkerThatDrainsAndStops) {
  ReactorOptions options = Workers(1);
  options.drain_time = absl::Hours(1);
  TestCluster cluster = NewCluster(options, ListenForStayers);
  TestClient client(cluster.AwaitAddress());
  const pid_t old = cluster.Await("open").front();
  cluster.Signal(SIGUSR1);
  cluster.Await("drain");
  cluster.Signal(SIGHUP);
  EXPECT_THAT(cluster.Await("reload", 3), Contains(old));
  cluster.Signal(SIGTERM);
  EXPECT_THAT(cluster.Await("stay"), ElementsAre(old));
  EXPECT_THAT(cluster.Await("at_exit"), Not(Contains(old)));  // The new one.
  cluster.Signal(SIGHUP);
  EXPECT_THAT(cluster.AwaitMore("reload", 3, 2),
              ElementsAre(cluster.root(), old));
  client.Close();
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.TraceOf(old).back(), "at_exit");
}

TEST(Reload, OfASingleProcessThatStops) {
  TestCluster cluster = NewCluster(Single(), ListenForStayers);
  TestClient client(cluster.AwaitAddress());
  cluster.Await("open");
  cluster.Signal(SIGTERM);
  cluster.Await("stay");
  cluster.Signal(SIGHUP);
  cluster.Await("reload");
  client.Close();
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

std::string DispositionOfHangUp() {
  struct sigaction now = {};
  sigaction(SIGHUP, nullptr, &now);
  return now.sa_handler == SIG_DFL ? "default" : "handled";
}

TEST(Reload, WithoutACallbackSighupIsNotTouched) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Workers(1));
    reactor.Defer([&] {
      trace.Tell("disposition " + DispositionOfHangUp());
      if (reactor.is_root()) trace.Tell("root");
    });
    return ExitWith(reactor.Run());
  });
  EXPECT_EQ(cluster.AwaitValue("disposition"), "default");
  cluster.Await("root");
  cluster.Signal(SIGHUP);
  EXPECT_EQ(cluster.AwaitEnd(), 1000 + SIGHUP);
}

// It reloads when Reload() is called, but hears no signal: neither in the root
// nor in workers, which are forked later.
TEST(Reload, ACallbackThatIsAddedLaterChangesNoDisposition) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Workers(1));
    reactor.lifecycle().Add(LifecycleEvent::kPreStart,
                            [&] { TellReloads(reactor, trace); });
    reactor.Defer([&] {
      trace.Tell("disposition " + DispositionOfHangUp());
      if (reactor.is_root()) reactor.Reload();
    });
    return ExitWith(reactor.Run());
  });
  cluster.Await("reload");
  cluster.Await("version 1");
  EXPECT_THAT(cluster.Values("disposition"), Not(Contains("handled")));
  cluster.Signal(SIGHUP);
  EXPECT_EQ(cluster.AwaitEnd(), 1000 + SIGHUP);
}

TEST(Reload, TheDispositionIsRestored) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Single());
    TellReloads(reactor, trace);
    reactor.Defer([&] {
      trace.Tell("inside " + DispositionOfHangUp());
      reactor.Stop();
    });
    const int code = ExitWith(reactor.Run());
    trace.Tell("after " + DispositionOfHangUp());
    reactor.Reload();  // Nothing runs.
    return code;
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.Values("inside"), ElementsAre("handled"));
  EXPECT_THAT(cluster.Values("after"), ElementsAre("default"));
  EXPECT_THAT(cluster.Values("reload"), IsEmpty());
}

// As programs that know no reload may have had it.
TEST(Reload, SighupMayStop) {
  ReactorOptions options = Single();
  options.signals.stop = {SIGHUP, SIGTERM};
  TestCluster cluster = NewCluster(options);
  cluster.Await("start");
  cluster.Signal(SIGHUP);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("reload"), 0u);
}

TEST(Reload, AnotherSignalMayAskForIt) {
  ReactorOptions options = Workers(1);
  options.signals.reload = {SIGUSR2};
  TestCluster cluster = NewCluster(options);
  cluster.Await("start");
  cluster.Signal(SIGUSR2);
  cluster.Await("reload", 2);
  StopAll(cluster);
}

}  // namespace
}  // namespace fio
