#include "fio/base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fio/base/syscalls.h"

namespace fio {

static_assert(STDIN_FILENO == 0 && STDERR_FILENO == 2);

int UniqueFd::Move(int fd) {
  const int moved = fcntl(fd, F_DUPFD_CLOEXEC, kLastStandardStream + 1);
  const int saved_errno = errno;
  // Takes the lowest free numbers, and so fills the streams.
  int null = -1;
  do {
    null = open("/dev/null", O_RDWR);  // NOLINT(android-cloexec-open)
  } while (null >= 0 && null <= kLastStandardStream);
  // dup2(2) closes what it replaces, without a moment in which the number is
  // free.
  if (null < 0 || dup2(null, fd) < 0) Sys().close(fd);
  if (null >= 0) Sys().close(null);
  errno = saved_errno;
  return moved;
}

void UniqueFd::Reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old < 0) return;
  const int saved_errno = errno;
  // No retry on EINTR: Linux has released the number by then, and a second
  // close could hit another thread's descriptor; see close(2).
  Sys().close(old);
  errno = saved_errno;
}

}  // namespace fio
