// What any engine has to do, between two workers: the near side is the broker
// of worker 0, which runs the test on a thread of its own, and the far side is
// worker 1. The near side's orders go through the broker as well, as messages
// with a filter, on the channel that they are about.

#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "fio/testing/engine_conformance.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;
using testing::EngineUnderTest;

enum Filter : int32_t {
  kListen = 1,
  kPublish,
  kHeard,   // To the near side: what the far one has heard.
  kObeyed,  // To the near side.
};

// As in Redis, "*" does not match the empty name: an order has a byte more.
void Send(PubSub& pubsub, Filter filter, std::string_view channel,
          std::string_view body) {
  ABSL_CHECK_OK(
      pubsub.Publish(absl::StrCat("/", channel), body, {.filter = filter}));
}
std::string_view ChannelOf(const Delivery& order) {
  return order.channel().substr(1);
}

Subscription SubscribeToAll(PubSub& pubsub, Filter filter,
                            OnMessage on_message) {
  absl::StatusOr<Subscription> subscription = pubsub.Subscribe(
      {.channel = "*", .match = Match::kRedis, .filter = filter},
      std::move(on_message));
  ABSL_CHECK_OK(subscription);
  return *std::move(subscription);
}

// In worker 1.
class Far {
 public:
  explicit Far(PubSub& pubsub) : pubsub_(pubsub) {
    orders_.push_back(SubscribeToAll(pubsub, kListen, [this](Delivery& order) {
      Listen(ChannelOf(order));
      Send(pubsub_, kObeyed, "", "");
    }));
    orders_.push_back(SubscribeToAll(pubsub, kPublish, [this](Delivery& order) {
      ABSL_CHECK_OK(pubsub_.Publish(ChannelOf(order), order.body()));
      Send(pubsub_, kObeyed, "", "");
    }));
  }

 private:
  void Listen(std::string_view channel) {
    absl::StatusOr<Subscription> subscription =
        pubsub_.Subscribe({.channel = channel}, [this](Delivery& it) {
          Send(pubsub_, kHeard, it.channel(), it.body());
        });
    ABSL_CHECK_OK(subscription);
    orders_.push_back(*std::move(subscription));
  }

  PubSub& pubsub_;
  std::vector<Subscription> orders_;
};

// In worker 0, on a thread that is not its loop's.
class ClusterUnderTest final : public EngineUnderTest {
 public:
  ClusterUnderTest(Reactor& reactor, PubSub& pubsub)
      : reactor_(reactor),
        pubsub_(pubsub),
        hears_(SubscribeToAll(pubsub, kHeard,
                              [this](Delivery& it) {
                                const absl::MutexLock lock(&mutex_);
                                heard_.push_back(
                                    {.channel = std::string(ChannelOf(it)),
                                     .body = std::string(it.body())});
                              })),
        obeys_(SubscribeToAll(pubsub, kObeyed, [this](Delivery&) {
          const absl::MutexLock lock(&mutex_);
          ++obeyed_;
        })) {}

  Broker& broker() override { return pubsub_.broker(); }
  Engine* engine() override { return nullptr; }
  PublishOptions options() override { return {.reach = Reach::kCluster}; }
  void Do(absl::FunctionRef<void()> task) override {
    absl::Notification done;
    ABSL_CHECK(reactor_.Post([&] {
      task();
      done.Notify();
    }));
    done.WaitForNotification();
  }
  void Listen(std::string_view channel) override { Give(kListen, channel, ""); }
  void Publish(std::string_view channel, std::string_view body) override {
    Give(kPublish, channel, body);
  }
  std::vector<Heard> TakeHeard() override {
    const absl::MutexLock lock(&mutex_);
    return std::exchange(heard_, {});
  }

 private:
  // Returns when the far side has obeyed.
  void Give(Filter filter, std::string_view channel, std::string_view body) {
    Send(pubsub_, filter, channel, body);
    ++given_;
    const auto is_obeyed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return obeyed_ >= given_;
    };
    const absl::MutexLock lock(&mutex_, absl::Condition(&is_obeyed));
  }

  Reactor& reactor_;
  PubSub& pubsub_;
  int given_ = 0;
  absl::Mutex mutex_;
  int obeyed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Heard> heard_ ABSL_GUARDED_BY(mutex_);
  const Subscription hears_;
  const Subscription obeys_;
};

int RunCluster(const Trace& trace, const Orders& orders) {
  Node node(trace, orders);
  std::unique_ptr<Far> far;
  std::unique_ptr<ClusterUnderTest> near;
  std::thread test;
  node.On("far", [&](const Node::Words&) {
    far = std::make_unique<Far>(node.pubsub());
  });
  node.On("near", [&](const Node::Words&) {
    near = std::make_unique<ClusterUnderTest>(node.reactor(), node.pubsub());
  });
  node.On("test", [&](const Node::Words&) {
    test = std::thread([&] {
      testing::CheckEngine(*near);
      trace.Tell(::testing::Test::HasFailure() ? "near failed" : "near passed");
    });
  });
  const int code = node.Run();
  if (test.joinable()) test.join();
  return code;
}

TEST(EngineConformance, Cluster) {
  const Orders orders;
  TestCluster cluster(
      [&](const Trace& trace) { return RunCluster(trace, orders); });
  cluster.Await("ready up", 3);
  orders.Give(1, "far");
  orders.Give(1, "sub there");
  cluster.Await("ready there");
  orders.Give(0, "near");
  orders.Give(0, "sub here");
  cluster.Await("ready here");
  orders.Give(0, "test");
  EXPECT_EQ(cluster.AwaitValue("near"), "passed");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
