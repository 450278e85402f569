// PollTimeout() converts a deadline to the timeout of poll(2) and
// epoll_wait(2).
//
// Thread safety: any thread.

#ifndef FIO_CORE_POLLER_INTERNAL_POLL_TIMEOUT_H_
#define FIO_CORE_POLLER_INTERNAL_POLL_TIMEOUT_H_

#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"

namespace fio::poller_internal {

// Milliseconds from now, rounded up, so that no wait ends before its deadline;
// 0 if it has passed; -1 (no limit) for InfiniteFuture. At most 24 days: a
// longer wait ends early. Calls `clock` only if it must.
int PollTimeout(MonotonicTime deadline, const Clock& clock);

}  // namespace fio::poller_internal

#endif  // FIO_CORE_POLLER_INTERNAL_POLL_TIMEOUT_H_
