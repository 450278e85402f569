// What a Poller adds to the system call that it makes, and what a wake costs.
//
// PerEvent: 10,000 descriptors are watched and 1,000 of them are ready; a bare
// epoll_wait loop and Poller take turns on the same descriptors. The counters
// tell the median nanoseconds per event of each, and the median of the ratios
// of all pairs of turns, so that a disturbed turn does not count.

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/waker.h"

namespace fio {
namespace {

constexpr size_t kWatched = 10'000;
constexpr size_t kActive = 1'000;
constexpr size_t kRoom = 512;

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::abort();
}

void OrDie(const absl::Status& status) {
  if (!status.ok()) OrDie(absl::StatusOr<int>(status));
}

// Eventfds of which `active` are readable, evenly spread; the others never.
class Descriptors {
 public:
  explicit Descriptors(size_t active) : active_(active) {
    const rlimit limit = {.rlim_cur = kWatched + 100,
                          .rlim_max = kWatched + 100};
    rlimit now;
    getrlimit(RLIMIT_NOFILE, &now);
    if (now.rlim_cur < limit.rlim_cur) setrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < kWatched; ++i) {
      fds_.emplace_back(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
      if (!fds_.back()) {
        OrDie(absl::ResourceExhaustedError("too few descriptors: ulimit -n"));
      }
    }
    Activate();
  }

  void Activate() const {
    const uint64_t one = 1;
    for (size_t i = 0; i < kWatched; i += kWatched / active_) {
      if (write(fds_[i].get(), &one, sizeof(one)) < 0) std::abort();
    }
  }

  absl::Span<const UniqueFd> fds() const { return fds_; }
  size_t active() const { return active_; }

 private:
  const size_t active_;
  std::vector<UniqueFd> fds_;
};

void Drain(int fd) {
  uint64_t count;
  if (read(fd, &count, sizeof(count)) < 0) std::abort();
}

// The least that a program can do.
class Raw {
 public:
  Raw(absl::Span<const UniqueFd> fds, Trigger trigger)
      : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    for (const UniqueFd& fd : fds) {
      epoll_event event = {
          .events = EPOLLIN | EPOLLRDHUP |
                    (trigger == Trigger::kEdge ? uint32_t{EPOLLET} : 0),
          .data = {.u64 = static_cast<uint64_t>(fd.get())}};
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event);
    }
  }
  template <typename OnEvent>
  void Wait(OnEvent on_event) {
    const int count = epoll_wait(epoll_.get(), events_.data(), kRoom, -1);
    for (int i = 0; i < count; ++i) {
      if (events_[i].events & EPOLLIN) on_event(events_[i].data.u64);
    }
  }

 private:
  UniqueFd epoll_;
  std::array<epoll_event, kRoom> events_;
};

class Fio {
 public:
  Fio(absl::Span<const UniqueFd> fds, Trigger trigger)
      : poller_(OrDie(CreatePoller(Clock::System(), PollerKind::kEpoll))) {
    for (const UniqueFd& fd : fds) {
      OrDie(poller_->Add(fd.get(), static_cast<Token>(fd.get()),
                         Interest::kReadable, trigger));
    }
  }
  template <typename OnEvent>
  void Wait(OnEvent on_event) {
    const absl::StatusOr<ReadyEvents> ready =
        poller_->Wait(absl::MakeSpan(events_), MonotonicTime::InfiniteFuture());
    for (const Event event : *ready) {
      if (event.readiness().readable()) on_event(event.token());
    }
  }

 private:
  std::unique_ptr<Poller> poller_;
  std::array<Event, kRoom> events_;
};

// Nanoseconds until `poller` has told all that is active.
template <typename Poller, typename OnEvent>
double Turn(Poller& poller, size_t active, OnEvent on_event) {
  const MonotonicTime start = Clock::System().Now();
  size_t told = 0;
  while (told < active) {
    poller.Wait([&](Token token) {
      on_event(token);
      ++told;
    });
  }
  return absl::ToDoubleNanoseconds(Clock::System().Now() - start);
}

