// What a loop's connections have queued and unread, in memory, and what has to
// be done about it; see LoopOptions::memory_limit_bytes.
//
// Thread safety: none.

#ifndef FIO_CORE_LOOP_INTERNAL_OVERLOAD_H_
#define FIO_CORE_LOOP_INTERNAL_OVERLOAD_H_

#include <algorithm>
#include <cstdint>

#include "fio/core/loop/memory_budget.h"

namespace fio::loop_internal {

class Overload {
 public:
  // `process` outlives it.
  Overload(uint64_t limit, MemoryBudget& process)
      : limit_(limit), process_(process) {}
  Overload(const Overload&) = delete;
  Overload& operator=(const Overload&) = delete;
  ~Overload() { process_.Replace(told_, 0); }

  // A connection has so many bytes more.
  void Add(int64_t bytes) { used_ += static_cast<uint64_t>(bytes); }
  uint64_t used() const { return used_; }

  // Once a turn: tells the process.
  void Tell() {
    process_.Replace(told_, used_);
    told_ = used_;
  }

  // Above a bound nothing is read; until a quarter of each is free.
  bool Exceeds() const {
    return used_ > limit_ || process_.used_bytes() > process_.limit_bytes();
  }
  bool IsRelieved() const {
    const uint64_t all = process_.limit_bytes();
    return used_ <= limit_ - limit_ / 4 &&
           process_.used_bytes() <= all - all / 4;
  }

  // A quarter above one, how much must go: of what all loops have too much,
  // this one's share.
  uint64_t ToShed() const {
    const uint64_t here = Excess(used_, limit_);
    const uint64_t all = process_.used_bytes();
    const uint64_t excess = Excess(all, process_.limit_bytes());
    if (excess == 0) return here;
    const double share = static_cast<double>(used_) / static_cast<double>(all);
    return std::max(here,
                    static_cast<uint64_t>(static_cast<double>(excess) * share));
  }

  // How much must go until reading goes on, if nothing goes by itself.
  uint64_t ToRelieve() const {
    const uint64_t relieved = limit_ - limit_ / 4;
    return used_ > relieved ? used_ - relieved : used_ / 4;
  }

  // So far above it that not even the end of the turn can be awaited.
  bool IsExhausted() const { return used_ > limit_ + limit_ / 2; }

 private:
  static uint64_t Excess(uint64_t used, uint64_t limit) {
    return used > limit + limit / 4 ? used - limit : 0;
  }

  const uint64_t limit_;
  MemoryBudget& process_;
  uint64_t used_ = 0;
  uint64_t told_ = 0;  // To the process.
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_INTERNAL_OVERLOAD_H_
