// A RedisEngine and servers that are none.

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_test_util.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using redis_testing::FakeServer;
using redis_testing::kHello;
using redis_testing::Node;
using ::testing::Contains;
using ::testing::Not;
using ::testing::StartsWith;

const RedisOptions kSoon = {.reconnect_delay = absl::Milliseconds(1),
                            .max_reconnect_delay = absl::Milliseconds(5),
                            .refused_delay = absl::Milliseconds(1)};

TEST(Redis, HostileServer) {
  FakeServer server;
  Node node(server.url(), {{"news"}}, kSoon);
  const std::string good(kHello);
  const std::string subscribed =
      absl::StrCat(good, ">3\r\n+subscribe\r\n$4\r\nnews\r\n:1\r\n");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "*1\r\n";
  for (const std::string& script :
       {// Instead of an answer to HELLO.
        std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), std::string("$9\r\n"),
        std::string("+OK\r\n"), std::string("*-1\r\n"),
        std::string("-LOADING Redis is loading\r\n"),
        std::string("-NOAUTH\r\n"), std::string("-\r\n"), deep,
        std::string("$9223372036854775807\r\n"), std::string("*100000000\r\n"),
        std::string(">3\r\n+message\r\n+news\r\n+early\r\n"),
        // To SUBSCRIBE, and by itself.
        good + "+OK\r\n", good + ":1\r\n", good + "-NOAUTH\r\n",
        subscribed + "+surplus\r\n", subscribed + deep, subscribed + ">0\r\n",
        subscribed + ">1\r\n:1\r\n", subscribed + ">1\r\n+message\r\n",
        subscribed + ">3\r\n+message\r\n:1\r\n+x\r\n",
        subscribed + ">4\r\n+pmessage\r\n+a\r\n_\r\n+x\r\n",
        subscribed + "$99999999999\r\n", subscribed + "|1\r\n"}) {
    server.Accept();
    server.Await("HELLO");
    server.Send(script);
    if (script == "$9\r\n") {
      server.Close();
    } else {
      server.AwaitEnd();
    }
  }
  // It is as good as ever.
  server.Accept();
  server.Await("HELLO");
  server.Send(subscribed);
  server.Send(">3\r\n+message\r\n+news\r\n+hello\r\n");
  EXPECT_THAT(node.Until("news news hello"), Not(Contains("news news early")));
}

// Confirms what has not been asked for, and what it knows nothing of.
TEST(Redis, StrangePushesAreNothing) {
  FakeServer server;
  Node node(server.url(), {{"news"}}, kSoon);
  server.Accept();
  server.Await("HELLO");
  server.Send(kHello);
  server.Await("news");
  server.Send(">3\r\n+subscribe\r\n$4\r\nnews\r\n:1\r\n");
  EXPECT_EQ(node.Next(), "connected");
  server.Send(">3\r\n+subscribe\r\n+other\r\n:1\r\n");
  server.Send(">3\r\n+unsubscribe\r\n_\r\n:0\r\n");
  server.Send(">2\r\n+invalidate\r\n*0\r\n");
  server.Send(">3\r\n+punsubscribe\r\n+x*\r\n:1\r\n");
  server.Send(">4\r\n+pmessage\r\n+x*\r\n+news\r\n+unconfirmed\r\n");
  server.Send(">3\r\n+message\r\n+news\r\n+hello\r\n");
  EXPECT_EQ(node.Next(), "news news hello");
}

// The server takes three messages, and answers to one.
TEST(Redis, LossIsAnnounced) {
  FakeServer server;
  Node node(server.url(), {}, kSoon);
  server.Accept();
  server.Await("HELLO");
  server.Send(kHello);
  EXPECT_EQ(node.Next(), "connected");
  EXPECT_EQ(node.gap().unsure, 0);
  node.Publish("news", "1");
  node.Publish("news", "2");
  node.Publish("news", "last");
  server.Await("last");
  server.Send(":0\r\n");
  server.Close();
  EXPECT_THAT(node.Next(), StartsWith("lost UNAVAILABLE"));
  EXPECT_EQ(node.Next(), "error");
  server.Accept();
  server.Await("HELLO");
  server.Send(kHello);
  EXPECT_EQ(node.Next(), "connected");
  const RedisGap gap = node.gap();
  EXPECT_EQ(gap.unsure, 2);
  EXPECT_EQ(gap.dropped, 0);
  EXPECT_GT(gap.span, absl::ZeroDuration());
}

// No more than the window is on its way without an answer.
TEST(Redis, WindowIsKept) {
  FakeServer server;
  RedisOptions options = kSoon;
  options.window = 2;
  Node node(server.url(), {}, options);
  server.Accept();
  server.Await("HELLO");
  server.Send(kHello);
  EXPECT_EQ(node.Next(), "connected");
  for (int i = 0; i < 5; ++i) node.Publish("n", absl::StrCat("body", i));
  server.Await("body1");
  while (node.stats().waiting < 3) {
  }
  server.Send(":0\r\n");
  server.Await("body2");
  EXPECT_EQ(node.stats().waiting, 2);
  server.Send(":0\r\n:0\r\n");
  server.Await("body4");
}

// It takes connections, and says nothing.
TEST(Redis, SilentServer) {
  FakeServer server;
  RedisOptions options = kSoon;
  options.connect_timeout = absl::Milliseconds(50);
  Node node(server.url(), {}, options);
  EXPECT_EQ(node.Next(), "lost DEADLINE_EXCEEDED the server does not answer");
  EXPECT_EQ(node.Next(), "error");
}

// By a clock that stands still: nobody waits for anything.
TEST(Redis, AStalledServerDoesNotDelayTheStop) {
  FakeServer server;
  const testing::ManualClock clock;
  Node node(server.url(), {}, {}, clock);
  server.Accept();
  server.Await("HELLO");
  server.Send(kHello);
  EXPECT_EQ(node.Next(), "connected");
  node.Publish("n", std::string(size_t{15} << 20, 'x'));
  server.Await("PUBLISH");
  node.Stop();
}

TEST(Redis, LoadingReply) {
  FakeServer server;
  Node node(server.url(), {}, kSoon);
  server.Accept();
  server.Await("HELLO");
  server.Send("-LOADING Redis is loading the dataset in memory\r\n");
  EXPECT_THAT(node.Next(), StartsWith("lost UNAVAILABLE LOADING"));
  EXPECT_EQ(node.Next(), "error");
  server.Accept();
  server.Await("HELLO");
  server.Send(kHello);
  EXPECT_EQ(node.Next(), "connected");
}

}  // namespace
}  // namespace fio
