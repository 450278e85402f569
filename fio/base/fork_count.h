// ForkCount() is different in a forked child and in its parent.
//
// Thread safety: any thread.

#ifndef FIO_BASE_FORK_COUNT_H_
#define FIO_BASE_FORK_COUNT_H_

#include <atomic>

namespace fio {
namespace base_internal {

extern std::atomic<int> fork_count;

}  // namespace base_internal

// How many calls of fork(2) are between this process and the process that was
// started by exec(3). A child that was made by clone(2) directly has the count
// of its parent.
inline int ForkCount() {
  return base_internal::fork_count.load(std::memory_order_relaxed);
}

}  // namespace fio

#endif  // FIO_BASE_FORK_COUNT_H_
