// Helpers for the on_finish callbacks of listeners, connectors and timers.
//
// Thread safety: none.

#ifndef FIO_CORE_INTERNAL_ON_FINISH_H_
#define FIO_CORE_INTERNAL_ON_FINISH_H_

#include <functional>
#include <utility>

#include "fio/base/fork_count.h"

namespace fio::core_internal {

inline void CallIfAny(const std::function<void()>& callback) {
  if (callback != nullptr) callback();
}

// For callbacks that a loop calls when it drops something: the result does
// nothing in a forked child that has inherited the loop.
inline std::function<void()> OnlyInThisProcess(
    std::function<void()> on_finish) {
  return [on_finish = std::move(on_finish), forks = ForkCount()] {
    if (forks == ForkCount()) CallIfAny(on_finish);
  };
}

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ON_FINISH_H_
