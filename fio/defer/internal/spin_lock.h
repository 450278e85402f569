// A SpinLock protects a few nanoseconds of work. Lock() costs one atomic
// exchange and Unlock() one store, half of what a mutex costs.
//
// A thread that waits for the lock first spins briefly. Then it yields the
// processor, so that a preempted holder can run. After SpinWait::kYields
// attempts it sleeps for SpinWait::kSleepMicroseconds between two attempts. So
// a waiter of a higher real-time priority does not keep the holder from
// running. There is no queue: any waiter may be next.
//
// The last thread that holds a lock may destroy it right after Unlock().
//
// Thread safety: any thread.

#ifndef FIO_DEFER_INTERNAL_SPIN_LOCK_H_
#define FIO_DEFER_INTERNAL_SPIN_LOCK_H_

#include <atomic>

#include "absl/base/thread_annotations.h"

namespace fio::defer_internal {

class ABSL_LOCKABLE SpinLock {
 public:
  // If `needed` is false, Lock() does nothing: for a lock that only one thread
  // uses.
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

// Holds a lock during its lifetime.
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
