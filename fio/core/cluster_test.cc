// A root and its workers, in processes of their own: what each of them is told,
// and who serves.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::ManualClock;

// Sends back what it gets; "stop" stops its process, "hang" has it hang.
class Server final : public Protocol {
 public:
  Server(Reactor& reactor, const Trace& trace, absl::Duration stay)
      : reactor_(reactor), trace_(trace), stay_(stay) {}

  void OnData(Connection& connection) override {
    const std::string received(connection.Received());
    if (received == "stop") reactor_.Stop();
    if (received == "hang") trace_.Tell("hangs");
    while (received == "hang") pause();
    connection.Write(received);
  }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    trace_.Tell("on_shutdown");
    return stay_;
  }
  void OnClose(Connection& /*connection*/,
               const CloseReason& /*reason*/) override {
    trace_.Tell("on_close");
  }

 private:
  Reactor& reactor_;
  const Trace trace_;
  const absl::Duration stay_;
};

ListenOptions Serve(Reactor& reactor, const Trace& trace,
                    absl::Duration stay = absl::ZeroDuration()) {
  return {
      .on_open =
          [&reactor, trace, stay](Connection& connection) {
            trace.Tell("on_open");
            connection.Attach(std::make_unique<Server>(reactor, trace, stay));
          },
      .on_finish = [trace] { trace.Tell("listen_finish"); }};
}

// Runs `reactor` as the root does, and tells how that ended.
int RunAndTell(Reactor& reactor, const Trace& trace) {
  const absl::Status status = reactor.Run();
  trace.Tell("returned");
  return ExitWith(status);
}

std::string Echo(TestClient& client, std::string_view bytes) {
  client.Send(bytes);
  return client.Receive(bytes.size());
}

// --- The life of each process ---

TEST(StateCb, ClusterTrace) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, {.on_open = Serve(reactor, trace).on_open});
    return RunAndTell(reactor, trace);
  });
  const SocketAddress address = cluster.AwaitAddress();
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  ASSERT_EQ(workers.size(), 2u);
  TestClient client(address);
  EXPECT_EQ(Echo(client, "hello"), "hello");
  const pid_t serves = cluster.Await("on_open").front();
  const pid_t idles = workers[0] == serves ? workers[1] : workers[0];
  // A respawn repeats what the start was.
  cluster.Signal(idles, SIGKILL);
  const pid_t respawned = cluster.AwaitMore("start", 2, 1).front();
  cluster.Signal(SIGTERM);
  EXPECT_EQ(client.ReceiveToEnd(), "");
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(
      cluster.TraceOf(cluster.root()),
      ElementsAre(absl::StrCat("address ", address.ToString()), "pre_start",
                  "before_fork", "after_fork", "in_root",  //
                  "before_fork", "after_fork", "in_root",  //
                  "child_crash", "before_fork", "after_fork", "in_root",
                  "shutdown", "finish", "returned", "at_exit"));
  EXPECT_THAT(
      cluster.TraceOf(serves),
      ElementsAre("after_fork", "in_child", "start", "on_open", "shutdown",
                  "on_shutdown", "on_close", "finish", "at_exit"));
  EXPECT_THAT(cluster.TraceOf(idles),
              ElementsAre("after_fork", "in_child", "start"));
  EXPECT_THAT(cluster.TraceOf(respawned),
              ElementsAre("after_fork", "in_child", "start", "shutdown",
                          "finish", "at_exit"));
}

TEST(StateCb, OnStartNotInMaster) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    return RunAndTell(reactor, trace);
  });
  EXPECT_THAT(cluster.Await("start", 2), Each(::testing::Ne(cluster.root())));
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("start"), 2u);

  TestCluster single([](const Trace& trace) {
    Reactor reactor({.threads = 1, .workers = 1});
    trace.Follow(reactor.lifecycle());
    reactor.Defer([&] { reactor.Stop(); });
    return RunAndTell(reactor, trace);
  });
  EXPECT_EQ(single.AwaitEnd(), 0);
  EXPECT_THAT(single.TraceOf(single.root()),
              ElementsAre("pre_start", "start", "shutdown", "finish",
                          "returned", "at_exit"));
}

