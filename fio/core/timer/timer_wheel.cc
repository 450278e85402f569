#include "fio/core/timer/timer_wheel.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/timer/timer.h"

namespace fio {
namespace {

constexpr int64_t kTickNanoseconds = 1'000'000;
// Entries are created in blocks, so that no turn creates many. Their memory is
// also allocated in blocks, from the second megabyte on in huge pages: with
// small pages, access to a million timers in random order misses the TLB each
// time.
constexpr size_t kBlock = 64;
constexpr size_t kHugePage = size_t{2} << 20;

// The first instant of the grid of `interval` through `last` that is after both
// `last` and `now`.
MonotonicTime NextOnGrid(MonotonicTime last, absl::Duration interval,
                         MonotonicTime now) {
  const MonotonicTime next = last + interval;
  if (next > now) return next;
  // Counting the intervals since `last` could overflow.
  const absl::Duration into_interval = (now - last) % interval;
  return now + (interval - into_interval);
}

}  // namespace

// What a timer that repeats has beside its entry.
struct TimerWheel::Repetition {
  Repeated repeated;
  int64_t left;            // Runs; negative for no end.
  MonotonicTime deadline;  // Of the last run, or of the next one.
  bool cancelled = false;  // By its own callback.
};

// A timer with an id: two cache lines, of which sorting touches the first.
class alignas(64) TimerWheel::Entry final : public Timer {
 public:
  TimerId id() const {
    return static_cast<TimerId>(uint64_t{generation} << 32 | index);
  }

  uint32_t generation = 0;  // Never that of an id whose timer is gone.
  uint32_t index = 0;
  std::unique_ptr<Repetition> repetition;
  Callback callback;  // Null if it repeats.

 private:
  void OnTimer(TimerWheel& wheel) override {
    repetition == nullptr ? wheel.RunOnce(*this) : wheel.RunRepeated(*this);
  }
  void OnCancelAll(TimerWheel& wheel) override { wheel.Finish(*this); }
};

// Raw memory, by huge pages if it is aligned to them and the system has them.
class TimerWheel::Memory {
 public:
  Memory(size_t size, size_t alignment)
      : size_(size),
        alignment_{alignment},
        bytes_(static_cast<std::byte*>(::operator new(size, alignment_))) {
#if defined(MADV_HUGEPAGE)
    if (alignment == kHugePage) madvise(bytes_, size, MADV_HUGEPAGE);
#endif
  }
  Memory(Memory&& other) noexcept
      : size_(other.size_),
        alignment_(other.alignment_),
        bytes_(std::exchange(other.bytes_, nullptr)) {}
  Memory& operator=(Memory&&) = delete;
  ~Memory() { ::operator delete(bytes_, alignment_); }

  absl::Span<std::byte> bytes() const { return {bytes_, size_}; }

