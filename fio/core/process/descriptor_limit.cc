#include "fio/core/process/descriptor_limit.h"

#include <sys/resource.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/errno_status.h"

namespace fio {
namespace {

// The C library makes both by prlimit64(2). The older system calls take the
// same struct where a long has 64 bits.
#if defined(SYS_getrlimit) && defined(SYS_setrlimit) && defined(__LP64__)
int OlderGet(rlimit* limit) {
  return static_cast<int>(syscall(SYS_getrlimit, RLIMIT_NOFILE, limit));
}
int OlderSet(const rlimit* limit) {
  return static_cast<int>(syscall(SYS_setrlimit, RLIMIT_NOFILE, limit));
}
#else
int OlderGet(rlimit* /*limit*/) { return -1; }
int OlderSet(const rlimit* /*limit*/) { return -1; }
#endif

bool GetLimit(rlimit& limit) {
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 || OlderGet(&limit) == 0;
}

bool SetLimit(const rlimit& limit) {
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 || OlderSet(&limit) == 0;
}

}  // namespace

absl::StatusOr<size_t> RaiseDescriptorLimit(size_t wanted) {
  rlimit limit;
  if (!GetLimit(limit)) {
    return ErrnoToStatus(errno, "getrlimit RLIMIT_NOFILE");
  }
  const rlim_t raised = std::min<rlim_t>(wanted, limit.rlim_max);
  if (raised <= limit.rlim_cur) return static_cast<size_t>(limit.rlim_cur);
  const rlimit asked = {.rlim_cur = raised, .rlim_max = limit.rlim_max};
  if (!SetLimit(asked)) {
    ABSL_LOG(WARNING) << "setrlimit RLIMIT_NOFILE " << raised << ": "
                      << std::strerror(errno) << "; the limit stays "
                      << limit.rlim_cur;
    return static_cast<size_t>(limit.rlim_cur);
  }
  return static_cast<size_t>(raised);
}

}  // namespace fio
