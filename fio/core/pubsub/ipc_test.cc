// The links between a root and its workers, when processes stall and die.

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/pub_sub_options.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "fio/core/timer/repeated_callback.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kRoot = Orders::kRoot;

pid_t PidOf(TestCluster& cluster, int place) {
  const std::vector<pid_t> pids = cluster.Await(absl::StrCat("place ", place));
  return pids.empty() ? 0 : pids.back();
}

void ExpectEnd(TestCluster& cluster) {
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

// Returns when the process has that state in /proc: T, stopped; Z, dead.
void AwaitState(pid_t pid, char state) {
  const std::string path = absl::StrCat("/proc/", pid, "/stat");
  const std::string expected = absl::StrCat(") ", std::string(1, state), " ");
  for (;;) {
    std::ifstream file(path);
    std::string stat;
    ASSERT_TRUE(std::getline(file, stat)) << path;
    if (absl::StrContains(stat, expected)) return;
  }
}

void Freeze(TestCluster& cluster, pid_t pid) {
  cluster.Signal(pid, SIGSTOP);
  AwaitState(pid, 'T');
}

// --- A worker that stalls ---

constexpr size_t kBody = size_t{64} << 10;
constexpr int kBodies = 200;  // 12.5 MiB

// The root sends bodies to channel n, one by one: the next when process 1 has
// got the last. So that never has much waiting.
class Feeder {
 public:
  Feeder(Node& node, size_t max_bytes) : node_(node), max_bytes_(max_bytes) {
    node.Keep(*node.pubsub().Subscribe({.channel = "ack"}, [this](Delivery&) {
      if (node_.place() == kRoot) Feed();
    }));
    node.Keep(*node.pubsub().Subscribe({.channel = "n"}, [this](Delivery&) {
      if (node_.place() == 1) Take();
    }));
    node.On("feed", [this](const Node::Words&) { Feed(); });
  }

 private:
  void Feed() {
    if (sent_ == kBodies) return;
    ++sent_;
    ABSL_CHECK_OK(node_.pubsub().Publish("n", body_));
    const ClusterStats stats = node_.pubsub().cluster_stats();
    ABSL_CHECK_LE(stats.waiting_bytes, max_bytes_ + 2 * kBody);
    if (sent_ == kBodies) {
      node_.trace().Tell(absl::StrCat("dropped ", stats.dropped));
    }
  }
  void Take() {
    if (++got_ == kBodies) node_.trace().Tell("got all");
    ABSL_CHECK_OK(node_.pubsub().Publish("ack", "", {.reach = Reach::kRoot}));
  }

  Node& node_;
  const size_t max_bytes_;
  const std::string body_ = std::string(kBody, 'n');
  int sent_ = 0;
  int got_ = 0;
};

TEST(Ipc, BackpressureStalledWorker) {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders, Node::TwoWorkers(),
              {.cluster = {.max_bytes_to_worker = kMaxBytes,
                           .max_stall = absl::Seconds(3)}});
    Feeder feeder(node, kMaxBytes);
    node.reactor().lifecycle().Add(LifecycleEvent::kOnPubSubError,
                                   [&] { node.trace().Tell("error"); });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  const pid_t stalled = PidOf(cluster, 0);
  Freeze(cluster, stalled);
  orders.Give(kRoot, "feed");
  EXPECT_THAT(cluster.Await("got all"), ElementsAre(PidOf(cluster, 1)));
  // The stalled one has at most 1 MiB here and as much in the kernel, twice.
  int dropped = 0;
  EXPECT_TRUE(absl::SimpleAtoi(cluster.AwaitValue("dropped"), &dropped));
  EXPECT_GT(dropped, kBodies / 2);
  EXPECT_THAT(cluster.Await("error").at(0), cluster.root());
  // It is killed and replaced.
  EXPECT_THAT(cluster.Await("child_crash"), ElementsAre(cluster.root()));
  cluster.Await("ready up", 4);
  orders.Give(0, "sub m");
  cluster.Await("ready m");
  orders.Give(kRoot, "pub cluster m hello");
  cluster.Await("got m hello");
  EXPECT_EQ(cluster.Count("got all"), 1u);
  ExpectEnd(cluster);
}