TEST(State, MasterPidInWorker) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    const auto tell = [&] {
      trace.Tell(absl::StrCat("root ", reactor.root_pid()));
    };
    for (const LifecycleEvent event :
         {LifecycleEvent::kPreStart, LifecycleEvent::kInChild,
          LifecycleEvent::kOnStart, LifecycleEvent::kOnFinish}) {
      reactor.lifecycle().Add(event, tell);
    }
    trace.Follow(reactor.lifecycle());
    return RunAndTell(reactor, trace);
  });
  cluster.Await("start", 2);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  const std::vector<std::string> pids = cluster.Values("root");
  EXPECT_EQ(pids.size(), 2u + 2 * 3);
  EXPECT_THAT(pids, Each(absl::StrCat(cluster.root())));
}

TEST(State, RolesPerProcess) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    const auto tell = [&](std::string_view when) {
      trace.Tell(
          absl::StrCat(when, reactor.is_root() ? " root" : "",
                       reactor.is_worker() ? " worker " : " ",
                       reactor.is_worker() ? reactor.worker_place() : -1));
    };
    tell("created");
    for (const auto& [event, when] :
         {std::pair(LifecycleEvent::kPreStart, "pre_start"),
          std::pair(LifecycleEvent::kInRoot, "in_root"),
          std::pair(LifecycleEvent::kInChild, "in_child"),
          std::pair(LifecycleEvent::kOnStart, "start"),
          std::pair(LifecycleEvent::kOnFinish, "finish")}) {
      reactor.lifecycle().Add(event, [&tell, when = when] { tell(when); });
    }
    return RunAndTell(reactor, trace);
  });
  const pid_t first = cluster.Await("start worker 0").front();
  const pid_t second = cluster.Await("start worker 1").front();
  // A replacement has the place of who it replaces.
  cluster.Signal(second, SIGKILL);
  const pid_t third = cluster.AwaitMore("start worker 1", 1, 1).front();
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.TraceOf(cluster.root()),
              ElementsAre("created root -1", "pre_start root -1",
                          "in_root root -1", "in_root root -1",
                          "in_root root -1", "finish root -1", "returned"));
  EXPECT_THAT(
      cluster.TraceOf(first),
      ElementsAre("in_child worker 0", "start worker 0", "finish worker 0"));
  EXPECT_THAT(
      cluster.TraceOf(third),
      ElementsAre("in_child worker 1", "start worker 1", "finish worker 1"));

  TestCluster single([](const Trace& trace) {
    Reactor reactor({.threads = 1, .workers = 1});
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
      trace.Tell(absl::StrCat(reactor.is_root(), reactor.is_worker(),
                              reactor.worker_place()));
      reactor.Stop();
    });
    return RunAndTell(reactor, trace);
  });
  EXPECT_EQ(single.AwaitEnd(), 0);
  EXPECT_THAT(single.TraceOf(single.root()), ElementsAre("110", "returned"));
}

