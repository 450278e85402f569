// A Clock returns the current time. Each class in fio that needs the time takes
// a Clock, so a test can pass a testing::ManualClock and control the time.
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

  // Like Now(), but up to 10 ms old; costs less than half as much.
  virtual MonotonicTime CoarseNow() const { return Now(); }

  // The time of day, for logs and messages, and for what outlives a process
  // (the keys of TLS tickets, the name of a pub/sub history): fio bases no
  // other decision on it. By default it
  // is Now() counted from 1970.
  virtual absl::Time WallNow() const {
    return absl::UnixEpoch() + (Now() - MonotonicTime());
  }

  // The system's clocks: CLOCK_MONOTONIC of clock_gettime(2),
  // CLOCK_MONOTONIC_COARSE where the system has it, and the time of day. Has no
  // state and is never destroyed.
  static const Clock& System();
};

}  // namespace fio

#endif  // FIO_BASE_CLOCK_H_
