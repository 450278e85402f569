// Runners of a NameTable that are threads.

#ifndef FIO_CORE_INTERNAL_ASK_THREADS_H_
#define FIO_CORE_INTERNAL_ASK_THREADS_H_

#include <memory>

#include "absl/status/status.h"
#include "fio/core/internal/name_table.h"

namespace fio::core_internal {

// Starts a detached thread that resolves the names of `names` and ends when
// none waits. All signals are blocked in it, so that signals go to the threads
// that expect them. Errors: that of pthread_create(3).
absl::Status StartAskThread(std::shared_ptr<NameTable> names);

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ASK_THREADS_H_
