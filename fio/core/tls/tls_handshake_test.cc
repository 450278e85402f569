// Handshakes of TLS under a loop: when on_open comes, who is told of a failure,
// and how long a peer may take.

#include <sched.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/io_result.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using testing::FaultPlan;
using ::testing::HasSubstr;
using testing::LoopbackPair;
using ::testing::SizeIs;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::ClientTrusting;
using tls_testing::Context;
using tls_testing::Echo;
using tls_testing::Server;
using tls_testing::ServerWith;
using tls_testing::TestClient;
using tls_testing::TlsLoop;

using Handshake = Transport::Handshake;

class Tls : public TlsLoop {};

TEST_F(Tls, OnOpenAfterHandshake) {
  ListenOptions options = Serving(Server({.alpn = {"echo"}}));
  std::string agreed;
  options.on_open = [&](Connection& connection) {
    ++opened_;
    EXPECT_FALSE(connection.is_handshaking());
    agreed = TlsInfo::Of(connection.transport())->alpn();
    connection.Attach(std::make_unique<Echo>());
  };
  Listen(std::move(options));
  TestClient client(address(), Client({.alpn = {"echo"}}));
  Turn(3);
  EXPECT_EQ(opened_, 0) << "the client has said nothing";
  ASSERT_EQ(client.Shake(), Handshake::kMore);
  // The server answers, and the client is not done before it has read that.
  ASSERT_TRUE(Until([&] { return client.socket().Peek().bytes == 1; }));
  Turn(3);
  EXPECT_EQ(opened_, 0) << "the client has not finished";
  EXPECT_EQ(listener_->stats().handshakes_under_way, 1u);
  ASSERT_TRUE(Shake(client)) << client.failure();
  ASSERT_TRUE(Until([&] { return opened_ > 0; }));
  EXPECT_EQ(agreed, "echo");
  EXPECT_EQ(Ask(client, "hello"), "hello");
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(listener_->stats().handshakes_under_way, 0u);
}

// Bytes that come with the end of the handshake are there to read.
TEST_F(Tls, WhatComesWithTheLastFlightIsServed) {
  Listen(Serving(Server()));
  TestClient client(address(), Client());
  ASSERT_EQ(client.Shake(), Handshake::kMore);
  ASSERT_TRUE(Until([&] { return client.socket().Peek().bytes == 1; }));
  // The server waits while the client finishes and asks.
  ASSERT_TRUE(client.ShakeToEnd());
  client.Send("early bird");
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(Ask(client, ""), "");
  std::string answer;
  ASSERT_TRUE(Until([&] { return (answer += client.Take()).size() >= 10; }));
  EXPECT_EQ(answer, "early bird");
}

TEST_F(Tls, FailureReachesConnector) {
  const Context server = Server();
  Listen(Serving(server));
  Connect(Asking(ClientTrusting(CertificateFor("localhost").chain_pem())));
  ASSERT_TRUE(Until([&] { return finished_ == 1 && refused_.size() == 1; }));
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsUnauthenticated(failed_[0])) << failed_[0];
  EXPECT_THAT(failed_[0].message(), HasSubstr(absl::StrCat("connect ", url())));
  EXPECT_THAT(failed_[0].message(), HasSubstr(address().ToString()));
  // The server has the client's alert.
  EXPECT_TRUE(absl::IsPermissionDenied(refused_[0])) << refused_[0];
  EXPECT_THAT(refused_[0].message(), HasSubstr("alert"));
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(connectors_[0]->stats().opened, 0u);
  EXPECT_EQ(server->stats().failed, 1u);
  EXPECT_EQ(heard_.id, ConnectionId());
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
}

