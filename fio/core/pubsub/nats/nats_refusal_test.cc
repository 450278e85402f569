// The engine and servers that refuse it, or misbehave.

#include <cstddef>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/pubsub/nats/nats_engine.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/pubsub/nats/nats_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"
#include "tests/servers/nats_server.h"

namespace fio {
namespace {

using nats_internal::NatsNode;
using testing::NatsConnection;
using testing::NatsListener;
using testing::NatsServer;

std::string WithLogin(const NatsServer& server, std::string_view login) {
  return absl::StrCat("nats://", login, "@127.0.0.1:", server.port());
}

TEST(Nats, Auth) {
  const NatsServer server({"--user", "me", "--pass", "pass@word\""});
  NatsNode node(WithLogin(server, "me:pass%40word%22"));
  node.AwaitConnected();
}

TEST(Nats, WrongPassword) {
  const NatsServer server({"--user", "me", "--pass", "right"});
  NatsNode node(WithLogin(server, "me:wrong"));
  EXPECT_EQ(node.Await(), "lost PERMISSION_DENIED");
  EXPECT_EQ(node.Await(), "disconnect");
  EXPECT_EQ(node.stats().attempts, 1u) << "and the next one is far away";
  NatsNode nobody(server.url());
  EXPECT_EQ(nobody.Await(), "lost PERMISSION_DENIED");
}

TEST(Nats, Token) {
  const NatsServer server({"--auth", "secret"});
  NatsNode node(WithLogin(server, "secret"));
  node.AwaitConnected();
  NatsNode by_option(server.url(), {.token = "secret"});
  by_option.AwaitConnected();
  NatsNode wrong(WithLogin(server, "other"));
  EXPECT_EQ(wrong.Await(), "lost PERMISSION_DENIED");
}

std::string Write(const std::string& name, std::string_view text) {
  std::string path = absl::StrCat(::testing::TempDir(), "/", name);
  std::ofstream file(path, std::ios::trunc);
  file << text;
  EXPECT_TRUE(file.good()) << path;
  return path;
}

// The key of the first test of RFC 8032.
TEST(Nats, NKey) {
  const std::string config =
      Write("nkey.conf",
            "authorization: { users: [ { nkey: "
            "UDLVVGABQKYQVN6VJP7NHSLEA45A5YLS6PNKMIZFV4BBU2HXA5IRUVAL } ] }\n");
  const NatsServer server({"--config", config});
  NatsNode node(
      server.url(),
      {.nkey_seed =
           "SUAJ2YNRTXX72WTAXKCEV5ES5QWMIRCJYVUXWMTJDFYDXLADDSXH6YALCA"});
  node.AwaitConnected();
  NatsNode nobody(server.url());
  EXPECT_EQ(nobody.Await(), "lost PERMISSION_DENIED");
}

// --- Servers of the test's own ---

constexpr std::string_view kInfo =
    "INFO {\"server_id\":\"X\",\"max_payload\":100,\"headers\":true} \r\n";

// Greets, and takes whoever comes; returns when all is known that it had
// subscribed to.
void Serve(NatsConnection& client) {
  client.Send(kInfo);
  client.ReadUntil("CONNECT ");
  client.ReadUntil("PING");
  client.Send("PONG\r\n");
  client.ReadUntil("PING");
  client.Send("PONG\r\n");
}

TEST(Nats, SplitReads) {
  NatsListener listener;
  NatsNode node(listener.url());
  node.Subscribe("a");
  NatsConnection client = listener.Accept();
  // Each answer of the node takes a byte more of the server's.
  for (const char byte : kInfo) client.Send(std::string_view(&byte, 1));
  client.ReadUntil("PING");
  for (const char byte : std::string_view("PONG\r\n")) {
    client.Send(std::string_view(&byte, 1));
  }
  EXPECT_EQ(client.ReadLine(), "SUB a 1");
  client.ReadUntil("PING");
  for (const char byte : std::string_view("PONG\r\nMSG a 1 3\r\nx\r\n\r\n"
                                          "HMSG a 1 2 3\r\nHHy\r\n")) {
    client.Send(std::string_view(&byte, 1));
  }
  node.AwaitConnected();
  EXPECT_EQ(node.Await(), "a: a x\r\n");
  EXPECT_EQ(node.Await(), "a: a y");
}

TEST(Nats, UnsubscribeReachesServer) {
  NatsListener listener;
  NatsNode node(listener.url());
  node.Subscribe("a");
  NatsConnection client = listener.Accept();
  Serve(client);
  node.Unsubscribe("a");
  EXPECT_EQ(client.ReadLine(), "UNSUB 1");
}

TEST(Nats, DetachClosesTheConnection) {
  NatsListener listener;
  NatsNode node(listener.url());
  NatsConnection client = listener.Accept();
  Serve(client);
  node.AwaitConnected();
  node.OnLoop([&node] {
    EXPECT_TRUE(node.pubsub().broker().Detach(node.engine()).ok());
  });
  EXPECT_EQ(client.ReadLine(), "END");
}

TEST(Nats, MaxPayload) {
  NatsListener listener;
  NatsNode node(listener.url());
  NatsConnection client = listener.Accept();
  Serve(client);
  node.AwaitConnected();
  node.Publish("a", std::string(101, 'x'));
  node.Publish("a", std::string(100, 'y'));
  EXPECT_EQ(node.Await(), "error publish: 101 bytes, and the server takes 100");
  EXPECT_EQ(client.ReadUntil("PUB"), "PUB a 100");
  EXPECT_EQ(client.ReadLine(), std::string(100, 'y'));
  EXPECT_EQ(node.stats().refused, 1u);
  EXPECT_EQ(node.stats().published, 1u);
}

// A real one closes the connection of who sends too much.
TEST(Nats, MaxPayloadOfARealServer) {
  const NatsServer server;
  NatsNode node(server.url());
  node.AwaitConnected();
  node.Publish("a", std::string((size_t{1} << 20) + 1, 'x'));
  EXPECT_EQ(node.AwaitStart("error").substr(0, 22), "error publish: 1048577");
  NatsConnection other(server.port());
  node.Sync(other);
  EXPECT_EQ(node.stats().connections, 1u);
}

TEST(Nats, HostileServer) {
  NatsListener listener;
  NatsNode node(listener.url(), {.reconnect_delay = absl::Milliseconds(1),
                                 .max_reconnect_delay = absl::Milliseconds(1)});
  for (const std::string_view bytes :
       {"HELLO\r\n", "INFO {\r\n", "INFO []\r\n", "\n", "MSG a 1 99999999999",
        "INFO {\"max_payload\":\"x\"}\r\n"}) {
    NatsConnection client = listener.Accept();
    client.Send(bytes);
    if (bytes.back() != '\n') client.Send("\r\n");
    EXPECT_EQ(client.ReadLine(), "END") << bytes;
  }
  EXPECT_EQ(node.Await(), "lost INVALID_ARGUMENT");
  EXPECT_EQ(node.Await(), "disconnect");
  for (const std::string& bytes :
       {std::string("MSG a 1 99999999999\r\n"), std::string("PING PONG\r\n"),
        std::string("INFO {\"ldm\":1}\r\n"), std::string(10'000, 'x'),
        std::string("MSG a 1 1\r\nabc\r\n"), std::string("\0\0\0\0\n", 5)}) {
    NatsConnection client = listener.Accept();
    Serve(client);
    EXPECT_EQ(node.AwaitStart("connected"), "connected 0 0");
    EXPECT_EQ(node.Await(), "connect");
    // What nobody has asked for does no harm.
    client.Send("PONG\r\nPONG\r\n+OK\r\nMSG a 77 1\r\nx\r\n");
    client.Send("MSG a..b 1 0\r\n\r\n");
    client.Send(bytes);
    EXPECT_EQ(node.Await().substr(0, 5), "lost ") << bytes;
    EXPECT_EQ(node.Await(), "disconnect");
  }
  EXPECT_EQ(node.stats().received, 0u);
}

TEST(Nats, UnknownErrorLives) {
  NatsListener listener;
  NatsNode node(listener.url());
  NatsConnection client = listener.Accept();
  node.Subscribe("a");
  Serve(client);
  node.AwaitConnected();
  client.Send(
      "-ERR 'Something New'\r\n-ERR 'Permissions Violation for "
      "Publish to \"x\"'\r\nMSG a 1 1\r\nx\r\n");
  EXPECT_EQ(node.Await(), "error Something New");
  EXPECT_EQ(node.Await(), "error Permissions Violation for Publish to \"x\"");
  EXPECT_EQ(node.Await(), "a: a x");
  EXPECT_EQ(node.stats().errors, 2u);
  EXPECT_TRUE(node.stats().connected);
}

TEST(Nats, StaleConnection) {
  NatsListener listener;
  NatsNode node(listener.url(), {.ping_interval = absl::Milliseconds(10)});
  NatsConnection client = listener.Accept();
  Serve(client);
  node.AwaitConnected();
  EXPECT_EQ(client.ReadLine(), "PING");
  EXPECT_EQ(client.ReadLine(), "PING");
  EXPECT_EQ(client.ReadLine(), "END");
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
}

// What the server has said, and not only that it has gone.
TEST(Nats, ServerFindsUsStale) {
  NatsListener listener;
  NatsNode node(listener.url());
  {
    NatsConnection client = listener.Accept();
    Serve(client);
    node.AwaitConnected();
    client.Send("-ERR 'Stale Connection'\r\n");
  }
  EXPECT_EQ(node.Await(), "error Stale Connection");
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
}

// A server that says nothing at all.
TEST(Nats, SilentServer) {
  NatsListener listener;
  NatsNode node(listener.url(), {.connect_timeout = absl::Milliseconds(10)});
  NatsConnection client = listener.Accept();
  EXPECT_EQ(client.ReadLine(), "END");
  EXPECT_EQ(node.Await(), "lost DEADLINE_EXCEEDED");
}

// What has arrived is not in doubt, and what has not is.
TEST(Nats, UnsureIsCounted) {
  NatsListener listener;
  NatsNode node(listener.url());
  {
    NatsConnection client = listener.Accept();
    Serve(client);
    node.AwaitConnected();
    node.Publish("a", "1");
    client.ReadUntil("PUB");
    client.ReadUntil("PING");
    node.Publish("a", "2");
    client.ReadUntil("PUB");
    client.Send("PONG\r\n");
    client.ReadUntil("PING");
  }
  EXPECT_EQ(node.AwaitStart("lost"), "lost UNAVAILABLE");
  NatsConnection client = listener.Accept();
  Serve(client);
  EXPECT_EQ(node.AwaitStart("connected"), "connected 0 1");
}

TEST(Nats, OptionsAreChecked) {
  Reactor reactor({.threads = 1, .workers = 1});
  PubSub pubsub(reactor);
  const auto check = [&](std::string_view url, const NatsOptions& options) {
    return NatsEngine::Create(reactor, pubsub.broker(), url, options).status();
  };
  EXPECT_TRUE(check("nats://localhost", {}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(check("http://localhost", {})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      check("nats://localhost", {.ping_interval = absl::ZeroDuration()})));
  EXPECT_TRUE(
      absl::IsInvalidArgument(check("nats://localhost", {.max_pings = 0})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      check("nats://localhost", {.nkey_seed = "SUAJ2"})));
  EXPECT_FALSE(check("tls://localhost?ca=/no/such/file", {}).ok());
}

}  // namespace
}  // namespace fio
