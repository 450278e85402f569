#include <cstdint>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/timer/timer_wheel.h"

namespace fio {
namespace {

// Idle timeouts as a server has them: almost all are cancelled.
void BM_ArmAndCancel(benchmark::State& state) {
  TimerWheel wheel{MonotonicTime()};
  std::mt19937 random(1);
  std::vector<TimerId> live(static_cast<size_t>(state.range(0)));
  for (TimerId& id : live) {
    id = wheel.Arm(wheel.now() + absl::Milliseconds(random() % 60'000), [] {});
  }
  size_t i = 0;
  for (auto _ : state) {
    wheel.Cancel(live[i]);
    live[i] = wheel.Arm(wheel.now() + absl::Seconds(30), [] {});
    if (++i == live.size()) i = 0;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ArmAndCancel)->Arg(1'000)->Arg(1'000'000);

void BM_ArmAndFire(benchmark::State& state) {
  TimerWheel wheel{MonotonicTime()};
  std::mt19937 random(1);
  uint64_t fired = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < state.range(0); ++i) {
      benchmark::DoNotOptimize(
          wheel.Arm(wheel.now() + absl::Milliseconds(1 + random() % 60'000),
                    [&fired] { ++fired; }));
    }
    wheel.Advance(wheel.now() + absl::Seconds(61));
  }
  state.SetItemsProcessed(static_cast<int64_t>(fired));
}
BENCHMARK(BM_ArmAndFire)->Arg(1'000)->Arg(100'000);

}  // namespace
}  // namespace fio