TEST_F(Tls, HandshakeDeadline) {
  ListenOptions options = Serving(Server());
  options.handshake_timeout = absl::Seconds(3);
  Listen(std::move(options));
  TestClient silent(address(), Client()), slow(address(), Client());
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 2; }));
  slow.Shake();  // It stops in the middle.
  Turn(3);
  Advance(absl::Seconds(3) - absl::Milliseconds(1));
  EXPECT_THAT(refused_, ElementsAre());
  Advance(absl::Milliseconds(1));
  ASSERT_THAT(refused_, SizeIs(2));
  for (const absl::Status& why : refused_) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(why)) << why;
    EXPECT_THAT(why.message(), HasSubstr("the TLS handshake"));
  }
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(listener_->stats().handshakes_under_way, 0u);
  ASSERT_TRUE(Until([&] {
    const IoResult peek = silent.socket().Peek();
    return peek.ok() && peek.bytes == 0;
  }));
}

// --- The client's side ---

TEST_F(Tls, HandshakeTimeout) {
  absl::StatusOr<ListenSocket> silent =
      ListenSocket::Listen(*SocketAddress::Parse("127.0.0.1:0"), {});
  ASSERT_TRUE(silent.ok()) << silent.status();
  ConnectorOptions options = Asking(Client());
  options.timeout = absl::Seconds(3);
  Connect(std::move(options),
          absl::StrCat("tls://", silent->local_address().ToString()));
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 1; }));
  Turn(3);
  ListenSocket::Accepted accepted = silent->Accept();
  ASSERT_EQ(accepted.error, 0);
  Advance(absl::Seconds(3) - absl::Milliseconds(2));
  EXPECT_THAT(failed_, ElementsAre());
  Advance(absl::Milliseconds(2));
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed_[0])) << failed_[0];
  EXPECT_THAT(failed_[0].message(), HasSubstr("handshake"));
  EXPECT_EQ(finished_, 1);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(heard_.id, ConnectionId());
}

// --- A connection whose user does nothing for it ---

std::unique_ptr<Transport> NewTls(Context context) {
  return std::make_unique<TlsTransport>(
      std::move(context), TlsTransportOptions{.server_name = "localhost"});
}

// Nobody reads, and more is queued than may be: a connection with a protocol
// that is suspended and paused, and one without any.
TEST_F(Tls, HandshakeWithoutProtocol) {
  for (const bool has_protocol : {false, true}) {
    SCOPED_TRACE(has_protocol);
    LoopbackPair pair = LoopbackPair::Tcp();
    std::vector<absl::Status> done;
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(pair.near), [&](Connection& connection) {
          if (has_protocol) connection.Attach(std::make_unique<Echo>());
          connection.SetWatermarks({.high_bytes = 1});
          connection.Suspend();
          connection.Write("a speaker that does not wait");
          EXPECT_TRUE(connection.StartHandshake(
              NewTls(Server()), absl::Seconds(10),
              [&](Connection&, const absl::Status& status) {
                done.push_back(status);
              }));
        });
    ASSERT_TRUE(id.ok()) << id.status();
    ASSERT_TRUE(pair.far.SetTransport(NewTls(Client())).ok());
    pair.far.SetShaking(true);
    ASSERT_TRUE(Until([&] { return pair.far.Shake() == Handshake::kDone; }));
    pair.far.SetShaking(false);
    ASSERT_TRUE(Until([&] { return !done.empty(); }));
    EXPECT_THAT(done, ElementsAre(absl::OkStatus()));
    std::string heard;
    ASSERT_TRUE(Until([&] {
      return (heard += testing::ReadAvailable(pair.far)).size() >= 28;
    }));
    EXPECT_EQ(heard, "a speaker that does not wait");
    loop_->Find(*id)->Abort();
    Turn(3);
  }
}

