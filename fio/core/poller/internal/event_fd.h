// OpenEventFd() opens an eventfd(2) that is non-blocking and closed on exec(3).
//
// Thread safety: any thread.

#ifndef FIO_CORE_POLLER_INTERNAL_EVENT_FD_H_
#define FIO_CORE_POLLER_INTERNAL_EVENT_FD_H_

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"

namespace fio::poller_internal {

// Errors: the errno of eventfd(2), which a sandbox may refuse; kUnimplemented
// if this system has none. Use a pipe then.
absl::StatusOr<UniqueFd> OpenEventFd();

}  // namespace fio::poller_internal

#endif  // FIO_CORE_POLLER_INTERNAL_EVENT_FD_H_
