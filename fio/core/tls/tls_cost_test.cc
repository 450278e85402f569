// What a connection with TLS costs, in system calls of the server.

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/socket.h"
#include "fio/sock/url.h"
#include "fio/testing/fault_plan.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Echo;
using tls_testing::Server;
using tls_testing::TestClient;

using Call = FaultPlan::Call;

// The server's calls are those of its turns.
class TlsCost : public ::testing::Test {
 protected:
  TlsCost() {
    // However busy the machine is, a turn serves all who are ready.
    loop_ = *Loop::Create({.turn_budget = absl::Hours(1)});
    auto listener =
        Listener::Create(*loop_, *Url::Parse("tls://127.0.0.1:0"),
                         {.on_open =
                              [](Connection& connection) {
                                connection.SetTimeout(absl::Seconds(60));
                                connection.Attach(std::make_unique<Echo>());
                              },
                          .transport = TlsFactory(Server())});
    ABSL_CHECK_OK(listener);
    listener_ = *std::move(listener);
  }

  std::unique_ptr<TestClient> NewClient() {
    auto client =
        std::make_unique<TestClient>(listener_->local_address(), client_);
    while (client->Shake(), !client->is_over()) Turn();
    EXPECT_TRUE(client->is_done()) << client->failure();
    // The server's tickets come before the first echo.
    Echoed(*client, "x");
    Settle();
    return client;
  }
  // Returns when the server's kernel has what was sent.
  static void AwaitArrival(TestClient& client) {
    while (client.socket().unacknowledged_bytes() > 0) sched_yield();
  }
  void Echoed(TestClient& client, const std::string& bytes) {
    client.Send(bytes);
    std::string answer;
    while ((answer += client.Take()).size() < bytes.size()) Turn();
    EXPECT_EQ(answer, bytes);
  }

  // A client shakes hands, asks once, and goes.
  void LiveCounting(const FaultPlan& plan) {
    TestClient client(listener_->local_address(), client_);
    while (client.Shake(), !client.is_over()) {
      AwaitArrival(client);
      CountTurn(plan);
    }
    client.Send("hello");
    AwaitArrival(client);
    std::string answer;
    while ((answer += client.Take()).size() < 5) CountTurn(plan);
    client.socket().Close();
    while (client.socket().fd() >= 0)
      static_cast<void>(client.socket().Flush());
    while (loop_->connection_count() > 0) CountTurn(plan);
  }

  // A turn, and those that follow at once, if there are any. Adds what they
  // call to `calls_`.
  void CountTurns(const FaultPlan& plan) {
    do {
      CountTurn(plan);
    } while (loop_->next_deadline() == MonotonicTime::InfinitePast());
  }
  void CountTurn(const FaultPlan& plan) {
    const std::vector<uint64_t> before = Counts(plan);
    Turn();
    const std::vector<uint64_t> after = Counts(plan);
    for (size_t i = 0; i < after.size(); ++i) calls_[i] += after[i] - before[i];
  }
  uint64_t calls(Call call) const { return calls_[static_cast<size_t>(call)]; }
  uint64_t all_calls() const {
    uint64_t sum = 0;
    for (const uint64_t count : calls_) sum += count;
    return sum;
  }

  void Turn() {
    const auto turn = loop_->RunOnce(MonotonicTime::InfinitePast());
    ASSERT_TRUE(turn.ok()) << turn;
  }
  // Turns without waiting until nothing is left to do.
  void Settle() {
    do {
      Turn();
    } while (loop_->next_deadline() == MonotonicTime::InfinitePast());
  }

 private:
  static constexpr size_t kCalls = static_cast<size_t>(Call::kClose) + 1;

  static std::vector<uint64_t> Counts(const FaultPlan& plan) {
    std::vector<uint64_t> counts;
    for (size_t i = 0; i < kCalls; ++i) {
      counts.push_back(plan.calls(static_cast<Call>(i)));
    }
    return counts;
  }

  const Context client_ = Client();
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
  std::vector<uint64_t> calls_ = std::vector<uint64_t>(kCalls);
};

// As without TLS. 64 connections that are ready in the same turn share its
// wait.
TEST_F(TlsCost, ARequestIsAReadAndAWrite) {
  constexpr uint64_t kConnections = 64;
  constexpr uint64_t kRounds = 20;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (uint64_t i = 0; i < kConnections; ++i) clients.push_back(NewClient());
  Settle();
  const FaultPlan plan;
  for (uint64_t round = 0; round < kRounds; ++round) {
    for (const auto& client : clients) client->Send("hello");
    for (const auto& client : clients) AwaitArrival(*client);
    CountTurns(plan);
    for (const auto& client : clients) EXPECT_EQ(client->Receive(5), "hello");
  }
  constexpr uint64_t kRequests = kConnections * kRounds;
  EXPECT_EQ(calls(Call::kRecv), kRequests);
  EXPECT_EQ(calls(Call::kSend), kRequests);
  EXPECT_EQ(calls(Call::kEpollCtl), 0u);
  EXPECT_EQ(calls(Call::kEpollWait), kRounds);
  EXPECT_LE(static_cast<double>(all_calls()) / kRequests, 2.05);
}

// A record that comes in pieces costs a read for each of them.
TEST_F(TlsCost, ARecordInSegmentsIsAReadForEach) {
  const std::unique_ptr<TestClient> client = NewClient();
  const std::string question(600, 'q');
  FaultPlan plan({.seed = 5, .short_write = 1});
  uint64_t segments = 0, requests = 0;
  for (; requests < 30; ++requests) {
    plan.Target(client->socket().fd());
    ASSERT_TRUE(client->socket().Write(question).ok());
    const uint64_t sends = plan.calls(Call::kSend);
    while (client->socket().Flush().would_block()) {
      AwaitArrival(*client);
      CountTurns(plan);
      EXPECT_EQ(client->Take(), "") << "before the record is complete";
    }
    segments += plan.calls(Call::kSend) - sends;
    AwaitArrival(*client);
    CountTurns(plan);
    EXPECT_EQ(client->Receive(question.size()), question);
  }
  EXPECT_GT(segments, 2 * requests);
  EXPECT_LE(calls(Call::kRecv), segments);
  EXPECT_EQ(calls(Call::kSend), requests);
  EXPECT_EQ(calls(Call::kEpollCtl), 0u);
}

// From the accept on: its two flights, the request and the end. The first read,
// before the client has said anything, finds nothing.
TEST_F(TlsCost, ALifeIsRegisteredOnce) {
  constexpr uint64_t kLives = 20;
  const FaultPlan plan;
  for (uint64_t i = 0; i < kLives; ++i) {
    LiveCounting(plan);
  }
  EXPECT_EQ(calls(Call::kEpollCtl), kLives);
  EXPECT_EQ(calls(Call::kClose), kLives);
  EXPECT_LE(calls(Call::kRecv), 5 * kLives);
  EXPECT_LE(calls(Call::kSend), 3 * kLives);
}

}  // namespace
}  // namespace fio
