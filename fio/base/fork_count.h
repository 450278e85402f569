// ForkCount() tells a forked child from its parent; ForksMade() tells whether
// there may be children that have copies of this process's descriptors.
//
// Thread safety: any thread.

#ifndef FIO_BASE_FORK_COUNT_H_
#define FIO_BASE_FORK_COUNT_H_

#include <atomic>

namespace fio {
namespace base_internal {

extern std::atomic<int> fork_count;
extern std::atomic<int> forks_made;

}  // namespace base_internal

// How many calls of fork(2) are between this process and the process that was
// started by exec(3). A child that was made by clone(2) directly has the count
// of its parent.
inline int ForkCount() {
  return base_internal::fork_count.load(std::memory_order_relaxed);
}

// How many calls of fork(2) this process has made; a forked child begins at 0.
// Does not count a bare clone(2), nor posix_spawn(3) and vfork(2), whose
// children keep a copy of a close-on-exec descriptor until their execve(2).
inline int ForksMade() {
  return base_internal::forks_made.load(std::memory_order_relaxed);
}

}  // namespace fio

#endif  // FIO_BASE_FORK_COUNT_H_
