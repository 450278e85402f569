#include "fio/core/loop/idle_wheel.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"

namespace fio {
namespace {

constexpr int64_t kTickNanoseconds = 1'000'000;
constexpr uint64_t kNever = UINT64_MAX;

}  // namespace

IdleWheel::IdleWheel(MonotonicTime now, Owner& owner)
    : owner_(owner), start_(now) {
  heads_.fill(kNone);
}

void IdleWheel::Add(uint32_t thing, MonotonicTime deadline) {
  if (deadline == MonotonicTime::InfiniteFuture()) return;
  const uint64_t tick = std::max(TickAtOrAfter(deadline), current_ + 1);
  const int highest_bit = std::bit_width(tick ^ current_) - 1;
  const uint32_t slot =
      SlotOf(static_cast<size_t>(highest_bit) / kSlotBits, tick);
  Link& link = owner_.link(thing);
  ABSL_DCHECK(!link.linked()) << "IdleWheel::Add: it is in the wheel";
  link.next_ = heads_[slot];
  link.previous_ = slot | kIsSlot;
  if (link.next_ != kNone) owner_.link(link.next_).previous_ = thing;
  SetHead(slot, thing);
  ++count_;
}

void IdleWheel::Remove(uint32_t thing) {
  Link& link = owner_.link(thing);
  ABSL_DCHECK(link.linked()) << "IdleWheel::Remove: it is not in the wheel";
  if (link.next_ != kNone) owner_.link(link.next_).previous_ = link.previous_;
  if ((link.previous_ & kIsSlot) != 0) {
    SetHead(link.previous_ & ~kIsSlot, link.next_);
  } else {
    owner_.link(link.previous_).next_ = link.next_;
  }
  link = Link();
  --count_;
}

void IdleWheel::SetHead(uint32_t slot, uint32_t thing) {
  heads_[slot] = thing;
  const uint64_t bit = uint64_t{1} << (slot % 64);
  if (thing == kNone) {
    occupied_[slot / 64] &= ~bit;
  } else {
    occupied_[slot / 64] |= bit;
  }
}

void IdleWheel::Advance(MonotonicTime now, size_t limit) {
  const uint64_t target =
      now <= start_
          ? 0
          : static_cast<uint64_t>(absl::ToInt64Nanoseconds(now - start_) /
                                  kTickNanoseconds);
  if (count_ == 0) {
    current_ = std::max(current_, target);
    unfinished_ = false;
    return;
  }
  unfinished_ = true;
  for (;;) {
    // The slots that begin with this tick: at most one of each level.
    for (size_t level = kLevels; level-- > 0;) {
      if (current_ % (uint64_t{1} << (level * kSlotBits)) != 0) continue;
      if (!Empty(SlotOf(level, current_), limit)) return;
    }
    const uint64_t next = NextTick();
    if (next > target) break;
    current_ = next;
  }
  current_ = std::max(current_, target);
  unfinished_ = false;
}

bool IdleWheel::Empty(uint32_t slot, size_t& limit) {
  for (uint32_t thing; (thing = heads_[slot]) != kNone; --limit) {
    if (limit == 0) return false;
    const uint32_t next = owner_.link(thing).next_;
    if (next != kNone) __builtin_prefetch(&owner_.link(next));
    Remove(thing);
    const MonotonicTime deadline = owner_.Check(thing);
    if (deadline == MonotonicTime::InfiniteFuture()) continue;
    if (!owner_.link(thing).linked()) Add(thing, deadline);
  }
  return true;
}

MonotonicTime IdleWheel::NextDeadline() const {
  if (count_ == 0) return MonotonicTime::InfiniteFuture();
  const uint64_t tick = unfinished_ ? current_ : NextTick();
  if (tick == kNever) return MonotonicTime::InfiniteFuture();
  return start_ +
         absl::Nanoseconds(kTickNanoseconds) * static_cast<int64_t>(tick);
}

uint32_t IdleWheel::SlotOf(size_t level, uint64_t tick) {
  return static_cast<uint32_t>(level * kSlots +
                               (tick >> (level * kSlotBits)) % kSlots);
}

uint64_t IdleWheel::TickAtOrAfter(MonotonicTime time) const {
  if (time <= start_) return 0;
  const int64_t span = absl::ToInt64Nanoseconds(time - start_);
  return static_cast<uint64_t>((span - 1) / kTickNanoseconds + 1);
}

// The first tick after the current one with which a slot begins that is not
// empty. Whatever lies in a level comes before whatever lies in a higher one.
uint64_t IdleWheel::NextTick() const {
  for (size_t level = 0; level < kLevels; ++level) {
    const size_t shift = level * kSlotBits;
    const uint64_t above = current_ >> shift >> kSlotBits << kSlotBits;
    for (uint64_t slot = (current_ >> shift) % kSlots + 1; slot < kSlots;
         slot = (slot | 63) + 1) {
      const uint64_t word =
          occupied_[(level * kSlots + slot) / 64] >> (slot % 64);
      if (word == 0) continue;
      return (above | (slot + static_cast<uint64_t>(std::countr_zero(word))))
             << shift;
    }
  }
  return kNever;
}

}  // namespace fio
