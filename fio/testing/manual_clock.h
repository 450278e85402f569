// A ManualClock shows the same time until the test advances it.
//
//   ManualClock clock;
//   TimerWheel wheel(clock.Now());
//   clock.Advance(absl::Seconds(5));
//   wheel.Advance(clock.Now());
//
// Thread safety: any thread may call any method.

#ifndef FIO_TESTING_MANUAL_CLOCK_H_
#define FIO_TESTING_MANUAL_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"

namespace fio::testing {

class ManualClock final : public Clock {
 public:
  explicit ManualClock(MonotonicTime now = MonotonicTime())
      : now_(now.nanoseconds()) {}

  MonotonicTime Now() const override {
    return MonotonicTime::FromNanoseconds(now_);
  }

  // REQUIRES: `span` is not negative; monotonic time does not run backwards.
  void Advance(absl::Duration span) {
    ABSL_CHECK(span >= absl::ZeroDuration())
        << "ManualClock::Advance by " << span;
    now_ += absl::ToInt64Nanoseconds(span);
  }

 private:
  std::atomic<int64_t> now_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_MANUAL_CLOCK_H_
