// A TimerWheel keeps timers and runs those whose deadlines have passed. It
// reads no clock: its owner passes the time to Advance(), once per turn of a
// loop. A test can pass any time.
//
//   TimerWheel wheel(clock.Now());
//   TimerId id = wheel.Arm(wheel.now() + absl::Seconds(5), [] { ... });
//   ...
//   wheel.Advance(clock.Now());  // Runs what is due.
//
// A timer is either a callback that the wheel owns, identified by a TimerId, or
// a Timer inside an object of the caller (timer.h).
//
// Arming, cancelling and re-arming are O(1), and allocate nothing once the
// wheel has grown. Deadlines are rounded up to the tick of 1 ms. So a timer is
// never early, and late by at most one tick plus the time to the next
// Advance().
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

// Identifies one timer of one wheel. Never reused, so an old id is harmless.
enum class TimerId : uint64_t { kNone = 0 };

class TimerWheel {
 public:
  // Runs at most once, inside Advance(). It may arm and cancel timers of this
  // wheel; its own is not armed any more. It must not call Advance() or destroy
  // the wheel. Up to 64 bytes of captures cost no allocation.
  using Callback = MoveOnlyFunction<void()>;

  // Whether a repeated timer continues.
  using Next = TimerNext;

  struct Repeated {
    // Runs once per interval, on a fixed grid: a late run does not move the
    // next ones, and several missed runs become one. May do what a Callback
    // may, and cancel or re-arm its own timer. If it returns void, the timer
    // continues.
    RepeatedCallback<MoveOnlyFunction<Next()>> callback;

    // Positive. Less than a tick counts as one tick.
    absl::Duration interval;

    // When it runs first; InfinitePast() means one interval after now().
    MonotonicTime first = MonotonicTime::InfinitePast();

    // How often it runs. n > 0: n times; 0: once; n < 0: until it is stopped.
    int64_t repetitions = -1;

    // Runs once, after the last run: when the repetitions are used up, the
    // callback returns kStop, the timer is cancelled, or the wheel is
    // destroyed. If the callback cancels its own timer, this runs after the
    // callback has returned.
    Callback on_finish = nullptr;
  };

  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

  explicit TimerWheel(MonotonicTime now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  // As CancelAll(). A timer that an `on_finish` then arms is refused.
  ~TimerWheel();

  // --- Deadlines inside objects ---

  // Arms the timer, or re-arms it. If the deadline has passed, it fires in the
  // next Advance(), never inside Arm(). REQUIRES: not armed in another wheel.
  void Arm(Timer& timer, MonotonicTime deadline);

  // Like Arm(), but costs only one store if the timer is armed for an earlier
  // deadline: it stays in its slot and is moved when that slot is due. Then its
  // order among timers of the same tick is unspecified, and NextDeadline() may
  // return its earlier deadline.
  void Postpone(Timer& timer, MonotonicTime deadline);

  // True if the timer was armed: it will not be called, even if it was due.
  bool Cancel(Timer& timer);

  // --- Callbacks ---

  // As above, for a callback, which the wheel owns until it has run or is
  // cancelled. kNone if `callback` is null.
  [[nodiscard]] TimerId Arm(MonotonicTime deadline, Callback callback);

  // As above, for a repeated timer. kNone if the callback is null or the
  // interval is not positive; `on_finish` has then run.
  [[nodiscard]] TimerId ArmEvery(Repeated repeated);

  // True if the timer was armed: its callback will not run, even if it was due,
  // and is destroyed (that of a repeated timer, if it is running, when it
  // returns). False if it has fired, is firing for the last time or was
  // cancelled.
  bool Cancel(TimerId id);

  // Whether Cancel() would return true.
  bool IsArmed(TimerId id) const;

  // Moves the deadline. For a repeated timer this is the next run, and the grid
  // continues from there, for InfinitePast() from now(). The timer then runs
  // after those armed before for the same tick. Does nothing and returns false
  // if Cancel() would return false.
  bool Rearm(TimerId id, MonotonicTime deadline);

  // As Rearm(), with the cost and the order of the other Postpone().
  bool Postpone(TimerId id, MonotonicTime deadline);

  // From now on the timer does not count for busy(), for as long as the id
  // names it. An unknown id does nothing.
  void Unref(TimerId id);
  // The same for a timer inside an object, for as long as that lives.
  void Unref(Timer& timer);

  // Cancels everything that is armed: callbacks are destroyed, `on_finish` runs
  // for each repeated timer, and timers inside objects are disarmed without a
  // call of OnTimer().
  void CancelAll();

  // --- Time ---

  // Runs the timers that are due at `now`, earliest deadline first, equal ones
  // in the order in which they were armed, and returns how many ran. A timer
  // that a callback arms waits for the next call, so every call ends. If `now`
  // is before that of the last call, the last one counts.
  //
  // With a `limit` it handles at most that many timers, including those that it
  // only moves to a finer slot, and leaves the rest, in order, to the next
  // call. A timer costs tens of nanoseconds plus its callback.
  size_t Advance(MonotonicTime now, size_t limit = kNoLimit);

  // When Advance() next has something to do; InfiniteFuture() if nothing is
  // armed. It is a whole tick, and never later than the earliest deadline,
  // rounded up. It is earlier only for a deadline over 256 ms away, whose timer
  // must be moved to a finer slot first, at most five times.
  MonotonicTime NextDeadline() const;

  // The time of the last Advance().
  MonotonicTime now() const { return now_; }

  // How many timers are armed.
  size_t armed() const { return armed_; }

  // Whether a timer is armed that Unref() has not named.
  bool busy() const { return armed_ > unref_; }

 private:
  friend class Timer;
  friend class TimerWheelPeer;  // Of the test.
  class Entry;
  class Memory;
  struct Repetition;
  using Link = ListLink;

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
  uint64_t current_ = 0;  // All ticks up to this one have been run.
  uint64_t target_ = 0;   // The tick up to which the last Advance() runs.
  size_t armed_ = 0;
  size_t unref_ = 0;  // Of these, those that Unref() has named.
  bool ending_ = false;

  // The level whose block at `current_` is being moved down; 0 if none is.
  size_t cascading_ = 0;

  // Lists of timers.
  Link due_;      // Timers that were due when they were armed.
  Link running_;  // Those that this Advance() runs.
  std::array<std::array<Link, kSlots>, kLevels> slots_;
  // A bit for each slot that may hold a timer.
  std::array<std::array<uint64_t, kSlots / 64>, kLevels> occupied_ = {};

  // Timers that have an id, in blocks that stay where they are.
  const uint32_t first_generation_;
  std::vector<Memory> memory_;
  absl::Span<std::byte> unused_memory_;
  std::vector<Entry*> blocks_;
  Link free_;
  Entry* repeating_ = nullptr;  // Its repeated callback runs.
  std::vector<std::unique_ptr<Repetition>> spare_repetitions_;
};

}  // namespace fio

#endif  // FIO_CORE_TIMER_TIMER_WHEEL_H_
