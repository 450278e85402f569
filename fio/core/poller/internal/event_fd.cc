#include "fio/core/poller/internal/event_fd.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"

#if defined(__linux__)
#include <sys/eventfd.h>
#endif

namespace fio::poller_internal {

absl::StatusOr<UniqueFd> OpenEventFd() {
#if defined(__linux__)
  UniqueFd event =
      UniqueFd::Created(Sys().eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return ErrnoToStatus(errno, "eventfd");
  return event;
#else
  return absl::UnimplementedError("eventfd: this system has none");
#endif
}

}  // namespace fio::poller_internal
