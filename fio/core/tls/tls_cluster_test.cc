// TLS in a root with workers: tickets of one worker at another, and a restart
// under load.

#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "fio/core/exit_with.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "fio/core/tls/reload_tls.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/socket_address.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_ticket_keys.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Echo;
using tls_testing::Server;
using tls_testing::TempFile;
using tls_testing::TestClient;

constexpr size_t kGreetingBytes = 10;

// Each worker greets with its pid, and whether the session was resumed.
ListenOptions Greeting() {
  return {.on_open = [](Connection& connection) {
    const TlsInfo* const tls = TlsInfo::Of(connection.transport());
    connection.Write(absl::StrFormat("%8d %d", getpid(), tls->is_resumed()));
    connection.Attach(std::make_unique<Echo>());
  }};
}

int Serve(const Trace& trace) {
  auto keys = TlsTicketKeys::Create();
  ABSL_CHECK_OK(keys);
  TlsServerOptions options;
  options.ticket_keys = *keys;
  Reactor reactor({.threads = 1, .workers = 2});
  trace.Follow(reactor.lifecycle());
  ListenOptions greeting = Greeting();
  greeting.transport = TlsFactory(Server(std::move(options)));
  trace.Listen(reactor, std::move(greeting), "tls://127.0.0.1:0");
  return ExitWith(reactor.Run());
}

// By url, and with a word on each reload.
int ServeFiles(const Trace& trace, const std::string& files) {
  Reactor reactor({.threads = 1, .workers = 2});
  trace.Follow(reactor.lifecycle());
  ListenOptions greeting = Greeting();
  greeting.secure = ReloadedTls(reactor);
  trace.Listen(reactor, std::move(greeting),
               absl::StrCat("tls://127.0.0.1:0?", files));
  reactor.lifecycle().Add(LifecycleEvent::kOnReload,
                          [&trace] { trace.Tell("reload"); });
  return ExitWith(reactor.Run());
}

struct Heard {
  pid_t worker = 0;
  bool resumed = false;
};

// Of a client that has connected; it also asks.
Heard GreetingOf(TestClient& client) {
  EXPECT_TRUE(client.ShakeToEnd()) << client.failure();
  if (!client.is_done()) return {};
  const std::string greeting = client.Receive(kGreetingBytes);
  EXPECT_EQ(client.Ask("a question", 10), "a question");
  EXPECT_EQ(greeting.size(), kGreetingBytes);
  if (greeting.size() != kGreetingBytes) return {};
  Heard read = {.resumed = greeting.back() == '1'};
  EXPECT_TRUE(absl::SimpleAtoi(greeting.substr(0, 8), &read.worker));
  return read;
}

Heard Visit(const SocketAddress& address, const Context& context) {
  TestClient client(address, context);
  return GreetingOf(client);
}

class Tls : public ::testing::Test {
 protected:
  // Made before the fork: both sides know it.
  Tls() { tls_testing::OurCertificate(); }
};

// The first visit has no ticket; later ones have, whichever worker they meet.
void ExpectResumed(const SocketAddress& address, const Context& context) {
  const Heard first = Visit(address, context);
  // The kernel chooses the worker: soon it is the other one, whose first client
  // has the ticket of the one before.
  Heard next = first;
  for (int i = 0; i < 400 && next.worker == first.worker; ++i) {
    next = Visit(address, context);
    EXPECT_TRUE(next.resumed) << "visit " << i;
  }
  EXPECT_NE(next.worker, first.worker);
}

TEST_F(Tls, TicketsAcrossWorkers) {
  TestCluster cluster(Serve);
  const SocketAddress address = cluster.AwaitAddress();
  ASSERT_EQ(cluster.Await("start", 2).size(), 2u);
  const Context context = Client();
  EXPECT_FALSE(Visit(address, context).resumed);
  ExpectResumed(address, context);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

// Each worker reads the files for itself.
TEST_F(Tls, TicketsAcrossWorkersAfterAReload) {
  const std::string cert =
      TempFile("cert.pem", tls_testing::OurCertificate().chain_pem());
  const std::string key =
      TempFile("key.pem", tls_testing::OurCertificate().key_pem());
  TestCluster cluster([&](const Trace& trace) {
    return ServeFiles(trace, absl::StrCat("cert=", cert, "&key=", key));
  });
  const SocketAddress address = cluster.AwaitAddress();
  ASSERT_EQ(cluster.Await("start", 2).size(), 2u);
  const Context context = Client();
  EXPECT_FALSE(Visit(address, context).resumed);
  cluster.Signal(SIGHUP);
  ASSERT_EQ(cluster.Await("reload", 3).size(), 3u);  // The root as well.
  EXPECT_TRUE(Visit(address, context).resumed);
  ExpectResumed(address, context);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

// A restart under load. Some clients are in the middle of their handshake at
// any time; none is refused, and each ticket is good, old or new.
TEST_F(Tls, ARestartRefusesNobody) {
  TestCluster cluster(Serve);
  const SocketAddress address = cluster.AwaitAddress();
  const std::vector<pid_t> workers = cluster.Await("start", 2);
  ASSERT_EQ(workers.size(), 2u);
  const std::set<pid_t> old_ones(workers.begin(), workers.end());
  TlsClientOptions without;
  without.max_sessions = 0;
  const Context load = Client(std::move(without)), context = Client();
  std::deque<TestClient> begun;
  std::set<pid_t> new_ones;
  int visits = 0, resumed_by_new = 0;
  for (int left = 20'000; left > 0; --left) {
    begun.emplace_back(address, load).Shake();
    if (begun.size() > 8) {
      GreetingOf(begun.front());
      begun.pop_front();
    }
    const Heard greeting = Visit(address, context);
    EXPECT_EQ(greeting.resumed, visits > 0) << "visit " << visits;
    if (old_ones.count(greeting.worker) == 0) {
      new_ones.insert(greeting.worker);
      ++resumed_by_new;
    }
    if (++visits == 20) cluster.Signal(SIGUSR1);
    if (new_ones.size() == 2 && resumed_by_new >= 20) break;
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(new_ones.size(), 2u) << visits << " visits";
  for (TestClient& client : begun) GreetingOf(client);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
