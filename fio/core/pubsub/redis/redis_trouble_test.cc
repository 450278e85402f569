// A RedisEngine and what servers do to their clients.

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_test_util.h"
#include "fio/testing/manual_clock.h"
#include "fio/tls/tls_certificate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_connection.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using redis_testing::Node;
using testing::RedisConnection;
using testing::RedisServer;
using ::testing::StartsWith;

std::string Url(const RedisServer& server, std::string_view user = "") {
  return absl::StrCat("redis://", user, "127.0.0.1:", server.port());
}

TEST(Redis, ClientPause) {
  const RedisServer server;
  Node node(Url(server), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  RedisConnection connection(server.path());
  connection.Add({"CLIENT", "PAUSE", "100"});
  connection.Send();
  connection.Read();
  for (int i = 0; i < 2000; ++i) node.Publish("news", absl::StrCat(i));
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(node.Next(), absl::StrCat("news news ", i));
  }
}

// A client that does not read: its loop is held up.
TEST(Redis, OutputBufferCut) {
  const RedisServer server(
      {"--client-output-buffer-limit", "pubsub", "1mb", "1mb", "0"});
  Node node(Url(server), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  absl::Notification cut;
  node.Post([&cut] { cut.WaitForNotification(); });
  RedisConnection connection(server.path());
  const std::string body(1'000'000, 'x');
  int64_t receivers = 1;
  while (receivers > 0) {
    connection.Add({"PUBLISH", "news", body});
    connection.Send();
    receivers = connection.Read().integer;
  }
  cut.Notify();
  EXPECT_THAT(node.Until("lost").back(), StartsWith("lost UNAVAILABLE"));
  node.Until("connected");
  connection.Add({"PUBLISH", "news", "hello"});
  connection.Send();
  EXPECT_EQ(connection.Read().integer, 1);
  node.Until("news news hello");
}

TEST(Redis, PasswordChangedWhileUp) {
  const RedisServer server(
      {"--user", "fio", "on", ">old", "~*", "&*", "+@all"});
  Node node(Url(server, "fio:old@"), {{"news"}},
            {.refused_delay = absl::Milliseconds(1)});
  EXPECT_EQ(node.Next(), "connected");
  RedisConnection connection(server.path());
  connection.Add({"ACL", "SETUSER", "fio", "resetpass", ">new"});
  connection.Send();
  EXPECT_EQ(connection.Read().text, "OK");
  node.Publish("news", "still here");
  EXPECT_EQ(node.Next(), "news news still here");
  connection.Add({"CLIENT", "KILL", "USER", "fio"});
  connection.Send();
  EXPECT_EQ(connection.Read().integer, 1);
  EXPECT_THAT(node.Next(), StartsWith("lost UNAVAILABLE"));
  EXPECT_EQ(node.Next(), "error");
  EXPECT_THAT(node.Next(), StartsWith("lost PERMISSION_DENIED WRONGPASS"));
  EXPECT_EQ(node.Next(), "error");
  connection.Add({"ACL", "SETUSER", "fio", ">old"});
  connection.Send();
  EXPECT_EQ(node.Next(), "connected");
}

// 5 s by the loop's clock: a turn or more for each 10 ms of them.
TEST(Redis, RefusedPortBacksOff) {
  RedisServer server;
  const std::string url = Url(server);
  server.Kill();
  testing::ManualClock clock;
  Node node(url, {}, {}, clock);
  for (int i = 0; i < 500; ++i) {
    clock.Advance(absl::Milliseconds(10));
    for (int turns = 0; turns < 3; ++turns) node.Do([] {});
  }
  EXPECT_THAT(node.Next(), StartsWith("lost UNAVAILABLE connect tcp://"));
  const RedisStats stats = node.stats();
  EXPECT_GE(stats.attempts, 3);
  EXPECT_LE(stats.attempts, 20);
}

std::string TempFile(std::string_view name, std::string_view text) {
  const std::string path = absl::StrCat(::testing::TempDir(), name);
  std::ofstream(path) << text;
  return path;
}

TEST(Redis, OverTls) {
  const absl::StatusOr<TlsCertificate> certificate =
      TlsCertificate::SelfSigned({"localhost"});
  ASSERT_TRUE(certificate.ok()) << certificate.status();
  const std::string cert = TempFile("cert.pem", certificate->chain_pem());
  const std::string key = TempFile("key.pem", certificate->key_pem());
  RedisServer server({"--port", "0", "--tls-port", "$PORT", "--tls-cert-file",
                      cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
                      "--tls-auth-clients", "no"});
  Node node(absl::StrCat("rediss://localhost:", server.port(), "/?ca=", cert),
            {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  const std::string body(100'000, 'x');
  node.Publish("news", body);
  EXPECT_EQ(node.Next(), absl::StrCat("news news ", body));
  server.Kill();
  node.Until("error");
  server.Start();
  EXPECT_EQ(node.Next(), "connected");

  const absl::StatusOr<TlsCertificate> other =
      TlsCertificate::SelfSigned({"localhost"});
  const std::string ca = TempFile("other.pem", other->chain_pem());
  Node stranger(
      absl::StrCat("rediss://localhost:", server.port(), "/?ca=", ca));
  EXPECT_THAT(stranger.Next(), StartsWith("lost "));
}

}  // namespace
}  // namespace fio
