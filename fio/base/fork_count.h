// ForkCount() differs between a forked child and its parent. ForksMade() is 0
// if no forked child can have copies of this process's descriptors.
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

// How many calls of fork(2) separate this process from the process that exec(3)
// started: 0 in that process, 1 in its children. A child of a direct clone(2)
// has the count of its parent.
inline int ForkCount() {
  return base_internal::fork_count.load(std::memory_order_relaxed);
}

// How many calls of fork(2) this process has made; a forked child begins at 0.
// A direct clone(2), posix_spawn(3) and vfork(2) are not counted. Children of
// the last two have copies of close-on-exec descriptors until their execve(2).
inline int ForksMade() {
  return base_internal::forks_made.load(std::memory_order_relaxed);
}

}  // namespace fio

#endif  // FIO_BASE_FORK_COUNT_H_
