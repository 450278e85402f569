// The limit on the number of open descriptors of this process.

#ifndef FIO_CORE_PROCESS_DESCRIPTOR_LIMIT_H_
#define FIO_CORE_PROCESS_DESCRIPTOR_LIMIT_H_

#include <cstddef>

#include "absl/status/statusor.h"

namespace fio {

// Raises the soft limit (RLIMIT_NOFILE, see getrlimit(2)) to `wanted`, or to
// the hard limit if that is less, and returns the soft limit. Never lowers it.
// A limit that the system does not allow to raise stays as it is; that is
// logged as a warning.
//
// Errors: the errno of getrlimit(2), if the limit cannot be read. glibc calls
// prlimit64(2) for this; if a sandbox refuses that, the system call
// getrlimit(2) is tried on machines that have it.
absl::StatusOr<size_t> RaiseDescriptorLimit(size_t wanted);

}  // namespace fio

#endif  // FIO_CORE_PROCESS_DESCRIPTOR_LIMIT_H_
