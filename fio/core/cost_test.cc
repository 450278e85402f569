// What a connection costs, in what can be counted: system calls and
// allocations.

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/fault_plan.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::AllocationCounter;
using testing::FaultPlan;

using Call = FaultPlan::Call;

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// A server on one loop, and clients whose own calls are not counted: they do
// not go through the table.
class CostTest : public ::testing::Test {
 protected:
  void Serve(std::string_view url_text) {
    absl::StatusOr<Url> url = Url::Parse(url_text);
    EXPECT_TRUE(url.ok()) << url.status();
    // However busy the machine is, a turn serves all who are ready.
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.turn_budget = absl::Hours(1)});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        Listener::Create(*loop_, *url, {.on_open = [](Connection& connection) {
          connection.SetTimeout(absl::Seconds(60));
          connection.Attach(std::make_unique<Echo>());
        }});
    EXPECT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }

  UniqueFd Connect() {
    const SocketAddress& address = listener_->local_address();
    UniqueFd client(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(client.get(), address.data(), address.size()), 0);
    return client;
  }

  static void Send(const UniqueFd& client) {
    EXPECT_EQ(::send(client.get(), "hello", 5, MSG_NOSIGNAL), 5);
  }
  // Returns when the server's kernel has what was sent.
  static void AwaitArrival(const UniqueFd& client) {
    int left = 1;
    while (left > 0) {
      ASSERT_EQ(::ioctl(client.get(), SIOCOUTQ, &left), 0);
      sched_yield();
    }
  }
  static bool Echoed(const UniqueFd& client) {
    std::array<char, 5> echo;
    return ::recv(client.get(), echo.data(), echo.size(),
                  MSG_DONTWAIT | MSG_PEEK) == 5;
  }
  static void Take(const UniqueFd& client) {
    std::array<char, 5> echo;
    EXPECT_EQ(::recv(client.get(), echo.data(), echo.size(), 0), 5);
  }

  void Turn() {
    ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  }
  // Turns without waiting until nothing is left to do.
  void Settle() {
    do {
      ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
    } while (loop_->next_deadline() == MonotonicTime::InfinitePast());
  }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
};

// accept4, one epoll_ctl, close; and each request's read and write, and the
// read that finds the end. uSockets makes seven, and more on each socket.
TEST_F(CostTest, ALifeIsAcceptAddAndClose) {
  Serve("tcp://127.0.0.1:0");
  constexpr uint64_t kLives = 100;
  const FaultPlan plan;
  for (uint64_t i = 0; i < kLives; ++i) {
    UniqueFd client = Connect();
    Send(client);
    while (!Echoed(client)) Turn();
    ::shutdown(client.get(), SHUT_WR);
    while (loop_->connection_count() > 0) Turn();
    ::close(client.Release());
  }
  // The one that finds the queue empty ends a batch.
  const uint64_t accepts = plan.calls(Call::kAccept4);
  EXPECT_GE(accepts, kLives);
  EXPECT_LE(accepts, 2 * kLives);
  EXPECT_EQ(plan.calls(Call::kEpollCtl), kLives);
  EXPECT_EQ(plan.calls(Call::kClose), kLives);
  EXPECT_EQ(plan.calls(Call::kRecv), 2 * kLives);
  EXPECT_EQ(plan.calls(Call::kSend), kLives);
  const uint64_t waits = plan.calls(Call::kEpollWait);
  EXPECT_EQ(plan.calls(), accepts + 5 * kLives + waits)
      << "and no call of any other kind";
}

// While it connects and afterwards it has one registration, which is changed
// once.
TEST_F(CostTest, AConnectorRegistersOnce) {
  Serve("tcp://127.0.0.1:0");
  Resolver resolver;
  const std::string url =
      absl::StrCat("tcp://", listener_->local_address().ToString());
  bool opened = false;
  const FaultPlan plan;
  const absl::StatusOr<std::unique_ptr<Connector>> connector =
      Connector::Create(*loop_, resolver, url,
                        {.on_open = [&](Connection& connection) {
                          opened = true;
                          connection.Close();
                        }});
  ASSERT_TRUE(connector.ok()) << connector.status();
  while (!opened || loop_->connection_count() > 0) Turn();
  // The client's, its change, and the server's.
  EXPECT_EQ(plan.calls(Call::kEpollCtl), 3u);
}

