#include "fio/core/timer/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"

namespace fio {
namespace {

constexpr int64_t kTickNanoseconds = 1'000'000;

}  // namespace

TimerWheel::TimerWheel(MonotonicTime now) : start_(now), now_(now) {}

TimerWheel::~TimerWheel() = default;

TimerId TimerWheel::Arm(MonotonicTime deadline, Callback callback) {
  ABSL_CHECK(callback != nullptr) << "TimerWheel::Arm: no callback";
  if (free_ == kNil) {
    free_ = static_cast<uint32_t>(timers_.size());
    timers_.emplace_back();
  }
  const uint32_t index = free_;
  Timer& timer = timers_[index];
  free_ = timer.next;
  timer.tick = std::min(TickAtOrAfter(deadline), kMaxTick);
  if (++timer.generation == 0) ++timer.generation;
  timer.callback = std::move(callback);
  Append(ListFor(timer.tick), index);
  ++armed_;
  return static_cast<TimerId>(uint64_t{timer.generation} << 32 | index);
}

bool TimerWheel::Cancel(TimerId id) {
  const uint32_t index = static_cast<uint32_t>(id);
  const uint32_t generation =
      static_cast<uint32_t>(static_cast<uint64_t>(id) >> 32);
  if (index >= timers_.size() || timers_[index].generation != generation ||
      timers_[index].list == kNil) {
    return false;
  }
  Unlink(index);
  Free(index);  // And the callback dies here.
  return true;
}

size_t TimerWheel::Advance(MonotonicTime now) {
  now_ = std::max(now_, now);
  target_ = std::max(current_, std::min(TickAtOrBefore(now_), kMaxTick - 1));
  Splice(kDue, kRunning);
  size_t ran = RunList(kRunning);
  for (uint64_t next; (next = NextTick()) <= target_;) {
    current_ = next;
    Cascade();
    ran += RunList(static_cast<uint32_t>(current_ % kSlots));
  }
  current_ = target_;
  return ran;
}

MonotonicTime TimerWheel::NextDeadline() const {
  if (armed_ == 0) return MonotonicTime::InfiniteFuture();
  if (lists_[kDue].first != kNil) return now_;
  return start_ +
         absl::Nanoseconds(kTickNanoseconds) * static_cast<int64_t>(NextTick());
}

uint64_t TimerWheel::TickAtOrAfter(MonotonicTime time) const {
  if (time <= start_) return 0;
  // Unsigned, since the span may be wider than half of all times.
  const uint64_t span = static_cast<uint64_t>(time.nanoseconds()) -
                        static_cast<uint64_t>(start_.nanoseconds());
  return span / kTickNanoseconds + (span % kTickNanoseconds == 0 ? 0 : 1);
}

uint64_t TimerWheel::TickAtOrBefore(MonotonicTime time) const {
  if (time <= start_) return 0;
  return (static_cast<uint64_t>(time.nanoseconds()) -
          static_cast<uint64_t>(start_.nanoseconds())) /
         kTickNanoseconds;
}

// Where a deadline belongs, as seen from the current tick.
uint32_t TimerWheel::ListFor(uint64_t tick) const {
  if (tick <= target_) return kDue;
  const int highest_bit = std::bit_width(tick ^ current_) - 1;
  const int level = highest_bit / kSlotBits;
  const uint64_t slot = (tick >> (level * kSlotBits)) % kSlots;
  return static_cast<uint32_t>(level * kSlots + slot);
}

// The first tick after the current one at which a slot is to be run or moved
// down; greater than kMaxTick if there is none. Whatever lies in a level comes
// before whatever lies in a higher one.
uint64_t TimerWheel::NextTick() const {
  for (size_t level = 0; level < kLevels; ++level) {
    const size_t shift = level * kSlotBits;
    const auto here = static_cast<uint32_t>((current_ >> shift) % kSlots);
    const uint32_t slot = NextSlot(level, here);
    if (slot == kNil) continue;
    const uint64_t above = current_ >> shift >> kSlotBits << kSlotBits << shift;
    return above | uint64_t{slot} << shift;
  }
  return kMaxTick + 1;
}

// The first slot of `level` after `after` that is not empty, or kNil.
uint32_t TimerWheel::NextSlot(size_t level, uint32_t after) const {
  uint32_t slot = after + 1;
  while (slot < kSlots) {
    const uint64_t word = occupied_[level][slot / 64] >> (slot % 64);
    if (word != 0) return slot + static_cast<uint32_t>(std::countr_zero(word));
    slot = (slot / 64 + 1) * 64;
  }
  return kNil;
}

void TimerWheel::Append(uint32_t list, uint32_t index) {
  Timer& timer = timers_[index];
  timer.list = list;
  timer.previous = lists_[list].last;
  timer.next = kNil;
  if (timer.previous == kNil) {
    lists_[list].first = index;
  } else {
    timers_[timer.previous].next = index;
  }
  lists_[list].last = index;
  if (list < kDue) {
    occupied_[list / kSlots][list % kSlots / 64] |= uint64_t{1} << (list % 64);
  }
}

void TimerWheel::Unlink(uint32_t index) {
  Timer& timer = timers_[index];
  List& list = lists_[timer.list];
  (timer.previous == kNil ? list.first : timers_[timer.previous].next) =
      timer.next;
  (timer.next == kNil ? list.last : timers_[timer.next].previous) =
      timer.previous;
  if (list.first == kNil && timer.list < kDue) {
    occupied_[timer.list / kSlots][timer.list % kSlots / 64] &=
        ~(uint64_t{1} << (timer.list % 64));
  }
}

void TimerWheel::Splice(uint32_t from, uint32_t to) {
  while (lists_[from].first != kNil) {
    const uint32_t index = lists_[from].first;
    Unlink(index);
    Append(to, index);
  }
}

// Moves the timers of the block that the current tick has just entered to where
// they belong now. Only one level can have such a block: NextTick() stops at
// the first tick of each.
void TimerWheel::Cascade() {
  for (size_t level = 1; level < kLevels; ++level) {
    const uint64_t slot = (current_ >> (level * kSlotBits)) % kSlots;
    const auto list = static_cast<uint32_t>(level * kSlots + slot);
    while (lists_[list].first != kNil) {
      const uint32_t index = lists_[list].first;
      Unlink(index);
      const uint64_t tick = timers_[index].tick;
      // Not ListFor(): what this Advance() is about to run is no new timer.
      const int highest_bit = std::bit_width(tick ^ current_) - 1;
      const int lower = std::max(highest_bit, 0) / kSlotBits;
      Append(static_cast<uint32_t>(lower * kSlots +
                                   (tick >> (lower * kSlotBits)) % kSlots),
             index);
    }
  }
}

size_t TimerWheel::RunList(uint32_t list) {
  size_t ran = 0;
  for (; lists_[list].first != kNil; ++ran) {
    const uint32_t index = lists_[list].first;
    Unlink(index);
    std::move(Free(index))();
  }
  return ran;
}

// Makes the timer's memory free for the next Arm(), and hands out its callback.
TimerWheel::Callback TimerWheel::Free(uint32_t index) {
  Timer& timer = timers_[index];
  timer.list = kNil;
  timer.next = std::exchange(free_, index);
  --armed_;
  return std::exchange(timer.callback, nullptr);
}

}  // namespace fio
