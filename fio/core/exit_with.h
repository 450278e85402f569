// How main() ends.

#ifndef FIO_CORE_EXIT_WITH_H_
#define FIO_CORE_EXIT_WITH_H_

#include "absl/status/status.h"

namespace fio {

// Returns the exit code for `status`: 0 if it is ok, else 1, after printing its
// message as one line on stderr.
//
// Ignores SIGPIPE from then on: if nobody reads the output any more, what this
// function and callbacks for LifecycleEvent::kAtExit print does not change the
// exit code. Call it at the end of main().
int ExitWith(const absl::Status& status);

}  // namespace fio

#endif  // FIO_CORE_EXIT_WITH_H_
