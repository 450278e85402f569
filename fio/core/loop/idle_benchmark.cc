// A million connections with an idle timeout, on a simulated network: how long
// the longest turn of the loop takes while some of them do something.
//
// Times are real ones, so whatever else the machine does counts as well; the
// 99.99th percentile leaves that out.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/testing/world.h"

namespace fio {
namespace {

constexpr size_t kConnections = 1'000'000;
constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr absl::Duration kStep = absl::Milliseconds(1);
constexpr int kTouchedPerStep = 10;  // 10,000 a second.

// Stays, however long it is idle.
class Idle final : public Protocol {
 public:
  explicit Idle(uint64_t& timeouts) : timeouts_(timeouts) {}
  void OnData(Connection& connection) override { connection.Received(); }
  void OnTimeout(Connection& connection) override {
    ++timeouts_;
    connection.Touch();
  }

 private:
  uint64_t& timeouts_;
};

// Armed one after the other, as clients come, or all within the same tick.
enum Armed { kSpread, kAtOnce };

class Million {
 public:
  explicit Million(Armed armed) {
    for (size_t i = 0; i < kConnections; ++i) {
      if (armed == kSpread && i % (kConnections / 60'000) == 0) {
        world_.clock().Advance(kStep);
        ABSL_CHECK_OK(world_.loop().RunOnce(MonotonicTime::InfinitePast()));
      }
      world_.Connect([this](Connection& connection) {
        connection.SetTimeout(kTimeout);
        connection.Attach(std::make_unique<Idle>(timeouts_));
        ids_.push_back(connection.id());
      });
    }
    world_.RunUntilIdle();
  }

  // Lets a step pass, and returns how long the loop's turn took.
  absl::Duration Step() {
    Loop& loop = world_.loop();
    world_.clock().Advance(kStep);
    for (int i = 0; i < kTouchedPerStep; ++i) {
      loop.Find(ids_[random_() % kConnections])->Touch();
    }
    const MonotonicTime began = Clock::System().Now();
    ABSL_CHECK_OK(loop.RunOnce(MonotonicTime::InfinitePast()));
    return Clock::System().Now() - began;
  }

  uint64_t timeouts() const { return timeouts_; }

 private:
  uint64_t timeouts_ = 0;
  std::vector<ConnectionId> ids_;
  std::mt19937_64 random_{1};
  testing::World world_;
};

// Two minutes of such a server's life.
void BM_LongestTurn(benchmark::State& state) {
  Million million(static_cast<Armed>(state.range(0)));
  std::vector<absl::Duration> turns;
  for (auto _ : state) turns.push_back(million.Step());
  std::sort(turns.begin(), turns.end());
  const auto us = [&](double share) {
    const auto last = static_cast<double>(turns.size() - 1);
    return absl::ToDoubleMicroseconds(turns[static_cast<size_t>(last * share)]);
  };
  state.counters["longest_us"] = us(1);
  state.counters["p99.99_us"] = us(0.9999);
  state.counters["median_us"] = us(0.5);
  state.counters["timeouts"] = static_cast<double>(million.timeouts());
}
BENCHMARK(BM_LongestTurn)
    ->ArgName("at_once")
    ->Arg(kSpread)
    ->Arg(kAtOnce)
    ->Iterations(120'000);

}  // namespace
}  // namespace fio
