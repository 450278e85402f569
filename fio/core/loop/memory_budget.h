// A MemoryBudget bounds what the connections of several loops have queued and
// unread, in memory: those of a process.
//
// Thread safety: any thread.

#ifndef FIO_CORE_LOOP_MEMORY_BUDGET_H_
#define FIO_CORE_LOOP_MEMORY_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace fio {

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // The one that loops share unless LoopOptions say otherwise: 1 GiB.
  static MemoryBudget& OfProcess() {
    static MemoryBudget budget(uint64_t{1} << 30);
    return budget;
  }

  uint64_t limit_bytes() const {
    return limit_bytes_.load(std::memory_order_relaxed);
  }
  void set_limit_bytes(uint64_t bytes) {
    limit_bytes_.store(bytes, std::memory_order_relaxed);
  }

  // As of the last turn of each loop.
  uint64_t used_bytes() const {
    return used_bytes_.load(std::memory_order_relaxed);
  }

  // For loops: once a turn.
  void Replace(uint64_t before, uint64_t now) {
    if (before != now) {
      used_bytes_.fetch_add(now - before, std::memory_order_relaxed);
    }
  }

 private:
  std::atomic<uint64_t> limit_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_MEMORY_BUDGET_H_
