// The Poller on kqueue(2) of the BSDs and macOS. On Linux it exists with
// --define=kqueue=libkqueue, for tests only (internal/libkqueue.h).
//
// Thread safety: as Poller.

#ifndef FIO_CORE_POLLER_KQUEUE_POLLER_H_
#define FIO_CORE_POLLER_KQUEUE_POLLER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/poller.h"

namespace fio {

// `clock` must outlive the poller. Errors: the errno of kqueue(2);
// kUnimplemented on other systems.
absl::StatusOr<std::unique_ptr<Poller>> CreateKqueuePoller(const Clock& clock);

}  // namespace fio

#endif  // FIO_CORE_POLLER_KQUEUE_POLLER_H_
