// TimerWheel against libuv's timers (a heap), each with as many timers as the
// argument says, in one run: deadlines are spread over a minute, and all but
// arming goes through the timers in random order, as peers do.

#include <uv.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/timer/timer.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/testing/allocation_counter.h"

namespace fio {
namespace {

constexpr uint64_t kSpanMs = 60'000;

// As each side counts time.
struct Span {
  explicit Span(uint64_t ms = 0) : ms(ms), duration(absl::Milliseconds(ms)) {}
  uint64_t ms;
  absl::Duration duration;
};

const Span kIdle(kSpanMs);

// Each of the three below has `size` timers of one kind, and the same methods.

class FioIntrusive {
 public:
  explicit FioIntrusive(size_t size) : timers_(size) {
    for (Counting& timer : timers_) timer.fired = &fired_;
  }

  void Arm(size_t i, Span span) {
    wheel_.Arm(timers_[i], wheel_.now() + span.duration);
  }
  void Rearm(size_t i, Span span) { Arm(i, span); }
  void Touch(size_t i) {
    wheel_.Postpone(timers_[i], wheel_.now() + kIdle.duration);
  }
  void Cancel(size_t i) { wheel_.Cancel(timers_[i]); }
  uint64_t FireAll() {
    wheel_.Advance(wheel_.now() + absl::Milliseconds(kSpanMs + 1));
    return fired_;
  }

 private:
  struct Counting final : Timer {
    void OnTimer(TimerWheel&) override { ++*fired; }
    uint64_t* fired = nullptr;
  };

  uint64_t fired_ = 0;
  TimerWheel wheel_{MonotonicTime()};
  std::vector<Counting> timers_;
};

class FioCallback {
 public:
  explicit FioCallback(size_t size) : ids_(size) {}

  void Arm(size_t i, Span span) {
    ids_[i] = wheel_.Arm(wheel_.now() + span.duration, [this] { ++fired_; });
  }
  void Rearm(size_t i, Span span) {
    wheel_.Rearm(ids_[i], wheel_.now() + span.duration);
  }
  void Touch(size_t i) {
    wheel_.Postpone(ids_[i], wheel_.now() + kIdle.duration);
  }
  void Cancel(size_t i) { wheel_.Cancel(ids_[i]); }
  uint64_t FireAll() {
    wheel_.Advance(wheel_.now() + absl::Milliseconds(kSpanMs + 1));
    return fired_;
  }

 private:
  uint64_t fired_ = 0;
  TimerWheel wheel_{MonotonicTime()};
  std::vector<TimerId> ids_;
};

class Libuv {
 public:
  explicit Libuv(size_t size) : timers_(size) {
    uv_loop_init(&loop_);
    for (uv_timer_t& timer : timers_) {
      uv_timer_init(&loop_, &timer);
      timer.data = &fired_;
    }
  }
  ~Libuv() {
    for (uv_timer_t& timer : timers_) {
      uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
    }
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }

  void Arm(size_t i, Span span) {
    uv_timer_start(
        &timers_[i], [](uv_timer_t* t) { ++*static_cast<uint64_t*>(t->data); },
        span.ms, 0);
  }
  void Rearm(size_t i, Span span) { Arm(i, span); }
  void Touch(size_t i) { Arm(i, kIdle); }
  void Cancel(size_t i) { uv_timer_stop(&timers_[i]); }
  // The loop reads the real clock; so its timers are armed a minute ago.
  void Rewind() { loop_.time -= kSpanMs + 1; }
  uint64_t FireAll() {
    uv_run(&loop_, UV_RUN_NOWAIT);
    return fired_;
  }

