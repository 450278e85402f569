#include "fio/sock/file_range.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"

namespace fio {

absl::StatusOr<FileRange> FileRange::Borrow(int fd, uint64_t offset,
                                            uint64_t length) {
  struct stat file;
  if (fstat(fd, &file) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("fstat fd ", fd));
  }
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fd ", fd, " is no regular file"));
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
