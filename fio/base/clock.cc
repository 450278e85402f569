#include "fio/base/clock.h"

#include <time.h>

#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"

namespace fio {
namespace {

class SystemClock final : public Clock {
 public:
  MonotonicTime Now() const override { return Read(CLOCK_MONOTONIC); }
#if defined(CLOCK_MONOTONIC_COARSE)
  MonotonicTime CoarseNow() const override {
    return Read(CLOCK_MONOTONIC_COARSE);
  }
#endif
  absl::Time WallNow() const override { return absl::Now(); }

 private:
  static MonotonicTime Read(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return MonotonicTime::FromNanoseconds(int64_t{now.tv_sec} * 1'000'000'000 +
                                          now.tv_nsec);
  }
};

}  // namespace

const Clock& Clock::System() {
  static const SystemClock* const clock = new SystemClock;
  return *clock;
}

}  // namespace fio
