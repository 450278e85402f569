// A TimerWheel keeps deadlines and runs what is due when they have passed. It
// reads no clock: its owner tells it the time, once per turn of a loop, and a
// test tells it whatever time it likes.
//
//   TimerWheel wheel(clock.Now());
//   TimerId id = wheel.Arm(wheel.now() + absl::Seconds(5), [] { ... });
//   ...
//   wheel.Advance(clock.Now());  // Runs what is due.
//
// A deadline is a callback that the wheel keeps, named by a TimerId, or a Timer
// inside an object of the caller's (timer.h).
//
// Arming, cancelling and re-arming cost the same whatever the number of timers,
// and allocate nothing once the wheel has grown; cancelling is the common case,
// since most timeouts in a server never fire. Deadlines are rounded up to the
// tick of 1 ms, so a timer is never early, and late by at most a tick and the
// time to the next Advance().
//
// Thread safety: none. A wheel belongs to one thread.

#ifndef FIO_CORE_TIMER_TIMER_WHEEL_H_
#define FIO_CORE_TIMER_TIMER_WHEEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/timer/repeated_callback.h"
#include "fio/core/timer/timer.h"

namespace fio {

// Names one timer of one wheel, for ever: once it is gone, no other timer has
// its name.
enum class TimerId : uint64_t { kNone = 0 };

class TimerWheel {
 public:
  // Runs at most once, inside Advance(). It may arm and cancel timers of this
  // wheel, its own (by then gone) included; it must not call Advance() or
  // destroy the wheel. Up to 64 bytes of captures cost no allocation.
  using Callback = MoveOnlyFunction<void()>;

  // What a repeated timer's callback wants.
  using Next = TimerNext;

  struct Repeated {
    // Runs once per interval, on a grid: a late run does not move those that
    // follow, and intervals that passed without one, since the owner came late,
    // are made up for by a single run. May do what a Callback may, and cancel
    // or re-arm its own timer. One that returns nothing goes on.
    RepeatedCallback<MoveOnlyFunction<Next()>> callback;

    // Positive. Less than a tick is as much as a tick.
    absl::Duration interval;

    // When it runs first, if not one interval after now().
    MonotonicTime first = MonotonicTime::InfinitePast();

    // How often it runs: n > 0 n times, 0 once, n < 0 until something stops it.
    int64_t repetitions = -1;

    // Runs once, after the last run: when the repetitions are used up, the
    // callback wants to stop, the timer is cancelled, or the wheel ends. If it
    // is cancelled from its own callback, after that has returned.
    Callback on_finish = nullptr;
  };

  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

