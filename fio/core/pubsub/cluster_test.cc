// Who gets what in a root and its workers.

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/test_cluster.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// The suite is named after the class that it tests.
namespace fio::pub_sub_suite {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;
using pubsub_internal::TracingEngine;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

constexpr int kRoot = Orders::kRoot;

class PubSub : public ::testing::Test {
 protected:
  static pid_t PidOf(TestCluster& cluster, int place) {
    const std::vector<pid_t> pids =
        cluster.Await(absl::StrCat("place ", place));
    return pids.empty() ? 0 : pids.back();
  }

  static void ExpectEnd(TestCluster& cluster) {
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
  }

  // What the root's engine was told.
  static std::vector<std::string> EngineHeard(TestCluster& cluster) {
    std::vector<std::string> heard;
    for (const std::string& event : cluster.TraceOf(cluster.root())) {
      if (absl::StartsWith(event, "engine ") &&
          !absl::StrContains(event, "fio.test")) {
        heard.push_back(event);
      }
    }
    return heard;
  }

  // Two workers, and an engine in the root.
  static int RunWithEngine(const Trace& trace, const Orders& orders) {
    TracingEngine engine(trace);
    Node node(trace, orders);
    ABSL_CHECK_OK(node.pubsub().broker().Attach(engine));
    return node.Run();
  }

  // Has the process publish with that reach; returns who got it.
  std::vector<pid_t> WhoGets(TestCluster& cluster, int publisher,
                             std::string_view reach, size_t processes) {
    const std::string body = absl::StrCat(publisher, "-", reach);
    orders_.Give(publisher, absl::StrCat("pub ", reach, " m ", body));
    // A message of the same publisher that all get is behind it.
    const std::string fence = absl::StrCat(body, "-fence");
    orders_.Give(publisher, absl::StrCat("pub cluster m ", fence));
    EXPECT_EQ(cluster.Await("got m " + fence, processes).size(), processes);
    const size_t count = cluster.Count("got m " + body);
    return count == 0 ? std::vector<pid_t>()
                      : cluster.Await("got m " + body, count);
  }

  const Orders orders_;
};

TEST_F(PubSub, EngineMatrix) {
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders_);
    node.Subscribe({.channel = "m"});
    return node.Run();
  });
  cluster.Await("ready up", 3);
  const pid_t root = PidOf(cluster, kRoot);
  const pid_t one = PidOf(cluster, 0);
  const pid_t other = PidOf(cluster, 1);
  using Pids = std::vector<pid_t>;
  const auto gets = [&](int publisher, std::string_view reach,
                        const Pids& expected) {
    EXPECT_THAT(WhoGets(cluster, publisher, reach, 3),
                UnorderedElementsAreArray(expected))
        << publisher << " " << reach;
  };
  gets(kRoot, "process", {root});
  gets(kRoot, "cluster", {root, one, other});
  gets(kRoot, "siblings", {one, other});
  gets(kRoot, "root", {root});
  gets(0, "process", {one});
  gets(0, "cluster", {root, one, other});
  gets(0, "siblings", {root, other});
  gets(0, "root", {root});
  ExpectEnd(cluster);
}

TEST_F(PubSub, EngineMatrixOfASingleProcess) {
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders_, Node::Workers(1));
    node.Subscribe({.channel = "m"});
    return node.Run();
  });
  PidOf(cluster, 0);
  for (const std::string_view reach : {"process", "cluster", "root"}) {
    EXPECT_THAT(WhoGets(cluster, 0, reach, 1), ElementsAre(cluster.root()))
        << reach;
  }
  EXPECT_THAT(WhoGets(cluster, 0, "siblings", 1), ElementsAre());
  ExpectEnd(cluster);
}

TEST_F(PubSub, RootUnion) {
  TestCluster cluster(
      [&](const Trace& trace) { return RunWithEngine(trace, orders_); });
  size_t ready = 0;
  const auto obey = [&](int place, std::string_view order) {
    orders_.Give(place, absl::StrCat(order, " a"));
    cluster.Await("ready a", ++ready);
  };
  obey(0, "sub");
  obey(1, "sub");
  obey(kRoot, "sub");
  obey(0, "unsub");
  obey(kRoot, "unsub");
  EXPECT_THAT(EngineHeard(cluster), ElementsAre("engine +a"));
  obey(1, "unsub");
  orders_.Give(1, "psub a*");
  cluster.Await("ready a*");
  EXPECT_THAT(EngineHeard(cluster),
              ElementsAre("engine +a", "engine -a", "engine +a*"));
  ExpectEnd(cluster);
  EXPECT_EQ(cluster.Count("engine +a"), 1u);
}

