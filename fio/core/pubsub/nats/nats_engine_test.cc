// The engine and a real server.

#include "fio/core/pubsub/nats/nats_engine.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/pubsub/nats/nats_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"
#include "tests/servers/nats_server.h"

namespace fio {
namespace {

using namespace std::string_view_literals;  // NOLINT: for names with a NUL.

using nats_internal::NatsNode;
using testing::NatsConnection;
using testing::NatsServer;

TEST(Nats, ConnectPublishReceive) {
  const NatsServer server;
  NatsNode one(server.url());
  NatsNode two(server.url());
  NatsConnection other(server.port());
  EXPECT_EQ(one.Await(), "connected 0 0");
  EXPECT_EQ(one.Await(), "connect");
  one.Subscribe("news");
  one.Subscribe("empty");
  one.Sync(other);
  two.AwaitConnected();
  other.Send("SUB news 1\r\n");
  other.Sync();
  two.Publish("news", "from two");
  EXPECT_EQ(one.Await(), "news: news from two");
  EXPECT_EQ(other.ReadMessage(), "news from two");
  other.Publish("news", "from\r\nother");
  EXPECT_EQ(one.Await(), "news: news from\r\nother");
  other.Publish("empty", "");
  EXPECT_EQ(one.Await(), "empty: empty ");
  const std::string large(100'000, 'x');
  two.Publish("news", large);
  EXPECT_EQ(one.Await(), "news: news " + large);
  EXPECT_EQ(one.stats().received, 4u);
  EXPECT_EQ(two.stats().published, 2u);
}

TEST(Nats, RestartResubscribes) {
  NatsServer server;
  NatsNode node(server.url());
  node.Subscribe("a");
  node.Subscribe("b.*", Match::kNats);
  node.AwaitConnected();
  server.Kill();
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
  EXPECT_EQ(node.Await(), "disconnect");
  node.Subscribe("c");
  node.Unsubscribe("a");
  node.Subscribe("a");
  server.Start();
  EXPECT_EQ(node.Await(), "connected 0 0");
  EXPECT_EQ(node.Await(), "connect");
  NatsConnection other(server.port());
  for (const std::string_view channel : {"a", "b.x", "c", "a"}) {
    other.Publish(channel, "hello");
  }
  EXPECT_EQ(node.Await(), "a: a hello");
  EXPECT_EQ(node.Await(), "b.*: b.x hello");
  EXPECT_EQ(node.Await(), "c: c hello");
  EXPECT_EQ(node.Await(), "a: a hello");
}

TEST(Nats, SubjectEscaping) {
  const NatsServer server;
  NatsNode one(server.url());
  NatsNode two(server.url());
  NatsConnection other(server.port());
  other.Send("SUB > 1\r\n");
  for (const std::string_view channel :
       {""sv, "."sv, "a b"sv, "a.*"sv, ">"sv, "\r\nPUB x 0\r\n"sv, "\0\x7F"sv,
        "%_"sv, "\xFF\xFE.x"sv, "plain.name"sv}) {
    one.Subscribe(std::string(channel));
  }
  one.Sync(other);
  two.Publish("a b", "1");
  two.Publish("a.*", "2");
  EXPECT_EQ(one.AwaitStart("a b"), "a b: a b 1");
  EXPECT_EQ(one.Await(), "a.*: a.* 2");
  EXPECT_EQ(other.ReadMessage(), "%_a%20b 1");
  EXPECT_EQ(other.ReadMessage(), "a.%_%2A 2");
  for (const std::string_view channel :
       {""sv, "."sv, ">"sv, "\r\nPUB x 0\r\n"sv, "\0\x7F"sv, "%_"sv,
        "\xFF\xFE.x"sv, "plain.name"sv}) {
    two.Publish(channel, "x");
    EXPECT_EQ(one.Await(), absl::StrCat(channel, ": ", channel, " x"));
  }
  two.Publish(std::string(5000, 'a'), "");
  EXPECT_EQ(two.AwaitStart("error"),
            "error publish: no subject stands for a channel of 5000 bytes");
  EXPECT_EQ(two.stats().refused, 1u);
}

TEST(Nats, GlobRefilter) {
  const NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("news.s*", Match::kRedis);
  node.Sync(other);
  other.Publish("news.weather", "1");
  other.Publish("news.sports", "2");
  EXPECT_EQ(node.Await(), "news.s*: news.sports 2");
  EXPECT_EQ(node.stats().received, 1u);
}

// The server sends a message once for each subscription that matches; each of
// ours gets it once.
TEST(Nats, OverlappingSubscriptionsOnce) {
  const NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("a.>", Match::kNats);
  node.Subscribe("a.b");
  node.Sync(other);
  const auto expect_both = [&node] {
    const std::string first = node.Await();
    const std::string second = node.Await();
    EXPECT_EQ(std::min(first, second), "a.>: a.b x");
    EXPECT_EQ(std::max(first, second), "a.b: a.b x");
  };
  other.Publish("a.b", "x");
  expect_both();
  other.Publish("a.b", "x");
  expect_both();
  EXPECT_EQ(node.stats().received, 2u);
  node.Unsubscribe("a.>");
  node.Sync(other);
  other.Publish("a.b", "y");
  EXPECT_EQ(node.Await(), "a.b: a.b y");
}

TEST(Nats, NoEchoDeliversLocally) {
  NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("a");
  node.Sync(other);
  node.Publish("a", "1");
  other.Send("SUB > 1\r\n");
  other.Sync();
  node.Publish("a", "2");
  EXPECT_EQ(other.ReadMessage(), "a 2");
  other.Publish("a", "3");
  EXPECT_EQ(node.Await(), "a: a 1");
  EXPECT_EQ(node.Await(), "a: a 2");
  EXPECT_EQ(node.Await(), "a: a 3");
  server.Kill();
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
  EXPECT_EQ(node.Await(), "disconnect");
  node.Publish("a", "4");
  EXPECT_EQ(node.Await(), "a: a 4");
}

TEST(Nats, EchoComesFromTheServer) {
  const NatsServer server;
  NatsNode node(server.url(), {.local_echo = false});
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("a");
  node.Sync(other);
  node.Publish("a", "1");
  EXPECT_EQ(node.Await(), "a: a 1");
  EXPECT_EQ(node.stats().received, 1u);
}

TEST(Nats, Headers) {
  const NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("a");
  node.Sync(other);
  other.Send("HPUB a 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
  EXPECT_EQ(node.Await(), "a: a hi");
}

// A subscriber that takes nothing holds up neither the engine nor the others,
// and the server finds nobody slow.
TEST(Nats, SlowConsumer) {
  const NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("fence");
  Subscription slow;
  node.OnLoop([&] {
    slow = *node.pubsub().Subscribe({.channel = "slow"},
                                    [](Delivery& one) { one.Park(); });
  });
  node.Sync(other);
  constexpr int kMessages = 3000;
  const std::string body(10'000, 'x');
  for (int i = 0; i < kMessages; ++i) other.Publish("slow", body);
  other.Publish("fence", "");
  EXPECT_EQ(node.Await(), "fence: fence ");
  EXPECT_EQ(node.stats().received, kMessages + 1u);
  EXPECT_EQ(node.stats().connections, 1u);
  node.OnLoop([&slow] { slow.Unsubscribe(); });
}

// --- Losing it ---

TEST(Nats, LossIsAnnounced) {
  NatsServer server;
  NatsNode node(server.url(), {.max_waiting = 2});
  node.AwaitConnected();
  server.Kill();
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
  EXPECT_EQ(node.Await(), "disconnect");
  for (const std::string_view body : {"1", "2", "3", "4", "5"}) {
    node.Publish("a", body);
  }
  EXPECT_EQ(node.stats().waiting, 2u);
  EXPECT_EQ(node.stats().dropped, 3u);
  server.Start();
  EXPECT_EQ(node.Await(), "connected 3 0");
  EXPECT_EQ(node.Await(), "connect");
  EXPECT_EQ(node.stats().published, 2u);
  server.Kill();
  EXPECT_EQ(node.AwaitStart("lost"), "lost UNAVAILABLE");
  server.Start();
  EXPECT_EQ(node.AwaitStart("connected").substr(0, 11), "connected 0")
      << "each is told once";
}

TEST(Nats, AwayHoldsUpNothing) {
  NatsServer server;
  server.Kill();
  NatsNode node(server.url());
  node.Subscribe("a");
  EXPECT_EQ(node.Await(), "lost UNAVAILABLE");
  EXPECT_EQ(node.Await(), "disconnect");
  node.Publish("a", "1");
  EXPECT_EQ(node.Await(), "a: a 1");
}  // It ends.

TEST(Nats, AttachedAgain) {
  const NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.AwaitConnected();
  node.Subscribe("a.*", Match::kNats);
  node.Subscribe("b");
  node.Sync(other);
  node.OnLoop([&node] {
    EXPECT_TRUE(node.pubsub().broker().Detach(node.engine()).ok());
  });
  node.Unsubscribe("a.*");
  node.Subscribe("a.b");
  node.OnLoop([&node] {
    EXPECT_TRUE(node.pubsub().broker().Attach(node.engine()).ok());
  });
  node.AwaitConnected();
  node.Sync(other);
  other.Publish("a.b", "1");
  other.Publish("b", "2");
  EXPECT_EQ(node.Await(), "a.b: a.b 1");
  EXPECT_EQ(node.Await(), "b: b 2");
  EXPECT_EQ(node.stats().received, 2u);
}

// As the peer sees it: what waits when Run() ends is sent before that.
TEST(Nats, EndSendsWhatWaits) {
  const NatsServer server;
  NatsConnection other(server.port());
  other.Send("SUB a 1\r\n");
  other.Sync();
  constexpr int kMessages = 500;
  const std::string body(10'000, 'x');
  {
    NatsNode node(server.url());
    node.AwaitConnected();
    for (int i = 0; i < kMessages; ++i) node.Publish("a", body);
    // They are in the engine when this has run.
    node.OnLoop([] {});
  }
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_EQ(other.ReadMessage().size(), body.size() + 2) << i;
  }
}

// Run() may be called again.
TEST(Nats, EachRunConnects) {
  const NatsServer server;
  Reactor reactor(core_internal::Threads(1));
  PubSub pubsub(reactor);
  int connected = 0;
  auto engine = NatsEngine::Create(reactor, pubsub.broker(), server.url(),
                                   {.on_connected = [&](const NatsGap&) {
                                     ++connected;
                                     reactor.Stop();
                                   }});
  ASSERT_TRUE(engine.ok()) << engine.status();
  ASSERT_TRUE(pubsub.broker().Attach(**engine).ok());
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(connected, 1);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(connected, 2);
}

TEST(Nats, DetachEndsTheConnection) {
  const NatsServer server;
  NatsNode node(server.url());
  NatsConnection other(server.port());
  node.Subscribe("a");
  node.Sync(other);
  other.Send("SUB b 1\r\n");
  other.Sync();
  node.OnLoop([&node] {
    EXPECT_TRUE(
        node.pubsub().Publish("b", "last", {.engine = &node.engine()}).ok());
    node.pubsub().broker().main_lane().Run();
    EXPECT_TRUE(node.pubsub().broker().Detach(node.engine()).ok());
  });
  EXPECT_EQ(other.ReadMessage(), "b last");
  EXPECT_FALSE(node.pubsub().Publish("b", "", {.engine = &node.engine()}).ok());
}

}  // namespace
}  // namespace fio
