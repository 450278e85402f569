// What a Loop has done since it was made.
//
// Thread safety: LoopStats is a value; see Loop::stats().

#ifndef FIO_CORE_LOOP_LOOP_STATS_H_
#define FIO_CORE_LOOP_LOOP_STATS_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace fio {

struct LoopStats {
  uint64_t turns = 0;
  uint64_t events = 0;        // That the poller told.
  uint64_t system_calls = 0;  // Made in turns, through fio/base/syscalls.h.
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t opened = 0;  // Connections,
  uint64_t closed = 0;
  uint64_t over_limit = 0;    // of these for their Watermarks' limit,
  uint64_t shed = 0;          // or for the memory of all;
  uint64_t timeouts = 0;      // and how often OnTimeout() was called,
  uint64_t deadlines = 0;     // and OnDeadline().
  uint64_t overloads = 0;     // How often reading stopped for want of memory.
  uint64_t memory_bytes = 0;  // Queued and unread at the end of the last turn.
  uint64_t tasks = 0;         // That ran.
  uint64_t wakes_sent = 0;
  uint64_t wakes_merged = 0;  // Posts for which none was needed.
  uint64_t stalls = 0;        // Callbacks longer than LoopOptions::stall.

  // How long turns were busy, and so how late what became due meanwhile:
  // lag[i] counts those of 2^(i-1) microseconds or more, but less than 2^i; the
  // last one has all above.
  static constexpr size_t kLagBuckets = 24;
  std::array<uint64_t, kLagBuckets> lag = {};

  static size_t LagBucket(absl::Duration busy) {
    const int64_t us = absl::ToInt64Microseconds(busy);
    if (us <= 0) return 0;
    const auto width =
        static_cast<size_t>(std::bit_width(static_cast<uint64_t>(us)));
    return width < kLagBuckets ? width : kLagBuckets - 1;
  }
};

namespace loop_internal {

// Written by one thread, read by any.
class Counter {
 public:
  void Add(uint64_t n) { value_.store(Get() + n, std::memory_order_relaxed); }
  void Set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// LoopStats as the loop counts them.
struct Counters {
  Counter turns, events, system_calls, bytes_read, bytes_written, opened,
      closed, over_limit, shed, timeouts, deadlines, overloads, memory_bytes,
      tasks, stalls;
  std::array<Counter, LoopStats::kLagBuckets> lag;
};

}  // namespace loop_internal
}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_STATS_H_
