// fio neither throws nor catches. An exception that leaves a callback would
// pass through code that is not made for it, so it ends the process at once,
// and stderr says whose callback that was.
//
// Thread safety: any thread.

#ifndef FIO_BASE_NO_THROW_H_
#define FIO_BASE_NO_THROW_H_

#include <string_view>
#include <utility>

#include "absl/base/config.h"

namespace fio {

// Writes "fio: an exception has left a callback of NAME" to stderr and calls
// std::terminate(), which says what was thrown. REQUIRES: in a catch block.
[[noreturn]] void TerminateForException(std::string_view name);

// Calls `call`. If it throws, this does not return: see above. `name` is called
// for the name then, and must not throw.
template <typename Name, typename Call>
void NoThrow(Name name, Call&& call) {
#ifdef ABSL_HAVE_EXCEPTIONS
  try {
    std::forward<Call>(call)();
  } catch (...) {
    TerminateForException(name());
  }
#else
  std::forward<Call>(call)();
#endif
}

}  // namespace fio

#endif  // FIO_BASE_NO_THROW_H_