 private:
  uint64_t fired_ = 0;
  uv_loop_t loop_;
  std::vector<uv_timer_t> timers_;
};

// Random spans and a random order; all of one size are alike.
struct Plan {
  explicit Plan(size_t size) : spans(size), order(size) {
    std::mt19937 random(1);
    for (Span& span : spans) span = Span(1 + random() % kSpanMs);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
  }
  std::vector<Span> spans;
  std::vector<uint32_t> order;
};

template <typename Timers>
void ArmAll(Timers& timers, const Plan& plan) {
  for (size_t i = 0; i < plan.spans.size(); ++i) timers.Arm(i, plan.spans[i]);
}

void Report(benchmark::State& state, size_t size, int64_t allocations) {
  const auto operations =
      static_cast<double>(state.iterations()) * static_cast<double>(size);
  state.SetItemsProcessed(static_cast<int64_t>(operations));
  state.counters["per_timer"] = benchmark::Counter(
      operations, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["allocations"] = static_cast<double>(allocations) / operations;
}

// Calls `measured` for each iteration, between untimed calls of `before` and
// `after`; the first round, in which memory grows, is not counted.
template <typename Before, typename Measured, typename After>
void Measure(benchmark::State& state, size_t size, Before before,
             Measured measured, After after) {
  before();
  measured();
  after();
  int64_t allocations = 0;
  for (auto _ : state) {
    state.PauseTiming();
    before();
    const testing::AllocationCounter counter;
    state.ResumeTiming();
    measured();
    state.PauseTiming();
    allocations += counter.allocations();
    after();
    state.ResumeTiming();
  }
  Report(state, size, allocations);
}

template <typename Timers>
void Arm(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const Plan plan(size);
  Timers timers(size);
  Measure(
      state, size, [] {}, [&] { ArmAll(timers, plan); },
      [&] {
        for (size_t i = 0; i < size; ++i) timers.Cancel(i);
      });
}

// Does `operation` to each timer, all of which stay armed.
template <typename Timers, typename Operation>
void MeasureArmed(benchmark::State& state, Operation operation) {
  const auto size = static_cast<size_t>(state.range(0));
  const Plan plan(size);
  Timers timers(size);
  ArmAll(timers, plan);
  Measure(
      state, size, [] {},
      [&] {
        for (const uint32_t i : plan.order) operation(timers, i, plan.spans[i]);
      },
      [] {});
}

template <typename Timers>
void Rearm(benchmark::State& state) {
  MeasureArmed<Timers>(state, [](Timers& timers, uint32_t i, Span span) {
    timers.Rearm(i, span);
  });
}

// An idle timeout that is put off.
template <typename Timers>
void Touch(benchmark::State& state) {
  MeasureArmed<Timers>(state, [](Timers& timers, uint32_t i, Span /*span*/) {
    timers.Touch(i);
  });
}

template <typename Timers>
void Cancel(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const Plan plan(size);
  Timers timers(size);
  Measure(
      state, size, [&] { ArmAll(timers, plan); },
      [&] {
        for (const uint32_t i : plan.order) timers.Cancel(i);
      },
      [] {});
}

template <typename Timers>
void Fire(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const Plan plan(size);
  Timers timers(size);
  uint64_t expected = 0;
  Measure(
      state, size,
      [&] {
        if constexpr (requires { timers.Rewind(); }) timers.Rewind();
        ArmAll(timers, plan);
      },
      [&] {
        expected += size;
        if (timers.FireAll() != expected) state.SkipWithError("none fired");
      },
      [] {});
}

#define FIO_BENCHMARK_ALL(operation) \
  BENCHMARK(operation<FioIntrusive>) \
      ->RangeMultiplier(10)          \
      ->Range(1'000, 1'000'000);     \
  BENCHMARK(operation<FioCallback>)  \
      ->RangeMultiplier(10)          \
      ->Range(1'000, 1'000'000);     \
  BENCHMARK(operation<Libuv>)->RangeMultiplier(10)->Range(1'000, 1'000'000)

FIO_BENCHMARK_ALL(Arm);
FIO_BENCHMARK_ALL(Rearm);
FIO_BENCHMARK_ALL(Touch);
FIO_BENCHMARK_ALL(Cancel);
FIO_BENCHMARK_ALL(Fire);

}  // namespace
}  // namespace fio
