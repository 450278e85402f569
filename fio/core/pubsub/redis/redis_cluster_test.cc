// A RedisEngine in the root of a cluster.

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/redis/redis_engine.h"
#include "fio/core/test_cluster.h"
#include "gtest/gtest.h"
#include "tests/servers/redis_connection.h"
#include "tests/servers/redis_server.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;
using testing::RedisConnection;
using testing::RedisServer;

// Two workers; "tell CHANNEL BODY" publishes by the engine. The root says
// "redis up" when that is connected.
int Run(const Trace& trace, const Orders& orders, const std::string& url) {
  Node node(trace, orders);
  const absl::StatusOr<std::unique_ptr<RedisEngine>> engine =
      RedisEngine::Create(node.reactor(), node.pubsub().broker(), url);
  ABSL_CHECK_OK(engine);
  ABSL_CHECK_OK(node.pubsub().broker().Attach(**engine));
  node.reactor().lifecycle().Add(LifecycleEvent::kOnPubSubConnect,
                                 [&trace] { trace.Tell("redis up"); });
  node.On("tell", [&](const Node::Words& words) {
    ABSL_CHECK_OK(
        node.pubsub().Publish(words[1], words[2], {.engine = engine->get()}));
  });
  return node.Run();
}

struct Group {
  explicit Group(const std::string& url)
      : cluster([this, url](const Trace& trace) {
          return Run(trace, orders, url);
        }) {}

  void Stop() {
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
  }

  Orders orders;
  TestCluster cluster;
};

int64_t Subscribers(const RedisServer& server, std::string_view channel) {
  RedisConnection connection(server.path());
  connection.Add({"PUBSUB", "NUMSUB", channel});
  connection.Send();
  return connection.Read().items[1].integer;
}

TEST(Redis, WorkerToOtherRoot) {
  const RedisServer server;
  const std::string url = absl::StrCat("redis://127.0.0.1:", server.port());
  Group a(url);
  Group b(url);
  a.cluster.Await("redis up");
  b.cluster.Await("redis up");
  a.orders.Give(0, "sub news");
  a.orders.Give(1, "sub news");
  b.orders.Give(1, "sub news");
  a.cluster.Await("ready news", 2);
  b.cluster.Await("ready news");
  while (Subscribers(server, "news") < 2) {
  }
  b.orders.Give(0, "tell news hello");
  EXPECT_EQ(a.cluster.Await("got news hello", 2).size(), 2);
  EXPECT_EQ(b.cluster.Await("got news hello").size(), 1);
  a.orders.Give(Orders::kRoot, "tell news again");
  EXPECT_EQ(a.cluster.Await("got news again", 2).size(), 2);
  EXPECT_EQ(b.cluster.Await("got news again").size(), 1);
  a.Stop();
  b.Stop();
}

// A worker that is forked while the engine is connected has nothing of it.
TEST(Redis, WorkersMayEndAndBeReplaced) {
  const RedisServer server;
  Group group(absl::StrCat("redis://127.0.0.1:", server.port()));
  group.cluster.Await("redis up");
  group.orders.Give(0, "sub news");
  group.cluster.Await("ready news");
  while (Subscribers(server, "news") < 1) {
  }
  const std::vector<pid_t> first = group.cluster.Await("place 0");
  ASSERT_EQ(first.size(), 1);
  group.orders.Give(0, "stop");
  group.cluster.Await("place 0", 2);
  while (Subscribers(server, "news") > 0) {
  }
  group.orders.Give(0, "sub news");
  group.cluster.Await("ready news", 2);
  while (Subscribers(server, "news") < 1) {
  }
  group.orders.Give(0, "tell news hello");
  EXPECT_EQ(group.cluster.Await("got news hello").size(), 1);
  EXPECT_EQ(group.cluster.Await("redis up").size(), 1);
  group.Stop();
}

TEST(Redis, ClusterStartsAndStopsWithoutServer) {
  Group group("redis://127.0.0.1:1");
  group.orders.Give(0, "sub news");
  group.cluster.Await("ready news");
  group.Stop();
}

}  // namespace
}  // namespace fio
