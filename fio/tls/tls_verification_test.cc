// Whom the two sides believe.

#include <cstddef>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/transport.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::Pair;
using tls_testing::Server;
using tls_testing::TempFile;
using tls_testing::TempPath;
using tls_testing::TestData;
using tls_testing::TrustIn;
using Handshake = Transport::Handshake;

Context Asking(TlsClientCertificates asked, const TlsTrust& trust,
               TlsVersion version = TlsVersion::kTls13) {
  TlsServerOptions options;
  options.max_version = version;
  options.client_certificates = asked;
  options.trust = trust;
  return Server(options);
}

TEST(Tls, MtlsRequired) {
  const TlsCertificate known = CertificateFor("known.test");
  const TlsCertificate stranger = CertificateFor("stranger.test");
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    const Context server =
        Asking(TlsClientCertificates::kRequired, TrustIn(known), version);
    Pair good(server, Client({.certificate = known}));
    ASSERT_TRUE(good.Shake()) << good.server_failure();
    EXPECT_TRUE(good.server_info().verification().ok());
    EXPECT_EQ(good.server_info().peer_certificate()->names.front(),
              "known.test");
    EXPECT_TRUE(good.CarriesBothWays());

    Pair none(server, Client());
    EXPECT_FALSE(none.Shake());
    EXPECT_EQ(none.server_failure(),
              absl::UnauthenticatedError("the peer has shown no certificate"));
    Pair bad(server, Client({.certificate = stranger}));
    EXPECT_FALSE(bad.Shake());
    EXPECT_EQ(bad.server_failure().code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(server->stats().failed, 2u);
  }
}