TEST(State, IsRunningSingleAndCluster) {
  const auto run = [](const Trace& trace, int workers) {
    Reactor reactor({.threads = 1, .workers = workers});
    const auto tell = [&](std::string_view when) {
      trace.Tell(absl::StrCat(when, " ", reactor.running_workers()));
    };
    tell("created");
    for (const auto& [event, when] :
         {std::pair(LifecycleEvent::kPreStart, "pre_start"),
          std::pair(LifecycleEvent::kInChild, "in_child"),
          std::pair(LifecycleEvent::kOnStart, "start"),
          std::pair(LifecycleEvent::kOnShutdown, "shutdown"),
          std::pair(LifecycleEvent::kOnFinish, "finish")}) {
      reactor.lifecycle().Add(event, [&tell, when = when] { tell(when); });
    }
    reactor.Defer([&tell] { tell("task"); });
    const int code = ExitWith(reactor.Run());
    tell("returned");
    return code;
  };
  TestCluster single([&](const Trace& trace) { return run(trace, 1); });
  single.Await("task 1");
  single.Signal(SIGTERM);
  EXPECT_EQ(single.AwaitEnd(), 0);
  EXPECT_THAT(single.TraceOf(single.root()),
              ElementsAre("created 0", "pre_start 0", "start 1", "task 1",
                          "shutdown 0", "finish 0", "returned 0"));

  TestCluster cluster([&](const Trace& trace) { return run(trace, 2); });
  const std::vector<pid_t> told = cluster.Await("task 2", 3);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.TraceOf(cluster.root()),
              ElementsAre("created 0", "pre_start 0", "task 2", "shutdown 0",
                          "finish 0", "returned 0"));
  for (const pid_t process : told) {
    if (process == cluster.root()) continue;
    EXPECT_THAT(cluster.TraceOf(process),
                ElementsAre("in_child 0", "start 2", "task 2", "shutdown 0",
                            "finish 0"));
  }
}

TEST(Stop, InWorkerRespawns) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2, .drain_time = absl::ZeroDuration()});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, Serve(reactor, trace));
    return RunAndTell(reactor, trace);
  });
  const SocketAddress address = cluster.AwaitAddress();
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  TestClient client(address);
  EXPECT_EQ(Echo(client, "stop"), "stop");
  EXPECT_EQ(client.ReceiveToEnd(), "");
  cluster.AwaitMore("start", 2, 1);
  TestClient next(address);
  EXPECT_EQ(Echo(next, "hello"), "hello");
  EXPECT_EQ(cluster.Await("at_exit").size(), 1u);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("in_root"), 3u);
}

// --- Tasks and timers ---

TEST(Fork, PreStartTasksOncePerProcess) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    reactor.Defer([&reactor, trace] {
      trace.Tell("task");
      // Only here, not in workers that are forked later.
      reactor.Defer([trace] { trace.Tell("later"); });
    });
    EXPECT_TRUE(reactor
                    .RunEvery({.callback =
                                   [trace] {
                                     trace.Tell("timer");
                                     return TimerWheel::Next::kContinue;
                                   },
                               .interval = absl::Milliseconds(1),
                               .repetitions = 3,
                               .on_finish = [trace] { trace.Tell("done"); }})
                    .ok());
    // Is armed in the root whenever a worker is forked.
    EXPECT_TRUE(
        reactor
            .RunEvery({.callback = [] { return TimerWheel::Next::kContinue; },
                       .interval = absl::Hours(1),
                       .on_finish = [trace] { trace.Tell("cancelled"); }})
            .ok());
    return RunAndTell(reactor, trace);
  });
  cluster.Await("done", 3);
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  ASSERT_EQ(workers.size(), 2u);
  cluster.Signal(workers[0], SIGKILL);
  const pid_t respawned = cluster.AwaitMore("start", 2, 1).front();
  cluster.AwaitMore("done", 3, 1);
  cluster.Await("later", 4);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  for (const pid_t process :
       {cluster.root(), workers[0], workers[1], respawned}) {
    const std::vector<std::string> trace = cluster.TraceOf(process);
    const auto count = [&trace](std::string_view event) {
      return std::count(trace.begin(), trace.end(), event);
    };
    EXPECT_EQ(count("task"), 1);
    EXPECT_EQ(count("later"), 1);
    EXPECT_EQ(count("timer"), 3);
    EXPECT_EQ(count("done"), 1);
    EXPECT_EQ(count("cancelled"), process == workers[0] ? 0 : 1);
  }
}

// --- Who listens ---

