// The root is killed: no socket of the cluster goes on collecting clients,
// whatever the workers are at, and a new root can listen at once.

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
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
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;

// "hang" has its thread hang, "stop" stops its process.
class Server final : public Protocol {
 public:
  explicit Server(const Trace& trace) : trace_(trace) {}

  void OnData(Connection& connection) override {
    const std::string received(connection.Received());
    trace_.Tell(received);
    if (received == "stop") raise(SIGSTOP);
    while (received == "hang") pause();
  }

 private:
  const Trace trace_;
};

// A root that listens on TCP, and also at `url`. No watchdog ends a worker.
int RunRoot(const Trace& trace, int workers, const std::string& url,
            void (*on_start)()) {
  Reactor reactor({.threads = 1,
                   .workers = workers,
                   .supervise_single_worker = true,
                   .shutdown_timeout = absl::InfiniteDuration()});
  reactor.lifecycle().Add(LifecycleEvent::kOnStart, on_start);
  trace.Follow(reactor.lifecycle());
  const ListenOptions options = {.on_open = [trace](Connection& connection) {
    connection.Attach(std::make_unique<Server>(trace));
  }};
  trace.Listen(reactor, options);
  trace.Listen(reactor, options, url);
  return ExitWith(reactor.Run());
}

std::string UnixPath() {
  return absl::StrCat("unix:///tmp/fio-root-death-", getpid());
}

std::vector<SocketAddress> Addresses(TestCluster& cluster) {
  std::vector<SocketAddress> addresses;
  for (const std::string& text : cluster.Values("address")) {
    addresses.push_back(*SocketAddress::Parse(text));
  }
  EXPECT_EQ(addresses.size(), 2u);
  return addresses;
}

// Clients are refused, and another server can listen there.
void ExpectFree(TestCluster& cluster) {
  for (const SocketAddress& address : Addresses(cluster)) {
    EXPECT_NE(TestClient(address).error(), 0) << address.ToString();
    EXPECT_TRUE(ListenSocket::Listen(address, {}).ok()) << address.ToString();
  }
}

TEST(RootDeath, AStoppedWorkerKeepsNoSocketOpen) {
  TestCluster cluster([](const Trace& trace) {
    // In a session of its own, so that the kernel does not continue a stopped
    // worker when its root dies.
    return RunRoot(trace, 2, UnixPath(), [] { setsid(); });
  });
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  const absl::Cleanup kill_both = [&workers] {
    for (const pid_t worker : workers) kill(worker, SIGKILL);
  };
  TestClient client(cluster.AwaitAddress());
  client.Send("stop");
  cluster.Await("stop");
  cluster.Signal(SIGKILL);
  cluster.Await("at_exit");
  ExpectFree(cluster);
}

TEST(RootDeath, AHelperOfAWorkerKeepsNoSocketOpen) {
  TestCluster cluster([](const Trace& trace) {
    return RunRoot(trace, 2, UnixPath(), [] {
      if (fork() != 0) return;
      for (;;) pause();
    });
  });
  cluster.Await("start", 2);
  cluster.Signal(SIGKILL);
  cluster.Await("at_exit", 2);
  ExpectFree(cluster);
}

// The only worker hangs: its watchdog ends the sockets.
TEST(RootDeath, AHungWorkerKeepsNoSocketOpen) {
  TestCluster cluster([](const Trace& trace) {
    return RunRoot(trace, 1, "tcp://127.0.0.1:0", [] {});
  });
  cluster.Await("start");
  TestClient client(cluster.AwaitAddress());
  client.Send("hang");
  cluster.Await("hang");
  std::vector<std::unique_ptr<TestClient>> waiting;
  for (const SocketAddress& address : Addresses(cluster)) {
    waiting.push_back(std::make_unique<TestClient>(address));
  }
  cluster.Signal(SIGKILL);
  for (const auto& one : waiting) {
    one->ReceiveToEnd();
    EXPECT_EQ(one->error(), ECONNRESET);
  }
  ExpectFree(cluster);
}

}  // namespace
}  // namespace fio
