// A Libkqueue is a Kqueue (internal/kqueue.h) of libkqueue, the kqueue(2) that
// is built on epoll(7): with it the backend for the BSDs is tested on Linux.
// It is not meant for use.
//
// libkqueue 2.3.1, Debian's, lacks what is made up for here:
//  - A descriptor has one filter, not one per direction: EVFILT_WRITE gets a
//    duplicate of the descriptor.
//  - A filter that dies while kevent() has its event is used after its end: so
//    a change waits until the thread in Wait() is out of kevent().
//  - Close of a descriptor does not end its filters: delete them before.
//  - Close of a queue ends it later, on another thread, and the close of a
//    child's may end its parent's: so queues are not closed but used anew.
//  - kevent() rounds timeouts down, and takes EV_RECEIPT but not its answer.
// What stays: eventfd(2) is refused; SO_ERROR of a socket is taken by the event
// that tells of it.
//
// Thread safety: as Kqueue.

#ifndef FIO_CORE_POLLER_INTERNAL_LIBKQUEUE_H_
#define FIO_CORE_POLLER_INTERNAL_LIBKQUEUE_H_

#if defined(FIO_LIBKQUEUE)

#include <kqueue/sys/event.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"

namespace fio::poller_internal {

class Libkqueue {
 public:
  using Event = struct kevent;

  static constexpr bool kCloseEndsFilters = false;

  static absl::StatusOr<std::unique_ptr<Libkqueue>> Open();

  explicit Libkqueue(int queue) : queue_(queue) {}
  // A forked child shares the queue with its parent, and leaves it alone.
  ~Libkqueue();

  void Change(absl::Span<Event> changes);

  int Wait(absl::Span<Event> events, MonotonicTime deadline,
           const Clock& clock);

 private:
  struct Filters {
    bool reads = false;
    UniqueFd writer;  // The duplicate of which EVFILT_WRITE is.
  };

  intptr_t Make(const Event& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(kevent_);
  intptr_t MakeForWriter(Event change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(kevent_);
  int WaitOnce(absl::Span<Event> events, int timeout_ms)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(kevent_);
  size_t Translate(absl::Span<Event> events)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(kevent_);

  const int fork_count_ = ForkCount();
  const int queue_;
  std::atomic<int> changers_ = 0;  // Threads that interrupt Wait().

  absl::Mutex kevent_;  // Held in kevent(), for as long as it waits.
  // By descriptor.
  std::vector<Filters> filters_ ABSL_GUARDED_BY(kevent_);
  std::vector<int> originals_ ABSL_GUARDED_BY(kevent_);  // Of duplicates.
};

}  // namespace fio::poller_internal

#endif  // defined(FIO_LIBKQUEUE)

#endif  // FIO_CORE_POLLER_INTERNAL_LIBKQUEUE_H_
