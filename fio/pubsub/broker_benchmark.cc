// What it costs to publish a message and to deliver it, on one thread, but for
// OneToOneOnTwoThreads.

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/broker_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "fio/testing/allocation_counter.h"

namespace fio {
namespace {

using pubsub_internal::LaneThread;
using pubsub_internal::MustPublish;
using pubsub_internal::MustSubscribe;

constexpr int kBatch = 100;  // Messages between two Run(), as in a turn.

// Publishes and delivers batches. `each` is how many get a message.
void PublishBatches(benchmark::State& state, Broker& broker, int64_t each,
                    const uint64_t& delivered) {
  const std::string body(100, 'b');
  MustPublish(broker, "tenant.73.events.created", body);
  broker.main_lane().Run();
  const uint64_t before = delivered;
  const testing::AllocationCounter allocations;
  for (auto _ : state) {
    for (int i = 0; i < kBatch; ++i) {
      MustPublish(broker, "tenant.73.events.created", body);
    }
    broker.main_lane().Run();
  }
  const auto messages = static_cast<double>(state.iterations()) * kBatch;
  ABSL_CHECK_EQ(delivered - before, static_cast<uint64_t>(messages) * each);
  state.SetItemsProcessed(static_cast<int64_t>(messages));
  state.counters["allocations/message"] =
      static_cast<double>(allocations.allocations()) / messages;
  state.counters["deliveries/s"] = benchmark::Counter(
      messages * static_cast<double>(each), benchmark::Counter::kIsRate);
}

void OneToMany(benchmark::State& state) {
  Broker broker;
  uint64_t delivered = 0;
  std::vector<Subscription> subscriptions;
  for (int64_t i = 0; i < state.range(0); ++i) {
    subscriptions.push_back(
        MustSubscribe(broker, {.channel = "tenant.73.events.created"},
                      [&delivered](Delivery&) { ++delivered; }));
  }
  PublishBatches(state, broker, state.range(0), delivered);
}
BENCHMARK(OneToMany)->Arg(1)->Arg(100)->UseRealTime();

void Patterns(benchmark::State& state) {
  Broker broker;
  uint64_t delivered = 0;
  std::vector<Subscription> subscriptions;
  for (int64_t i = 0; i < state.range(0); ++i) {
    const std::string pattern = absl::StrCat("tenant.", i, ".events.*");
    subscriptions.push_back(
        MustSubscribe(broker, {.channel = pattern, .match = Match::kRedis},
                      [&delivered](Delivery&) { ++delivered; }));
  }
  PublishBatches(state, broker, 1, delivered);
}
BENCHMARK(Patterns)->Arg(1'000)->UseRealTime();

// Nobody listens.
void PublishOnly(benchmark::State& state) {
  Broker broker;
  const uint64_t delivered = 0;
  PublishBatches(state, broker, 0, delivered);
}
BENCHMARK(PublishOnly)->UseRealTime();

// The publisher waits when it is 10,000 messages ahead.
void OneToOneOnTwoThreads(benchmark::State& state) {
  constexpr int kAhead = 10'000;
  Broker broker;
  LaneThread lane(broker);
  std::atomic<int64_t> delivered = 0;
  const Subscription subscription = MustSubscribe(
      lane.lane(), broker, {.channel = "news"}, [&delivered](Delivery&) {
        delivered.store(delivered.load(std::memory_order_relaxed) + 1,
                        std::memory_order_relaxed);
      });
  const std::string body(100, 'b');
  int64_t published = 0;
  for (auto _ : state) {
    for (int i = 0; i < kBatch; ++i) MustPublish(broker, "news", body);
    published += kBatch;
    while (published - delivered.load(std::memory_order_relaxed) > kAhead) {
      std::this_thread::yield();
    }
  }
  lane.Stop();
  ABSL_CHECK_EQ(delivered.load(), published);
  state.SetItemsProcessed(published);
}
BENCHMARK(OneToOneOnTwoThreads)->UseRealTime();

}  // namespace
}  // namespace fio