TEST(Ipc, InterestOnly) {
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    node.On("flood", [&](const Node::Words& words) {
      const std::string body(size_t{8} << 20, 'n');
      ABSL_CHECK_OK(node.pubsub().Publish(words.at(1), body));
      node.trace().Tell(absl::StrCat(
          "waiting ", node.pubsub().cluster_stats().waiting_bytes / kBody));
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders.Give(0, "sub other");
  orders.Give(0, "psub x*");
  cluster.Await("ready other");
  cluster.Await("ready x*");
  Freeze(cluster, PidOf(cluster, 0));
  Freeze(cluster, PidOf(cluster, 1));
  // What nobody listens to is not sent to anybody.
  orders.Give(kRoot, "flood n");
  cluster.Await("waiting 0");
  // And what one listens to goes there only.
  orders.Give(kRoot, "flood other");
  cluster.Await("waiting 128");
  cluster.Signal(PidOf(cluster, 0), SIGCONT);
  cluster.Signal(PidOf(cluster, 1), SIGCONT);
  ExpectEnd(cluster);
}

// --- Processes that die ---

TEST(Ipc, RespawnResubscribes) {
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    node.Subscribe({.channel = "before"});
    node.reactor().lifecycle().Add(LifecycleEvent::kOnStart, [&] {
      node.Subscribe({.channel = "start"});
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  for (const int round : {1, 2, 3}) {
    cluster.Signal(PidOf(cluster, round % 2), SIGKILL);
    cluster.Await("ready up", 3 + static_cast<size_t>(round));
    orders.Give(kRoot, absl::StrCat("pub cluster before ", round));
    orders.Give(kRoot, absl::StrCat("pub cluster start ", round));
    cluster.Await(absl::StrCat("got before ", round), 3);
    cluster.Await(absl::StrCat("got start ", round), 2);
  }
  ExpectEnd(cluster);
}

TEST(Ipc, RootSigkill) {
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    node.Subscribe({.channel = "n"});
    // Each message leads to the next one.
    node.Keep(*node.pubsub().Subscribe({.channel = "loop"}, [&](Delivery& it) {
      (void)node.pubsub().Publish("loop", it.body(),
                                  {.reach = Reach::kSiblings});
    }));
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders.Give(0, "pub siblings loop x");
  orders.Give(1, "pub cluster n x");
  cluster.Await("got n x", 3);
  cluster.Signal(SIGKILL);
  EXPECT_EQ(cluster.AwaitEnd(), 1000 + SIGKILL);
  EXPECT_EQ(cluster.Count("finish"), 2u);
}

TEST(Ipc, WorkerSigkillMidFrame) {
  constexpr size_t kCut = size_t{4} << 20;  // More than the kernel holds.
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    node.On("die", [&](const Node::Words&) {
      PubSub& pubsub = node.pubsub();
      ABSL_CHECK_OK(pubsub.Publish("n", "small", {.reach = Reach::kSiblings}));
      ABSL_CHECK_OK(pubsub.Publish("n", std::string(kCut, 'n'),
                                   {.reach = Reach::kSiblings}));
      // When it has been tried to send both.
      node.reactor().Post([] { raise(SIGKILL); });
    });
    node.Keep(*node.pubsub().Subscribe({.channel = "n"}, [&](Delivery& it) {
      node.trace().Tell(absl::StrCat("bytes ", it.body().size()));
    }));
    return node.Run();
  });
  cluster.Await("ready up", 3);
  const pid_t worker = PidOf(cluster, 0);
  Freeze(cluster, cluster.root());
  orders.Give(0, "die");
  AwaitState(worker, 'Z');
  cluster.Signal(SIGCONT);
  cluster.Await("bytes 5", 2);
  cluster.Await("ready up", 4);
  orders.Give(1, "pub cluster n more");
  cluster.Await("bytes 4", 3);
  ExpectEnd(cluster);
  EXPECT_EQ(cluster.Count(absl::StrCat("bytes ", kCut)), 0u);
}

TEST(Ipc, HotRestartKeepsPeers) {
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    Node node(trace, orders);
    int published = 0;
    std::map<std::string, int> next_of;  // By publisher.
    const auto publish = [&] {
      for (int i = 0; i < 10; ++i) {
        ABSL_CHECK_OK(node.pubsub().Publish(
            "n", absl::StrCat(getpid(), " ", published++)));
      }
      return TimerNext::kContinue;
    };
    node.Keep(*node.pubsub().Subscribe({.channel = "n"}, [&](Delivery& it) {
      const std::vector<std::string> words = absl::StrSplit(it.body(), ' ');
      const auto [next, is_new] = next_of.try_emplace(words.at(0), 0);
      int number = -1;
      ABSL_CHECK(absl::SimpleAtoi(words.at(1), &number));
      if (!is_new && number != next->second) {
        trace.Tell(absl::StrCat("gap ", it.body(), " not ", next->second));
      }
      next->second = number + 1;
    }));
    node.Keep(*node.pubsub().Subscribe({.channel = "bye"}, [&](Delivery& it) {
      trace.Tell(absl::StrCat("seen ", it.body(), " ",
                              next_of[std::string(it.body())]));
      trace.Tell("bye");
    }));
    node.On("restart", [&](const Node::Words&) { node.reactor().Restart(); });
    ABSL_CHECK_OK(node.reactor().RunEvery(
        {.callback = publish, .interval = absl::Milliseconds(1)}));
    node.reactor().lifecycle().Add(LifecycleEvent::kInChild,
                                   [&] { next_of.clear(); });
    node.reactor().lifecycle().Add(LifecycleEvent::kOnFinish, [&] {
      if (node.place() == kRoot) return;
      ABSL_CHECK_OK(node.pubsub().Publish("bye", absl::StrCat(getpid()),
                                          {.reach = Reach::kRoot}));
      trace.Tell(absl::StrCat("published ", getpid(), " ", published));
    });
    return node.Run();
  });
  cluster.Await("ready up", 3);
  orders.Give(kRoot, "restart");
  cluster.Await("ready up", 5);
  cluster.Await("bye", 2);
  orders.Give(kRoot, "restart");
  cluster.Await("ready up", 7);
  cluster.Await("bye", 4);
  const std::vector<std::string> seen = cluster.Values("seen");
  const std::vector<std::string> published = cluster.Values("published");
  EXPECT_THAT(seen, SizeIs(4));
  EXPECT_THAT(published, ::testing::IsSupersetOf(seen));
  EXPECT_THAT(cluster.Values("gap"), IsEmpty());
  ExpectEnd(cluster);
}

