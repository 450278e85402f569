// ForkCount() tells a forked child from its parent.
//
// Thread safety: any thread.

#ifndef FIO_BASE_FORK_COUNT_H_
#define FIO_BASE_FORK_COUNT_H_

#include <atomic>

namespace fio {
namespace base_internal {

extern std::atomic<int> fork_count;

}  // namespace base_internal

// How many calls of fork(2) lie between this process and the one that loaded
// the program. A child of a bare clone(2) counts as its parent.
inline int ForkCount() {
  return base_internal::fork_count.load(std::memory_order_relaxed);
}

}  // namespace fio

#endif  // FIO_BASE_FORK_COUNT_H_
