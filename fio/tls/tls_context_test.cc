#include "fio/tls/tls_context.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using tls_testing::Client;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::Pair;
using tls_testing::Server;

// Of a server with one certificate and these options; the error's text.
std::string WhyNot(TlsServerOptions options) {
  const absl::Status status = TlsContext::Server(std::move(options)).status();
  if (!status.ok()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
  return std::string(status.message());
}

TEST(TlsContext, ErrorsNameTheOption) {
  EXPECT_EQ(WhyNot({}), "TlsContext: certificates: there is none");
  TlsServerOptions options = {.certificates = {OurCertificate()}};
  EXPECT_EQ(WhyNot(options), "");
  TlsServerOptions bad = options;
  bad.client_certificates = TlsClientCertificates::kOptional;
  EXPECT_EQ(WhyNot(bad),
            "TlsContext: trust: it is required for client_certificates");
  bad = options;
  bad.min_version = TlsVersion::kTls13;
  bad.max_version = TlsVersion::kTls12;
  EXPECT_EQ(WhyNot(bad), "TlsContext: min_version: it is above max_version");
  bad = options;
  bad.ciphers = "ECDHE-RSA-AES128-GCM-SHA256:NO-SUCH-SUITE";
  EXPECT_EQ(WhyNot(bad).find("TlsContext: ciphers: "), 0u) << WhyNot(bad);
  bad = options;
  bad.ciphers = "";
  EXPECT_EQ(WhyNot(bad).find("TlsContext: ciphers: "), 0u) << WhyNot(bad);
  bad = options;
  bad.groups = {"no such group", ""};
  EXPECT_EQ(WhyNot(bad),
            "TlsContext: groups: the library has none of "
            "\"no such group, \"");
}

TEST(TlsContext, TellsItsGroups) {
  const Context server = Server({.groups = {"no such", "P-256", "X25519"}});
  EXPECT_EQ(server->groups(), (std::vector<std::string>{"P-256", "X25519"}));
  Pair pair(server, Client({.groups = {"P-256"}}));
  ASSERT_TRUE(pair.Shake());
  EXPECT_EQ(pair.client_info().group(), "P-256");
  const std::vector<std::string> defaults = Client()->groups();
  EXPECT_EQ(defaults.back(), "P-384");
}

// Of what both have, the server's order decides.
TEST(TlsContext, TheServerPrefers) {
  const std::string small = "ECDHE-ECDSA-AES128-GCM-SHA256";
  const std::string large = "ECDHE-ECDSA-AES256-GCM-SHA384";
  const Context client = Client({.max_version = TlsVersion::kTls12,
                                 .ciphers = small + ":" + large,
                                 .groups = {"X25519", "P-256"}});
  Pair pair(
      Server({.ciphers = large + ":" + small, .groups = {"P-256", "X25519"}}),
      client);
  ASSERT_TRUE(pair.Shake()) << pair.server_failure();
  EXPECT_EQ(pair.client_info().cipher(),
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
  EXPECT_EQ(pair.client_info().group(), "P-256");
  // With TLS 1.3, where the client has sent a key for its own first one.
  Pair newer(Server({.groups = {"P-256", "X25519"}}),
             Client({.groups = {"X25519", "P-256"}}));
  ASSERT_TRUE(newer.Shake()) << newer.server_failure();
  EXPECT_EQ(newer.server_info().group(), "P-256");
}

// By default it lets a client without AES in its processor have ChaCha20.
TEST(TlsContext, TheClientDecidesBetweenSuitesInBrackets) {
  const Context server = Server();
  const auto suite = [&server](const std::string& ciphers) {
    Pair pair(server,
              Client({.max_version = TlsVersion::kTls12, .ciphers = ciphers}));
    EXPECT_TRUE(pair.Shake()) << pair.server_failure();
    return std::string(pair.client_info().cipher());
  };
  const std::string aes = "ECDHE-ECDSA-AES128-GCM-SHA256";
  const std::string chacha = "ECDHE-ECDSA-CHACHA20-POLY1305";
  const std::string large = "ECDHE-ECDSA-AES256-GCM-SHA384:";
  EXPECT_EQ(suite(large + aes + ":" + chacha),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
  EXPECT_EQ(suite(large + chacha + ":" + aes),
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
}

// Some libraries lack the group that holds against quantum computers; with the
// others two ends that are as by default agree on it.
TEST(TlsContext, AsksForPostQuantumFirst) {
  const Context server = Server();
  const Context client = Client();
  std::vector<std::string> groups = {"X25519MLKEM768", "X25519", "P-256",
                                     "P-384"};
  const bool has_it =
      TlsContext::Client({.groups = {groups[0]}, .trust = TlsTrust::Insecure()})
          .ok();
  if (!has_it) groups.erase(groups.begin());
  EXPECT_EQ(server->groups(), groups);
  EXPECT_EQ(client->groups(), groups);
  Pair pair(server, client);
  ASSERT_TRUE(pair.Shake());
  EXPECT_EQ(pair.server_info().group(), groups[0]);
  EXPECT_EQ(pair.client_info().group(), groups[0]);
}

TEST(TlsContext, HasTheFirstCertificate) {
  EXPECT_EQ(Server()->certificate()->names(), OurCertificate().names());
  const Context client = Client({.certificate = OurCertificate()});
  EXPECT_EQ(client->certificate()->names(), OurCertificate().names());
  const Context choosing =
      Server({.choose = [](const TlsClientHello&, TlsChoice) {}});
  EXPECT_EQ(choosing->certificate(), nullptr);
}

// Two wishes that have nothing in common.
Context OnlySuite(const std::string& suite) {
  return Client({.max_version = TlsVersion::kTls12, .ciphers = suite});
}

TEST(TlsStats, CountsHandshakes) {
  const Context server = Server();
  const Context client = Client();
  for (int i = 0; i < 3; ++i) {
    Pair pair(server, client);
    ASSERT_TRUE(pair.Shake());
    ASSERT_TRUE(pair.CarriesBothWays());
  }
  Pair bad(server, OnlySuite("ECDHE-RSA-AES128-GCM-SHA256"));
  EXPECT_FALSE(bad.Shake());
  const TlsStats stats = server->stats();
  EXPECT_EQ(stats.handshakes, 3u);
  EXPECT_EQ(stats.resumed, 2u);
  EXPECT_EQ(stats.failed, 1u);
  ASSERT_EQ(stats.failures.size(), 1u);
  EXPECT_EQ(stats.failures[0].first, "TLS: no shared cipher");
  EXPECT_EQ(stats.failures[0].second, 1u);
  EXPECT_EQ(client->stats().handshakes, 3u);
}

// A connection that fails later is no handshake that has failed.
TEST(TlsStats, LaterErrorsDoNotCount) {
  const Context server = Server();
  Pair pair(server, Client(), {.server_name = "localhost"},
            testing::LoopbackPair::Unix());
  ASSERT_TRUE(pair.Shake());
  pair.client().Abort();
  char out[10];
  EXPECT_FALSE(pair.server().Read(absl::MakeSpan(out)).bytes > 0);
  EXPECT_EQ(server->stats().failed, 0u);
}

}  // namespace
}  // namespace fio
