// A TimerWheel keeps deadlines and runs the callbacks of those that have
// passed. It reads no clock: its owner tells it the time, once per turn of a
// loop, and a test tells it whatever time it likes.
//
//   TimerWheel wheel(clock.Now());
//   TimerId id = wheel.Arm(wheel.now() + absl::Seconds(5), [] { ... });
//   ...
//   wheel.Advance(clock.Now());  // Runs what is due.
//
// Arm() and Cancel() are O(1), and Cancel() is the common case: most timeouts
// in a server never fire. Deadlines are rounded up to the tick of 1 ms, so a
// timer is never early, and late by at most a tick and the time to the next
// Advance().
//
// Thread safety: none. A wheel belongs to one thread.

#ifndef FIO_CORE_TIMER_TIMER_WHEEL_H_
#define FIO_CORE_TIMER_TIMER_WHEEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"

namespace fio {

// Names one timer of one wheel. It stays harmless after the timer is gone: its
// memory may serve 2^32 other timers before the same name comes up again.
enum class TimerId : uint64_t { kNone = 0 };

class TimerWheel {
 public:
  // Runs at most once, inside Advance(). It may arm and cancel timers of this
  // wheel, its own (by then gone) included; it must not call Advance() or
  // destroy the wheel.
  using Callback = absl::AnyInvocable<void() &&>;

  explicit TimerWheel(MonotonicTime now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  // Destroys the callbacks of what is armed, without running them.
  ~TimerWheel();

  // Owns `callback` until it has run or is cancelled. A deadline that has
  // passed is due now: it fires in the next Advance(), never inside Arm(). One
  // more than 34 years after the wheel's start never comes. REQUIRES:
  // `callback` is not null.
  [[nodiscard]] TimerId Arm(MonotonicTime deadline, Callback callback);

  // True if the timer was armed: its callback is destroyed and will not run,
  // even if it was due. False if it has fired, is firing or was cancelled.
  bool Cancel(TimerId id);

  // Runs what is due at `now`, earliest deadline first, equal ones in the order
  // in which they were armed, and returns how many ran. What a callback arms
  // waits for the next call, so every call ends. A `now` before that of the
  // last call counts as that one.
  size_t Advance(MonotonicTime now);

  // When Advance() next has something to do; InfiniteFuture() if nothing is
  // armed. Never later than the earliest deadline, and earlier than it only for
  // deadlines over 256 ms away, which are sorted more finely on the way: at
  // most four times each.
  MonotonicTime NextDeadline() const;

  // The time of the last Advance().
  MonotonicTime now() const { return now_; }

  // How many timers are armed.
  size_t armed() const { return armed_; }

 private:
  // Time is counted in ticks since the wheel's start. A deadline is kept in the
  // level of the highest byte in which it differs from the current tick, in the
  // slot of that byte's value: level 0 holds single ticks of the current 256,
  // level 1 blocks of 256 ticks, and so on. When the current tick enters such a
  // block, its timers move down (Cascade()), in order.
  static constexpr int kSlotBits = 8;
  static constexpr size_t kSlots = size_t{1} << kSlotBits;
  static constexpr size_t kLevels = 5;
  static constexpr uint64_t kMaxTick =
      (uint64_t{1} << (kSlotBits * kLevels)) - 1;

  // Lists are numbered: slots of level 0, of level 1, ..., then these two.
  static constexpr uint32_t kDue = kLevels * kSlots;
  static constexpr uint32_t kRunning = kDue + 1;
  static constexpr uint32_t kLists = kRunning + 1;

  static constexpr uint32_t kNil = ~uint32_t{0};

  struct Timer {
    uint64_t tick = 0;
    uint32_t generation = 0;  // 0 until first used; then never again.
    uint32_t list = kNil;     // kNil while free.
    uint32_t previous = kNil;
    uint32_t next = kNil;  // Of the free list while free.
    Callback callback;
  };
  struct List {
    uint32_t first = kNil;
    uint32_t last = kNil;
  };

  uint64_t TickAtOrAfter(MonotonicTime time) const;
  uint64_t TickAtOrBefore(MonotonicTime time) const;
  uint32_t ListFor(uint64_t tick) const;
  uint64_t NextTick() const;
  uint32_t NextSlot(size_t level, uint32_t after) const;
  void Append(uint32_t list, uint32_t index);
  void Unlink(uint32_t index);
  void Splice(uint32_t from, uint32_t to);
  void Cascade();
  size_t RunList(uint32_t list);
  Callback Free(uint32_t index);

  const MonotonicTime start_;
  MonotonicTime now_;
  uint64_t current_ = 0;  // What has been run up to, inclusive.
  uint64_t target_ = 0;   // What Advance() runs up to; else current_.
  size_t armed_ = 0;

  std::vector<Timer> timers_;
  uint32_t free_ = kNil;
  std::array<List, kLists> lists_;
  // A bit for each slot that is not empty.
  std::array<std::array<uint64_t, kSlots / 64>, kLevels> occupied_ = {};
};

}  // namespace fio

#endif  // FIO_CORE_TIMER_TIMER_WHEEL_H_
