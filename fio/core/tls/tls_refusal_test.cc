// Connections that are refused, by either side, and what each of them is told.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/connect.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_trust.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ReadAvailable;
using ::testing::SizeIs;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::ClientTrusting;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::Server;
using tls_testing::ServerWith;
using tls_testing::TestClient;
using tls_testing::TlsLoop;

using State = Connector::State;

class Tls : public TlsLoop {
 protected:
  // Why the connector's only attempt has failed.
  absl::Status FailureOf(ConnectorOptions options) {
    failed_.clear();
    finished_ = 0;
    Connect(std::move(options));
    EXPECT_TRUE(Until([&] { return finished_ == 1; }));
    EXPECT_THAT(failed_, SizeIs(1));
    return failed_.empty() ? absl::OkStatus() : failed_[0];
  }
};

TEST_F(Tls, AnotherHostIsRefused) {
  const TlsCertificate other = CertificateFor("other.test");
  Listen(Serving(ServerWith(other)));
  const Context client = ClientTrusting(other.chain_pem());
  const absl::Status why = FailureOf(Asking(client));
  EXPECT_TRUE(absl::IsUnauthenticated(why)) << why;
  EXPECT_EQ(opened_, 0);
  ASSERT_TRUE(Until([&] { return refused_.size() == 1; }));
  EXPECT_TRUE(absl::IsPermissionDenied(refused_[0])) << refused_[0];
  // The context may know better than the url.
  TlsClientOptions options;
  options.trust = *TlsTrust::FromPem(other.chain_pem());
  options.server_name = "other.test";
  Connect(Asking(Client(std::move(options))));
  ASSERT_TRUE(Until([&] { return opened_ == 1; }));
}

