// How main() ends.

#ifndef FIO_CORE_EXIT_WITH_H_
#define FIO_CORE_EXIT_WITH_H_

#include "absl/status/status.h"

namespace fio {

// The exit code that says the same as `status`: 0, or 1 with the message in one
// line on stderr.
int ExitWith(const absl::Status& status);

}  // namespace fio

#endif  // FIO_CORE_EXIT_WITH_H_
