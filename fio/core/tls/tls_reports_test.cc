// What was reported of other libraries that put TLS on an event loop, tried
// here. Each test names the report.

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/connect.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::Listens;
using tls_testing::Server;
using tls_testing::TestClient;
using tls_testing::TlsLoop;
using tls_testing::TrustIn;

// More than the kernel holds for a connection.
constexpr size_t kMuch = 8'000'000;

// How a client's stream went on.
struct Stream {
  size_t bytes = 0;
  bool ended = false;
  int error = 0;
};

class TlsReports : public TlsLoop {
 protected:
  // Serves with a protocol, which it makes for each connection.
  template <typename Make>
  void Serve(Make make, Context context = Server()) {
    ListenOptions options = Serving(std::move(context));
    options.on_open = [this, make](Connection& connection) {
      ++opened_;
      connection.Attach(make());
    };
    Listen(std::move(options));
  }

  // Writes what waits, and reads, until the end or an error.
  Stream ReadToEnd(TestClient& client) {
    Stream stream;
    std::string piece(1 << 16, '\0');
    Until([&] {
      static_cast<void>(client.socket().Flush());
      const IoResult read = client.socket().Read(absl::MakeSpan(piece));
      if (read.would_block()) return false;
      stream.bytes += read.bytes;
      stream.error = read.error;
      stream.ended = read.ok() && read.bytes == 0;
      return stream.ended || stream.error != 0;
    });
    return stream;
  }
};

// Takes little, and stops for a while.
class Sips final : public Protocol {
 public:
  Sips(std::string& drunk, Connection*& connection, bool keeps)
      : drunk_(drunk), connection_(connection), keeps_(keeps) {}
  void OnOpen(Connection& connection) override {
    connection_ = &connection;
    if (!keeps_) connection.SetUnreadLimit(0);
  }
  void OnData(Connection& connection) override {
    char sip[100];
    drunk_.append(sip, connection.Read(absl::MakeSpan(sip)));
    connection.Suspend();
  }
  void OnClose(Connection& /*connection*/, const CloseReason&) override {
    connection_ = nullptr;
  }

 private:
  std::string& drunk_;
  Connection*& connection_;
  const bool keeps_;
};

// github.com/libevent/libevent/issues/854, pgbouncer/pgbouncer/issues/1530: the
// rest of a record waited in the library, and nothing came on the wire.
TEST_F(TlsReports, WhatTheLibraryHoldsIsToldAfterAPause) {
  for (const bool keeps : {true, false}) {
    std::string drunk;
    Connection* connection = nullptr;
    Serve([&] { return std::make_unique<Sips>(drunk, connection, keeps); });
    TestClient client(address(), Client());
    ASSERT_TRUE(Shake(client)) << client.failure();
    const std::string sent(40'050, 'x');  // Three records.
    client.Send(sent);
    EXPECT_TRUE(Until([&] {
      static_cast<void>(client.socket().Flush());
      if (connection != nullptr) connection->Resume();
      return drunk.size() >= sent.size();
    })) << drunk.size();
    EXPECT_TRUE(drunk == sent);
  }
}

// Answers the first bytes with much, and closes.
class AnswersAtOnce final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(std::string(kMuch, 'a'));
    connection.Close();
  }
};

// github.com/hyperium/hyper/issues/3944: a request that was not read became a
// reset, which destroyed the answer.
TEST_F(TlsReports, AnAnswerToAnUnreadRequestArrives) {
  Serve([] { return std::make_unique<AnswersAtOnce>(); });
  TestClient client(address(), Client());
  ASSERT_TRUE(Shake(client)) << client.failure();
  client.Send(std::string(kMuch, 'r'));
  const Stream stream = ReadToEnd(client);
  EXPECT_EQ(stream.bytes, kMuch);
  EXPECT_TRUE(stream.ended) << stream.error;
}

// Answers with much when the peer has ended its stream.
class AnswersAtTheEnd final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Consume(connection.Unread().size());
  }
  void OnEnd(Connection& connection) override {
    connection.Write(std::string(kMuch, 'a'));
    connection.Close();
  }
};

// github.com/envoyproxy/envoy/issues/11619, quininer/tokio-rustls/issues/34: an
// answer was cut when the client had said that it sends no more.
TEST_F(TlsReports, AnAnswerBehindACloseNotifyIsWhole) {
  Serve([] { return std::make_unique<AnswersAtTheEnd>(); });
  TestClient client(address(), Client());
  ASSERT_TRUE(Shake(client)) << client.failure();
  client.Send("a request");
  ASSERT_TRUE(client.socket().ShutdownWrite().ok());
  const Stream stream = ReadToEnd(client);
  EXPECT_EQ(stream.bytes, kMuch);
  EXPECT_TRUE(stream.ended) << stream.error;
}

