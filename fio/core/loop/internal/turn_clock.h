// A TurnClock sees to it that the parts of a turn end in time, and tells of
// callbacks that take too long: once a second at most, with the name of the
// protocol.
//
// Thread safety: none.

#ifndef FIO_CORE_LOOP_INTERNAL_TURN_CLOCK_H_
#define FIO_CORE_LOOP_INTERNAL_TURN_CLOCK_H_

#include <cstdint>

#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/protocol.h"

namespace fio::loop_internal {

class TurnClock {
 public:
  // `clock` outlives it.
  TurnClock(const Clock& clock, absl::Duration budget, absl::Duration stall)
      : clock_(clock),
        budget_ns_(absl::ToInt64Nanoseconds(budget)),
        stall_ns_(absl::ToInt64Nanoseconds(stall)),
        now_(clock.Now()) {}

  // When the wait of this turn ended, which Woke() says.
  MonotonicTime now() const { return now_; }
  void Woke() {
    now_ = active_ = clock_.Now();
    Begin();
    active_read_ = last_;
  }

  // now(), or later, if callbacks of this turn have taken long: at most the
  // granularity of Clock::CoarseNow() and one callback ago.
  MonotonicTime active() const { return active_; }

  MonotonicTime ReadClock() const { return clock_.Now(); }

  // A part of a turn begins.
  void Begin() { began_ = last_ = clock_.CoarseNow(); }

  // Whether its time was up when the last callback ended.
  bool IsUp() const { return Since(began_) > budget_ns_; }

  // Whether it is up now, inside a callback that goes on and on.
  bool IsUpNow() const {
    return clock_.CoarseNow().nanoseconds() - began_.nanoseconds() > budget_ns_;
  }

  // A callback has ended, of a protocol or, if it is null, of something else.
  // True if it has stalled the loop.
  bool CallbackEnded(const Protocol* protocol) {
    const MonotonicTime before = last_;
    last_ = clock_.CoarseNow();
    if (last_ != active_read_) {
      active_ = clock_.Now();
      active_read_ = last_;
    }
    if (Since(before) <= stall_ns_) return false;
    Report(protocol, last_ - before);
    return true;
  }

  // The same for one inside of another callback, which is not to be blamed for
  // it: NestedEnded() gets what BeforeNested() has returned.
  MonotonicTime BeforeNested() const { return clock_.CoarseNow(); }
  bool NestedEnded(const Protocol* protocol, MonotonicTime began) {
    const absl::Duration took = clock_.CoarseNow() - began;
    last_ = last_ + took;
    if (took <= absl::Nanoseconds(stall_ns_)) return false;
    Report(protocol, took);
    return true;
  }

 private:
  int64_t Since(MonotonicTime time) const {
    return last_.nanoseconds() - time.nanoseconds();
  }
  void Report(const Protocol* protocol, absl::Duration took);

  const Clock& clock_;
  const int64_t budget_ns_;
  const int64_t stall_ns_;
  MonotonicTime now_;
  MonotonicTime active_ = now_;
  MonotonicTime active_read_;  // The coarse time at which that was read.
  MonotonicTime began_;
  MonotonicTime last_;  // When the last callback had ended.
  MonotonicTime next_report_ = MonotonicTime::InfinitePast();
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_INTERNAL_TURN_CLOCK_H_