TEST(Listen, MasterOnly) {
  for (const int workers : {1, 2}) {
    TestCluster cluster([workers](const Trace& trace) {
      Reactor reactor({.threads = 1, .workers = workers});
      trace.Follow(reactor.lifecycle());
      ListenOptions options = Serve(reactor, trace);
      options.root_only = true;
      trace.Listen(reactor, std::move(options));
      return RunAndTell(reactor, trace);
    });
    const SocketAddress address = cluster.AwaitAddress();
    cluster.Await("start", static_cast<size_t>(workers));
    for (int i = 0; i < 20; ++i) {
      TestClient client(address);
      EXPECT_EQ(Echo(client, "hello"), "hello");
    }
    EXPECT_THAT(cluster.Await("on_open", 20), Each(cluster.root()));
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
  }
}

// Listeners that a worker opens for itself.
TEST(Listen, InAWorker) {
  for (const LifecycleEvent event :
       {LifecycleEvent::kInChild, LifecycleEvent::kOnStart}) {
    for (const int threads : {1, 2}) {
      TestCluster cluster([event, threads](const Trace& trace) {
        Reactor reactor({.threads = threads, .workers = 2});
        trace.Follow(reactor.lifecycle());
        reactor.lifecycle().Add(event, [&reactor, &trace] {
          const absl::StatusOr<ListenerId> id =
              reactor.Listen("tcp://127.0.0.1:0", Serve(reactor, trace));
          if (!id.ok()) std::abort();
          trace.Tell(absl::StrCat("listens ", reactor.worker_place(), " ",
                                  reactor.ListenAddress(*id)->ToString()));
        });
        return RunAndTell(reactor, trace);
      });
      for (const int place : {0, 1}) {
        const absl::StatusOr<SocketAddress> address = SocketAddress::Parse(
            cluster.AwaitValue(absl::StrCat("listens ", place)));
        ASSERT_TRUE(address.ok()) << address.status();
        for (int i = 0; i < 20; ++i) {
          TestClient client(*address);
          EXPECT_EQ(Echo(client, "hello"), "hello");
        }
      }
      cluster.Signal(SIGTERM);
      EXPECT_EQ(cluster.AwaitEnd(), 0);
      EXPECT_EQ(cluster.Count("on_open"), 40u);
      EXPECT_EQ(cluster.Count("listen_finish"), 2u);
      EXPECT_EQ(cluster.Count("child_crash"), 0u);
    }
  }
}

// The root's connections are its own, whatever workers come and go.
TEST(Listen, RootOnlyConnectionsSurviveForks) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    ListenOptions options = Serve(reactor, trace);
    options.root_only = true;
    trace.Listen(reactor, std::move(options));
    return RunAndTell(reactor, trace);
  });
  std::vector<pid_t> workers = cluster.Await("start", 2);
  TestClient client(cluster.AwaitAddress());
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(Echo(client, absl::StrCat("hello ", i)),
              absl::StrCat("hello ", i));
    cluster.Signal(workers[i], SIGKILL);
    workers.push_back(cluster.AwaitMore("start", 2 + i, 1).front());
    // The child's copy of the connection has ended, without a farewell.
    EXPECT_THAT(cluster.TraceOf(workers.back()),
                ElementsAre("on_close", "after_fork", "in_child", "start"));
  }
  EXPECT_EQ(Echo(client, "hello"), "hello");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(client.ReceiveToEnd(), "");
  EXPECT_EQ(client.error(), 0);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

TEST(Cluster, ListenOnFinishPerProcess) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, Serve(reactor, trace));
    return RunAndTell(reactor, trace);
  });
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  cluster.Signal(workers[0], SIGUSR1);
  cluster.AwaitMore("start", 2, 1);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  const std::vector<pid_t> told = cluster.Await("listen_finish", 4);
  for (const pid_t process : cluster.Await("finish", 4)) {
    EXPECT_EQ(std::count(told.begin(), told.end(), process), 1);
    const std::vector<std::string> trace = cluster.TraceOf(process);
    const auto at = [&](std::string_view event) {
      return std::find(trace.begin(), trace.end(), event) - trace.begin();
    };
    EXPECT_LT(at("shutdown"), at("listen_finish"));
    EXPECT_LT(at("listen_finish"), at("finish"));
  }
}

