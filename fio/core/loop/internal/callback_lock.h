// A CallbackLock keeps the loop's callbacks of one connection apart from other
// threads that have locked its protocol (ProtocolLock). Nobody waits: whoever
// comes second goes away, and the loop is told when to come again.
//
// The loop enters for every callback, others lock now and then. So the loop's
// side is two plain memory accesses, and the others pay for the order between
// them by membarrier(2); where the kernel lacks it, the loop pays.
//
// Thread safety: Enter(), Leave() and Break() on the loop's thread, the rest on
// any.

#ifndef FIO_CORE_LOOP_INTERNAL_CALLBACK_LOCK_H_
#define FIO_CORE_LOOP_INTERNAL_CALLBACK_LOCK_H_

#include <atomic>
#include <cstdint>

namespace fio::loop_internal {

// Whether this process has membarrier(2) and may use it.
bool UseMembarrier();

// Orders what this thread did before against what others do after, on every
// thread of the process. REQUIRES: UseMembarrier().
void Membarrier();

class CallbackLock {
 public:
  // Bits. OnData() and the like exclude each other and tasks, OnReady() and
  // OnTimeout() each other; one of the first may run beside one of the second.
  enum Kind : uint8_t { kNone = 0, kTask = 1, kWrite = 2, kBoth = 3 };

  // Whether the loop may run callbacks of this kind now; if not, the Unlock()
  // that lets it is told to say so. REQUIRES: `membarrier` is UseMembarrier().
  bool Enter(Kind kind, bool membarrier) {
    for (;;) {
      const auto before = running_.load(std::memory_order_relaxed);
      const auto entered = static_cast<uint8_t>(before | kind);
      if (membarrier) {
        running_.store(entered, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
      } else {
        running_.exchange(entered, std::memory_order_seq_cst);
      }
      if ((held_.load(std::memory_order_seq_cst) & kind) == 0) return true;
      running_.store(before, std::memory_order_release);
      const uint8_t held = held_.fetch_or(kWanted, std::memory_order_acq_rel);
      if ((held & kind) != 0) return false;
    }
  }
  void Leave(Kind kind) {
    running_.store(
        static_cast<uint8_t>(running_.load(std::memory_order_relaxed) & ~kind),
        std::memory_order_release);
  }
  // Takes the lock from who has it.
  void Break() { held_.store(kNone, std::memory_order_release); }

  enum class Attempt {
    kLocked,
    kBusy,
    kBusyAndWanted,  // And the loop was turned away, as by Unlock().
  };
  Attempt TryLock(Kind kind, bool membarrier) {
    if ((held_.fetch_or(kind, std::memory_order_seq_cst) & kind) != 0) {
      return Attempt::kBusy;
    }
    if (membarrier) Membarrier();
    if ((running_.load(std::memory_order_seq_cst) & kind) == 0) {
      return Attempt::kLocked;
    }
    return Unlock(kind) ? Attempt::kBusyAndWanted : Attempt::kBusy;
  }
  // True if the loop was turned away meanwhile: tell it to come again.
  [[nodiscard]] bool Unlock(Kind kind) {
    const auto left = static_cast<uint8_t>(~(kind | kWanted));
    return (held_.fetch_and(left, std::memory_order_acq_rel) & kWanted) != 0;
  }

 private:
  static constexpr uint8_t kWanted = 4;

  std::atomic<uint8_t> running_{0};  // Kinds whose callback runs.
  std::atomic<uint8_t> held_{0};     // Kinds that are locked, and kWanted.
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_INTERNAL_CALLBACK_LOCK_H_
