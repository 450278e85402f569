// Certificates that are chosen for each client, at once or later.

#include "fio/tls/tls_choice.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
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

using testing::LoopbackPair;
using tls_testing::CertificateFor;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::Pair;
using tls_testing::Server;
using tls_testing::TrustIn;
using Handshake = Transport::Handshake;

using Choose = std::function<void(const TlsClientHello&, TlsChoice)>;

Context Choosing(Choose choose, TlsServerOptions options = {}) {
  options.choose = std::move(choose);
  return Server(std::move(options));
}

// Keeps the choice for the test.
struct Later {
  Context Server(TlsServerOptions options = {}) {
    return Choosing(
        [this](const TlsClientHello& hello, TlsChoice given) {
          ++asked;
          name = std::string(hello.server_name);
          choice.emplace(std::move(given));
        },
        std::move(options));
  }
  TlsTransportOptions Resume() {
    return {.resume = [this] { ++resumed; }};
  }

  int asked = 0;
  int resumed = 0;
  std::string name;
  std::optional<TlsChoice> choice;
};

Pair Waiting(Later& later, const Context& client = Client()) {
  return Pair(later.Server(), client, {.server_name = "localhost"},
              LoopbackPair::Tcp(), later.Resume());
}

TEST(Tls, SuspendedCertificateChoice) {
  Later later;
  Pair pair = Waiting(later);
  EXPECT_FALSE(pair.Shake());
  EXPECT_EQ(pair.ShakeServer(), Handshake::kSuspended);
  EXPECT_EQ(pair.ShakeServer(), Handshake::kSuspended);
  EXPECT_EQ(later.asked, 1);
  EXPECT_EQ(later.name, "localhost");
  EXPECT_EQ(later.resumed, 0);
  std::move(*later.choice).Use(Server());
  EXPECT_EQ(later.resumed, 1);
  ASSERT_TRUE(pair.Shake()) << pair.client_failure();
  EXPECT_TRUE(pair.CarriesBothWays());
  EXPECT_EQ(later.asked, 1);
}

TEST(TlsChoice, AnAnswerAtOnceDoesNotSuspend) {
  int resumed = 0;
  const Context used = Server();
  Pair pair(Choosing([&](const TlsClientHello& hello, TlsChoice choice) {
              EXPECT_EQ(hello.server_name, "localhost");
              EXPECT_EQ(hello.alpn, (std::vector<std::string_view>{"a", "b"}));
              EXPECT_TRUE(hello.takes_ecdsa);
              EXPECT_TRUE(hello.takes_ed25519);
              std::move(choice).Use(used);
            }),
            Client({.alpn = {"a", "b"}}), {.server_name = "localhost"},
            LoopbackPair::Tcp(), {.resume = [&resumed] { ++resumed; }});
  EXPECT_TRUE(pair.Shake());
  EXPECT_EQ(resumed, 0);
}

TEST(TlsChoice, OwnCertificatesOrNone) {
  const auto use_own = [](const TlsClientHello&, TlsChoice choice) {
    std::move(choice).UseOwn();
  };
  Pair own(Choosing(use_own, {.certificates = {OurCertificate()}}), Client());
  EXPECT_TRUE(own.Shake());
  Pair none(Choosing(use_own), Client());
  EXPECT_FALSE(none.Shake());
  EXPECT_EQ(none.server_failure().code(), absl::StatusCode::kNotFound);
}

void ExpectRefused(Choose choose) {
  Pair pair(Choosing(std::move(choose), {.certificates = {OurCertificate()}}),
            Client());
  EXPECT_FALSE(pair.Shake());
  EXPECT_EQ(pair.client_failure(),
            absl::PermissionDeniedError(
                "the peer has refused: alert 112, unrecognized name"));
}

TEST(TlsChoice, RefusesWithoutAnAnswer) {
  ExpectRefused([](const TlsClientHello&, TlsChoice) {});
  ExpectRefused([](const TlsClientHello&, TlsChoice choice) {
    std::move(choice).Refuse();
  });
  ExpectRefused([](const TlsClientHello&, TlsChoice choice) {
    std::move(choice).Use(nullptr);
  });
  ExpectRefused([](const TlsClientHello&, TlsChoice choice) {
    std::move(choice).Use(Client());
  });
  ExpectRefused([](const TlsClientHello&, TlsChoice choice) {
    std::move(choice).Use(Choosing([](const TlsClientHello&, TlsChoice) {}));
  });
}

TEST(TlsChoice, TheFirstAnswerCounts) {
  Pair pair(Choosing([](const TlsClientHello&, TlsChoice choice) {
              std::move(choice).Use(Server());
              // NOLINTNEXTLINE(bugprone-use-after-move): that is the test.
              std::move(choice).Refuse();
            }),
            Client());
  EXPECT_TRUE(pair.Shake());
}

