#include "fio/base/unique_fd.h"

#include <cerrno>
#include <utility>

#include "fio/base/syscalls.h"

namespace fio {

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
