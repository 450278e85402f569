// How many descriptors this process may have open.

#ifndef FIO_CORE_PROCESS_DESCRIPTOR_LIMIT_H_
#define FIO_CORE_PROCESS_DESCRIPTOR_LIMIT_H_

#include <cstddef>

#include "absl/status/statusor.h"

namespace fio {

// Raises the soft limit (RLIMIT_NOFILE, see getrlimit(2)) to `wanted`, or to
// the hard limit if that is less, and returns the soft limit. Never lowers it.
// Errors: the errno of the system call that failed.
absl::StatusOr<size_t> RaiseDescriptorLimit(size_t wanted);

}  // namespace fio

#endif  // FIO_CORE_PROCESS_DESCRIPTOR_LIMIT_H_
