// A RedisEngine and real servers.

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_test_util.h"
#include "fio/core/transport_factory.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_connection.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using redis_testing::Node;
using ::testing::ElementsAre;
using testing::RedisConnection;
using testing::RedisServer;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr Match kRedis = Match::kRedis;

std::string Url(const RedisServer& server, std::string_view user = "") {
  return absl::StrCat("redis://", user, "127.0.0.1:", server.port(), "/");
}

// As another program would. Returns how many got it.
int64_t Publish(const RedisServer& server, std::string_view channel,
                std::string_view body) {
  RedisConnection connection(server.path());
  connection.Add({"PUBLISH", channel, body});
  connection.Send();
  return connection.Read().integer;
}

// Waits until that many connections of the server have subscribed.
void AwaitSubscribers(const RedisServer& server, std::string_view channel,
                      int64_t count) {
  RedisConnection connection(server.path());
  int64_t found = -1;
  while (found != count) {
    connection.Add({"PUBSUB", "NUMSUB", channel});
    connection.Send();
    found = connection.Read().items[1].integer;
  }
}

TEST(Redis, ConnectPublishReceive) {
  const RedisServer server;
  Node a(Url(server), {{"news"}});
  Node b(Url(server), {{"news"}});
  EXPECT_EQ(a.Next(), "connected");
  EXPECT_EQ(b.Next(), "connected");
  a.Publish("news", "from a");
  EXPECT_EQ(a.Next(), "news news from a");
  EXPECT_EQ(b.Next(), "news news from a");
  for (int i = 0; i < 3000; ++i) b.Publish("news", absl::StrCat(i));
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(a.Next(), absl::StrCat("news news ", i));
    ASSERT_EQ(b.Next(), absl::StrCat("news news ", i));
  }
  EXPECT_EQ(b.stats().published, 3000);
}

TEST(Redis, SubscribesWhileConnected) {
  const RedisServer server;
  Node node(Url(server));
  EXPECT_EQ(node.Next(), "connected");
  node.Subscribe({"news"});
  AwaitSubscribers(server, "news", 1);
  EXPECT_EQ(Publish(server, "news", "hello"), 1);
  EXPECT_EQ(node.Next(), "news news hello");
}

TEST(Redis, UnsubscribeReachesServer) {
  const RedisServer server;
  Node node(Url(server), {{"news"}, {"news"}});
  EXPECT_EQ(node.Next(), "connected");
  node.Unsubscribe({"news"});
  EXPECT_EQ(Publish(server, "news", "to the other"), 1);
  EXPECT_EQ(node.Next(), "news news to the other");
  node.Unsubscribe({"news"});
  AwaitSubscribers(server, "news", 0);
  EXPECT_EQ(Publish(server, "news", "to nobody"), 0);
}

// All that comes before "end" is published.
std::vector<std::string> LinesOf(Node& node, const RedisServer& server) {
  Publish(server, "end", "");
  std::vector<std::string> lines = node.Until("end");
  lines.pop_back();
  return lines;
}

TEST(Redis, OverlappingPatternsOnce) {
  const RedisServer server;
  Node node(Url(server),
            {{"X*", kRedis}, {"*Y", kRedis}, {"*", kRedis}, {"XYZ"}, {"end"}});
  EXPECT_EQ(node.Next(), "connected");
  Publish(server, "XY", "1");
  Publish(server, "XYZ", "2");
  Publish(server, "YY", "3");
  std::vector<std::string> lines = LinesOf(node, server);
  // By "*".
  std::erase(lines, "* end ");
  EXPECT_THAT(
      lines, UnorderedElementsAre("X* XY 1", "*Y XY 1", "* XY 1", "X* XYZ 2",
                                  "* XYZ 2", "XYZ XYZ 2", "*Y YY 3", "* YY 3"));
}

TEST(Redis, PatternsOfNats) {
  const RedisServer server;
  Node node(Url(server), {{"a.*", Match::kNats},
                          {"a.>", Match::kNats},
                          {"[.*", Match::kNats},
                          {"c.>", Match::kNats},
                          {"end"}});
  EXPECT_EQ(node.Next(), "connected");
  Publish(server, "a.b", "1");
  Publish(server, "a.b.c", "2");
  Publish(server, "[.x", "3");
  Publish(server, "b.x", "4");
  Publish(server, "c.x.y", "5");
  EXPECT_THAT(LinesOf(node, server),
              UnorderedElementsAre("a.* a.b 1", "a.> a.b 1", "a.> a.b.c 2",
                                   "[.* [.x 3", "c.> c.x.y 5"));
}

TEST(Redis, BinaryChannels) {
  const RedisServer server;
  const std::string strange("\0\r\n*?[\xff", 7);
  Node node(Url(server), {{strange}, {""}, {"long"}});
  EXPECT_EQ(node.Next(), "connected");
  node.Publish(strange, std::string_view("\r\n\0", 3));
  EXPECT_EQ(node.Next(), absl::StrCat(strange, " ", strange, " ",
                                      std::string_view("\r\n\0", 3)));
  node.Publish("", "");
  EXPECT_EQ(node.Next(), "  ");
  const std::string body(size_t{8} << 20, 'x');
  node.Publish("long", body);
  EXPECT_TRUE(node.Next() == absl::StrCat("long long ", body));
}