TEST_F(PubSub, WorkerDeathUnsub) {
  TestCluster cluster(
      [&](const Trace& trace) { return RunWithEngine(trace, orders_); });
  orders_.Give(0, "sub a");
  orders_.Give(0, "psub b*");
  orders_.Give(1, "sub c");
  for (const char* channel : {"a", "b*", "c"}) {
    cluster.Await(absl::StrCat("ready ", channel));
  }
  cluster.Signal(PidOf(cluster, 0), SIGKILL);
  cluster.Await("engine -a");
  cluster.Await("engine -b*");
  EXPECT_EQ(cluster.Count("engine -c"), 0u);
  ExpectEnd(cluster);
}

TEST_F(PubSub, AnEngineOfTheRootWorksForAll) {
  TestCluster cluster([&](const Trace& trace) {
    TracingEngine engine(trace);
    Node node(trace, orders_);
    ABSL_CHECK_OK(node.pubsub().broker().Attach(engine));
    node.On("engine", [&](const Node::Words& words) {
      ABSL_CHECK_OK(
          node.pubsub().Publish("e", words.at(1), {.engine = &engine}));
    });
    node.Subscribe({.channel = "e"});
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders_.Give(0, "engine 1");
  EXPECT_THAT(cluster.Await("engine e: 1"), ElementsAre(cluster.root()));
  orders_.Give(kRoot, "engine 2");
  EXPECT_THAT(cluster.Await("engine e: 2"), ElementsAre(cluster.root()));
  // It comes back from outside, or not at all.
  orders_.Give(0, "pub cluster e fence");
  cluster.Await("got e fence", 3);
  EXPECT_EQ(cluster.Count("got e 1"), 0u);
  ExpectEnd(cluster);
}

// --- Before the start ---

TEST_F(PubSub, PubBeforeStartSingle) {
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders_, Node::Workers(1));
    node.Subscribe({.channel = "m"});
    ABSL_CHECK_OK(node.pubsub().Publish("m", "early"));
    return node.Run();
  });
  EXPECT_THAT(cluster.Await("got m early"), ElementsAre(cluster.root()));
  orders_.Give(0, "pub cluster m late");
  cluster.Await("got m late");
  ExpectEnd(cluster);
  EXPECT_EQ(cluster.Count("got m early"), 1u);
}

TEST_F(PubSub, PubBeforeStartWorkers) {
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders_);
    node.Subscribe({.channel = "m"});
    ABSL_CHECK_OK(node.pubsub().Publish("m", "early"));
    int forks = 0;
    node.reactor().lifecycle().Add(LifecycleEvent::kBeforeFork, [&] {
      ABSL_CHECK_OK(node.pubsub().Publish("m", absl::StrCat("fork ", ++forks),
                                          {.reach = Reach::kProcess}));
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  const std::vector<pid_t> early = cluster.Await("got m early", 3);
  EXPECT_EQ(std::set<pid_t>(early.begin(), early.end()).size(), 3u);
  // A worker that replaces another has the subscription, and gets what is
  // published from now on.
  cluster.Signal(PidOf(cluster, 0), SIGKILL);
  cluster.Await("ready up", 4);
  orders_.Give(0, "pub cluster m late");
  cluster.Await("got m late", 3);
  ExpectEnd(cluster);
  EXPECT_EQ(cluster.Count("got m early"), 3u);
  // What waits in the root when it forks again stays there.
  EXPECT_EQ(cluster.Count("got m fork 3"), 1u);
}

// In kPreStart the main loop has not run yet, and nothing has been forked.
TEST_F(PubSub, SubInPreStartIsOfTheRoot) {
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders_);
    node.reactor().lifecycle().Add(LifecycleEvent::kPreStart,
                                   [&] { node.Subscribe({.channel = "m"}); });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  const std::vector<std::string> events = {"got m 0", "got m 1", "got m 2"};
  orders_.Give(kRoot, "pub cluster m 0");
  orders_.Give(0, "pub cluster m 1");
  orders_.Give(1, "pub cluster m 2");
  for (const std::string& event : events) cluster.Await(event);
  ExpectEnd(cluster);
  for (const std::string& event : events) {
    EXPECT_THAT(cluster.Await(event), ElementsAre(cluster.root()));
  }
}

// As https://github.com/boazsegev/iodine/issues/135 has it: the workers that
// were forked later got it, too.
TEST_F(PubSub, WhatTheRootSubscribesToBetweenForksIsItsOwn) {
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders_);
    node.Subscribe({.channel = "fence"});
    bool subscribed = false;
    node.reactor().lifecycle().Add(LifecycleEvent::kInRoot, [&] {
      if (std::exchange(subscribed, true)) return;
      node.Subscribe({.channel = "m"});
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders_.Give(0, "pub cluster m hello");
  cluster.Await("got m hello");
  orders_.Give(0, "pub cluster fence hello");
  cluster.Await("got fence hello", 3);
  EXPECT_THAT(cluster.Await("got m hello", cluster.Count("got m hello")),
              ElementsAre(cluster.root()));
  ExpectEnd(cluster);
}

}  // namespace
}  // namespace fio::pub_sub_suite
