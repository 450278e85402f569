// A MonotonicTime is an instant on a clock that never jumps. It is not wall
// time, and can only be compared with instants of the same clock. Its size is
// eight bytes. A span between two instants is an absl::Duration.
//
// Arithmetic saturates: it never overflows. An infinite instant plus or minus a
// span is the same infinite instant.
//
// Thread safety: as an int.

#ifndef FIO_BASE_MONOTONIC_TIME_H_
#define FIO_BASE_MONOTONIC_TIME_H_

#include <compare>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace fio {

class MonotonicTime {
 public:
  // The clock's origin. The system's clock has it at some time in the past.
  constexpr MonotonicTime() = default;

  static constexpr MonotonicTime FromNanoseconds(int64_t since_origin) {
    return MonotonicTime(since_origin);
  }

  // Later than every other instant: "no deadline".
  static constexpr MonotonicTime InfiniteFuture() {
    return MonotonicTime(std::numeric_limits<int64_t>::max());
  }

  // Earlier than every other instant: "do not wait".
  static constexpr MonotonicTime InfinitePast() {
    return MonotonicTime(std::numeric_limits<int64_t>::min());
  }

  constexpr int64_t nanoseconds() const { return nanoseconds_; }

  friend constexpr auto operator<=>(MonotonicTime, MonotonicTime) = default;

  friend MonotonicTime operator+(MonotonicTime time, absl::Duration span) {
    if (time == InfiniteFuture() || time == InfinitePast()) return time;
    const int64_t delta = absl::ToInt64Nanoseconds(span);
    int64_t sum;
    if (__builtin_add_overflow(time.nanoseconds_, delta, &sum)) {
      sum = delta > 0 ? std::numeric_limits<int64_t>::max()
                      : std::numeric_limits<int64_t>::min();
    }
    return MonotonicTime(sum);
  }
  friend MonotonicTime operator-(MonotonicTime time, absl::Duration span) {
    return time + -span;
  }
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    if (a == b) return absl::ZeroDuration();
    if (a == InfiniteFuture() || b == InfinitePast()) {
      return absl::InfiniteDuration();
    }
    if (a == InfinitePast() || b == InfiniteFuture()) {
      return -absl::InfiniteDuration();
    }
    return absl::Nanoseconds(a.nanoseconds_) -
           absl::Nanoseconds(b.nanoseconds_);
  }

 private:
  explicit constexpr MonotonicTime(int64_t nanoseconds)
      : nanoseconds_(nanoseconds) {}

  int64_t nanoseconds_ = 0;
};

}  // namespace fio

#endif  // FIO_BASE_MONOTONIC_TIME_H_
