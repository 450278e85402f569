#include "fio/sock/file_range.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"
#include "fio/base/unique_fd.h"

namespace fio {
namespace {

#if !defined(O_PATH)  // Linux's and FreeBSD's.
#define O_PATH 0
#endif

absl::Status CheckReadable(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return ErrnoToStatus(errno, absl::StrCat("fcntl fd ", fd));
  const int access = flags & O_ACCMODE;
  if ((flags & O_PATH) == 0 && (access == O_RDONLY || access == O_RDWR)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fd ", fd, " is not open for reading"));
}

}  // namespace

absl::StatusOr<FileRange> FileRange::Borrow(int fd, uint64_t offset,
                                            uint64_t length) {
  struct stat file;
  if (fstat(fd, &file) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("fstat fd ", fd));
  }
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fd ", fd, " is no regular file"));
  }
  if (absl::Status readable = CheckReadable(fd); !readable.ok()) {
    return readable;
  }
  const auto size = static_cast<uint64_t>(file.st_size);
  if (offset >= size) {
    return absl::OutOfRangeError(absl::StrCat(
        "fd ", fd, " has ", size, " bytes, so none at offset ", offset));
  }
  const uint64_t rest = size - offset;
  return FileRange(fd, offset,
                   length == kToEnd ? rest : std::min(length, rest));
}

absl::StatusOr<FileRange> FileRange::Own(UniqueFd fd, uint64_t offset,
                                         uint64_t length) {
  absl::StatusOr<FileRange> range = Borrow(fd.get(), offset, length);
  if (range.ok()) range->owned_ = std::move(fd);
  return range;
}

}  // namespace fio
