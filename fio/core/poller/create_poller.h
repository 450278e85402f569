// CreatePoller() makes a Poller.

#ifndef FIO_CORE_POLLER_CREATE_POLLER_H_
#define FIO_CORE_POLLER_CREATE_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock` converts deadlines to timeouts and must outlive the poller. kAuto
// tries epoll, kqueue and poll, and takes the first that the system grants: a
// container may refuse one that the kernel has. Errors: the errno of the system
// call that failed; kUnimplemented for a `kind` that this system lacks. kAuto
// returns the error of its last attempt.
absl::StatusOr<std::unique_ptr<Poller>> CreatePoller(
    const Clock& clock, PollerKind kind = PollerKind::kAuto);

}  // namespace fio

#endif  // FIO_CORE_POLLER_CREATE_POLLER_H_
