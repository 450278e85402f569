#include "fio/core/poller/internal/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"

namespace fio::poller_internal {
namespace {

// glibc's pipe() may be a pipe2().
int PlainPipe(int fds[2]) {
#if defined(SYS_pipe)
  return static_cast<int>(syscall(SYS_pipe, fds));
#else
  return pipe(fds);
#endif
}

// A fork() and exec() of another thread in between may leak a descriptor to the
// program.
bool OpenInSteps(int fds[2]) {
  if (PlainPipe(fds) != 0) return false;
  for (int i = 0; i < 2; ++i) {
    fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    fcntl(fds[i], F_SETFL, O_NONBLOCK);
  }
  return true;
}

bool OpenAtOnce(int fds[2]) {
#if defined(__APPLE__)  // The only one without pipe2().
  static_cast<void>(fds);
  errno = ENOSYS;
  return false;
#else
  return Sys().pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0;
#endif
}

}  // namespace

absl::StatusOr<Pipe> OpenPipe() {
  int fds[2];
  if (!OpenAtOnce(fds)) {
    const bool refused = errno == ENOSYS || errno == EPERM;
    if (!refused) return ErrnoToStatus(errno, "pipe2");
    if (!OpenInSteps(fds)) return ErrnoToStatus(errno, "pipe");
  }
  return Pipe{.read_end = UniqueFd::Created(fds[0]),
              .write_end = UniqueFd::Created(fds[1])};
}

}  // namespace fio::poller_internal
