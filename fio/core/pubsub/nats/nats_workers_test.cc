// The engine of a root, for its workers.

#include <csignal>
#include <memory>
#include <string>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/nats/nats_engine.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/test_cluster.h"
#include "gtest/gtest.h"
#include "tests/servers/nats_connection.h"
#include "tests/servers/nats_server.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;
using testing::NatsConnection;
using testing::NatsServer;

int RunWithNats(const Trace& trace, const Orders& orders,
                const std::string& url) {
  Node node(trace, orders);
  absl::StatusOr<std::unique_ptr<NatsEngine>> engine =
      NatsEngine::Create(node.reactor(), node.pubsub().broker(), url,
                         {.on_connected = [&trace](const NatsGap&) {
                           trace.Tell("nats connected");
                         }});
  ABSL_CHECK_OK(engine.status());
  ABSL_CHECK_OK(node.pubsub().broker().Attach(**engine));
  node.On("nats", [&](const Node::Words& words) {
    ABSL_CHECK_OK(
        node.pubsub().Publish(words[1], words[2], {.engine = engine->get()}));
  });
  return node.Run();
}

// Returns when the server has heard what the root has told it so far.
void Sync(const Orders& orders, NatsConnection& other) {
  orders.Give(Orders::kRoot, "nats sync now");
  while (other.ReadMessage() != "sync now") {
  }
}

TEST(Nats, WorkersHaveTheRootsConnection) {
  const NatsServer server;
  NatsConnection other(server.port());
  other.Send("SUB news 1\r\nSUB sync 2\r\n");
  other.Sync();
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    return RunWithNats(trace, orders, server.url());
  });
  cluster.Await("nats connected");
  orders.Give(0, "sub news");
  cluster.Await("ready news");
  Sync(orders, other);
  other.Publish("news", "outside");
  cluster.Await("got news outside");
  orders.Give(1, "nats news inside");
  cluster.Await("got news inside");
  EXPECT_EQ(other.ReadMessage(), "news outside");
  EXPECT_EQ(other.ReadMessage(), "news inside");

  // A worker that dies has a copy of the connection, and so has the one that
  // comes: neither does it harm.
  const auto first = cluster.Await("place 0");
  cluster.Signal(first.back(), SIGKILL);
  cluster.Await("place 0", 2);
  orders.Give(0, "sub news");
  cluster.Await("ready news", 2);
  Sync(orders, other);
  other.Publish("news", "again");
  cluster.Await("got news again");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("nats connected"), 1u);
  EXPECT_EQ(cluster.Count("got news inside"), 1u);
}

}  // namespace
}  // namespace fio
