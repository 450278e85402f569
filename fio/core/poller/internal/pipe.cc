#include "fio/core/poller/internal/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"

namespace fio::poller_internal {

absl::StatusOr<Pipe> OpenPipe() {
  int fds[2];
#if defined(__APPLE__)  // The only one without pipe2().
  if (pipe(fds) != 0) return absl::ErrnoToStatus(errno, "pipe");
  for (const int fd : fds) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
  }
#else
  if (Sys().pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
    return absl::ErrnoToStatus(errno, "pipe2");
  }
#endif
  return Pipe{.read_end = UniqueFd(fds[0]), .write_end = UniqueFd(fds[1])};
}

}  // namespace fio::poller_internal
