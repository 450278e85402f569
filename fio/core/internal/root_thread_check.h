// A RootThreadCheck says whether a root may fork a worker although it may have
// other threads; see RootThreads.
//
// Thread safety: none.

#ifndef FIO_CORE_INTERNAL_ROOT_THREAD_CHECK_H_
#define FIO_CORE_INTERNAL_ROOT_THREAD_CHECK_H_

#include "absl/status/status.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {

class RootThreadCheck {
 public:
  explicit RootThreadCheck(RootThreads asked);

  // With kWarn it logs once. Errors: kFailedPrecondition with kRefuse, if this
  // process has other threads, with their names.
  absl::Status MayFork(int place);

 private:
  RootThreads does_;  // Never kDefault.
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ROOT_THREAD_CHECK_H_
