// A Kqueue is one kqueue(2), of the kernel or, with --define=kqueue=libkqueue,
// of libkqueue. FIO_HAS_KQUEUE is defined where there is either.
//
// Thread safety: any thread may call Change(), also while another is in Wait();
// Wait() is called by one thread at a time.

#ifndef FIO_CORE_POLLER_INTERNAL_KQUEUE_H_
#define FIO_CORE_POLLER_INTERNAL_KQUEUE_H_

#if defined(FIO_LIBKQUEUE)

#define FIO_HAS_KQUEUE 1

#include "fio/core/poller/internal/libkqueue.h"

namespace fio::poller_internal {

using Kqueue = Libkqueue;

}  // namespace fio::poller_internal

#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || \
    defined(__OpenBSD__) || defined(__DragonFly__)

#define FIO_HAS_KQUEUE 1

#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"

namespace fio::poller_internal {

class Kqueue {
 public:
  using Event = struct kevent;

  // Whether closing a descriptor ends its filters.
  static constexpr bool kCloseEndsFilters = true;

  // Errors: the errno of kqueue(2).
  static absl::StatusOr<std::unique_ptr<Kqueue> > Open();

  explicit Kqueue(UniqueFd queue);
  // A forked child does not inherit the kqueue, so nothing is closed there: the
  // number may belong to another descriptor.
  ~Kqueue();

  // Applies those of `changes` that are possible; then the `data` of each is 0
  // or its errno. REQUIRES: all have EV_RECEIPT.
  void Change(absl::Span<Event> changes);

  // Returns how many `events` it wrote: 0 at the deadline, -1 with errno on an
  // error.
  int Wait(absl::Span<Event> events, MonotonicTime deadline,
           const Clock& clock);

 private:
  const int fork_count_ = ForkCount();
  UniqueFd queue_;
};

}  // namespace fio::poller_internal

#endif

#endif  // FIO_CORE_POLLER_INTERNAL_KQUEUE_H_
