// No socket that collects clients is without somebody who serves it, whatever
// becomes of the worker that it belongs to.

#include <sched.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;

// So many that each socket gets some: a place that nobody serves is found.
constexpr int kClients = 40;

// Sends back what it gets; "hang" has its thread hang.
class Echo final : public Protocol {
 public:
  explicit Echo(const Trace& trace) : trace_(trace) {}

  void OnData(Connection& connection) override {
    const std::string received(connection.Received());
    if (received == "hang") trace_.Tell("hangs");
    while (received == "hang") pause();
    connection.Write(received);
  }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    return absl::Hours(1);
  }

 private:
  const Trace trace_;
};

// Listens on TCP, with `balance`, and on a Unix socket.
void ListenAsEcho(Reactor& reactor, const Trace& trace,
                  AcceptBalance balance = AcceptBalance::kByKernel) {
  const ListenOptions options = {
      .on_open =
          [trace](Connection& connection) {
            trace.Tell("on_open");
            connection.Attach(std::make_unique<Echo>(trace));
          },
      .balance = balance};
  trace.Listen(reactor, options);
  trace.Listen(reactor, options,
               absl::StrCat("unix://@fio-places-test-", getpid()));
}

std::string AskOnce(const SocketAddress& address, std::string_view bytes) {
  TestClient client(address);
  client.Send(bytes);
  return client.Receive(bytes.size());
}

void ExpectAllAnswered(TestCluster& cluster) {
  for (const std::string& text : cluster.Values("address")) {
    const SocketAddress address = *SocketAddress::Parse(text);
    for (int i = 0; i < kClients; ++i) {
      ASSERT_EQ(AskOnce(address, "hello"), "hello") << text << ", client " << i;
    }
  }
}

ReactorOptions TwoWorkers(int threads) {
  // Who crashes does not come back.
  return {.threads = threads,
          .workers = 2,
          .respawn_delay = absl::Hours(1),
          .max_respawn_delay = absl::Hours(1)};
}

TEST(Cluster, DrainingWorkerStrandsNobody) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(
        {.workers = 2, .worker_min_lifetime = absl::ZeroDuration()});
    trace.Follow(reactor.lifecycle());
    ListenAsEcho(reactor, trace);
    return ExitWith(reactor.Run());
  });
  cluster.Await("start", 2);
  TestClient client(cluster.AwaitAddress());
  client.Send("hello");
  ASSERT_EQ(client.Receive(5), "hello");
  const pid_t drains = cluster.Await("on_open").front();
  cluster.Signal(drains, SIGTERM);
  cluster.Await("shutdown");
  ExpectAllAnswered(cluster);
  cluster.AwaitMore("start", 2, 1);
  ExpectAllAnswered(cluster);
  // All the time it goes on with who it has.
  client.Send("again");
  EXPECT_EQ(client.Receive(5), "again");
  EXPECT_EQ(cluster.Count("at_exit"), 0u);
  client.Close();
  EXPECT_EQ(cluster.Await("at_exit").front(), drains);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

TEST(Cluster, EmptyPlaceIsServed) {
  for (const AcceptBalance balance :
       {AcceptBalance::kByKernel, AcceptBalance::kLeastConnections}) {
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(absl::StrCat(threads, " threads"));
      TestCluster cluster([balance, threads](const Trace& trace) {
        Reactor reactor(TwoWorkers(threads));
        trace.Follow(reactor.lifecycle());
        ListenAsEcho(reactor, trace, balance);
        reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
          if (reactor.worker_place() == 1) _exit(3);
        });
        return ExitWith(reactor.Run());
      });
      cluster.Await("child_crash");
      cluster.Await("start", 2);
      ExpectAllAnswered(cluster);
      cluster.Signal(SIGTERM);
      EXPECT_EQ(cluster.AwaitEnd(), 0);
    }
  }
}

void AwaitStopped(pid_t process) {
  std::string pid, name, state;
  do {
    sched_yield();
    std::ifstream stat(absl::StrCat("/proc/", process, "/stat"));
    stat >> pid >> name >> state;
  } while (state != "T");
}

TEST(Cluster, StoppedOrHungWorkerIsServed) {
  for (const bool hangs : {false, true}) {
    SCOPED_TRACE(hangs ? "hangs" : "is stopped");
    TestCluster cluster([](const Trace& trace) {
      Reactor reactor(TwoWorkers(1));
      trace.Follow(reactor.lifecycle());
      ListenAsEcho(reactor, trace);
      return ExitWith(reactor.Run());
    });
    const pid_t victim = cluster.Await("start", 2).front();
    TestClient client(cluster.AwaitAddress());
    if (hangs) {
      client.Send("hang");
      cluster.Await("hangs");
    } else {
      cluster.Signal(victim, SIGSTOP);
      AwaitStopped(victim);
    }
    ExpectAllAnswered(cluster);
    cluster.Signal(SIGKILL);
    cluster.Signal(victim, SIGKILL);
  }
}