// Though the worker could not yet tell the root what it listens to.
TEST(Ipc, PresetsMissNothingFromTheirForkOn) {
  TestCluster cluster([&](const Trace& trace) {
    Reactor reactor(Node::TwoWorkers());
    trace.Follow(reactor.lifecycle());
    PubSub pubsub(reactor);
    const auto tell = [&](std::string_view who) {
      return [&trace, who](Delivery& delivery) {
        trace.Tell(absl::StrCat(who, " got ", delivery.body()));
      };
    };
    const auto one = pubsub.Subscribe({.channel = "n"}, tell("one"));
    const auto member =
        pubsub.Subscribe({.channel = "n", .group = "g"}, tell("member"));
    reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&](WorkerEvent& worker) {
      (void)pubsub.Publish("n", absl::StrCat("fork ", worker.place()),
                           {.reach = Reach::kSiblings});
    });
    return ExitWith(reactor.Run());
  });
  cluster.Await("member got fork 0");
  cluster.Await("member got fork 1");
  cluster.Await("one got fork 0");
  EXPECT_EQ(cluster.Await("one got fork 1", 2).size(), 2u);
  ExpectEnd(cluster);
  EXPECT_EQ(cluster.Count("one got fork 0"), 1u);
  EXPECT_EQ(cluster.Count("one got fork 1"), 2u);
  EXPECT_EQ(cluster.Count("member got fork 1"), 1u);
}