// 64 connections that are ready in the same turn share its wait.
TEST_F(CostTest, ARequestIsAReadAndAWrite) {
  Serve("tcp://127.0.0.1:0");
  constexpr uint64_t kConnections = 64;
  constexpr uint64_t kRounds = 50;
  std::vector<UniqueFd> clients;
  for (uint64_t i = 0; i < kConnections; ++i) clients.push_back(Connect());
  while (loop_->connection_count() < kConnections) Turn();
  Settle();
  const FaultPlan plan;
  for (uint64_t round = 0; round < kRounds; ++round) {
    for (const UniqueFd& client : clients) Send(client);
    for (const UniqueFd& client : clients) AwaitArrival(client);
    Turn();
    for (const UniqueFd& client : clients) Take(client);
  }
  constexpr uint64_t kRequests = kConnections * kRounds;
  EXPECT_EQ(plan.calls(Call::kRecv), kRequests);
  EXPECT_EQ(plan.calls(Call::kSend), kRequests);
  EXPECT_EQ(plan.calls(Call::kEpollCtl), 0u);
  EXPECT_EQ(plan.calls(Call::kEpollWait), kRounds);
  EXPECT_LE(static_cast<double>(plan.calls()) / kRequests, 2.05);
}

// A short read of a Unix socket does not tell that nothing is left, so another
// recv(2) asks.
TEST_F(CostTest, ARequestOnAUnixSocketIsTwoReadsAndAWrite) {
  char folder[] = "/tmp/fio_cost_XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  Serve(absl::StrCat(folder, "/x.sock"));
  const UniqueFd client = Connect();
  while (loop_->connection_count() < 1) Turn();
  Settle();
  constexpr uint64_t kRequests = 50;
  const FaultPlan plan;
  for (uint64_t i = 0; i < kRequests; ++i) {
    Send(client);
    Settle();
    Take(client);
  }
  EXPECT_EQ(plan.calls(Call::kRecv), 2 * kRequests);
  EXPECT_EQ(plan.calls(Call::kSend), kRequests);
  EXPECT_EQ(plan.calls(Call::kEpollCtl), 0u);
  listener_ = nullptr;
  EXPECT_EQ(rmdir(folder), 0);
}

TEST_F(CostTest, ARequestAllocatesNothing) {
  Serve("tcp://127.0.0.1:0");
  const UniqueFd client = Connect();
  const auto request = [&] {
    Send(client);
    while (!Echoed(client)) Turn();
    Take(client);
  };
  for (int i = 0; i < 3; ++i) request();
  const AllocationCounter counter;
  for (int i = 0; i < 100; ++i) request();
  EXPECT_EQ(counter.allocations(), 0);
}

// Beside the user's protocol: the connection itself, in the table's pages,
// which are not the heap's.
TEST_F(CostTest, AConnectionAllocatesItsProtocolOnly) {
  Serve("tcp://127.0.0.1:0");
  constexpr int kConnections = 100;
  std::vector<UniqueFd> clients;
  for (int i = 0; i < kConnections; ++i) clients.push_back(Connect());
  while (loop_->connection_count() < kConnections) Turn();
  Settle();
  clients.clear();
  while (loop_->connection_count() > 0) Turn();
  for (int i = 0; i < kConnections; ++i) clients.push_back(Connect());
  const AllocationCounter counter;
  while (loop_->connection_count() < kConnections) Turn();
  Settle();
  EXPECT_EQ(counter.allocations(), kConnections);
}

}  // namespace
}  // namespace fio
