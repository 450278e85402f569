// How handshakes begin, what they agree on, and whom they refuse.

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_raw_client.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_version.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;
using tls_testing::Client;
using tls_testing::Context;
using tls_testing::OurCertificate;
using tls_testing::Pair;
using tls_testing::RawClient;
using tls_testing::RawPair;
using tls_testing::Server;
using tls_testing::Side;
using tls_testing::TempFile;
using tls_testing::TestCertificate;
using tls_testing::TestData;
using tls_testing::TrustIn;
using Handshake = Transport::Handshake;

bool Works(const Context& server, const Context& client,
           const std::string& name) {
  Pair pair(server, client, {.server_name = name});
  return pair.Shake() && pair.CarriesBothWays();
}

// The ways of the old fio_tls_new().
TEST(Tls, New4Modes) {
  const std::string chain = TempFile("chain", TestData("p256.pem"));
  const std::string key = TempFile("key", TestData("p256.key.pem"));
  const std::string both = TempFile("both", TestData("p256.both.pem"));

  const auto of_files = TlsCertificate::FromFiles(chain, key);
  ASSERT_TRUE(of_files.ok()) << of_files.status();
  const Context client = Client({.trust = TrustIn(*of_files)});
  EXPECT_TRUE(
      Works(Server({.certificates = {*of_files}}), client, "p256.test"));

  const auto of_one_file = TlsCertificate::FromFiles(both, both);
  ASSERT_TRUE(of_one_file.ok()) << of_one_file.status();
  EXPECT_TRUE(
      Works(Server({.certificates = {*of_one_file}}), client, "p256.test"));

  const auto self_signed = TlsCertificate::SelfSigned({"a.test"});
  ASSERT_TRUE(self_signed.ok()) << self_signed.status();
  EXPECT_TRUE(Works(Server({.certificates = {*self_signed}}),
                    Client({.trust = TrustIn(*self_signed)}), "a.test"));
  EXPECT_FALSE(client->is_server());
  EXPECT_EQ(client->certificate(), nullptr);
}

