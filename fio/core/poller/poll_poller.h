// The Poller on poll(2), for systems without better. Wait() costs in proportion
// to what is watched, and so do few, idle descriptors as well as many busy
// ones.
//
// Edges are made here: once told, a direction is not asked for again until
// MarkDrained() or Modify(). So kEdge needs MarkDrained(), and new bytes before
// it are not told.
//
// A descriptor that is closed without Remove() is dropped when it is next asked
// for; if its number was given to another before, that one is watched instead.
//
// Thread safety: as Poller. Another thread that changes what is watched while
// one is in Wait() interrupts it for a moment.

#ifndef FIO_CORE_POLLER_POLL_POLLER_H_
#define FIO_CORE_POLLER_POLL_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock` outlives the poller. Errors: the errno of pipe(2).
absl::StatusOr<std::unique_ptr<Poller>> CreatePollPoller(const Clock& clock);

}  // namespace fio

#endif  // FIO_CORE_POLLER_POLL_POLLER_H_
