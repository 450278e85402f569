// The end of main(): a Status as an exit code.

#ifndef FIO_CORE_EXIT_WITH_H_
#define FIO_CORE_EXIT_WITH_H_

#include "absl/status/status.h"

namespace fio {

// Returns the exit code for `status`: 0 if it is ok, else 1, after printing its
// message as one line on stderr.
//
// Ignores SIGPIPE from then on: if the reader of the output is gone, printing
// in this function and in callbacks for LifecycleEvent::kAtExit does not change
// the exit code. Call it at the end of main().
int ExitWith(const absl::Status& status);

}  // namespace fio

#endif  // FIO_CORE_EXIT_WITH_H_
