// Clusters of processes with a PubSub, which a test gives orders:
//
//   Orders orders;
//   TestCluster cluster([&](const Trace& trace) {
//     return Node(trace, orders).Run();
//   });
//   orders.Give(0, "sub news");
//   cluster.Await("ready news");
//   orders.Give(Orders::kRoot, "pub cluster news hello");
//   cluster.Await("got news hello");
//
// Thread safety: none; one thread of each process.

#ifndef FIO_CORE_PUBSUB_CLUSTER_TEST_UTIL_H_
#define FIO_CORE_PUBSUB_CLUSTER_TEST_UTIL_H_

#include <sys/types.h>

#include <array>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fio/base/unique_fd.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/pub_sub_options.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {

// A way from the test to each process. What is given to a worker's place waits
// there if it is replaced.
class Orders {
 public:
  static constexpr int kRoot = -1;
  static constexpr int kMaxPlace = 3;

  // Make it before the cluster.
  Orders();

  void Give(int place, std::string_view order) const;
  // The end from which the process of that place reads.
  int fd(int place) const { return Of(place)[0].get(); }

 private:
  using Pair = std::array<UniqueFd, 2>;
  const Pair& Of(int place) const { return pairs_.at(place + 1); }

  std::array<Pair, kMaxPlace + 2> pairs_;
};

// Tells a trace what it hears: "engine +news", "engine -news", and "engine
// news: hello" of a message.
class TracingEngine final : public Engine {
 public:
  explicit TracingEngine(const core_internal::Trace& trace) : trace_(trace) {}

  void Subscribe(std::string_view channel, Match match) override;
  void Unsubscribe(std::string_view channel, Match match) override;
  void Publish(const Message& message) override;

 private:
  const core_internal::Trace trace_;
};

// A reactor with a PubSub in the root of a cluster and, forked, in its workers.
// What it obeys in each process:
//
//   sub CHANNEL [GROUP]       "got CHANNEL BODY" for each message from now on;
//   psub PATTERN              then the root says "ready CHANNEL", when all that
//   unsub CHANNEL             the process had told it has arrived
//   pub REACH CHANNEL BODY    REACH: process, cluster, siblings, root
//   stop
//
// Each process says "place N" when it begins (-1: the root), and the events of
// its lifecycle. The root says "ready up" when it knows what the process
// listens to, once for each.
class Node {
 public:
  using Words = std::vector<std::string>;

  Node(const core_internal::Trace& trace, const Orders& orders,
       const ReactorOptions& options, const PubSubOptions& pubsub = {});
  Node(const core_internal::Trace& trace, const Orders& orders)
      : Node(trace, orders, TwoWorkers()) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Replaced at once when they end.
  static ReactorOptions Workers(int workers);
  static ReactorOptions TwoWorkers() { return Workers(2); }

  Reactor& reactor() { return reactor_; }
  PubSub& pubsub() { return pubsub_; }
  const core_internal::Trace& trace() const { return trace_; }
  // Of this process; kRoot in the root, and 0 in a single process.
  int place() const;

  // Obeys one more; it gets the words of the order, the first included.
  void On(std::string name, std::function<void(const Words&)> obey);
  // Keeps a subscription as long as the process.
  void Keep(Subscription subscription) {
    kept_.push_back(std::move(subscription));
  }
  // As the order "sub", here and now.
  void Subscribe(SubscribeOptions options);

  // Returns in the root.
  int Run();

 private:
  void Begin();
  void Read();
  void Unsubscribe(const std::string& channel);
  void Publish(const Words& words);
  void TellReady(std::string_view channel);

  const core_internal::Trace trace_;
  const Orders& orders_;
  Reactor reactor_;
  PubSub pubsub_;
  std::map<std::string, std::function<void(const Words&)>> obeyed_;
  std::map<std::string, Subscription> subscriptions_;
  std::vector<Subscription> kept_;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_CLUSTER_TEST_UTIL_H_
