// Sessions that are resumed, and those that must not be.

#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fio/sock/transport.h"
#include "fio/testing/manual_clock.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_ticket_keys.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::ManualClock;
using tls_testing::AwaitAny;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::Pair;
using tls_testing::Server;
using tls_testing::TrustIn;

constexpr TlsVersion kVersions[] = {TlsVersion::kTls12, TlsVersion::kTls13};

// Connects once; whether it was resumed, on both sides.
bool Resumes(const Context& server, const Context& client,
             TlsTransportOptions options = {.server_name = "localhost"}) {
  Pair pair(server, client, std::move(options));
  EXPECT_TRUE(pair.Shake())
      << pair.client_failure() << " / " << pair.server_failure();
  EXPECT_TRUE(pair.CarriesBothWays());
  EXPECT_EQ(pair.client_info().is_resumed(), pair.server_info().is_resumed());
  return pair.client_info().is_resumed();
}

TEST(Tls, TicketKeysRotate) {
  for (const TlsVersion version : kVersions) {
    ManualClock clock;
    const auto keys =
        *TlsTicketKeys::Create({.rotation = absl::Hours(1), .clock = &clock});
    TlsServerOptions options;
    options.max_version = version;
    options.ticket_keys = keys;
    const Context server = Server(options);
    const Context client = Client();
    EXPECT_FALSE(Resumes(server, client));
    EXPECT_TRUE(Resumes(server, client));
    clock.Advance(absl::Hours(1));
    EXPECT_TRUE(Resumes(server, client));  // By a ticket of the last period.
    EXPECT_TRUE(Resumes(server, client));  // A new one was given.
    clock.Advance(absl::Hours(1));
    EXPECT_TRUE(Resumes(server, client));
    // TLS 1.3 has kept older tickets, too: all of them are too old now.
    clock.Advance(absl::Hours(2));
    EXPECT_FALSE(Resumes(server, client));
    EXPECT_TRUE(Resumes(server, client));
  }
}

TEST(TlsTickets, OtherContextsWithTheSameKeysResume) {
  const auto keys = *TlsTicketKeys::Create();
  const Context client = Client();
  EXPECT_FALSE(Resumes(Server({.ticket_keys = keys}), client));
  EXPECT_TRUE(Resumes(Server({.ticket_keys = keys}), client));
  EXPECT_FALSE(Resumes(Server(), client));
}

TEST(TlsTickets, NoneIfOff) {
  for (const TlsVersion version : kVersions) {
    TlsServerOptions options;
    options.max_version = version;
    options.tickets = false;
    const Context server = Server(options);
    const Context client = Client();
    EXPECT_FALSE(Resumes(server, client));
    EXPECT_FALSE(Resumes(server, client));
  }
}

TEST(TlsTickets, AClientMayKeepNone) {
  const Context server = Server();
  const Context client = Client({.max_sessions = 0});
  EXPECT_FALSE(Resumes(server, client));
  EXPECT_FALSE(Resumes(server, client));
}

TEST(TlsTickets, EachNameHasItsOwn) {
  const Context server = Server();
  const Context client = Client();
  EXPECT_FALSE(Resumes(server, client));
  EXPECT_FALSE(Resumes(server, client, {.server_name = "a.example.org"}));
  EXPECT_TRUE(Resumes(server, client, {.server_name = "a.example.org"}));
  EXPECT_TRUE(Resumes(server, client));
  // And each of several servers of a name.
  EXPECT_FALSE(Resumes(server, client,
                       {.server_name = "localhost", .session_key = "443"}));
  EXPECT_TRUE(Resumes(server, client,
                      {.server_name = "localhost", .session_key = "443"}));
}

// Else a server that fails with it would be out of reach as long as it lives.
TEST(TlsTickets, OneThatFailsIsForgotten) {
  const Context server = Server({.max_version = TlsVersion::kTls12});
  const Context client = Client();
  EXPECT_FALSE(Resumes(server, client));
  EXPECT_TRUE(Resumes(server, client));
  {
    Pair pair(server, client);
    pair.ShakeClient();
    EXPECT_EQ(shutdown(pair.server().fd(), SHUT_WR), 0);
    AwaitAny(pair.client(), pair.client());
    EXPECT_EQ(pair.ShakeClient(), Transport::Handshake::kFailed);
  }
  EXPECT_FALSE(Resumes(server, client));
  {
    // Given up without an answer.
    Pair pair(server, client);
    pair.ShakeClient();
  }
  EXPECT_FALSE(Resumes(server, client));
  EXPECT_TRUE(Resumes(server, client));
}

// A session that is resumed shows no certificate to check the name in.
TEST(TlsTickets, ASessionKeyDoesNotReplaceTheName) {
  const Context server = Server();
  const Context client = Client();
  EXPECT_FALSE(Resumes(server, client,
                       {.server_name = "localhost", .session_key = "k"}));
  Pair pair(server, client, {.server_name = "other.test", .session_key = "k"});
  EXPECT_FALSE(pair.Shake());
}

// Who was let in by other rules comes in by those of now.
TEST(TlsTickets, NotWithAnotherTrustOrClientCertificates) {
  const TlsCertificate known = CertificateFor("known.test");
  for (const TlsVersion version : kVersions) {
    const auto keys = *TlsTicketKeys::Create();
    const auto asking = [&](TlsClientCertificates asked,
                            const TlsTrust& trust) {
      TlsServerOptions options;
      options.max_version = version;
      options.ticket_keys = keys;
      options.client_certificates = asked;
      options.trust = trust;
      return Server(options);
    };
    const TlsTrust both =
        *TlsTrust::FromPem(known.chain_pem() + OurCertificate().chain_pem());
    const Context client = Client({.certificate = known});
    using enum TlsClientCertificates;
    EXPECT_FALSE(Resumes(asking(kNone, both), client));
    EXPECT_TRUE(Resumes(asking(kNone, both), client));
    EXPECT_FALSE(Resumes(asking(kOptional, both), client));
    EXPECT_TRUE(Resumes(asking(kOptional, both), client));
    EXPECT_FALSE(Resumes(asking(kRequired, both), client));
    EXPECT_TRUE(Resumes(asking(kRequired, both), client));
    EXPECT_FALSE(Resumes(asking(kRequired, TrustIn(known)), client));
    EXPECT_TRUE(Resumes(asking(kRequired, TrustIn(known)), client));
  }
}

// What was known of the client is known again.
TEST(TlsTickets, AResumedSessionHasThePeersCertificate) {
  const TlsCertificate known = CertificateFor("known.test");
  for (const TlsVersion version : kVersions) {
    TlsServerOptions options;
    options.max_version = version;
    options.client_certificates = TlsClientCertificates::kRequired;
    options.trust = TrustIn(known);
    const Context server = Server(options);
    const Context client = Client({.certificate = known});
    EXPECT_FALSE(Resumes(server, client));
    Pair pair(server, client);
    ASSERT_TRUE(pair.Shake());
    ASSERT_TRUE(pair.server_info().is_resumed());
    EXPECT_EQ(pair.server_info().peer_certificate()->names.front(),
              "known.test");
    EXPECT_TRUE(pair.server_info().verification().ok());
    EXPECT_TRUE(pair.client_info().verification().ok());
  }
}

}  // namespace
}  // namespace fio
