#include "fio/core/poller/internal/why_not_watch.h"

#include <sys/stat.h>

#include <cerrno>

namespace fio::poller_internal {

int WhyNotWatch(int fd) {
  struct stat file;
  if (fstat(fd, &file) != 0) return errno;
  return S_ISREG(file.st_mode) || S_ISDIR(file.st_mode) ? EPERM : 0;
}

}  // namespace fio::poller_internal