// github.com/rustls/rustls/issues/1950: what comes behind a close_notify was an
// error of the connection.
TEST_F(TlsReports, WhatIsBehindACloseNotifyIsPassedOver) {
  Serve([] { return std::make_unique<AnswersAtTheEnd>(); });
  TestClient client(address(), Client());
  ASSERT_TRUE(Shake(client)) << client.failure();
  client.Send("a request");
  client.socket().transport()->BeforeClose(client.socket());
  const std::string junk(100'000, 'j');
  ASSERT_GT(::send(client.socket().fd(), junk.data(), junk.size(),
                   MSG_NOSIGNAL | MSG_DONTWAIT),
            0);
  const Stream stream = ReadToEnd(client);
  EXPECT_EQ(stream.bytes, kMuch);
  EXPECT_TRUE(stream.ended) << stream.error;
}

// github.com/openssl/openssl/issues/6904: a client that sends and resets at
// once. The server could not send its tickets, and never read what had come.
TEST_F(TlsReports, BytesBeforeAResetOutliveTheTickets) {
  for (const bool resets : {false, true}) {
    Serve([this] { return std::make_unique<Listens>(heard_); });
    heard_ = {};
    opened_ = 0;
    TestClient client(address(), Client());
    ASSERT_EQ(client.Shake(), Transport::Handshake::kMore);
    ASSERT_TRUE(Until([&] { return client.socket().Peek().bytes == 1; }));
    // From here on the server waits.
    ASSERT_TRUE(client.ShakeToEnd());
    client.Send("the only message");
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (resets) {
      ASSERT_EQ(::setsockopt(client.socket().fd(), SOL_SOCKET, SO_LINGER,
                             &at_once, sizeof(at_once)),
                0);
    }
    client.socket().Close();
    static_cast<void>(client.socket().Flush());
    ASSERT_TRUE(Until([&] { return heard_.closed || !refused_.empty(); }));
    EXPECT_EQ(opened_, 1) << refused_.front();
    EXPECT_EQ(heard_.data, "the only message") << resets;
    refused_.clear();
  }
}

// github.com/pocoproject/poco/issues/3424, oven-sh/bun/issues/40653: a client
// whose certificate is refused saw a reset instead of the alert.
TEST_F(TlsReports, ARefusedClientThatHasSentMuchSeesTheAlert) {
  TlsServerOptions options;
  options.trust = TrustIn(CertificateFor("known.test"));
  options.client_certificates = TlsClientCertificates::kRequired;
  Listen(Serving(Server(options)));
  TestClient client(address(), Client());
  ASSERT_EQ(client.Shake(), Transport::Handshake::kMore);
  ASSERT_TRUE(Until([&] { return client.socket().Peek().bytes == 1; }));
  ASSERT_TRUE(client.ShakeToEnd());
  client.Send(std::string(kMuch, 'r'));
  const Stream stream = ReadToEnd(client);
  ASSERT_EQ(stream.error, EPROTO);
  ASSERT_NE(client.socket().transport(), nullptr);
  EXPECT_THAT(client.socket().transport()->status().message(),
              HasSubstr("certificate required"));
}

// Writes much at once, and keeps why it has ended.
class Writes final : public Protocol {
 public:
  explicit Writes(std::optional<CloseReason>& why) : why_(why) {}
  void OnOpen(Connection& connection) override {
    connection.Write(std::string(kMuch, 'w'));
  }
  void OnData(Connection& /*connection*/) override {}
  void OnClose(Connection& /*connection*/, const CloseReason& why) override {
    why_ = why;
  }

 private:
  std::optional<CloseReason>& why_;
};

TEST_F(TlsReports, ARefusedConnectionThatWritesLearnsWhy) {
  TlsServerOptions options;
  options.trust = TrustIn(CertificateFor("known.test"));
  options.client_certificates = TlsClientCertificates::kRequired;
  Listen(Serving(Server(options)));
  ConnectorOptions asking = Asking(Client());
  std::optional<CloseReason> why;
  asking.on_open = [&](Connection& connection) {
    connection.Attach(std::make_unique<Writes>(why));
  };
  Connect(std::move(asking));
  ASSERT_TRUE(Until([&] { return why.has_value(); }));
  EXPECT_EQ(why->error, EPROTO) << why->ToString();
  EXPECT_THAT(why->detail.message(), HasSubstr("certificate required"));
}

// Sends much and closes.
class Tells final : public Protocol {
 public:
  explicit Tells(bool lingers) : lingers_(lingers) {}
  void OnData(Connection& /*connection*/) override {}
  void OnOpen(Connection& connection) override {
    if (lingers_) connection.LingerAtClose();
    connection.Write(std::string(lingers_ ? 10 : kMuch, 'a'));
    connection.Close();
  }

 private:
  const bool lingers_;
};

// github.com/twisted/twisted/issues/4455, intel/asynch_mode_nginx/issues/80,
// userver-framework/userver/issues/52: the loop span while a peer did not
// answer the close_notify.
TEST_F(TlsReports, AClosingConnectionWaitsWithoutSpinning) {
  for (const bool lingers : {false, true}) {
    Serve([lingers] { return std::make_unique<Tells>(lingers); });
    TestClient client(address(), Client());
    ASSERT_TRUE(Shake(client)) << client.failure();
    ASSERT_TRUE(Until([&] { return opened_ == 1; }));
    Turn(20);
    ASSERT_EQ(loop_->connection_count(), 1u);
    {
      const FaultPlan plan;
      constexpr int kTurns = 10;
      Turn(kTurns);
      EXPECT_LE(plan.calls(), uint64_t{kTurns});
      EXPECT_GT(loop_->next_deadline(), clock_.Now());
    }
    Advance(absl::Seconds(8));
    EXPECT_EQ(loop_->connection_count(), 0u);
    opened_ = 0;
  }
}

// github.com/netty/netty/issues/10496: bytes that trickle in kept a handshake
// alive for ever.
TEST_F(TlsReports, ATrickleDoesNotProlongAHandshake) {
  Listen(Serving(Server()));
  absl::StatusOr<Socket> client = StartConnect(address());
  ASSERT_TRUE(client.ok()) << client.status();
  // The head of a ClientHello with 200 bytes.
  std::string hello("\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03", 11);
  hello.resize(205, 'r');
  for (int second = 0; second < 10; ++second) {
    ASSERT_THAT(refused_, SizeIs(0)) << second;
    ASSERT_TRUE(client->TryWrite(hello.substr(second, 1)).ok());
    Turn(3);
    Advance(absl::Seconds(1));
  }
  ASSERT_THAT(refused_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(refused_[0])) << refused_[0];
}

// github.com/openssl/openssl/pull/30204, aspnet/KestrelHttpServer/issues/1116:
// whoever speaks HTTP was told of a wrong version.
TEST_F(TlsReports, HttpWithoutTlsIsCalledSo) {
  Listen(Serving(Server()));
  const char* const http = "the peer speaks HTTP without TLS";
  const char* const other = "what the peer sends is no TLS";
  const std::pair<const char*, const char*> cases[] = {
      {"GET / HTTP/1.1\r\n\r\n", http},
      {"CONNECT a:1 HTTP/1.1\r\n\r\n", http},
      {"OPTIONS * HTTP/1.1\r\n\r\n", other},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", other}};
  for (const auto& [request, why] : cases) {
    refused_.clear();
    absl::StatusOr<Socket> client = StartConnect(address());
    ASSERT_TRUE(client.ok()) << client.status();
    ASSERT_TRUE(client->TryWrite(request).ok());
    ASSERT_TRUE(Until([&] { return refused_.size() == 1; }));
    EXPECT_THAT(refused_[0].message(), HasSubstr(why)) << request;
  }
}

// github.com/apache/rocketmq/issues/10395: each renewal kept the old context.
TEST_F(TlsReports, ARenewedContextGoesWithItsLastConnection) {
  auto slot =
      TlsSlot::Create([]() -> absl::StatusOr<Context> { return Server(); });
  ASSERT_TRUE(slot.ok());
  ListenOptions options = Serving(nullptr);
  options.transport = TlsFactory(*slot);
  Listen(std::move(options));
  const std::weak_ptr<const TlsContext> old = (*slot)->current();
  std::optional<TestClient> client(std::in_place, address(), Client());
  ASSERT_TRUE(Shake(*client)) << client->failure();
  ASSERT_EQ(Ask(*client, "x"), "x");
  ASSERT_TRUE((*slot)->Reload().ok());
  EXPECT_FALSE(old.expired());
  client->socket().Close();
  static_cast<void>(client->socket().Flush());
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  EXPECT_TRUE(old.expired());
}

}  // namespace
}  // namespace fio
