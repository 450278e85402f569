// Which certificate a client gets.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "fio/sock/transport.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_peer_certificate.h"
#include "fio/tls/tls_raw_client.h"
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
using tls_testing::Pair;
using tls_testing::RawPair;
using tls_testing::Server;
using tls_testing::TestCertificate;

// The name of whom `server` shows to a client that asks for `name`; empty if it
// refuses.
std::string Shown(const Context& server, const std::string& name,
                  TlsClientOptions options = {}) {
  options.trust = TlsTrust::Insecure();
  Pair pair(server, Client(options), {.server_name = name});
  if (!pair.Shake()) return "";
  return pair.client_info().peer_certificate()->names.front();
}

TEST(Tls, SniExactWildcardDefault) {
  const Context server =
      Server({.certificates = {CertificateFor("first.test"),
                               CertificateFor("*.example.org"),
                               CertificateFor("www.example.org")}});
  EXPECT_EQ(Shown(server, "www.example.org"), "www.example.org");
  EXPECT_EQ(Shown(server, "WWW.Example.ORG"), "www.example.org");
  EXPECT_EQ(Shown(server, "www.example.org."), "www.example.org");
  EXPECT_EQ(Shown(server, "a.example.org"), "*.example.org");
  EXPECT_EQ(Shown(server, "a.b.example.org"), "first.test");
  EXPECT_EQ(Shown(server, "example.org"), "first.test");
  EXPECT_EQ(Shown(server, "first.test"), "first.test");
  EXPECT_EQ(Shown(server, "127.0.0.1"), "first.test");  // It is not asked for.
  EXPECT_EQ(Shown(server, ""), "first.test");
}

TEST(Tls, SniUnknownPolicy) {
  const std::vector<TlsCertificate> certificates = {CertificateFor("a.test"),
                                                    CertificateFor("b.test")};
  EXPECT_EQ(Shown(Server({.certificates = certificates}), "c.test"), "a.test");
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    const Context strict = Server({.max_version = version,
                                   .certificates = certificates,
                                   .unknown_name = TlsUnknownName::kRefuse});
    EXPECT_EQ(Shown(strict, "b.test"), "b.test");
    EXPECT_EQ(Shown(strict, ""), "a.test");
    Pair pair(strict, Client({.trust = TlsTrust::Insecure()}),
              {.server_name = "c.test"});
    EXPECT_FALSE(pair.Shake());
    EXPECT_EQ(pair.client_failure(),
              absl::PermissionDeniedError(
                  "the peer has refused: alert 112, unrecognized name"));
    EXPECT_EQ(pair.server_failure(),
              absl::NotFoundError("no certificate for the name \"c.test\""));
    // Names are of the clients' choice, and would fill the counts.
    ASSERT_EQ(strict->stats().failures.size(), 1u);
    EXPECT_EQ(strict->stats().failures[0].first, "no certificate for the name");
  }
}

TEST(Tls, RsaBesideEcdsaByWhatTheClientTakes) {
  const Context server =
      Server({.certificates = {TestCertificate("twin.ed25519"),
                               TestCertificate("twin.p256"),
                               TestCertificate("twin.rsa")}});
  const auto key_of = [&server](TlsClientOptions options) {
    options.trust = TlsTrust::Insecure();
    Pair pair(server, Client(options), {.server_name = "twin.test"});
    return pair.Shake() ? std::string(pair.client_info().cipher()) : "";
  };
  EXPECT_EQ(key_of({.max_version = TlsVersion::kTls12}),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
  // It knows of ECDSA, but has no suite for it.
  EXPECT_EQ(key_of({.max_version = TlsVersion::kTls12,
                    .ciphers = "ECDHE-RSA-AES128-GCM-SHA256"}),
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
}

TEST(Tls, Ed25519OnlyForClientsThatTakeIt) {
  const Context server =
      Server({.certificates = {TestCertificate("twin.ed25519"),
                               TestCertificate("twin.p256")}});
  const auto key_of = [&server](std::vector<uint16_t> takes) {
    RawPair pair(server, [&takes](SSL_CTX* context) {
      SSL_CTX_set_verify_algorithm_prefs(context, takes.data(), takes.size());
    });
    EXPECT_EQ(pair.Shake(), SSL_ERROR_NONE);
    const bssl::UniquePtr<X509> shown(
        SSL_get_peer_certificate(pair.client().ssl()));
    const bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(shown.get()));
    return EVP_PKEY_id(key.get());
  };
  EXPECT_EQ(key_of({SSL_SIGN_ECDSA_SECP256R1_SHA256}), EVP_PKEY_EC);
  EXPECT_EQ(key_of({SSL_SIGN_ED25519}), EVP_PKEY_ED25519);
}

// Whoever has such a key can speak with our own clients.
TEST(Tls, EveryKindOfKeyWorks) {
  for (const std::string name : {"rsa", "p256", "p384", "p521", "ed25519"}) {
    SCOPED_TRACE(name);
    const TlsCertificate certificate = TestCertificate(name);
    for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
      if (name == "p521" && version == TlsVersion::kTls12) continue;
      Pair pair(Server({.max_version = version, .certificates = {certificate}}),
                Client({.trust = tls_testing::TrustIn(certificate)}),
                {.server_name = name + ".test"});
      EXPECT_TRUE(pair.Shake())
          << pair.client_failure() << " / " << pair.server_failure();
    }
  }
}

TEST(TlsInfo, TellsOfThePeersCertificate) {
  const auto certificate =
      TlsCertificate::FromPem(tls_testing::TestData("leaf.chain.pem"),
                              tls_testing::TestData("leaf.key.pem"));
  ASSERT_TRUE(certificate.ok()) << certificate.status();
  Pair pair(
      Server({.certificates = {*certificate}}),
      Client({.trust = *TlsTrust::FromPem(tls_testing::TestData("root.pem"))}),
      {.server_name = "a.leaf.test"});
  ASSERT_TRUE(pair.Shake()) << pair.client_failure();
  const auto peer = pair.client_info().peer_certificate();
  ASSERT_TRUE(peer.has_value());
  EXPECT_EQ(peer->subject, "O=fio,CN=leaf.test");
  EXPECT_EQ(peer->issuer, "CN=fio test middle");
  EXPECT_EQ(peer->names, (std::vector<std::string>{"leaf.test", "*.leaf.test",
                                                   "127.0.0.1", "::1"}));
  EXPECT_EQ(peer->serial, "1234");
  EXPECT_EQ(peer->chain_der.size(), 2u);
  EXPECT_EQ(peer->fingerprint.size(), 64u);
  EXPECT_GT(peer->not_after, peer->not_before);
  EXPECT_EQ(peer->not_after, certificate->not_after());
  EXPECT_FALSE(pair.server_info().peer_certificate().has_value());
  EXPECT_EQ(pair.server_info().verification().code(),
            absl::StatusCode::kNotFound);
}

TEST(TlsInfo, OfOtherTransportsIsNull) {
  EXPECT_EQ(TlsInfo::Of(nullptr), nullptr);
  class Other : public Transport {};
  const Other other;
  EXPECT_EQ(TlsInfo::Of(&other), nullptr);
}

}  // namespace
}  // namespace fio
