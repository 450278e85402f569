// A single process of several loops, one of which hangs in a callback for ever:
// what the others, the sockets and a stop do.

#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
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

// So many that each socket gets some.
constexpr int kClients = 40;

thread_local bool t_is_main = false;

// Sends back what it gets; "hang" has a loop hang if it is not the main one.
class Server final : public Protocol {
 public:
  explicit Server(const Trace& trace) : trace_(trace) {}

  void OnData(Connection& connection) override {
    const std::string received(connection.Received());
    const bool hangs = received == "hang" && !t_is_main;
    if (hangs) trace_.Tell("hangs");
    while (hangs) pause();
    connection.Write(received);
    if (received == "hang") trace_.Tell("main");
  }

 private:
  const Trace trace_;
};

// SIGUSR2 closes its listener.
int RunServer(const Trace& trace, absl::Duration shutdown_timeout) {
  Reactor reactor({.threads = 3,
                   .workers = 1,
                   .shutdown_timeout = shutdown_timeout,
                   .linger_timeout = absl::ZeroDuration()});
  reactor.lifecycle().Add(LifecycleEvent::kOnStart, [] { t_is_main = true; });
  trace.Follow(reactor.lifecycle());
  const ListenerId id =
      trace.Listen(reactor, {.on_open = [trace](Connection& connection) {
                     connection.Attach(std::make_unique<Server>(trace));
                   }});
  static volatile std::sig_atomic_t closes = 0;
  std::signal(SIGUSR2, [](int) { closes = 1; });
  const auto close_if_asked = [&reactor, id] {
    if (closes != 0) reactor.CloseListener(id).IgnoreError();
  };
  EXPECT_TRUE(reactor
                  .RunEvery({.callback = close_if_asked,
                             .interval = absl::Milliseconds(1)})
                  .ok());
  return ExitWith(reactor.Run());
}

// Has a loop hang. Returns the clients that were needed for it.
std::vector<std::unique_ptr<TestClient>> HangOneLoop(TestCluster& cluster) {
  const SocketAddress address = cluster.AwaitAddress();
  cluster.Await("start");
  std::vector<std::unique_ptr<TestClient>> clients;
  for (size_t others = 0; cluster.Count("hangs") == 0;) {
    clients.push_back(std::make_unique<TestClient>(address));
    clients.back()->Send("hang");
    while (cluster.Count("hangs") == 0 && cluster.Count("main") == others) {
      sched_yield();
    }
    others = cluster.Count("main");
  }
  return clients;
}

// Those that other loops serve are closed, and those that wait for the loop are
// reset.
TEST(HungLoop, AStopRefusesClientsAndEndsOtherConnections) {
  TestCluster cluster([](const Trace& trace) {
    return RunServer(trace, absl::InfiniteDuration());
  });
  const SocketAddress address = cluster.AwaitAddress();
  const auto clients = HangOneLoop(cluster);
  std::vector<std::unique_ptr<TestClient>> others;
  for (int i = 0; i < kClients; ++i) {
    others.push_back(std::make_unique<TestClient>(address));
  }
  cluster.Signal(SIGTERM);
  for (const auto& client : others) {
    client->ReceiveToEnd();
    ASSERT_TRUE(client->error() == 0 || client->error() == ECONNRESET)
        << client->error();
  }
  for (int i = 0; i < kClients; ++i) {
    ASSERT_EQ(TestClient(address).error(), ECONNREFUSED);
  }
  // A second signal cuts off.
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 1);
}

TEST(HungLoop, ShutdownTimeoutBoundsTheStop) {
  TestCluster cluster([](const Trace& trace) {
    return RunServer(trace, absl::Milliseconds(50));
  });
  const auto clients = HangOneLoop(cluster);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 1);
}

TEST(HungLoop, AClosedListenerRefusesClients) {
  TestCluster cluster([](const Trace& trace) {
    return RunServer(trace, absl::InfiniteDuration());
  });
  const SocketAddress address = cluster.AwaitAddress();
  const auto clients = HangOneLoop(cluster);
  cluster.Signal(SIGUSR2);
  // A client that comes at that very moment may be reset.
  int error = 0;
  while (error != ECONNREFUSED) {
    error = TestClient(address).error();
    ASSERT_TRUE(error == 0 || error == ECONNRESET || error == ECONNREFUSED)
        << error;
  }
  for (int i = 0; i < kClients; ++i) {
    ASSERT_EQ(TestClient(address).error(), ECONNREFUSED);
  }
}

}  // namespace
}  // namespace fio