TEST(Cluster, UnixPathIsTheRoots) {
  for (const bool root_is_killed : {false, true}) {
    char folder[] = "/tmp/fio_cluster_XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const std::string path = absl::StrCat(folder, "/x.sock");
    TestCluster cluster([&path](const Trace& trace) {
      Reactor reactor({.workers = 2});
      trace.Follow(reactor.lifecycle());
      trace.Listen(reactor, Serve(reactor, trace), path);
      return RunAndTell(reactor, trace);
    });
    const SocketAddress address = cluster.AwaitAddress();
    struct stat original;
    ASSERT_EQ(stat(path.c_str(), &original), 0);
    const auto is_still_there = [&] {
      struct stat now;
      return stat(path.c_str(), &now) == 0 && now.st_ino == original.st_ino;
    };
    const std::vector<pid_t> workers = cluster.Await("start", 2);
    cluster.Signal(workers[0], SIGTERM);
    cluster.Signal(workers[1], SIGKILL);
    cluster.AwaitMore("start", 2, 2);
    cluster.Signal(SIGUSR1);
    cluster.Await("at_exit", 3);
    EXPECT_TRUE(is_still_there());
    TestClient client(address);
    EXPECT_EQ(Echo(client, "hello"), "hello");
    // The workers remove it for a root that has died.
    cluster.Signal(root_is_killed ? SIGKILL : SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), root_is_killed ? 1000 + SIGKILL : 0);
    EXPECT_FALSE(is_still_there());
    EXPECT_EQ(rmdir(folder), 0);
  }
}

// --- Balance ---

constexpr size_t kClients = 2'000;

// Both of two servers get at least 45 %.
void ExpectEven(const std::vector<std::string>& counts) {
  ASSERT_EQ(counts.size(), 2u);
  size_t sum = 0;
  for (const std::string& count : counts) {
    size_t opened = 0;
    ASSERT_TRUE(absl::SimpleAtoi(count, &opened));
    EXPECT_GE(opened, kClients * 45 / 100);
    sum += opened;
  }
  EXPECT_EQ(sum, kClients);
}

TEST(Cluster, WorkersGetEqualShares) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    int opened = 0;
    trace.Listen(reactor, {.on_open = [&](Connection& connection) {
                   ++opened;
                   connection.Close();
                 }});
    reactor.lifecycle().Add(LifecycleEvent::kOnFinish, [&] {
      if (reactor.is_worker()) trace.Tell(absl::StrCat("opened ", opened));
    });
    return RunAndTell(reactor, trace);
  });
  const SocketAddress address = cluster.AwaitAddress();
  cluster.Await("start", 2);
  for (size_t i = 0; i < kClients; ++i) {
    TestClient client(address);
    client.ReceiveToEnd();
    ASSERT_EQ(client.error(), 0);
  }
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  ExpectEven(cluster.Values("opened"));
}

TEST(Cluster, LoopsGetEqualShares) {
  for (const AcceptBalance balance :
       {AcceptBalance::kByKernel, AcceptBalance::kLeastConnections}) {
    TestCluster cluster([balance](const Trace& trace) {
      Reactor reactor({.threads = 2, .workers = 1});
      trace.Follow(reactor.lifecycle());
      static thread_local bool is_main = false;
      is_main = true;
      std::atomic<int> opened[2] = {0, 0};
      trace.Listen(reactor, {.on_open =
                                 [&](Connection& connection) {
                                   ++opened[is_main ? 0 : 1];
                                   connection.Close();
                                 },
                             .balance = balance});
      const int code = RunAndTell(reactor, trace);
      for (const auto& count : opened) {
        trace.Tell(absl::StrCat("opened ", count.load()));
      }
      return code;
    });
    const SocketAddress address = cluster.AwaitAddress();
    cluster.Await("start");
    for (size_t i = 0; i < kClients; ++i) {
      TestClient client(address);
      client.ReceiveToEnd();
      ASSERT_EQ(client.error(), 0);
    }
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
    ExpectEven(cluster.Values("opened"));
  }
}