  explicit TimerWheel(MonotonicTime now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  // As CancelAll(). What an `on_finish` arms then is refused.
  ~TimerWheel();

  // --- Deadlines inside objects ---

  // Arms the timer, anew if it is armed. A deadline that has passed is due now:
  // it fires in the next Advance(), never inside Arm(). REQUIRES: not armed in
  // another wheel.
  void Arm(Timer& timer, MonotonicTime deadline);

  // As Arm(); if the timer is armed for an earlier deadline, for the price of a
  // store: it stays where it is sorted and moves on when it comes up there. Its
  // place among timers of the same tick is then any, and NextDeadline() may be
  // as early as the deadline that it had.
  void Postpone(Timer& timer, MonotonicTime deadline);

  // True if the timer was armed: it will not be called, even if it was due.
  bool Cancel(Timer& timer);

  // --- Callbacks ---

  // As above. Owns `callback` until it has run or is cancelled. kNone if
  // `callback` is null.
  [[nodiscard]] TimerId Arm(MonotonicTime deadline, Callback callback);

  // As above, again and again. kNone if the callback is null or the interval
  // not positive; `on_finish` has then run.
  [[nodiscard]] TimerId ArmEvery(Repeated repeated);

  // True if the timer was armed: its callback will not run, even if it was due,
  // and is destroyed (that of a repeated timer, if it is running, when it
  // returns). False if it has fired, is firing for the last time or was
  // cancelled.
  bool Cancel(TimerId id);

  // Whether Cancel() would be true.
  bool IsArmed(TimerId id) const;

  // Moves the deadline, of a repeated timer that of its next run, from which
  // its grid goes on. A timer that is re-armed comes after those that were
  // armed before for the same tick. False, and nothing happens, where Cancel()
  // would be false.
  bool Rearm(TimerId id, MonotonicTime deadline);

  // As Rearm(), at the price and with the order of the other Postpone().
  bool Postpone(TimerId id, MonotonicTime deadline);

  // Cancels everything that is armed: callbacks are destroyed, `on_finish` runs
  // for each timer that repeats, and timers inside objects are not told.
  void CancelAll();

  // --- Time ---

  // Runs what is due at `now`, earliest deadline first, equal ones in the order
  // in which they were armed, and returns how many ran. What a callback arms
  // waits for the next call, so every call ends. A `now` before that of the
  // last call counts as that one.
  //
  // With a `limit` it touches at most that many timers, those included that it
  // only sorts more finely on their way, and leaves the rest, in order, to the
  // next call. A timer costs tens of nanoseconds, and its callback.
  size_t Advance(MonotonicTime now, size_t limit = kNoLimit);

  // When Advance() next has something to do; InfiniteFuture() if nothing is
  // armed. Always a whole tick, never later than the earliest deadline rounded
  // up, and earlier than it only for deadlines over 256 ms away, which are
  // sorted more finely on the way: at most five times each.
  MonotonicTime NextDeadline() const;

  // The time of the last Advance().
  MonotonicTime now() const { return now_; }

  // How many timers are armed.
  size_t armed() const { return armed_; }

 private:
  friend class Timer;
  friend class TimerWheelPeer;  // Of the test.
  class Entry;
  class Memory;
  struct Repetition;
  using Link = timer_internal::Link;

  // Time is counted in ticks since the wheel's start. A deadline is kept in the
  // level of the highest byte in which it differs from the current tick, in the
  // slot of that byte's value: level 0 holds single ticks of the current 256,
  // level 1 blocks of 256 ticks, and so on; level 5 ends in 8,900 years. When
  // the current tick enters such a block, its timers move down, in order.
  static constexpr int kSlotBits = 8;
  static constexpr size_t kSlots = size_t{1} << kSlotBits;
  static constexpr size_t kLevels = 6;
  static constexpr uint64_t kMaxTick =
      (uint64_t{1} << (kSlotBits * kLevels)) - 1;

  TimerWheel(MonotonicTime now, uint32_t first_generation);

  uint64_t TickAtOrAfter(MonotonicTime time) const;
  uint64_t TickAtOrBefore(MonotonicTime time) const;
  uint64_t NextTick() const;
  bool unfinished() const;

  void Place(Timer& timer);
  void Sort(Timer& timer);
  size_t LevelOf(uint64_t tick) const;
  void PlaceInSlot(Timer& timer, size_t level);
  void TakeOut(Timer& timer);
  void Disarm(Timer& timer);
  void EnterBlock();
  bool Cascade(size_t& limit);
  bool Run(Link& list, size_t& limit, size_t& ran);

  Entry& Allocate();
  void AddBlock();
  Entry* Find(TimerId id) const;
  Entry* FindToMove(TimerId id, MonotonicTime deadline);
  static void Retire(Entry& entry);
  void Free(Entry& entry);
  void RunOnce(Entry& entry);
  void RunRepeated(Entry& entry);
  void Finish(Entry& entry);

  const MonotonicTime start_;
  MonotonicTime now_;
  uint64_t current_ = 0;  // What has been run up to, inclusive.
  uint64_t target_ = 0;   // What the last Advance() is, or was, to run up to.
  size_t armed_ = 0;
  bool ending_ = false;

  // The level whose block at `current_` is being moved down; 0 if none is.
  size_t cascading_ = 0;

  // Lists of timers.
  Link due_;      // Were due when they were armed.
  Link running_;  // Those of them that this Advance() runs.
  std::array<std::array<Link, kSlots>, kLevels> slots_;
  // A bit for each slot that may hold a timer.
  std::array<std::array<uint64_t, kSlots / 64>, kLevels> occupied_ = {};

  // Timers that have an id, in blocks that stay where they are.
  const uint32_t first_generation_;
  std::vector<Memory> memory_;
  absl::Span<std::byte> unused_memory_;
  std::vector<Entry*> blocks_;
  Link free_;
  Entry* repeating_ = nullptr;  // Whose repeated callback runs.
  std::vector<std::unique_ptr<Repetition>> spare_repetitions_;
};

}  // namespace fio

#endif  // FIO_CORE_TIMER_TIMER_WHEEL_H_
