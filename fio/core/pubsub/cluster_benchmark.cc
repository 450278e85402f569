// How many messages a worker gets from another one by way of the root, and how
// long they take. Three processes: publisher, root, subscriber; items are
// messages of 128 bytes.

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/pubsub/cluster_test_util.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/publish_options.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using pubsub_internal::Node;
using pubsub_internal::Orders;

constexpr size_t kBytes = 128;

// All processes of a machine have the same clock.
int64_t Nanoseconds() {
  return absl::ToInt64Nanoseconds(Clock::System().Now() - MonotonicTime());
}

// What worker 0 does: publishes messages that begin with the time, as fast as
// it can or at a rate.
class Publisher {
 public:
  // `rate` is in messages per second; 0: no limit.
  Publisher(Node& node, int64_t count, int64_t rate)
      : node_(node), count_(count), rate_(rate) {
    node.On("begin", [this](const Node::Words&) {
      begin_ = Nanoseconds();
      Turn();
    });
  }

 private:
  static constexpr int64_t kAtOnce = 256;

  void Turn() {
    const int64_t now = Nanoseconds();
    int64_t due = rate_ == 0 ? count_ : (now - begin_) * rate_ / 1'000'000'000;
    due = std::min({due, count_, sent_ + kAtOnce});
    std::array<char, kBytes> body = {};
    std::memcpy(body.data(), &now, sizeof(now));
    for (; sent_ < due; ++sent_) {
      const absl::Status status =
          node_.pubsub().Publish("n", {body.data(), body.size()});
      if (absl::IsResourceExhausted(status)) break;
      ABSL_CHECK_OK(status);
    }
    if (sent_ < count_) ABSL_CHECK(node_.reactor().Post([this] { Turn(); }));
  }

  Node& node_;
  const int64_t count_;
  const int64_t rate_;
  int64_t begin_ = 0;
  int64_t sent_ = 0;
};

// What worker 1 does: notes how long each has taken, and tells of all.
class Taker {
 public:
  Taker(Node& node, int64_t count)
      : node_(node), spans_(static_cast<size_t>(count)) {
    node.On("take", [this](const Node::Words&) {
      node_.Keep(*node_.pubsub().Subscribe(
          {.channel = "n"}, [this](Delivery& it) { Take(it.body()); }));
      ABSL_CHECK_OK(node_.pubsub().Publish("fio.test.ready", "taker",
                                           {.reach = Reach::kRoot}));
    });
  }

 private:
  void Take(std::string_view body) {
    int64_t sent = 0;
    std::memcpy(&sent, body.data(), sizeof(sent));
    const int64_t now = Nanoseconds();
    if (got_ == 0) first_ = sent;
    spans_[got_++] = now - sent;
    if (got_ < spans_.size()) return;
    std::sort(spans_.begin(), spans_.end());
    node_.trace().Tell(absl::StrCat("p50 ", spans_[got_ / 2]));
    node_.trace().Tell(absl::StrCat("p99 ", spans_[got_ * 99 / 100]));
    node_.trace().Tell(absl::StrCat("all ", now - first_));
  }

  Node& node_;
  std::vector<int64_t> spans_;
  size_t got_ = 0;
  int64_t first_ = 0;
};

double Await(TestCluster& cluster, std::string_view name) {
  int64_t nanoseconds = 0;
  ABSL_CHECK(absl::SimpleAtoi(cluster.AwaitValue(name), &nanoseconds));
  return static_cast<double>(nanoseconds);
}

// Arguments: how many messages, and how many per second (0: as many as can be).
void BM_WorkerToWorker(benchmark::State& state) {
  for (auto _ : state) {
    const Orders orders;
    TestCluster cluster([&](const Trace& trace) {
      Node node(trace, orders);
      Publisher publisher(node, state.range(0), state.range(1));
      Taker taker(node, state.range(0));
      return node.Run();
    });
    cluster.Await("ready up", 3);
    orders.Give(1, "take");
    cluster.Await("ready taker");
    orders.Give(0, "begin");
    state.SetIterationTime(Await(cluster, "all") / 1e9);
    state.counters["p50_us"] = Await(cluster, "p50") / 1e3;
    state.counters["p99_us"] = Await(cluster, "p99") / 1e3;
    cluster.Signal(SIGTERM);
    ABSL_CHECK_EQ(cluster.AwaitEnd(), 0);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_WorkerToWorker)
    ->ArgNames({"messages", "rate"})
    ->Args({1'000'000, 0})
    ->Args({200'000, 100'000})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

}  // namespace
}  // namespace fio
