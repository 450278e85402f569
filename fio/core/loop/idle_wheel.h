// An IdleWheel finds out which of very many things have been idle for too long,
// at the price of a store for each thing that they do.
//
// It keeps 8 bytes for each, inside the thing, and does not know its deadline:
// it asks when the time has come that it was last told of. Whatever has moved
// its deadline on by then is put where it belongs now. So activity stores the
// time of it and nothing else, no wheel is touched, and nothing is ever swept.
//
// Unlike in a TimerWheel (fio/core/timer), what is due at the same time comes
// in any order. Deadlines are rounded up to the tick of 1 ms: never early.
//
// Thread safety: none.

#ifndef FIO_CORE_LOOP_IDLE_WHEEL_H_
#define FIO_CORE_LOOP_IDLE_WHEEL_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "fio/base/monotonic_time.h"

namespace fio {

class IdleWheel {
 public:
  // Of a thing, in the list of a slot.
  class Link {
   public:
    bool linked() const { return previous_ != kNone; }

   private:
    friend class IdleWheel;
    uint32_t next_ = kNone;
    uint32_t previous_ = kNone;  // For the first, its slot.
  };

  // Who has the things, each known by a number below 2^31.
  class Owner {
   public:
    // Stays the same for as long as the thing is in the wheel.
    virtual Link& link(uint32_t thing) = 0;
    // The thing is not in the wheel now. Returns when it is to be asked again,
    // unless it is in the wheel by then; InfiniteFuture for never. May add and
    // remove any thing.
    virtual MonotonicTime Check(uint32_t thing) = 0;

   protected:
    ~Owner() = default;
  };

  // `owner` outlives the wheel.
  IdleWheel(MonotonicTime now, Owner& owner);
  IdleWheel(const IdleWheel&) = delete;
  IdleWheel& operator=(const IdleWheel&) = delete;

  // Has the thing checked at `deadline`, or earlier if that is more than 256 ms
  // away, but not before the next Advance(). REQUIRES: it is not in the wheel.
  void Add(uint32_t thing, MonotonicTime deadline);
  // REQUIRES: it is in the wheel.
  void Remove(uint32_t thing);

  // Checks what has come up, at most `limit` things; the rest, and whatever
  // comes after it, waits for the next call.
  void Advance(MonotonicTime now, size_t limit);

  // When Advance() next has something to do; InfiniteFuture if never.
  MonotonicTime NextDeadline() const;

 private:
  // As in a TimerWheel: a deadline lies in the level of the highest byte in
  // which it differs from the current tick, in the slot of that byte's value.
  static constexpr size_t kSlotBits = 8;
  static constexpr size_t kSlots = size_t{1} << kSlotBits;
  static constexpr size_t kLevels = 6;
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kIsSlot = uint32_t{1} << 31;

  static uint32_t SlotOf(size_t level, uint64_t tick);
  uint64_t TickAtOrAfter(MonotonicTime time) const;
  uint64_t NextTick() const;
  // Whether `slot` is empty now.
  bool Empty(uint32_t slot, size_t& limit);
  void SetHead(uint32_t slot, uint32_t thing);

  Owner& owner_;
  const MonotonicTime start_;
  size_t count_ = 0;         // Things in the wheel.
  uint64_t current_ = 0;     // The tick whose slots are being emptied.
  bool unfinished_ = false;  // By a limit.
  std::array<uint32_t, kLevels * kSlots> heads_;
  // A bit for each slot that is not empty.
  std::array<uint64_t, kLevels* kSlots / 64> occupied_ = {};
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_IDLE_WHEEL_H_