 private:
  const size_t size_;
  const std::align_val_t alignment_;
  std::byte* bytes_;
};

Timer::~Timer() {
  if (wheel_ != nullptr) wheel_->Disarm(*this);
}

TimerWheel::TimerWheel(MonotonicTime now) : TimerWheel(now, 1) {}

TimerWheel::TimerWheel(MonotonicTime now, uint32_t first_generation)
    : start_(now), now_(now), first_generation_(first_generation) {}

TimerWheel::~TimerWheel() {
  ending_ = true;
  CancelAll();
  for (Entry* const block : blocks_) std::destroy_n(block, kBlock);
}

// --- Arming ---

void TimerWheel::Arm(Timer& timer, MonotonicTime deadline) {
  if (ending_) return;
  if (timer.armed()) {
    ABSL_DCHECK(timer.wheel_ == this)
        << "TimerWheel::Arm: the timer is armed in another wheel";
    TakeOut(timer);
  } else {
    timer.wheel_ = this;
    ++armed_;
    if (timer.unref_ != 0) ++unref_;
  }
  timer.tick_ = TickAtOrAfter(deadline);
  Place(timer);
}

void TimerWheel::Postpone(Timer& timer, MonotonicTime deadline) {
  const uint64_t tick = TickAtOrAfter(deadline);
  if (timer.armed() && timer.tick_ > target_ && tick >= timer.tick_) {
    timer.tick_ = tick;  // Its slot sees when it comes up.
  } else {
    Arm(timer, deadline);
  }
}

bool TimerWheel::Cancel(Timer& timer) {
  if (!timer.armed()) return false;
  Disarm(timer);
  return true;
}

TimerId TimerWheel::Arm(MonotonicTime deadline, Callback callback) {
  if (callback == nullptr || ending_) return TimerId::kNone;
  Entry& entry = Allocate();
  entry.callback = std::move(callback);
  Arm(entry, deadline);
  return entry.id();
}

TimerId TimerWheel::ArmEvery(Repeated repeated) {
  if (repeated.callback == nullptr || ending_ ||
      repeated.interval <= absl::ZeroDuration()) {
    if (repeated.on_finish != nullptr) repeated.on_finish();
    return TimerId::kNone;
  }
  if (repeated.first == MonotonicTime::InfinitePast()) {
    repeated.first = now_ + repeated.interval;
  }
  std::unique_ptr<Repetition> repetition;
  if (spare_repetitions_.empty()) {
    repetition = std::make_unique<Repetition>();
  } else {
    repetition = std::move(spare_repetitions_.back());
    spare_repetitions_.pop_back();
  }
  repetition->left = repeated.repetitions == 0 ? 1 : repeated.repetitions;
  repetition->deadline = repeated.first;
  repetition->cancelled = false;
  repetition->repeated = std::move(repeated);
  Entry& entry = Allocate();
  entry.repetition = std::move(repetition);
  Arm(entry, entry.repetition->deadline);
  return entry.id();
}

bool TimerWheel::Cancel(TimerId id) {
  Entry* const entry = Find(id);
  if (entry == nullptr) return false;
  if (entry == repeating_) {
    Repetition& repetition = *entry->repetition;
    if (repetition.cancelled || repetition.left == 0) return false;
    repetition.cancelled = true;
    Cancel(*entry);  // It may have re-armed itself.
  } else {
    Disarm(*entry);
    Finish(*entry);
  }
  return true;
}

bool TimerWheel::IsArmed(TimerId id) const {
  const Entry* const entry = Find(id);
  if (entry == nullptr) return false;
  return entry != repeating_ ||
         (!entry->repetition->cancelled && entry->repetition->left != 0);
}

bool TimerWheel::Rearm(TimerId id, MonotonicTime deadline) {
  Entry* const entry = FindToMove(id, deadline);
  if (entry == nullptr) return false;
  Arm(*entry, deadline);
  return true;
}

bool TimerWheel::Postpone(TimerId id, MonotonicTime deadline) {
  Entry* const entry = FindToMove(id, deadline);
  if (entry == nullptr) return false;
  Postpone(*entry, deadline);
  return true;
}

TimerWheel::Entry* TimerWheel::FindToMove(TimerId id, MonotonicTime deadline) {
  Entry* const entry = Find(id);
  if (entry == nullptr || entry->repetition == nullptr) return entry;
  Repetition& repetition = *entry->repetition;
  if (repetition.cancelled || repetition.left == 0) return nullptr;
  // An infinite instant is on no grid.
  repetition.deadline =
      deadline == MonotonicTime::InfinitePast() ? now_ : deadline;
  return entry;
}

void TimerWheel::Unref(TimerId id) {
  if (Entry* const entry = Find(id)) Unref(*entry);
}

void TimerWheel::Unref(Timer& timer) {
  if (timer.unref_ != 0) return;
  timer.unref_ = 1;
  if (timer.armed()) ++unref_;
}

void TimerWheel::CancelAll() {
  Link all;
  all.Append(running_);
  all.Append(due_);
  for (auto& level : slots_) {
    for (Link& slot : level) all.Append(slot);
  }
  occupied_ = {};
  if (repeating_ != nullptr) Cancel(repeating_->id());
  while (!all.alone()) {
    auto& timer = static_cast<Timer&>(*all.next);
    Disarm(timer);
    timer.OnCancelAll(*this);
  }
}

// --- Running ---

size_t TimerWheel::Advance(MonotonicTime now, size_t limit) {
  now_ = std::max(now_, now);
  target_ = std::max(current_, TickAtOrBefore(now_));
  size_t ran = 0;
  running_.Append(due_);
  bool done = Run(running_, limit, ran);
  while (done && Cascade(limit) &&
         Run(slots_[0][current_ % kSlots], limit, ran)) {
    const uint64_t next = NextTick();
    done = next <= target_;
    current_ = std::min(next, target_);
    if (done) EnterBlock();
  }
  return ran;
}

MonotonicTime TimerWheel::NextDeadline() const {
  if (armed_ == 0) return MonotonicTime::InfiniteFuture();
  if (unfinished()) return now_;
  return start_ +
         absl::Nanoseconds(kTickNanoseconds) * static_cast<int64_t>(NextTick());
}

// Whether something is due, or left over by a limit.
bool TimerWheel::unfinished() const {
  return !due_.alone() || !running_.alone() || cascading_ != 0 ||
         !slots_[0][current_ % kSlots].alone();
}

uint64_t TimerWheel::TickAtOrAfter(MonotonicTime time) const {
  if (time <= start_) return 0;
  // Unsigned, since the span may be wider than half of all times.
  const uint64_t span = static_cast<uint64_t>(time.nanoseconds()) -
                        static_cast<uint64_t>(start_.nanoseconds());
  return (span - 1) / kTickNanoseconds + 1;
}

uint64_t TimerWheel::TickAtOrBefore(MonotonicTime time) const {
  if (time <= start_) return 0;
  return (static_cast<uint64_t>(time.nanoseconds()) -
          static_cast<uint64_t>(start_.nanoseconds())) /
         kTickNanoseconds;
}

// The first tick after the current one at which a slot is to be run or moved
// down; greater than any other if there is none. Whatever lies in a level comes
// before whatever lies in a higher one.
uint64_t TimerWheel::NextTick() const {
  for (size_t level = 0; level < kLevels; ++level) {
    const size_t shift = level * kSlotBits;
    const uint64_t here = (current_ >> shift) % kSlots;
    const uint64_t above = current_ >> shift >> kSlotBits << kSlotBits;
    for (uint64_t slot = here + 1; slot < kSlots; slot = (slot | 63) + 1) {
      const uint64_t word = occupied_[level][slot / 64] >> (slot % 64);
      if (word == 0) continue;
      return (above | (slot + std::countr_zero(word))) << shift;
    }
  }
  return kMaxTick + 1;
}

// Puts a timer that was armed where it belongs.
void TimerWheel::Place(Timer& timer) {
  if (timer.tick_ <= target_) {
    timer.LinkBefore(due_);
  } else {
    Sort(timer);
  }
}

// Puts a timer into the slot of its tick, behind those of the same block that
// have not been moved down yet.
void TimerWheel::Sort(Timer& timer) {
  PlaceInSlot(timer, std::max(LevelOf(timer.tick_), cascading_));
}

// The level of a tick that has not passed, as seen from the current one.
size_t TimerWheel::LevelOf(uint64_t tick) const {
  const int highest_bit = std::bit_width(tick ^ current_) - 1;
  return static_cast<size_t>(std::max(highest_bit, 0)) / kSlotBits;
}

void TimerWheel::PlaceInSlot(Timer& timer, size_t level) {
  const uint64_t slot = (timer.tick_ >> (level * kSlotBits)) % kSlots;
  Link& list = slots_[level][slot];
  if (list.alone()) {
    occupied_[level][slot / 64] |= uint64_t{1} << (slot % 64);
  }
  timer.LinkBefore(list);
}

// The reverse, whichever list the timer is in.
void TimerWheel::TakeOut(Timer& timer) {
  const Link* const neighbour = timer.previous;
  timer.Unlink();
  if (!neighbour->alone()) return;
  const Link* const first = &slots_.front().front();
  const std::less<> before;
  if (before(neighbour, first) || before(&slots_.back().back(), neighbour)) {
    return;
  }
  const auto slot = static_cast<size_t>(neighbour - first);
  occupied_[slot / kSlots][slot % kSlots / 64] &= ~(uint64_t{1} << (slot % 64));
}

void TimerWheel::Disarm(Timer& timer) {
  TakeOut(timer);
  timer.wheel_ = nullptr;
  --armed_;
  if (timer.unref_ != 0) --unref_;
}

// Looks for the block that the current tick has just entered. Only one level
// can have one: NextTick() stops at the first tick of each.
void TimerWheel::EnterBlock() {
  for (size_t level = 1; level < kLevels; ++level) {
    const uint64_t slot = (current_ >> (level * kSlotBits)) % kSlots;
    if (!slots_[level][slot].alone()) cascading_ = level;
  }
}

// Moves the timers of that block to where they belong now, in order. False if
// the limit left some.
bool TimerWheel::Cascade(size_t& limit) {
  if (cascading_ == 0) return true;
  Link& block =
      slots_[cascading_][(current_ >> (cascading_ * kSlotBits)) % kSlots];
  // Each link has to arrive from memory before the next one is known. Walking
  // from the other end as well lets two be on their way at a time.
  const Link* from_the_end = block.previous;
  for (; !block.alone(); --limit) {
    if (limit == 0) return false;
    auto& timer = static_cast<Timer&>(*block.next);
    from_the_end = from_the_end->previous;
    __builtin_prefetch(from_the_end);
    // For the callback, which follows soon.
    __builtin_prefetch(reinterpret_cast<const char*>(&timer) + 64);
    TakeOut(timer);
    PlaceInSlot(timer, LevelOf(timer.tick_));
  }
  cascading_ = 0;
  return true;
}

// Runs the timers of a list. False if the limit left some.
bool TimerWheel::Run(Link& list, size_t& limit, size_t& ran) {
  for (; !list.alone(); --limit) {
    if (limit == 0) return false;
    auto& timer = static_cast<Timer&>(*list.next);
    if (timer.tick_ > current_) {  // Postponed, or overtaken by a limit.
      TakeOut(timer);
      Sort(timer);
    } else {
      Disarm(timer);
      timer.OnTimer(*this);
      ++ran;
    }
  }
  return true;
}

// --- Timers with an id ---

TimerWheel::Entry& TimerWheel::Allocate() {
  if (free_.alone()) AddBlock();
  auto& timer = static_cast<Timer&>(*free_.next);
  timer.Unlink();
  return static_cast<Entry&>(timer);
}

void TimerWheel::AddBlock() {
  constexpr size_t kBytes = kBlock * sizeof(Entry);
  if (unused_memory_.empty()) {
    const bool large = blocks_.size() * kBytes >= kHugePage;
    memory_.push_back(large ? Memory(kHugePage, kHugePage)
                            : Memory(kBytes, alignof(Entry)));
    unused_memory_ = memory_.back().bytes();
  }
  auto* const block = reinterpret_cast<Entry*>(unused_memory_.data());
  unused_memory_.remove_prefix(kBytes);
  for (size_t i = 0; i < kBlock; ++i) {
    Entry& entry = *std::construct_at(block + i);
    entry.generation = first_generation_;
    entry.index = static_cast<uint32_t>(blocks_.size() * kBlock + i);
    static_cast<Timer&>(entry).LinkBefore(free_);
  }
  blocks_.push_back(block);
}

TimerWheel::Entry* TimerWheel::Find(TimerId id) const {
  const auto index = static_cast<uint32_t>(id);
  if (index / kBlock >= blocks_.size()) return nullptr;
  Entry& entry = blocks_[index / kBlock][index % kBlock];
  return entry.generation != 0 && entry.id() == id ? &entry : nullptr;
}

// From here on no id names the entry.
void TimerWheel::Retire(Entry& entry) {
  ++entry.generation;
  entry.unref_ = 0;
}

// An entry that has had every generation is not used again.
void TimerWheel::Free(Entry& entry) {
  if (entry.generation != 0) static_cast<Timer&>(entry).LinkBefore(*free_.next);
}

void TimerWheel::RunOnce(Entry& entry) {
  Retire(entry);
  entry.callback();
  entry.callback = nullptr;
  Free(entry);
}

void TimerWheel::RunRepeated(Entry& entry) {
  Repetition& repetition = *entry.repetition;
  --repetition.left;
  repeating_ = &entry;
  const Next next = repetition.repeated.callback();
  repeating_ = nullptr;
  if (repetition.cancelled || repetition.left == 0 || next == Next::kStop) {
    Cancel(static_cast<Timer&>(entry));
    Finish(entry);
  } else if (!entry.armed()) {
    repetition.deadline =
        NextOnGrid(repetition.deadline, repetition.repeated.interval, now_);
    Arm(entry, repetition.deadline);
  }
}

// Destroys the callbacks of a timer that will not run again.
void TimerWheel::Finish(Entry& entry) {
  Retire(entry);
  entry.callback = nullptr;
  if (entry.repetition != nullptr) {
    Repeated repeated = std::move(entry.repetition->repeated);
    spare_repetitions_.push_back(std::move(entry.repetition));
    if (repeated.on_finish != nullptr) repeated.on_finish();
  }
  Free(entry);
}

}  // namespace fio
