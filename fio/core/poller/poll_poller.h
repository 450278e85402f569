// The Poller on poll(2), for systems without a better one. The cost of Wait()
// is proportional to the number of watched descriptors, idle or busy.
//
// kEdge is emulated: once reported, a direction is not polled again until
// MarkDrained() or Modify(). So kEdge needs MarkDrained(), and bytes that
// arrive before it cause no event.
//
// A descriptor that is closed without Remove() is dropped at the next Wait().
// If its number was reused before that, the new descriptor is watched instead.
//
// Thread safety: as Poller. If a thread changes what is watched while another
// is in Wait(), it interrupts that Wait() briefly.

#ifndef FIO_CORE_POLLER_POLL_POLLER_H_
#define FIO_CORE_POLLER_POLL_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock` must outlive the poller. Errors: the errno of pipe(2).
absl::StatusOr<std::unique_ptr<Poller>> CreatePollPoller(const Clock& clock);

}  // namespace fio

#endif  // FIO_CORE_POLLER_POLL_POLLER_H_
