// Commands by way of a RedisEngine.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/redis/redis_engine.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/pubsub/redis/redis_test_util.h"
#include "fio/core/reactor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using redis_testing::FakeServer;
using redis_testing::kHello;
using redis_testing::Node;
using testing::RedisServer;
using ::testing::UnorderedElementsAre;
using Type = RedisReply::Type;

RedisReply String(std::string_view text) {
  return {.type = Type::kString, .text = std::string(text)};
}
RedisReply Integer(int64_t integer) {
  return {.type = Type::kInteger, .integer = integer};
}

std::string Url(const RedisServer& server) {
  return absl::StrCat("redis://127.0.0.1:", server.port());
}

TEST(Redis, CommandsTypedReplies) {
  const RedisServer server;
  Node node(Url(server));
  EXPECT_EQ(node.Next(), "connected");
  EXPECT_EQ(*node.Ask({"SET", "k", std::string_view("v\r\n\0", 4)}),
            String("OK"));
  EXPECT_EQ(*node.Ask({"GET", "k"}), String(std::string_view("v\r\n\0", 4)));
  EXPECT_EQ(*node.Ask({"GET", "none"}), RedisReply());
  EXPECT_EQ(*node.Ask({"INCRBY", "n", "-7"}), Integer(-7));
  EXPECT_EQ(node.Ask({"RPUSH", "l", "a", "b"})->integer, 2);
  EXPECT_EQ(
      *node.Ask({"LRANGE", "l", "0", "-1"}),
      (RedisReply{.type = Type::kArray, .items = {String("a"), String("b")}}));
  EXPECT_EQ(node.Ask({"HSET", "h", "f", "v"})->integer, 1);
  EXPECT_EQ(
      *node.Ask({"HGETALL", "h"}),
      (RedisReply{.type = Type::kMap, .items = {String("f"), String("v")}}));
  EXPECT_EQ(node.Ask({"ZADD", "z", "1.5", "m"})->integer, 1);
  EXPECT_EQ(*node.Ask({"ZSCORE", "z", "m"}),
            (RedisReply{.type = Type::kDouble, .number = 1.5}));
  EXPECT_EQ(node.Ask({"SADD", "s", "a", "b"})->integer, 2);
  const RedisReply members = *node.Ask({"SMEMBERS", "s"});
  EXPECT_EQ(members.type, Type::kSet);
  EXPECT_THAT(members.items, UnorderedElementsAre(String("a"), String("b")));
  EXPECT_TRUE(node.Ask({"INCR", "l"})->IsError("WRONGTYPE"));
  EXPECT_EQ(node.Ask({"EVAL", "redis.setresp(3); return true", "0"})->type,
            Type::kBool);
}

TEST(Redis, OwnPublishBeforeReply) {
  const RedisServer server;
  Node node(Url(server), {{"news"}}, {.window = 1});
  EXPECT_EQ(node.Next(), "connected");
  EXPECT_EQ(*node.Ask({"PUBLISH", "news", "hello"}), Integer(1));
  EXPECT_EQ(node.Next(), "news news hello");
  for (int i = 0; i < 50; ++i) node.Publish("news", absl::StrCat(i));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(node.Next(), absl::StrCat("news news ", i));
  }
  EXPECT_EQ(*node.Ask({"PING"}), String("PONG"));
  EXPECT_EQ(node.stats().published, 50);
}

TEST(Redis, RefusesCommandsThatChangeTheConnection) {
  const RedisServer server;
  Node node(Url(server));
  EXPECT_EQ(node.Next(), "connected");
  for (const std::string_view word :
       {"subscribe", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE",
        "SUNSUBSCRIBE", "MONITOR", "HELLO", "AUTH", "RESET", "QUIT", "SYNC",
        "PSYNC", ""}) {
    EXPECT_TRUE(absl::IsInvalidArgument(node.Ask({word, "x"}).status()))
        << word;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(node.Ask({}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(node.Ask({"client", "reply", "off"}).status()));
  EXPECT_EQ(node.Ask({"CLIENT", "ID"})->type, Type::kInteger);
}

TEST(Redis, CommandsWaitForTheServer) {
  RedisServer server;
  Node node(Url(server), {}, {.max_waiting = 2});
  EXPECT_EQ(node.Next(), "connected");
  server.Kill();
  node.Until("error");
  absl::Notification both;
  std::vector<RedisReply> replies;
  node.Do([&] {
    const auto done = [&](absl::StatusOr<RedisReply> reply) {
      replies.push_back(*std::move(reply));
      if (replies.size() == 2) both.Notify();
    };
    EXPECT_TRUE(node.engine().Send({"INCR", "n"}, done).ok());
    EXPECT_TRUE(node.engine().Send({"INCR", "n"}, done).ok());
    EXPECT_TRUE(
        absl::IsResourceExhausted(node.engine().Send({"INCR", "n"}, done)));
  });
  server.Start();
  both.WaitForNotification();
  EXPECT_EQ(replies, (std::vector<RedisReply>{Integer(1), Integer(2)}));
}

// Sends a command to which there is no answer.
struct Unanswered {
  Unanswered(Node& node, FakeServer& server) {
    server.Accept();
    server.Await("HELLO");
    server.Send(kHello);
    EXPECT_EQ(node.Next(), "connected");
    node.Do([&] {
      EXPECT_TRUE(node.engine()
                      .Send({"INCR", "n"},
                            [this](absl::StatusOr<RedisReply> reply) {
                              status = reply.status();
                              done.Notify();
                            })
                      .ok());
    });
    server.Await("INCR");
  }

  absl::Status status;
  absl::Notification done;
};

TEST(Redis, NobodyKnowsOfACommandAtACut) {
  FakeServer server;
  Node node(server.url());
  Unanswered command(node, server);
  server.Close();
  command.done.WaitForNotification();
  EXPECT_TRUE(absl::IsAborted(command.status)) << command.status;
}

TEST(Redis, DetachCancelsCommands) {
  FakeServer server;
  Node node(server.url());
  Unanswered command(node, server);
  node.Do(
      [&] { EXPECT_TRUE(node.pubsub().broker().Detach(node.engine()).ok()); });
  command.done.WaitForNotification();
  EXPECT_TRUE(absl::IsCancelled(command.status)) << command.status;
  server.AwaitEnd();
  EXPECT_TRUE(absl::IsFailedPrecondition(node.Ask({"PING"}).status()));
}

TEST(Redis, CreateRefusesWhatIsWrong) {
  Reactor reactor({.threads = 1, .workers = 1});
  PubSub pubsub(reactor);
  const auto create = [&](std::string_view url, RedisOptions options = {}) {
    return RedisEngine::Create(reactor, pubsub.broker(), url,
                               std::move(options))
        .status();
  };
  EXPECT_EQ(create("redis://h"), absl::OkStatus());
  const absl::Status status = create("redis://u:secret@h:port");
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message().find("secret"), std::string_view::npos) << status;
  EXPECT_TRUE(absl::IsInvalidArgument(create("redis://h", {.window = 0})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      create("redis://h", {.reconnect_delay = absl::ZeroDuration()})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      create("redis://h", {.ping_interval = absl::ZeroDuration()})));
  EXPECT_TRUE(absl::IsNotFound(create("rediss://h?ca=/nowhere/ca.pem")));
}

}  // namespace
}  // namespace fio
