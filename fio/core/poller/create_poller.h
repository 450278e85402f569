// CreatePoller() makes the Poller that suits this machine.

#ifndef FIO_CORE_POLLER_CREATE_POLLER_H_
#define FIO_CORE_POLLER_CREATE_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock`, which turns deadlines into timeouts, outlives the poller. Errors:
// the errno of the system call that failed.
absl::StatusOr<std::unique_ptr<Poller>> CreatePoller(const Clock& clock);

}  // namespace fio

#endif  // FIO_CORE_POLLER_CREATE_POLLER_H_