// A certificate that is known, and so many that have nothing to do with it.
TlsCertificate WithCompany(const TlsCertificate& known, size_t bytes) {
  std::string chain = known.chain_pem();
  const std::string other = TestData("rsa.pem");
  // Of three bytes four letters are made.
  while (chain.size() < bytes / 3 * 4) chain += other;
  auto made = TlsCertificate::FromPem(chain, known.key_pem());
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

TEST(Tls, AClientsChainIsBounded) {
  const TlsCertificate known = CertificateFor("known.test");
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    const Context server =
        Asking(TlsClientCertificates::kRequired, TrustIn(known), version);
    Pair good(server, Client({.certificate = WithCompany(known, 28'000)}));
    ASSERT_TRUE(good.Shake()) << good.server_failure();
    Pair bad(server, Client({.certificate = WithCompany(known, 36'000)}));
    EXPECT_FALSE(bad.Shake());
    EXPECT_EQ(bad.server_failure().message(), "TLS: excessive message size");
  }
}

TEST(Tls, AServersChainIsBounded) {
  const Context server =
      Server({.certificates = {WithCompany(OurCertificate(), 60'000)}});
  Pair good(server, Client());
  EXPECT_TRUE(good.Shake()) << good.client_failure();
  Pair bad(server, Client({.max_peer_chain_bytes = 50'000}));
  EXPECT_FALSE(bad.Shake());
  EXPECT_EQ(bad.client_failure().message(), "TLS: excessive message size");
}

TEST(Tls, ClientCertificatesMayBeOptional) {
  const TlsCertificate known = CertificateFor("known.test");
  const Context server =
      Asking(TlsClientCertificates::kOptional, TrustIn(known));
  Pair none(server, Client());
  ASSERT_TRUE(none.Shake());
  EXPECT_EQ(none.server_info().verification().code(),
            absl::StatusCode::kNotFound);
  Pair good(server, Client({.certificate = known}));
  ASSERT_TRUE(good.Shake());
  EXPECT_TRUE(good.server_info().verification().ok());
  Pair bad(server, Client({.certificate = CertificateFor("known.test")}));
  EXPECT_FALSE(bad.Shake());
}

// Anybody, but with a certificate: who it is, is for the application to say.
TEST(Tls, ClientCertificatesMayBeTakenFromAnybody) {
  const Context server =
      Asking(TlsClientCertificates::kRequired, TlsTrust::Insecure());
  Pair good(server, Client({.certificate = CertificateFor("a.test")}));
  ASSERT_TRUE(good.Shake()) << good.server_failure();
  EXPECT_EQ(good.server_info().peer_certificate()->names.front(), "a.test");
  EXPECT_EQ(good.server_info().verification().code(),
            absl::StatusCode::kUnauthenticated);
  Pair none(server, Client());
  EXPECT_FALSE(none.Shake());
}

// With TLS 1.3 the client is done before the server has looked at it.
TEST(Tls, ClientCertificateRefusedAtFirstRead) {
  Pair pair(Asking(TlsClientCertificates::kRequired,
                   TrustIn(CertificateFor("known.test"))),
            Client());
  while (pair.ShakeClient() == Handshake::kMore) {
    pair.ShakeServer();
    tls_testing::AwaitAny(pair.client(), pair.client());
  }
  ASSERT_EQ(pair.ShakeClient(), Handshake::kDone);
  tls_testing::AwaitAny(pair.server(), pair.server());
  ASSERT_EQ(pair.ShakeServer(), Handshake::kFailed);
  tls_testing::AwaitAny(pair.client(), pair.client());
  char out[100];
  EXPECT_EQ(pair.client().Read(absl::MakeSpan(out)).error, EPROTO);
  EXPECT_EQ(pair.client_tls().status(),
            absl::PermissionDeniedError(
                "the peer has refused: alert 116, certificate required"));
}

TEST(Tls, ClientHostnameChecked) {
  const Context server = Server();
  const Context client = Client();
  const auto as = [&](const std::string& name) {
    Pair pair(server, client, {.server_name = name});
    pair.Shake();
    return pair.client_failure();
  };
  EXPECT_TRUE(as("localhost").ok());
  EXPECT_TRUE(as("LOCALHOST.").ok());
  EXPECT_TRUE(as("a.example.org").ok());
  EXPECT_TRUE(as("127.0.0.1").ok());
  for (const char* const wrong :
       {"example.org", "a.b.example.org", "127.0.0.2", "localhost.a", "::1"}) {
    const absl::Status status = as(wrong);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << wrong;
    EXPECT_NE(status.message().find("mismatch"), std::string::npos) << status;
  }
  EXPECT_EQ(as("").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(as(std::string(300, 'a')).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Tls, TheNameOfTheContextWins) {
  Pair pair(Server(), Client({.server_name = "localhost"}),
            {.server_name = "other.test"});
  EXPECT_TRUE(pair.Shake()) << pair.client_failure();
  EXPECT_EQ(pair.server_info().server_name(), "localhost");
}

TEST(Tls, AStrangersCertificateIsRefused) {
  const Context server = Server({.certificates = {CertificateFor("a.test")}});
  Pair pair(server, Client(), {.server_name = "a.test"});
  EXPECT_FALSE(pair.Shake());
  EXPECT_EQ(pair.client_failure().code(), absl::StatusCode::kUnauthenticated);
  // The server is told.
  EXPECT_EQ(pair.server_failure(),
            absl::PermissionDeniedError(
                "the peer has refused: alert 48, unknown CA"));
  Pair careless(server, Client({.trust = TlsTrust::Insecure()}), {});
  ASSERT_TRUE(careless.Shake());
  EXPECT_EQ(careless.client_info().verification().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST(Tls, AnExpiredCertificateIsRefused) {
  const auto expired = TlsCertificate::FromPem(TestData("expired.pem"),
                                               TestData("leaf.key.pem"));
  ASSERT_TRUE(expired.ok()) << expired.status();
  Pair pair(Server({.certificates = {*expired}}),
            Client({.trust = *TlsTrust::FromPem(TestData("root.pem"))}),
            {.server_name = "leaf.test"});
  EXPECT_FALSE(pair.Shake());
  EXPECT_EQ(pair.client_failure(),
            absl::UnauthenticatedError("the peer's certificate is not trusted: "
                                       "certificate has expired"));
}

// The chain of the server leads to a root that it does not send.
TEST(Tls, AChainLeadsToTheRoot) {
  const auto whole = TlsCertificate::FromPem(TestData("leaf.chain.pem"),
                                             TestData("leaf.key.pem"));
  const auto alone =
      TlsCertificate::FromPem(TestData("leaf.pem"), TestData("leaf.key.pem"));
  ASSERT_TRUE(whole.ok() && alone.ok());
  const Context client =
      Client({.trust = *TlsTrust::FromPem(TestData("root.pem"))});
  Pair good(Server({.certificates = {*whole}}), client,
            {.server_name = "leaf.test"});
  EXPECT_TRUE(good.Shake()) << good.client_failure();
  Pair bad(Server({.certificates = {*alone}}), client,
           {.server_name = "leaf.test"});
  EXPECT_FALSE(bad.Shake());
}

// A client that says nothing of trust believes what the machine believes.
TEST(Tls, SystemStore) {
  setenv("SSL_CERT_FILE",
         TempFile("ours", OurCertificate().chain_pem()).c_str(), 1);
  const auto ours = TlsContext::Client();
  ASSERT_TRUE(ours.ok()) << ours.status();
  setenv("SSL_CERT_FILE", TempFile("other", TestData("root.pem")).c_str(), 1);
  const auto other = TlsContext::Client();
  ASSERT_TRUE(other.ok()) << other.status();
  const std::string missing = TempPath("missing");
  setenv("SSL_CERT_FILE", missing.c_str(), 1);
  const auto none = TlsContext::Client();
  unsetenv("SSL_CERT_FILE");
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(none.status().message().find(missing), std::string::npos);

  Pair good(Server(), *ours);
  EXPECT_TRUE(good.Shake()) << good.client_failure();
  Pair bad(Server(), *other);
  EXPECT_FALSE(bad.Shake());
}

}  // namespace
}  // namespace fio
