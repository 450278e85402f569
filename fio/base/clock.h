// A Clock tells MonotonicTime. Everything in fio that needs the time is given
// one, so that a test can hand it a testing::ManualClock and own the time.
//
// Thread safety: any thread.

#ifndef FIO_BASE_CLOCK_H_
#define FIO_BASE_CLOCK_H_

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"

namespace fio {

class Clock {
 public:
  virtual ~Clock() = default;

  // Never less than what an earlier call returned.
  virtual MonotonicTime Now() const = 0;

  // As Now(), but up to 10 ms old, for less than half the price.
  virtual MonotonicTime CoarseNow() const { return Now(); }

  // The time of day, to be told to people; nothing is decided by it. By default
  // Now() counted from 1970.
  virtual absl::Time WallNow() const {
    return absl::UnixEpoch() + (Now() - MonotonicTime());
  }

  // CLOCK_MONOTONIC of clock_gettime(2), CLOCK_MONOTONIC_COARSE where the
  // system has it, and the system's time of day. Stateless, and alive as long
  // as the process.
  static const Clock& System();
};

}  // namespace fio

#endif  // FIO_BASE_CLOCK_H_