TEST_F(Tls, APlaintextClientIsRefused) {
  Listen(Serving(Server()));
  absl::StatusOr<Socket> client = StartConnect(address());
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE(client->TryWrite("GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok());
  ASSERT_TRUE(Until([&] { return refused_.size() == 1; }));
  EXPECT_TRUE(absl::IsInvalidArgument(refused_[0])) << refused_[0];
  EXPECT_EQ(opened_, 0);
  client->Close();
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
}

TEST_F(Tls, APlaintextServerIsRefused) {
  ListenOptions plain = Serving(nullptr);
  plain.transport = nullptr;
  Listen(std::move(plain), "tcp://127.0.0.1:0");
  const absl::Status why = FailureOf(Asking(Client()));
  EXPECT_TRUE(absl::IsInvalidArgument(why)) << why;
  EXPECT_EQ(opened_, 1) << "it echoes what it does not know to be TLS";
}

TEST_F(Tls, ClientCertificatesAreRequired) {
  const TlsCertificate known = CertificateFor("client.test");
  TlsServerOptions options;
  options.trust = *TlsTrust::FromPem(known.chain_pem());
  options.client_certificates = TlsClientCertificates::kRequired;
  Listen(Serving(Server(std::move(options))));
  TestClient without(address(), Client());
  // With TLS 1.3 a client is done before the server has looked.
  Shake(without);
  ASSERT_TRUE(Until([&] { return refused_.size() == 1; }));
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(Ask(without, "x"), "");
  EXPECT_THAT(without.socket().fd() < 0 ? std::string("closed") : "", "closed");
  TlsClientOptions with;
  with.certificate = known;
  Connect(Asking(Client(std::move(with))));
  ASSERT_TRUE(Until([&] { return opened_ == 1; }));
}

// A server that refuses is not asked again at the first pace.
TEST_F(Tls, ARefusalGrowsTheBackOff) {
  Listen(Serving(Server()));
  ConnectorOptions options =
      Asking(ClientTrusting(CertificateFor("x.test").chain_pem()));
  options.reconnect = true;
  Connector& connector = Connect(std::move(options));
  absl::Duration waited = absl::ZeroDuration();
  for (size_t i = 1; i <= 4; ++i) {
    ASSERT_TRUE(Until([&] { return failed_.size() == i; }));
    waited = absl::ZeroDuration();
    while (connector.state() == State::kWaiting) {
      Advance(absl::Milliseconds(10));
      waited += absl::Milliseconds(10);
      ASSERT_LT(waited, absl::Seconds(5));
    }
  }
  EXPECT_GT(waited, absl::Milliseconds(800));  // 150 * 8, less a quarter.
  EXPECT_EQ(connector.stats().opened, 0u);
  ASSERT_TRUE(Until([&] { return failed_.size() == 5; }));
  connector.Cancel();
}

// A client whose certificate is refused has been open by then (TLS 1.3).
TEST_F(Tls, ALateRefusalGrowsTheBackOff) {
  TlsServerOptions refusing;
  refusing.trust = *TlsTrust::FromPem(CertificateFor("a.test").chain_pem());
  refusing.client_certificates = TlsClientCertificates::kRequired;
  Listen(Serving(Server(std::move(refusing))));
  ConnectorOptions options = Asking(Client());
  options.reconnect = true;
  Connector& connector = Connect(std::move(options));
  absl::Duration waited = absl::ZeroDuration();
  for (size_t i = 1; i <= 4; ++i) {
    ASSERT_TRUE(Until([&] {
      return connector.stats().opened == i &&
             connector.state() == State::kWaiting;
    }));
    EXPECT_TRUE(absl::IsPermissionDenied(heard_.closed->detail))
        << heard_.closed->detail;
    waited = absl::ZeroDuration();
    while (connector.state() == State::kWaiting) {
      Advance(absl::Milliseconds(10));
      waited += absl::Milliseconds(10);
      ASSERT_LT(waited, absl::Seconds(5));
    }
  }
  EXPECT_GT(waited, absl::Milliseconds(800));  // 150 * 8, less a quarter.
  EXPECT_THAT(failed_, SizeIs(0));
  connector.Cancel();
}

// --- Who is behind a proxy ---

TEST_F(Tls, AProxysHeaderComesBeforeTls) {
  ListenOptions options = Serving(Server());
  std::string peer;
  options.on_open = [&, open = options.on_open](Connection& connection) {
    peer = connection.peer_address().ToString();
    open(connection);
  };
  Listen(std::move(options),
         "tls://127.0.0.1:0?proxy=any&proxy_trust=127.0.0.1");
  TestClient client(address(), Client());
  std::string header = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
  const iovec piece = {.iov_base = header.data(), .iov_len = header.size()};
  ASSERT_EQ(client.socket().WriteRaw(absl::MakeConstSpan(&piece, 1)).bytes,
            header.size());
  ASSERT_TRUE(Shake(client)) << client.failure();
  EXPECT_EQ(Ask(client, "hello"), "hello");
  EXPECT_EQ(peer, "192.0.2.7:56324");
  // Without a header it is no proxy's.
  TestClient direct(address(), Client());
  EXPECT_FALSE(Shake(direct));
  ASSERT_TRUE(Until([&] { return refused_.size() == 1; }));
  EXPECT_TRUE(absl::IsInvalidArgument(refused_[0])) << refused_[0];
  EXPECT_EQ(opened_, 1);
}

// --- Contexts that cannot serve ---

TEST_F(Tls, AContextOfTheOtherSideMakesNoTransport) {
  const Context none[] = {Client(), nullptr};
  for (const Context& context : none) {
    SCOPED_TRACE(context == nullptr);
    refused_.clear();
    Listen(Serving(context));
    absl::StatusOr<Socket> client = StartConnect(address());
    ASSERT_TRUE(client.ok()) << client.status();
    ASSERT_TRUE(Until([&] { return !refused_.empty(); }));
    EXPECT_THAT(refused_,
                ElementsAre(absl::InternalError("no transport was made")));
    EXPECT_EQ(loop_->connection_count(), 0u);
    EXPECT_EQ(ReadAvailable(*client), "");
  }
  Listen(Serving(Server()));
  for (const Context& context : {Server(), Context()}) {
    SCOPED_TRACE(context == nullptr);
    const absl::Status why = FailureOf(Asking(context));
    EXPECT_TRUE(absl::IsInternal(why)) << why;
    EXPECT_THAT(why.message(), HasSubstr("no transport was made"));
  }
  EXPECT_EQ(opened_, 0);
}

}  // namespace
}  // namespace fio
