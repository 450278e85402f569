// PollTimeout() turns a deadline into the timeout of poll(2) and epoll_wait(2).
//
// Thread safety: a pure function.

#ifndef FIO_CORE_POLLER_INTERNAL_POLL_TIMEOUT_H_
#define FIO_CORE_POLLER_INTERNAL_POLL_TIMEOUT_H_

#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"

namespace fio::poller_internal {

// Milliseconds from now, rounded up, so that no wait ends before its deadline;
// 0 if it has passed; -1, for ever, for InfiniteFuture. The longest is 24 days,
// after which a wait for more ends early. Asks `clock` only if it must.
int PollTimeout(MonotonicTime deadline, const Clock& clock);

}  // namespace fio::poller_internal

#endif  // FIO_CORE_POLLER_INTERNAL_POLL_TIMEOUT_H_
