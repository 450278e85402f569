// CreatePoller() makes a Poller.

#ifndef FIO_CORE_POLLER_CREATE_POLLER_H_
#define FIO_CORE_POLLER_CREATE_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock`, which turns deadlines into timeouts, outlives the poller. kAuto asks
// the system for each kind in turn, epoll, kqueue and poll, and takes the first
// that it is given: a container may refuse what the kernel has. Errors: the
// errno of the system call that failed; kUnimplemented for a `kind` that this
// system lacks. kAuto fails as its last attempt.
absl::StatusOr<std::unique_ptr<Poller>> CreatePoller(
    const Clock& clock, PollerKind kind = PollerKind::kAuto);

}  // namespace fio

#endif  // FIO_CORE_POLLER_CREATE_POLLER_H_