// --- Descriptors ---

// The sockets of this process, but those of `without`.
std::set<std::string> SocketsWithout(const std::set<std::string>& without) {
  std::set<std::string> sockets;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string target =
        std::filesystem::read_symlink(entry.path(), error).string();
    if (absl::StartsWith(target, "socket:") && !without.contains(target)) {
      sockets.insert(target);
    }
  }
  return sockets;
}

TEST(Ipc, FdLeakInChildren) {
  static constexpr int kWorkers = 3;
  const Orders orders;
  TestCluster cluster([&](const Trace& trace) {
    std::set<std::string> inherited;
    Node node(trace, orders, Node::Workers(kWorkers));
    node.reactor().lifecycle().Add(LifecycleEvent::kPreStart,
                                   [&] { inherited = SocketsWithout({}); });
    node.On("list", [&](const Node::Words& words) {
      for (const std::string& socket : SocketsWithout(inherited)) {
        trace.Tell(absl::StrCat(words.at(1), " ", socket));
      }
      trace.Tell(absl::StrCat(words.at(1), " listed"));
    });
    return node.Run();
  });
  cluster.Await("ready up", kWorkers + 1);
  const auto expect_no_leak = [&](std::string_view round) {
    for (int place = kRoot; place < kWorkers; ++place) {
      orders.Give(place, absl::StrCat("list ", round));
    }
    cluster.Await(absl::StrCat(round, " listed"), kWorkers + 1);
    std::vector<std::string> all = cluster.Values(round);
    std::erase(all, "listed");
    // One end of each pair in the root, one in a worker, at least.
    EXPECT_GE(all.size(), size_t{2 * kWorkers});
    std::map<std::string, int> owners;
    for (const std::string& socket : all) ++owners[socket];
    // All have the one that tells workers of the end of their root.
    EXPECT_EQ(
        std::erase_if(owners,
                      [](const auto& it) { return it.second == kWorkers + 1; }),
        1u);
    for (const auto& [socket, count] : owners) EXPECT_EQ(count, 1) << socket;
  };
  expect_no_leak("first");
  cluster.Signal(PidOf(cluster, 1), SIGKILL);
  cluster.Await("ready up", kWorkers + 2);
  expect_no_leak("second");
  ExpectEnd(cluster);
}

// --- A worker that ends ---

// A thread of the program that publishes while its worker ends.
class Publisher {
 public:
  explicit Publisher(Reactor& reactor) {
    // Behind that of the PubSub, which is made later.
    reactor.lifecycle().Add(LifecycleEvent::kOnFinish, [this] { Join(); });
  }

  void Serve(Reactor& reactor, PubSub& pubsub) {
    pubsub.broker().AddMetadata([this](const Message& message) {
      if (message.body() == "late") Hold();
      return nullptr;
    });
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [this, &pubsub] {
      thread_ = std::thread([&pubsub] { (void)pubsub.Publish("m", "late"); });
      publishing_.WaitForNotification();
    });
  }

 private:
  void Hold() {
    publishing_.Notify();
    finished_.WaitForNotification();
  }
  void Join() {
    if (!thread_.joinable()) return;
    finished_.Notify();
    thread_.join();
  }

  std::thread thread_;
  absl::Notification publishing_;
  absl::Notification finished_;
};

TEST(Ipc, AThreadPublishesWhileItsWorkerEnds) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Node::TwoWorkers());
    trace.Follow(reactor.lifecycle());
    Publisher publisher(reactor);
    PubSub pubsub(reactor);
    const Subscription subscription =
        *pubsub.Subscribe({.channel = "m"}, [](Delivery&) {});
    publisher.Serve(reactor, pubsub);
    return ExitWith(reactor.Run());
  });
  cluster.Await("start", 2);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
