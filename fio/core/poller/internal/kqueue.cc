#include "fio/core/poller/internal/kqueue.h"

#if defined(FIO_HAS_KQUEUE) && !defined(FIO_LIBKQUEUE)

#include <fcntl.h>

#include <cerrno>
#include <ctime>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/internal/poll_timeout.h"

namespace fio::poller_internal {

absl::StatusOr<std::unique_ptr<Kqueue>> Kqueue::Open() {
  UniqueFd queue = UniqueFd::Created(kqueue());
  if (!queue) return ErrnoToStatus(errno, "kqueue");
  fcntl(queue.get(), F_SETFD, FD_CLOEXEC);
  return std::make_unique<Kqueue>(std::move(queue));
}

Kqueue::Kqueue(UniqueFd queue) : queue_(std::move(queue)) {}

Kqueue::~Kqueue() {
  if (fork_count_ != ForkCount()) static_cast<void>(queue_.Release());
}

void Kqueue::Change(absl::Span<Event> changes) {
  const int count = static_cast<int>(changes.size());
  const timespec no_wait = {};
  if (kevent(queue_.get(), changes.data(), count, changes.data(), count,
             &no_wait) >= 0) {
    return;
  }
  for (Event& change : changes) change.data = errno;
}

int Kqueue::Wait(absl::Span<Event> events, MonotonicTime deadline,
                 const Clock& clock) {
  const int timeout_ms = PollTimeout(deadline, clock);
  const timespec timeout = {.tv_sec = timeout_ms / 1000,
                            .tv_nsec = timeout_ms % 1000 * 1'000'000L};
  return kevent(queue_.get(), nullptr, 0, events.data(),
                static_cast<int>(events.size()),
                timeout_ms < 0 ? nullptr : &timeout);
}

}  // namespace fio::poller_internal

#endif