// A loop that hangs, in a worker whose other loops do not.
TEST(Cluster, HungLoopIsServedByOthersOfItsWorker) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(
        {.threads = 3, .workers = 1, .supervise_single_worker = true});
    trace.Follow(reactor.lifecycle());
    // Not the main loop, which is told of what is lent.
    static thread_local bool is_main = false;
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [] { is_main = true; });
    trace.Listen(reactor, {.on_open = [trace](Connection& connection) {
                   if (!is_main) trace.Tell("elsewhere");
                   connection.Attach(std::make_unique<Echo>(trace));
                 }});
    return ExitWith(reactor.Run());
  });
  const SocketAddress address = cluster.AwaitAddress();
  cluster.Await("start");
  std::vector<std::unique_ptr<TestClient>> clients;
  while (cluster.Count("elsewhere") == 0) {
    clients.push_back(std::make_unique<TestClient>(address));
    clients.back()->Send("hello");
    ASSERT_EQ(clients.back()->Receive(5), "hello");
  }
  clients.back()->Send("hang");
  cluster.Await("hangs");
  ExpectAllAnswered(cluster);
}

// Short, and the same each time; tests/bench:soak is the long one.
TEST(Cluster, RandomFaultsStrandNobody) {
  constexpr int kSteps = 30;
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.threads = 1, .workers = 3});
    trace.Follow(reactor.lifecycle());
    std::mt19937 random(7);
    bool fails = false;
    reactor.lifecycle().Add(LifecycleEvent::kBeforeFork,
                            [&] { fails = random() % 4 == 0; });
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
      if (reactor.worker_place() > 0 && fails) _exit(3);
      trace.Tell(absl::StrCat("place ", reactor.worker_place(), " ", getpid()));
    });
    ListenAsEcho(reactor, trace);
    return ExitWith(reactor.Run());
  });
  const SocketAddress address = cluster.AwaitAddress();
  cluster.Await("start", 3);
  std::mt19937 random(3);
  std::vector<pid_t> stopped;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    // Place 0 is always well, of the others the newest worker is a victim.
    const std::vector<std::string> workers =
        cluster.Values(absl::StrCat("place ", 1 + random() % 2));
    const pid_t victim =
        workers.empty() ? 0
                        : static_cast<pid_t>(std::atoi(workers.back().c_str()));
    const auto fault = random() % 3;
    if (victim > 0 && kill(victim, 0) == 0) {
      if (fault == 0) kill(victim, SIGKILL);
      if (fault == 1) kill(victim, SIGTERM);
      if (fault == 2) kill(victim, SIGSTOP), stopped.push_back(victim);
    }
    for (int i = 0; i < 5; ++i) {
      // Whoever was accepted by the victim meets a reset, and comes again.
      std::string answer = AskOnce(address, "hello");
      if (answer.empty()) answer = AskOnce(address, "hello");
      EXPECT_EQ(answer, "hello");
    }
    if (random() % 2 == 0) {
      for (const pid_t pid : stopped) kill(pid, SIGCONT);
      stopped.clear();
    }
  }
  for (const pid_t pid : stopped) kill(pid, SIGCONT);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

TEST(Supervisor, HungWorkerEndsWithItsRoot) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2, .shutdown_timeout = absl::Milliseconds(50)});
    trace.Follow(reactor.lifecycle());
    ListenAsEcho(reactor, trace);
    return ExitWith(reactor.Run());
  });
  TestClient client(cluster.AwaitAddress());
  client.Send("hang");
  cluster.Await("hangs");
  cluster.Signal(SIGKILL);
  EXPECT_EQ(cluster.AwaitEnd(), 1000 + SIGKILL);
}

// --- Draining ---

// Answers each request, a byte, by "k" for keep-alive or "c" for close.
class KeepAlive final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    const size_t requests = connection.Received().size();
    const bool closes = draining_ || connection.loop().draining();
    for (size_t i = 0; i < requests; ++i) connection.Write(closes ? "c" : "k");
    if (closes) connection.Close();
  }
  void OnDrain(Connection& /*connection*/) override { draining_ = true; }

 private:
  bool draining_ = false;
};

TEST(Cluster, BusyKeepAliveClientsLoseNothing) {
  constexpr size_t kBusy = 16;
  constexpr size_t kRestarts = 4;
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2});
    trace.Follow(reactor.lifecycle());
    trace.Listen(reactor, {.on_open = [](Connection& connection) {
                   connection.Attach(std::make_unique<KeepAlive>());
                 }});
    return ExitWith(reactor.Run());
  });
  const SocketAddress address = cluster.AwaitAddress();
  cluster.Await("start", 2);
  std::atomic<bool> over = false;
  std::atomic<uint64_t> answered = 0, unanswered = 0, told = 0;
  std::vector<std::thread> clients;
  for (size_t i = 0; i < kBusy; ++i) {
    clients.emplace_back([&] {
      while (!over) {
        TestClient client(address);
        std::string answer = "k";
        while (!over && answer == "k") {
          client.Send("r");
          answer = client.Receive(1);
          ++(answer.empty() ? unanswered : answered);
        }
        if (answer == "c") ++told;
      }
    });
  }
  for (size_t restart = 1; restart <= kRestarts; ++restart) {
    cluster.Signal(SIGUSR1);
    cluster.AwaitMore("start", 2 * restart, 2);
    // All who drained have ended, since each client was told to leave.
    cluster.Await("at_exit", 2 * restart);
  }
  over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(unanswered, 0u);
  EXPECT_GT(answered, 0u);
  EXPECT_GE(told, kBusy);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
