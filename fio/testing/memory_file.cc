#include "fio/testing/memory_file.h"

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <string_view>

#include "absl/log/absl_check.h"
#include "fio/base/unique_fd.h"

namespace fio::testing {

UniqueFd MemoryFile(std::string_view contents) {
  UniqueFd fd = UniqueFd::Created(memfd_create("fio", MFD_CLOEXEC));
  ABSL_CHECK(fd) << "memfd_create";
  while (!contents.empty()) {
    const ssize_t n = write(fd.get(), contents.data(), contents.size());
    ABSL_CHECK_GT(n, 0) << "write";
    contents.remove_prefix(static_cast<size_t>(n));
  }
  return fd;
}

}  // namespace fio::testing
