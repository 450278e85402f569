#include "fio/base/clock.h"

#include <time.h>

#include <cstdint>

namespace fio {
namespace {

class SystemClock final : public Clock {
 public:
  MonotonicTime Now() const override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
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
