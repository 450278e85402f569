// In what order messages come, and that none is missing: between workers, in
// queue groups, and out of history.

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;
using ::testing::SizeIs;

constexpr int kRoot = Orders::kRoot;

// Publishes "PLACE NUMBER" to a channel, from 0 on, some in each turn.
// Publish() that fails for want of room is tried again.
class Publisher {
 public:
  Publisher(Node& node, std::string channel, int count, PublishOptions options)
      : node_(node),
        channel_(std::move(channel)),
        count_(count),
        options_(options) {}

  // Goes on until all is published.
  static void Start(std::shared_ptr<Publisher> self) {
    Node& node = self->node_;
    ABSL_CHECK(node.reactor().Post([self] {
      if (self->PublishSome()) Start(self);
    }));
  }

 private:
  static constexpr int kAtOnce = 200;

  bool PublishSome() {
    for (int i = 0; i < kAtOnce && next_ < count_; ++i) {
      const std::string body = absl::StrCat(node_.place(), " ", next_);
      const absl::Status status =
          node_.pubsub().Publish(channel_, body, options_);
      if (absl::IsResourceExhausted(status)) return true;
      ABSL_CHECK_OK(status);
      ++next_;
    }
    return next_ < count_;
  }

  Node& node_;
  const std::string channel_;
  const int count_;
  const PublishOptions options_;
  int next_ = 0;
};

// "publish COUNT" of channel n.
void ObeyPublish(Node& node, PublishOptions options = {}) {
  node.On("publish", [&node, options](const Node::Words& words) {
    int count = 0;
    ABSL_CHECK(absl::SimpleAtoi(words.at(1), &count));
    Publisher::Start(std::make_shared<Publisher>(node, "n", count, options));
  });
}

// Notes what comes from each publisher; it has to be in order.
struct Received {
  void Note(std::string_view body) {
    const std::pair<std::string_view, std::string_view> parts =
        absl::StrSplit(body, ' ');
    int number = -1;
    ABSL_CHECK(absl::SimpleAtoi(parts.second, &number));
    int& next = next_of[std::string(parts.first)];
    inversions += number != next;
    next = number + 1;
    ++count;
    // Depends on the order of all.
    digest = (digest ^ std::hash<std::string_view>()(body)) * 0x100000001b3u;
  }

  std::map<std::string, int> next_of;
  int count = 0;
  int inversions = 0;
  uint64_t digest = 0;
};

// Each process says "VERDICT" when it has got `count` messages of channel n.
void TellWhenReceived(Node& node, Received& received, int count,
                      const std::function<std::string()>& verdict) {
  node.Keep(*node.pubsub().Subscribe(
      {.channel = "n"}, [&node, &received, count, verdict](Delivery& it) {
        received.Note(it.body());
        if (received.count == count) node.trace().Tell(verdict());
      }));
}

TEST(Ipc, Order) {
  constexpr int kWorkers = 3;
  constexpr int kOfEach = 30'000;
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders, Node::Workers(kWorkers));
    Received received;
    ObeyPublish(node);
    TellWhenReceived(node, received, (kWorkers + 1) * kOfEach, [&] {
      return absl::StrCat("inversions ", received.inversions);
    });
    return node.Run();
  });
  cluster.Await("ready up", kWorkers + 1);
  for (int place = kRoot; place < kWorkers; ++place) {
    orders.Give(place, absl::StrCat("publish ", kOfEach));
  }
  cluster.Await("inversions 0", kWorkers + 1);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

