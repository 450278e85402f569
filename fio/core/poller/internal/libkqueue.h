// A Libkqueue is a Kqueue (internal/kqueue.h) on libkqueue, a kqueue(2) that is
// built on epoll(7). It is only for testing the backend for the BSDs on Linux.
//
// Defects of libkqueue 2.3.1 (Debian's) that this class works around:
//  - A descriptor has one filter, not one per direction: EVFILT_WRITE gets a
//    duplicate of the descriptor.
//  - A filter that is deleted while kevent() has its event is used afterwards:
//    so a change waits until the thread in Wait() has left kevent().
//  - Closing a descriptor does not end its filters: delete them before.
//  - Closing a queue ends it later, on another thread, and closing a child's
//    copy may end the parent's: so queues are not closed but reused.
//  - kevent() rounds timeouts down, and accepts EV_RECEIPT but ignores it.
// Defects that remain: eventfd(2) is refused; the event that reports SO_ERROR
// of a socket also clears it.
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
  // A forked child shares the queue with its parent, and does not use it.
  ~Libkqueue();

  void Change(absl::Span<Event> changes);

  int Wait(absl::Span<Event> events, MonotonicTime deadline,
           const Clock& clock);

 private:
  struct Filters {
    bool reads = false;
    UniqueFd writer;  // The duplicate that EVFILT_WRITE watches.
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

  absl::Mutex kevent_;  // Held while kevent() waits.
  // By descriptor.
  std::vector<Filters> filters_ ABSL_GUARDED_BY(kevent_);
  std::vector<int> originals_ ABSL_GUARDED_BY(kevent_);  // Of duplicates.
};

}  // namespace fio::poller_internal

#endif  // defined(FIO_LIBKQUEUE)

#endif  // FIO_CORE_POLLER_INTERNAL_LIBKQUEUE_H_