TEST(TlsChoice, AssignmentRefusesWhatItReplaces) {
  Later first, second;
  Pair one = Waiting(first);
  Pair two = Waiting(second);
  EXPECT_FALSE(one.Shake());
  EXPECT_FALSE(two.Shake());
  *first.choice = *std::move(second.choice);
  EXPECT_EQ(first.resumed, 1);
  EXPECT_FALSE(one.Shake());
  EXPECT_EQ(one.server_failure().code(), absl::StatusCode::kNotFound);
  std::move(*first.choice).Use(Server());
  EXPECT_EQ(second.resumed, 1);
  EXPECT_TRUE(two.Shake());
}

TEST(TlsChoice, AfterTheConnectionHasGoneDoesNothing) {
  Later later;
  {
    Pair pair = Waiting(later);
    EXPECT_FALSE(pair.Shake());
  }
  std::move(*later.choice).Use(Server());
  EXPECT_EQ(later.resumed, 1);  // Whoever gave `resume` sees to that.
}

TEST(TlsChoice, FromAnotherThread) {
  for (int i = 0; i < 20; ++i) {
    std::thread thread;
    const Context used = Server();
    Pair pair(Choosing([&](const TlsClientHello&, TlsChoice choice) {
                thread =
                    std::thread([choice = std::move(choice), used]() mutable {
                      std::move(choice).Use(used);
                    });
              }),
              Client());
    bool done = pair.Shake();
    thread.join();
    done = done || pair.Shake();
    EXPECT_TRUE(done) << pair.server_failure();
  }
}

// All that the chosen context asks of clients holds.
TEST(TlsChoice, UseTakesClientCertificatesTrustAndAlpn) {
  const TlsCertificate known = CertificateFor("known.test");
  TlsServerOptions strict;
  strict.client_certificates = TlsClientCertificates::kRequired;
  strict.trust = TrustIn(known);
  strict.alpn = {"b"};
  const Context chosen = Server(strict);
  const auto use = [&chosen](const TlsClientHello&, TlsChoice choice) {
    std::move(choice).Use(chosen);
  };
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    const Context server =
        Choosing(use, {.max_version = version, .alpn = {"a"}});
    Pair good(server, Client({.alpn = {"a", "b"}, .certificate = known}));
    ASSERT_TRUE(good.Shake()) << good.server_failure();
    EXPECT_EQ(good.client_info().alpn(), "b");
    EXPECT_TRUE(good.server_info().verification().ok());
    Pair none(server, Client({.alpn = {"b"}}));
    EXPECT_FALSE(none.Shake());
    EXPECT_EQ(none.server_failure().code(), absl::StatusCode::kUnauthenticated);
  }
}

TEST(TlsChoice, UseTakesTheBoundOfChains) {
  const TlsCertificate known = CertificateFor("known.test");
  std::string chain = known.chain_pem();
  for (int i = 0; i < 150; ++i) chain += known.chain_pem();
  const auto large = TlsCertificate::FromPem(chain, known.key_pem());
  ASSERT_TRUE(large.ok()) << large.status();
  TlsServerOptions patient;
  patient.client_certificates = TlsClientCertificates::kRequired;
  patient.trust = TrustIn(known);
  patient.max_peer_chain_bytes = 100'000;
  const Context chosen = Server(patient);
  Pair pair(Choosing([&chosen](const TlsClientHello&, TlsChoice choice) {
              std::move(choice).Use(chosen);
            }),
            Client({.certificate = *large}));
  EXPECT_TRUE(pair.Shake()) << pair.server_failure();
}

// And what it does not ask, is not asked.
TEST(TlsChoice, UseMayAskForLess) {
  TlsServerOptions strict;
  strict.client_certificates = TlsClientCertificates::kRequired;
  strict.trust = TrustIn(CertificateFor("known.test"));
  strict.certificates = {OurCertificate()};
  Pair pair(Choosing([](const TlsClientHello&,
                        TlsChoice choice) { std::move(choice).Use(Server()); },
                     strict),
            Client());
  EXPECT_TRUE(pair.Shake()) << pair.server_failure();
}

// A session of the one is none of the other.
TEST(TlsChoice, SessionsAreOfTheChosenContext) {
  TlsServerOptions optional;
  optional.client_certificates = TlsClientCertificates::kOptional;
  optional.trust = TrustIn(CertificateFor("known.test"));
  Context chosen = Server();
  const Context server =
      Choosing([&chosen](const TlsClientHello&, TlsChoice choice) {
        std::move(choice).Use(chosen);
      });
  const Context client = Client();
  const auto resumes = [&] {
    Pair pair(server, client);
    return pair.Shake() && pair.CarriesBothWays() &&
           pair.server_info().is_resumed();
  };
  EXPECT_FALSE(resumes());
  EXPECT_TRUE(resumes());
  chosen = Server(optional);
  EXPECT_FALSE(resumes());
  EXPECT_TRUE(resumes());
}

}  // namespace
}  // namespace fio
