// A Clock tells MonotonicTime. Everything in fio that needs the time is given
// one, so that a test can hand it a testing::ManualClock and own the time.
//
// Thread safety: Now() may be called from any thread.

#ifndef FIO_BASE_CLOCK_H_
#define FIO_BASE_CLOCK_H_

#include "fio/base/monotonic_time.h"

namespace fio {

class Clock {
 public:
  virtual ~Clock() = default;

  // Never less than what an earlier call returned.
  virtual MonotonicTime Now() const = 0;

  // CLOCK_MONOTONIC of clock_gettime(2), about 20 ns a call. Stateless, and
  // alive as long as the process.
  static const Clock& System();
};

}  // namespace fio

#endif  // FIO_BASE_CLOCK_H_