TEST(Tls, OldVersionsRefused) {
  for (const uint16_t version : {TLS1_VERSION, TLS1_1_VERSION}) {
    RawPair pair(Server(), [version](SSL_CTX* context) {
      SSL_CTX_set_min_proto_version(context, version);
      SSL_CTX_set_max_proto_version(context, version);
    });
    EXPECT_EQ(pair.Shake(), SSL_ERROR_SSL);
    EXPECT_EQ(pair.reason(), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    EXPECT_EQ(pair.server().failure().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Tls, VersionsAsTheOptionsSay) {
  Context only_12 = Server({.max_version = TlsVersion::kTls12});
  Pair old(only_12, Client());
  ASSERT_TRUE(old.Shake());
  EXPECT_EQ(old.client_info().version(), TlsVersion::kTls12);
  EXPECT_EQ(old.client_info().cipher(),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
  EXPECT_TRUE(old.CarriesBothWays());
  Pair none(only_12, Client({.min_version = TlsVersion::kTls13}));
  EXPECT_FALSE(none.Shake());
}

TEST(Tls, PlaintextToTlsPort) {
  LoopbackPair sockets = LoopbackPair::Tcp();
  Side server(std::move(sockets.near), Server(), {});
  ASSERT_TRUE(sockets.far.TryWrite("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok());
  tls_testing::AwaitAny(server.socket(), server.socket());
  EXPECT_EQ(server.Shake(), Handshake::kFailed);
  EXPECT_EQ(server.failure(),
            absl::InvalidArgumentError(
                "the peer speaks HTTP without TLS (http request)"));
  EXPECT_EQ(testing::ReadUntil(sockets.far, 1), "");  // It is told nothing.
}

TEST(Tls, WhatIsNoTlsIsAnsweredByAnAlert) {
  LoopbackPair sockets = LoopbackPair::Unix();
  Side server(std::move(sockets.near), Server(), {});
  ASSERT_TRUE(sockets.far.TryWrite("SSH-2.0-OpenSSH_9.2p1\r\n").ok());
  EXPECT_EQ(server.Shake(), Handshake::kFailed);
  EXPECT_EQ(server.failure(),
            absl::InvalidArgumentError(
                "what the peer sends is no TLS (wrong version number)"));
  EXPECT_EQ(testing::ReadUntil(sockets.far, 7).substr(0, 3), "\x15\x03\x01");
}

TEST(Tls, PlaintextOfAServerIsRefused) {
  LoopbackPair sockets = LoopbackPair::Unix();
  Side client(std::move(sockets.near), Client(), {.server_name = "localhost"});
  EXPECT_EQ(client.Shake(), Handshake::kMore);
  ASSERT_TRUE(sockets.far.TryWrite("220 mail.example.org ESMTP\r\n").ok());
  EXPECT_EQ(client.Shake(), Handshake::kFailed);
  EXPECT_EQ(client.failure().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Tls, AnEndDuringTheHandshakeIsTold) {
  LoopbackPair sockets = LoopbackPair::Unix();
  Side client(std::move(sockets.near), Client(), {.server_name = "localhost"});
  EXPECT_EQ(client.Shake(), Handshake::kMore);
  sockets.far.Close();
  EXPECT_EQ(client.Shake(), Handshake::kFailed);
  EXPECT_EQ(client.failure().code(), absl::StatusCode::kUnavailable);
}

// Connections hold what they need.
TEST(Tls, DestroyWhileConnected) {
  std::optional<Pair> pair;
  {
    const Context client = Client();
    const Context server = Server({.alpn = {"a"}});
    pair.emplace(server, client);
  }
  ASSERT_TRUE(pair->Shake());
  EXPECT_TRUE(pair->CarriesBothWays());
  EXPECT_TRUE(pair->client_tls().UpdateKeys());
  EXPECT_TRUE(pair->CarriesBothWays());
}

// What an earlier call of this thread has left says nothing of this connection.
TEST(Tls, ErrorQueueIsClearedFirst) {
  const auto leave_an_error = [] {
    ERR_put_error(ERR_LIB_SSL, 0, SSL_R_BAD_SIGNATURE, "here", 1);
  };
  Pair pair(Server(), Client());
  leave_an_error();
  pair.ShakeClient();
  leave_an_error();
  ASSERT_TRUE(pair.Shake());
  leave_an_error();
  char out[10];
  EXPECT_TRUE(pair.client().Read(absl::MakeSpan(out)).would_block());
  leave_an_error();
  EXPECT_TRUE(pair.client().Write("a").ok());
  EXPECT_TRUE(pair.client().Flush().ok());
  leave_an_error();
  tls_testing::AwaitAny(pair.server(), pair.server());
  EXPECT_EQ(pair.server().Read(absl::MakeSpan(out)).bytes, 1u);
  EXPECT_TRUE(pair.client_tls().status().ok());
  EXPECT_TRUE(pair.server_tls().status().ok());
}

TEST(Tls, KeyLogOnlyByOption) {
  std::vector<std::string> lines;
  const auto log = [&lines](std::string_view line) {
    lines.emplace_back(line);
  };
  Pair silent(Server(), Client());
  ASSERT_TRUE(silent.Shake());
  EXPECT_TRUE(lines.empty());
  Pair told(Server({.key_log = log}), Client());
  ASSERT_TRUE(told.Shake());
  ASSERT_EQ(lines.size(), 5u);
  std::set<std::string> labels;
  for (const std::string& line : lines) {
    labels.insert(line.substr(0, line.find(' ')));
  }
  EXPECT_EQ(labels,
            (std::set<std::string>{"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                                   "CLIENT_TRAFFIC_SECRET_0", "EXPORTER_SECRET",
                                   "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                                   "SERVER_TRAFFIC_SECRET_0"}));
}

TEST(Tls, BothSidesExportTheSameKeys) {
  Pair pair(Server(), Client());
  ASSERT_TRUE(pair.Shake());
  const auto ours = pair.server_info().ExportKeyingMaterial("EXP fio", "a", 40);
  ASSERT_TRUE(ours.ok()) << ours.status();
  EXPECT_EQ(ours->size(), 40u);
  EXPECT_EQ(*pair.client_info().ExportKeyingMaterial("EXP fio", "a", 40),
            *ours);
  EXPECT_NE(*pair.client_info().ExportKeyingMaterial("EXP fio", "b", 40),
            *ours);
}

// The first 32 random bytes of a child process.
std::string RandomOfChild() {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    uint8_t random[32];
    RAND_bytes(random, sizeof(random));
    _exit(write(ends[1], random, sizeof(random)) == sizeof(random) ? 0 : 1);
  }
  char random[32];
  EXPECT_EQ(read(ends[0], random, sizeof(random)), 32);
  close(ends[0]);
  close(ends[1]);
  int status = 1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return std::string(random, sizeof(random));
}

TEST(Tls, RngDiffersAfterFork) {
  uint8_t random[32];
  RAND_bytes(random, sizeof(random));  // The generator has begun.
  const std::string first = RandomOfChild();
  const std::string second = RandomOfChild();
  RAND_bytes(random, sizeof(random));
  const std::string own(reinterpret_cast<char*>(random), sizeof(random));
  EXPECT_NE(first, second);
  EXPECT_NE(first, own);
  EXPECT_NE(second, own);
}

TEST(Tls, AContextOfTheParentServesItsChildren) {
  const Context server = Server();
  const Context client = Client();
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(Works(server, client, "localhost") ? 0 : 1);
    int status = 1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

// A session with a server whose tickets allow early data.
bssl::UniquePtr<SSL_SESSION> SessionWith(const Context& server) {
  RawPair pair(server);
  EXPECT_EQ(pair.Shake(), SSL_ERROR_NONE);
  // Tickets leave with the first bytes.
  EXPECT_TRUE(pair.server().socket().Write("a").ok());
  EXPECT_TRUE(pair.server().socket().Flush().ok());
  int error = 0;
  EXPECT_EQ(pair.client().Read(&error), "a");
  EXPECT_NE(pair.client().session(), nullptr);
  return bssl::UpRef(pair.client().session());
}

void SendEarly(SSL_CTX* context) { SSL_CTX_set_early_data_enabled(context, 1); }

TEST(Tls, EarlyDataOffByDefault) {
  const Context server = Server();
  const bssl::UniquePtr<SSL_SESSION> session = SessionWith(server);
  EXPECT_EQ(SSL_SESSION_early_data_capable(session.get()), 0);
}

// Also with a ticket that allows it, from the time when it was on.
TEST(Tls, EarlyDataIsPassedOverWhenOff) {
  const auto keys = *TlsTicketKeys::Create();
  const bssl::UniquePtr<SSL_SESSION> session =
      SessionWith(Server({.ticket_keys = keys, .early_data = true}));
  ASSERT_EQ(SSL_SESSION_early_data_capable(session.get()), 1);
  RawPair pair(Server({.ticket_keys = keys}), SendEarly, session.get());
  ASSERT_EQ(pair.client().Shake(), SSL_ERROR_NONE);  // It goes ahead.
  EXPECT_EQ(pair.client().Write("early"), 5);
  pair.server().Shake();
  char out[10];
  EXPECT_NE(pair.server().state(), Handshake::kDone);
  int error = 0;
  pair.client().Read(&error);
  EXPECT_EQ(error, SSL_ERROR_EARLY_DATA_REJECTED);
  SSL_reset_early_data_reject(pair.client().ssl());
  EXPECT_EQ(pair.Shake(), SSL_ERROR_NONE);
  EXPECT_EQ(pair.server().Shake(), Handshake::kDone);
  EXPECT_TRUE(pair.server().socket().Read(absl::MakeSpan(out)).would_block());
}

TEST(Tls, EarlyDataIsToldAsSuch) {
  const Context server = Server({.early_data = true});
  const bssl::UniquePtr<SSL_SESSION> session = SessionWith(server);
  RawPair pair(server, SendEarly, session.get());
  ASSERT_EQ(pair.client().Shake(), SSL_ERROR_NONE);
  ASSERT_EQ(pair.client().Write("early"), 5);
  ASSERT_EQ(pair.server().Shake(), Handshake::kDone);
  const TlsInfo& info = *TlsInfo::Of(&pair.server().tls());
  EXPECT_TRUE(info.is_early());
  Socket& socket = pair.server().socket();
  char out[10];
  ASSERT_EQ(socket.Read(absl::MakeSpan(out)).bytes, 5u);
  EXPECT_EQ(std::string(out, 5), "early");
  EXPECT_TRUE(info.is_early());
  ASSERT_TRUE(socket.Write("an answer").ok());
  EXPECT_TRUE(socket.Flush().ok());
  int error = 0;
  EXPECT_EQ(pair.client().Read(&error), "an answer");
  EXPECT_TRUE(socket.Read(absl::MakeSpan(out)).would_block());
  EXPECT_FALSE(info.is_early());
  ASSERT_EQ(pair.client().Write("late"), 4);
  ASSERT_EQ(socket.Read(absl::MakeSpan(out)).bytes, 4u);
}

// github.com/h2o/h2o/issues/2534: the end of the client's handshake met a
// server that had closed, and the reset destroyed the answer.
TEST(Tls, AnAnswerToEarlyDataOutlivesTheClose) {
  const Context server = Server({.early_data = true});
  const bssl::UniquePtr<SSL_SESSION> session = SessionWith(server);
  RawPair pair(server, SendEarly, session.get());
  ASSERT_EQ(pair.client().Shake(), SSL_ERROR_NONE);
  ASSERT_EQ(pair.client().Write("early"), 5);
  ASSERT_EQ(pair.server().Shake(), Handshake::kDone);
  Socket& socket = pair.server().socket();
  char out[10];
  ASSERT_EQ(socket.Read(absl::MakeSpan(out)).bytes, 5u);
  constexpr size_t kBytes = 1'000'000;  // More than the kernel holds.
  ASSERT_TRUE(socket.Write(std::string(kBytes, 'a')).ok());
  socket.Close();
  std::string answer;
  int error = SSL_ERROR_WANT_READ;
  for (int i = 0; i < 1000 && error == SSL_ERROR_WANT_READ; ++i) {
    static_cast<void>(socket.Flush());
    answer += pair.client().Read(&error);
  }
  EXPECT_EQ(answer.size(), kBytes);
  EXPECT_EQ(error, SSL_ERROR_ZERO_RETURN);
}

}  // namespace
}  // namespace fio