double Median(std::vector<double> values) {
  const auto middle =
      values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void Report(benchmark::State& state, const std::vector<double>& raw_ns,
            const std::vector<double>& fio_ns,
            const std::vector<double>& ratios) {
  state.counters["raw_ns"] = Median(raw_ns);
  state.counters["fio_ns"] = Median(fio_ns);
  state.counters["ratio"] = Median(ratios);
}

template <typename Second, typename OnEvent>
void Compare(benchmark::State& state, Raw& raw, Second& second, size_t active,
             OnEvent on_event) {
  std::vector<double> raw_ns, fio_ns, ratios;
  bool raw_first = false;
  for (auto _ : state) {
    raw_first = !raw_first;  // Neither always finds the other's warm caches.
    double before = raw_first ? Turn(raw, active, on_event)
                              : Turn(second, active, on_event);
    double after = raw_first ? Turn(second, active, on_event)
                             : Turn(raw, active, on_event);
    if (!raw_first) std::swap(before, after);
    const auto events = static_cast<double>(active);
    raw_ns.push_back(before / events);
    fio_ns.push_back(after / events);
    ratios.push_back(after / before);
  }
  Report(state, raw_ns, fio_ns, ratios);
}

// Told again and again: nothing but the poller's own cost.
template <typename Second>
void PerEvent(benchmark::State& state) {
  const Descriptors descriptors(state.range(0));
  Raw raw(descriptors.fds(), Trigger::kLevel);
  Second second(descriptors.fds(), Trigger::kLevel);
  uint64_t sum = 0;
  Compare(state, raw, second, descriptors.active(),
          [&](Token token) { sum += token; });
  benchmark::DoNotOptimize(sum);
}
void PerEventLevel(benchmark::State& state) { PerEvent<Fio>(state); }
BENCHMARK(PerEventLevel)->Arg(1)->Arg(kActive)->Iterations(4000);

// How well this tells apart what is equal.
void PerEventRawAgainstRaw(benchmark::State& state) { PerEvent<Raw>(state); }
BENCHMARK(PerEventRawAgainstRaw)->Arg(1)->Arg(kActive)->Iterations(4000);

// Told once and read, as a server does. Each is alone with the descriptors for
// some turns, since a write would tell both.
template <typename Poller>
double EdgeTurns(const Descriptors& descriptors) {
  constexpr int kTurns = 50;
  Poller poller(descriptors.fds(), Trigger::kEdge);
  double total = 0;
  for (int i = 0; i < kTurns; ++i) {
    descriptors.Activate();
    total += Turn(poller, descriptors.active(),
                  [](Token token) { Drain(static_cast<int>(token)); });
  }
  return total / kTurns / static_cast<double>(descriptors.active());
}

void PerEventEdgeAndRead(benchmark::State& state) {
  const Descriptors descriptors(kActive);
  std::vector<double> raw_ns, fio_ns, ratios;
  for (auto _ : state) {
    raw_ns.push_back(EdgeTurns<Raw>(descriptors));
    fio_ns.push_back(EdgeTurns<Fio>(descriptors));
    ratios.push_back(fio_ns.back() / raw_ns.back());
  }
  Report(state, raw_ns, fio_ns, ratios);
}
BENCHMARK(PerEventEdgeAndRead)->Iterations(60)->Unit(benchmark::kMillisecond);

// --- Wakers ---

class FioWaker {
 public:
  FioWaker()
      : poller_(OrDie(CreatePoller(Clock::System()))),
        waker_(OrDie(Waker::Create(*poller_, 1))) {}
  void Wake() { waker_.Wake(); }
  void Take() {
    std::array<Event, 8> events;
    const absl::StatusOr<ReadyEvents> ready =
        poller_->Wait(absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    benchmark::DoNotOptimize(ready->size());
    waker_.Acknowledge();
  }

 private:
  std::unique_ptr<Poller> poller_;
  Waker waker_;
};

class Libuv {
 public:
  Libuv() {
    uv_loop_init(&loop_);
    uv_async_init(&loop_, &async_, [](uv_async_t*) {});
  }
  ~Libuv() {
    uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }
  void Wake() { uv_async_send(&async_); }
  void Take() { uv_run(&loop_, UV_RUN_ONCE); }

 private:
  uv_loop_t loop_;
  uv_async_t async_;
};

// One is pending already.
template <typename Waker>
void WakePending(benchmark::State& state) {
  Waker waker;
  waker.Wake();
  for (auto _ : state) waker.Wake();
  waker.Take();
}
BENCHMARK_TEMPLATE(WakePending, FioWaker);
BENCHMARK_TEMPLATE(WakePending, Libuv);

// From the wake to the end of the wait, on one thread.
template <typename Waker>
void WakeAndWait(benchmark::State& state) {
  Waker waker;
  for (auto _ : state) {
    waker.Wake();
    waker.Take();
  }
}
BENCHMARK_TEMPLATE(WakeAndWait, FioWaker);
BENCHMARK_TEMPLATE(WakeAndWait, Libuv);

}  // namespace
}  // namespace fio
