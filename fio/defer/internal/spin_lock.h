// A SpinLock guards what takes a few nanoseconds: to take it costs one atomic
// exchange and to leave it a store, half of what a mutex costs.
//
// Whoever waits spins, then gives its processor away, so that a holder that was
// preempted gets to go on. A lock may be destroyed by whoever holds it last.
//
// Thread safety: it is what makes others safe.

#ifndef FIO_DEFER_INTERNAL_SPIN_LOCK_H_
#define FIO_DEFER_INTERNAL_SPIN_LOCK_H_

#include <atomic>

#include "absl/base/thread_annotations.h"

namespace fio::defer_internal {

class ABSL_LOCKABLE SpinLock {
 public:
  // A lock that is not `needed`, since one thread alone takes it, is free.
  explicit SpinLock(bool needed = true) : needed_(needed) {}
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (needed_ && held_.exchange(true, std::memory_order_acquire)) Wait();
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    held_.store(false, std::memory_order_release);
  }

 private:
  void Wait();  // Returns with the lock.

  std::atomic<bool> held_{false};
  const bool needed_;
};

// Holds a lock for as long as it lives.
class ABSL_SCOPED_LOCKABLE SpinLockHolder {
 public:
  explicit SpinLockHolder(SpinLock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock)
      : lock_(lock) {
    lock_.Lock();
  }
  ~SpinLockHolder() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  SpinLockHolder(const SpinLockHolder&) = delete;
  SpinLockHolder& operator=(const SpinLockHolder&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace fio::defer_internal

#endif  // FIO_DEFER_INTERNAL_SPIN_LOCK_H_
