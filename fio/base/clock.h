// A Clock tells MonotonicTime. Everything in fio that needs the time is given
// one, so that a test can hand it a testing::ManualClock and own the time.
//
// Thread safety: any thread.

#ifndef FIO_BASE_CLOCK_H_
#define FIO_BASE_CLOCK_H_

#include "fio/base/monotonic_time.h"

namespace fio {

class Clock {
 public:
  virtual ~Clock() = default;

  // Never less than what an earlier call returned.
  virtual MonotonicTime Now() const = 0;

  // As Now(), but up to 10 ms old, for less than half the price.
  virtual MonotonicTime CoarseNow() const { return Now(); }

  // CLOCK_MONOTONIC of clock_gettime(2), and CLOCK_MONOTONIC_COARSE where the
  // system has it. Stateless, and alive as long as the process.
  static const Clock& System();
};

}  // namespace fio

#endif  // FIO_BASE_CLOCK_H_