TEST(Redis, UnixSocket) {
  const RedisServer server;
  Node node(absl::StrCat("redis+unix://", server.path()), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  node.Publish("news", "hello");
  EXPECT_EQ(node.Next(), "news news hello");
}

// Reads a byte at a time.
class Drop final : public Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    return socket.ReadRaw(out.first(1));
  }
};

TEST(Redis, SplitReads) {
  const RedisServer server;
  Node node(Url(server), {{"news"}, {"n*", kRedis}},
            {.transport = [](const TransportRequest&) {
              return std::make_unique<Drop>();
            }});
  EXPECT_EQ(node.Next(), "connected");
  for (int i = 0; i < 100; ++i) node.Publish("news", absl::StrCat(i));
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT((std::vector<std::string>{node.Next(), node.Next()}),
                UnorderedElementsAre(absl::StrCat("news news ", i),
                                     absl::StrCat("n* news ", i)));
  }
}

// --- Who we are ---

const std::vector<std::string> kUser = {"--user", "fio", "on",   ">p@:w",
                                        "~*",     "&*",  "+@all"};

TEST(Redis, AuthAcl) {
  const RedisServer server(kUser);
  Node node(Url(server, "fio:p%40%3Aw@"), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  EXPECT_EQ(node.Ask({"ACL", "WHOAMI"})->text, "fio");
  node.Publish("news", "hello");
  EXPECT_EQ(node.Next(), "news news hello");
}

TEST(Redis, PasswordOfTheDefaultUser) {
  const RedisServer server({"--requirepass", "secret"});
  Node node(Url(server, ":secret@"), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
}

TEST(Redis, WrongPassword) {
  const RedisServer server(kUser);
  testing::ManualClock clock;
  Node node(Url(server, "fio:wrong@"), {}, {}, clock);
  EXPECT_THAT(node.Next(), StartsWith("lost PERMISSION_DENIED WRONGPASS"));
  EXPECT_EQ(node.Next(), "error");
  // The next attempt is half a minute later.
  clock.Advance(absl::Seconds(29));
  for (int turns = 0; turns < 3; ++turns) node.Do([] {});
  EXPECT_EQ(node.stats().attempts, 1);
  clock.Advance(absl::Seconds(2));
  while (node.stats().attempts < 2) {
  }
}

TEST(Redis, WrongPasswordIsToldOnce) {
  const RedisServer server({"--requirepass", "secret"});
  Node node(Url(server), {}, {.refused_delay = absl::Milliseconds(1)});
  EXPECT_THAT(node.Next(), StartsWith("lost PERMISSION_DENIED NOAUTH"));
  EXPECT_EQ(node.Next(), "error");
  while (node.stats().attempts < 4) {
  }
  RedisConnection connection(server.path());
  connection.Add({"AUTH", "secret"});
  connection.Add({"CONFIG", "SET", "requirepass", ""});
  connection.Send();
  EXPECT_EQ(node.Next(), "connected");
}

TEST(Redis, NoChannelRights) {
  const RedisServer server(
      {"--user", "fio", "on", ">pw", "~*", "resetchannels", "&mine*", "+@all"});
  Node node(Url(server, "fio:pw@"), {{"mine"}, {"others"}, {"mine2"}});
  EXPECT_EQ(node.Next(), "error");
  EXPECT_EQ(node.Next(), "connected");
  node.Publish("mine2", "hello");
  EXPECT_EQ(node.Next(), "mine2 mine2 hello");
  node.Publish("others", "hello");
  EXPECT_EQ(node.Next(), "error");
  EXPECT_EQ(node.stats().refused, 1);
}

TEST(Redis, Resp2Forced) {
  const RedisServer server(
      {"--rename-command", "HELLO", "", "--requirepass", "secret"});
  Node node(Url(server, ":secret@"), {{"news"}, {"n*", kRedis}},
            {.ping_interval = absl::Milliseconds(20)});
  EXPECT_EQ(node.Next(), "connected");
  for (int i = 0; i < 100; ++i) {
    node.Publish("news", absl::StrCat(i));
    EXPECT_THAT((std::vector<std::string>{node.Next(), node.Next()}),
                UnorderedElementsAre(absl::StrCat("news news ", i),
                                     absl::StrCat("n* news ", i)));
  }
  EXPECT_EQ(node.stats().attempts, 1);
}

// --- A server that goes ---

TEST(Redis, ServerKilledAndRestarted) {
  RedisServer server;
  Node node(Url(server), {{"news"}, {"n*", kRedis}});
  EXPECT_EQ(node.Next(), "connected");
  for (int restarts = 0; restarts < 3; ++restarts) {
    server.Kill();
    EXPECT_THAT(node.Next(), StartsWith("lost UNAVAILABLE"));
    EXPECT_EQ(node.Next(), "error");
    server.Start();
    EXPECT_EQ(node.Next(), "connected");
    EXPECT_GT(node.gap().span, absl::ZeroDuration());
    for (int i = 0; i < 50; ++i) Publish(server, "news", absl::StrCat(i));
    for (int i = 0; i < 50; ++i) {
      EXPECT_THAT((std::vector<std::string>{node.Next(), node.Next()}),
                  UnorderedElementsAre(absl::StrCat("news news ", i),
                                       absl::StrCat("n* news ", i)));
    }
  }
}

TEST(Redis, ClientKill) {
  const RedisServer server;
  Node node(Url(server), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  RedisConnection connection(server.path());
  connection.Add({"CLIENT", "KILL", "TYPE", "pubsub"});
  connection.Send();
  EXPECT_EQ(connection.Read().integer, 1);
  EXPECT_THAT(node.Next(), StartsWith("lost UNAVAILABLE"));
  EXPECT_EQ(node.Next(), "error");
  EXPECT_EQ(node.Next(), "connected");
  EXPECT_EQ(Publish(server, "news", "hello"), 1);
  EXPECT_EQ(node.Next(), "news news hello");
}

TEST(Redis, ServerStopped) {
  RedisServer server;
  Node node(Url(server), {{"news"}},
            {.ping_interval = absl::Milliseconds(50),
             .ping_timeout = absl::Milliseconds(100)});
  EXPECT_EQ(node.Next(), "connected");
  server.Signal(SIGSTOP);
  EXPECT_EQ(node.Next(),
            "lost DEADLINE_EXCEEDED the server has said nothing for 150ms");
  EXPECT_EQ(node.Next(), "error");
  server.Signal(SIGCONT);
  EXPECT_EQ(node.Next(), "connected");
  EXPECT_EQ(Publish(server, "news", "hello"), 1);
}

TEST(Redis, FloodWhileDownIsBounded) {
  RedisServer server;
  Node keeps_newest(Url(server), {{"a"}}, {.max_waiting = 10});
  Node keeps_oldest(
      Url(server), {{"b"}},
      {.max_waiting_bytes = 1000, .policy = RedisQueuePolicy::kDropNewest});
  EXPECT_EQ(keeps_newest.Next(), "connected");
  EXPECT_EQ(keeps_oldest.Next(), "connected");
  server.Kill();
  keeps_newest.Until("error");
  keeps_oldest.Until("error");
  for (int i = 0; i < 1000; ++i) {
    keeps_newest.Publish("a", absl::StrCat(i));
    keeps_oldest.Publish("b", absl::StrCat(i));
  }
  while (keeps_newest.stats().dropped < 990) {
  }
  EXPECT_EQ(keeps_newest.stats().waiting, 10);
  while (keeps_oldest.stats().dropped + keeps_oldest.stats().waiting < 1000) {
  }
  const RedisStats kept = keeps_oldest.stats();
  EXPECT_LE(kept.waiting_bytes, 1000);
  EXPECT_GT(kept.waiting, 5);
  server.Start();
  EXPECT_EQ(keeps_newest.Next(), "connected");
  EXPECT_EQ(keeps_newest.gap().dropped, 990);
  for (int i = 990; i < 1000; ++i) {
    EXPECT_EQ(keeps_newest.Next(), absl::StrCat("a a ", i));
  }
  EXPECT_EQ(keeps_oldest.Next(), "connected");
  EXPECT_EQ(keeps_oldest.gap().dropped, kept.dropped);
  for (size_t i = 0; i < kept.waiting; ++i) {
    EXPECT_EQ(keeps_oldest.Next(), absl::StrCat("b b ", i));
  }
}

TEST(Redis, TenThousandChannelsResubscribe) {
  RedisServer server;
  std::vector<Node::Topic> topics;
  for (int i = 0; i < 10'000; ++i) topics.push_back({absl::StrCat("room/", i)});
  Node node(Url(server), topics);
  EXPECT_EQ(node.Next(), "connected");
  server.Kill();
  node.Until("error");
  server.Start();
  EXPECT_EQ(node.Next(), "connected");
  RedisConnection connection(server.path());
  connection.Add({"PUBSUB", "CHANNELS"});
  connection.Send();
  EXPECT_EQ(connection.Read().items.size(), 10'000);
}

TEST(Redis, DetachMidTraffic) {
  const RedisServer server;
  Node node(Url(server), {{"news"}});
  EXPECT_EQ(node.Next(), "connected");
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 100; ++i) node.Publish("news", "");
    node.Do([&] {
      EXPECT_TRUE(node.pubsub().broker().Detach(node.engine()).ok());
    });
    node.Do([&] {
      EXPECT_TRUE(node.pubsub().broker().Attach(node.engine()).ok());
      EXPECT_TRUE(node.pubsub().broker().SetDefault(node.engine()).ok());
    });
    node.Until("connected");
  }
  node.Publish("news", "hello");
  node.Until("news news hello");
}

}  // namespace
}  // namespace fio