// --- How it stops ---

TEST(Cluster, StopLetsALongConnectionEnd) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, Serve(reactor, trace, absl::Minutes(4)));
    return RunAndTell(reactor, trace);
  });
  TestClient client(cluster.AwaitAddress());
  EXPECT_EQ(Echo(client, "before"), "before");
  const pid_t serves = cluster.Await("on_open").front();
  cluster.Signal(SIGTERM);
  cluster.Await("on_shutdown");
  cluster.Await("at_exit");  // The other worker.
  EXPECT_EQ(Echo(client, "meanwhile"), "meanwhile");
  EXPECT_EQ(cluster.Count("returned"), 0u);
  client.Close();
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.TraceOf(serves),
              ElementsAre("after_fork", "in_child", "start", "on_open",
                          "shutdown", "listen_finish", "on_shutdown",
                          "on_close", "finish", "at_exit"));
}

TEST(Cluster, AWorkerThatHangsIsKilled) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2, .shutdown_timeout = absl::Milliseconds(50)});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, Serve(reactor, trace));
    return RunAndTell(reactor, trace);
  });
  TestClient client(cluster.AwaitAddress());
  client.Send("hang");
  const pid_t hangs = cluster.Await("hangs").front();
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.TraceOf(hangs), ElementsAre("after_fork", "in_child",
                                                  "start", "on_open", "hangs"));
  EXPECT_EQ(cluster.Count("finish"), 2u);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
}

TEST(Cluster, SecondSignalCutsOff) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2, .shutdown_timeout = absl::Hours(2)});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, Serve(reactor, trace, absl::Hours(1)));
    return RunAndTell(reactor, trace);
  });
  TestClient client(cluster.AwaitAddress());
  EXPECT_EQ(Echo(client, "hello"), "hello");
  cluster.Signal(SIGINT);
  cluster.Await("on_shutdown");
  EXPECT_EQ(Echo(client, "hello"), "hello");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(client.ReceiveToEnd(), "");
  EXPECT_EQ(client.error(), ECONNRESET);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("on_close"), 1u);
  EXPECT_EQ(cluster.Count("finish"), 3u);
}

// On a clock that stands still nothing else makes an end of who hangs.
TEST(Cluster, ThirdSignalKills) {
  TestCluster cluster([](const Trace& trace) {
    const ManualClock clock;
    Reactor reactor({.workers = 2,
                     .shutdown_timeout = absl::Hours(2),
                     .loop = {.clock = &clock}});
    trace.Follow(reactor.lifecycle());
    ListenOptions root = Serve(reactor, trace, absl::Hours(1));
    root.root_only = true;
    trace.Listen(reactor, Serve(reactor, trace));
    const ListenerId id = *reactor.Listen("tcp://127.0.0.1:0", std::move(root));
    trace.Tell(
        absl::StrCat("root_address ", reactor.ListenAddress(id)->ToString()));
    return RunAndTell(reactor, trace);
  });
  TestClient hanging(cluster.AwaitAddress());
  hanging.Send("hang");
  cluster.Await("hangs");
  TestClient client(*SocketAddress::Parse(cluster.AwaitValue("root_address")));
  EXPECT_EQ(Echo(client, "hello"), "hello");
  cluster.Signal(SIGTERM);
  cluster.Await("on_shutdown");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(client.ReceiveToEnd(), "");  // Cut off.
  cluster.Await("at_exit");              // The worker that does not hang.
  EXPECT_EQ(cluster.Count("returned"), 0u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("finish"), 2u);
}

}  // namespace
}  // namespace fio