TEST(PubSubOrder, TotalOrderIsTheSameForAll) {
  constexpr int kOfEach = 5'000;
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    Received received;
    ObeyPublish(node, {.total_order = true});
    TellWhenReceived(node, received, 3 * kOfEach, [&] {
      return absl::StrCat("digest ", received.digest, " inversions ",
                          received.inversions);
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  for (const int place : {kRoot, 0, 1}) {
    orders.Give(place, absl::StrCat("publish ", kOfEach));
  }
  const std::string digest =
      absl::StrCat("digest ", cluster.AwaitValue("digest"));
  cluster.Await(digest, 3);
  EXPECT_TRUE(absl::StrContains(digest, " inversions 0")) << digest;
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

// --- Queue groups ---

TEST(PubSubGroup, OneMemberOfTheClusterGetsEachMessage) {
  constexpr int kMessages = 90;
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    node.On("publish", [&](const Node::Words& words) {
      for (int i = 0; i < kMessages; ++i) {
        ABSL_CHECK_OK(node.pubsub().Publish("q", absl::StrCat(words.at(1), i)));
      }
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  for (const int place : {kRoot, 0, 1}) orders.Give(place, "sub q workers");
  cluster.Await("ready q", 3);
  orders.Give(kRoot, "publish a");
  orders.Give(0, "publish b");
  std::map<pid_t, int> shares;
  for (const char publisher : {'a', 'b'}) {
    for (int i = 0; i < kMessages; ++i) {
      const std::string got =
          absl::StrCat("got q ", std::string(1, publisher), i);
      for (const pid_t pid : cluster.Await(got)) ++shares[pid];
    }
  }
  // They take turns.
  EXPECT_THAT(shares, SizeIs(3));
  for (const auto& [pid, share] : shares) EXPECT_GE(share, kMessages / 2);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  for (const char publisher : {'a', 'b'}) {
    for (int i = 0; i < kMessages; ++i) {
      EXPECT_EQ(
          cluster.Count(absl::StrCat("got q ", std::string(1, publisher), i)),
          1u);
    }
  }
}

// --- History ---

// "replay": a subscription to channel n from its beginning. "replayed COUNT" is
// told when it has got the last of `last` messages without a gap.
void ObeyReplay(Node& node, uint64_t last) {
  node.On("replay", [&node, last](const Node::Words&) {
    auto next = std::make_shared<uint64_t>(1);
    SubscribeOptions options{
        .channel = "n",
        .slow = {.max_messages = last, .max_bytes = size_t{1} << 30},
        .replay = ReplayFrom{}};
    node.Keep(*node.pubsub().Subscribe(
        std::move(options), [&node, next, last](Delivery& delivery) {
          const uint64_t sequence = delivery.message().sequence();
          if (sequence != *next || delivery.lost() != 0) {
            node.trace().Tell(absl::StrCat("gap ", sequence, " not ", *next,
                                           " lost ", delivery.lost()));
          }
          *next = sequence + 1;
          if (sequence == last) node.trace().Tell("replayed all");
        }));
    node.trace().Tell("replaying");
  });
}

TEST(PubSubReplay, OfAWorkerHasNoDuplicateAndNoGap) {
  constexpr int kOfEach = 20'000;
  constexpr int kReplays = 5;
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    ABSL_CHECK_OK(node.pubsub().broker().KeepHistory(
        "n", Match::kExact,
        {.max_messages = 2 * kOfEach, .max_bytes = size_t{1} << 30}));
    ObeyPublish(node);
    ObeyReplay(node, 2 * kOfEach);
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders.Give(kRoot, absl::StrCat("publish ", kOfEach));
  orders.Give(0, absl::StrCat("publish ", kOfEach));
  for (size_t i = 1; i <= kReplays; ++i) {
    for (const int place : {kRoot, 0, 1}) orders.Give(place, "replay");
    cluster.Await("replaying", 3 * i);
  }
  cluster.Await("replayed all", 3 * kReplays);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.Values("gap"), ::testing::IsEmpty());
}

// "replayed same EPOCH" or "replayed anew EPOCH" of a replay that begins behind
// number 1 of the given epoch.
void ObeyReplayOf(Node& node) {
  node.On("epoch", [&node](const Node::Words& words) {
    ReplayFrom from{.after_sequence = 1};
    ABSL_CHECK(absl::SimpleAtoi(words.at(1), &from.epoch));
    node.Keep(*node.pubsub().Subscribe(
        {.channel = "n",
         .replay = from,
         .on_replay_end =
             [&node](const ReplayEnd& end) {
               node.trace().Tell(
                   absl::StrCat(end.begun_anew ? "anew " : "same ", end.epoch));
             }},
        [](Delivery&) {}));
  });
}

TEST(PubSubReplay, OfAWorkerIsOfTheRootsEpoch) {
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    ABSL_CHECK_OK(node.pubsub().broker().KeepHistory("n", Match::kExact, {}));
    ABSL_CHECK_OK(node.pubsub().Publish("n", "one"));
    ABSL_CHECK_OK(node.pubsub().Publish("n", "two"));
    ObeyReplayOf(node);
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders.Give(kRoot, "epoch 0");
  const std::string epoch = cluster.AwaitValue("same");
  EXPECT_NE(epoch, "0");
  orders.Give(0, "epoch " + epoch);
  cluster.Await("same " + epoch, 2);
  orders.Give(1, "epoch 1");
  EXPECT_EQ(cluster.AwaitValue("anew"), epoch);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