// A server that has something to say waits for its client, and does not spin,
// whatever the poller is.
TEST_F(Tls, ASpeakerWaitsForItsClientWithoutSpinning) {
  LoopbackPair pair = LoopbackPair::Tcp();
  ASSERT_TRUE(loop_
                  ->Adopt(std::move(pair.near),
                          [&](Connection& connection) {
                            connection.Attach(std::make_unique<Echo>());
                            connection.Write("welcome");
                            connection.StartHandshake(
                                NewTls(Server()), absl::Seconds(10),
                                [](Connection&, const absl::Status&) {});
                          })
                  .ok());
  const auto costs_waits_alone = [&] {
    Turn(5);
    const FaultPlan plan;
    constexpr int kTurns = 10;
    Turn(kTurns);
    return plan.calls() <= kTurns && loop_->next_deadline() > clock_.Now();
  };
  EXPECT_TRUE(costs_waits_alone()) << "the client is silent";
  ASSERT_TRUE(pair.far.SetTransport(NewTls(Client())).ok());
  pair.far.SetShaking(true);
  ASSERT_EQ(pair.far.Shake(), Handshake::kMore);
  ASSERT_TRUE(Until([&] { return pair.far.Peek().bytes == 1; }));
  EXPECT_TRUE(costs_waits_alone()) << "in the middle";
  ASSERT_EQ(pair.far.Shake(), Handshake::kDone);
  pair.far.SetShaking(false);
  std::string heard;
  ASSERT_TRUE(Until(
      [&] { return (heard += testing::ReadAvailable(pair.far)).size() >= 7; }));
  EXPECT_TRUE(costs_waits_alone()) << "idle";
}

// --- Many ---

// A hundred handshakes are ready in the turn in which an open connection has a
// request, which has come last.
TEST_F(Tls, HandshakesAreBudgeted) {
  const Context context = Server();
  Listen(Serving(context));
  TestClient served(address(), Client());
  ASSERT_TRUE(Shake(served)) << served.failure();
  ASSERT_EQ(Ask(served, "x"), "x");
  std::vector<std::unique_ptr<TestClient>> storm;
  for (int i = 0; i < 100; ++i) {
    storm.push_back(std::make_unique<TestClient>(address(), Client()));
  }
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 101; }));
  Turn(60);
  const auto answered = [&] {
    int count = 0;
    for (const auto& client : storm) {
      count += client->socket().Peek().bytes == 1 ? 1 : 0;
    }
    return count;
  };
  for (const auto& client : storm) client->Shake();
  for (int i = 1; i <= 10; ++i) {
    served.Send("request");
    while (served.socket().unacknowledged_bytes() > 0) sched_yield();
    Turn();
    EXPECT_EQ(served.Take(), "request") << "turn " << i;
    EXPECT_LE(answered(), 4 * i);
  }
  ASSERT_TRUE(Until([&] { return answered() == 100; }));
}

// --- Certificates change ---

TEST_F(Tls, ReloadKeepsOldConnections) {
  const TlsCertificate old_one = CertificateFor("old.test");
  const TlsCertificate new_one = CertificateFor("new.test");
  std::string both = old_one.chain_pem() + new_one.chain_pem();
  const Context client = ClientTrusting(both);
  std::weak_ptr<const TlsContext> first;
  int made = 0;
  auto slot = TlsSlot::Create([&]() -> absl::StatusOr<Context> {
    ++made;
    Context context = ServerWith(made == 1 ? old_one : new_one);
    if (made == 1) first = context;
    return context;
  });
  ASSERT_TRUE(slot.ok()) << slot.status();
  ListenOptions options = Serving(nullptr);
  options.transport = TlsFactory(*slot);
  Listen(std::move(options));
  auto before = std::make_unique<TestClient>(
      address(), client, TlsTransportOptions{.server_name = "old.test"});
  ASSERT_TRUE(Shake(*before)) << before->failure();
  ASSERT_TRUE((*slot)->Reload().ok());
  TestClient after(address(), client,
                   TlsTransportOptions{.server_name = "new.test"});
  ASSERT_TRUE(Shake(after)) << after.failure();
  EXPECT_EQ(Ask(*before, "still here"), "still here");
  EXPECT_EQ(Ask(after, "here as well"), "here as well");
  EXPECT_THAT(before->info().peer_certificate()->names,
              ElementsAre("old.test"));
  EXPECT_THAT(after.info().peer_certificate()->names, ElementsAre("new.test"));
  EXPECT_FALSE(first.expired()) << "a connection has it";
  before = nullptr;
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 1; }));
  EXPECT_TRUE(first.expired()) << "nobody has it";
}

}  // namespace
}  // namespace fio
