#include "fio/core/poller/internal/libkqueue.h"

#if defined(FIO_LIBKQUEUE)

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/internal/poll_timeout.h"

namespace fio::poller_internal {
namespace {

// Queues that are not in use, each with the EVFILT_USER that interrupts it.
struct IdleQueues {
  absl::Mutex mutex;
  int fork_count ABSL_GUARDED_BY(mutex) = 0;
  std::vector<int> queues ABSL_GUARDED_BY(mutex);

  static IdleQueues& Instance() {
    static IdleQueues& instance = *new IdleQueues;
    return instance;
  }
};

Libkqueue::Event Interrupt(decltype(Libkqueue::Event::flags) flags,
                           unsigned fflags) {
  return {.ident = 0,
          .filter = EVFILT_USER,
          .flags = flags,
          .fflags = fflags,
          .data = 0,
          .udata = nullptr};
}

// Returns the errno of one change, or 0.
intptr_t MakeOne(int queue, Libkqueue::Event change) {
  change.flags |= EV_RECEIPT;
  Libkqueue::Event receipt = {};
  const timespec no_wait = {};
  if (kevent(queue, &change, 1, &receipt, 1, &no_wait) < 0) return errno;
  return receipt.data == EFAULT ? EINVAL : receipt.data;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Libkqueue>> Libkqueue::Open() {
  IdleQueues& idle = IdleQueues::Instance();
  absl::MutexLock lock(&idle.mutex);
  if (idle.fork_count != ForkCount()) {  // They are the parent's.
    idle.fork_count = ForkCount();
    idle.queues.clear();
  }
  if (!idle.queues.empty()) {
    const int queue = idle.queues.back();
    idle.queues.pop_back();
    return std::make_unique<Libkqueue>(queue);
  }
  const int queue = kqueue();
  if (queue < 0) return ErrnoToStatus(errno, "kqueue");
  const intptr_t error = MakeOne(queue, Interrupt(EV_ADD | EV_CLEAR, 0));
  if (error != 0) {
    return ErrnoToStatus(static_cast<int>(error), "kevent");
  }
  return std::make_unique<Libkqueue>(queue);
}

Libkqueue::~Libkqueue() {
  if (fork_count_ != ForkCount()) return;
  {
    absl::MutexLock lock(&kevent_);
    for (size_t fd = 0; fd < filters_.size(); ++fd) {
      Event end = {};
      end.ident = fd;
      end.flags = EV_DELETE;
      for (const int filter : {EVFILT_READ, EVFILT_WRITE}) {
        end.filter = static_cast<decltype(end.filter)>(filter);
        Make(end);
      }
    }
  }
  IdleQueues& idle = IdleQueues::Instance();
  absl::MutexLock lock(&idle.mutex);
  idle.queues.push_back(queue_);
}

void Libkqueue::Change(absl::Span<Event> changes) {
  if (!kevent_.TryLock()) {
    ++changers_;
    MakeOne(queue_, Interrupt(0, NOTE_TRIGGER));
    kevent_.Lock();
    --changers_;
  }
  for (Event& change : changes) change.data = Make(change);
  kevent_.Unlock();
}

intptr_t Libkqueue::Make(const Event& change) {
  if (change.ident >= filters_.size()) filters_.resize(change.ident + 1);
  if (change.filter == EVFILT_WRITE) return MakeForWriter(change);
  bool& reads = filters_[change.ident].reads;
  const bool adds = change.flags & EV_ADD;
  if (!adds && !std::exchange(reads, false)) return ENOENT;
  const intptr_t error = MakeOne(queue_, change);
  if (adds) reads = error == 0;
  return error;
}

intptr_t Libkqueue::MakeForWriter(Event change) {
  UniqueFd& writer = filters_[change.ident].writer;
  const bool adds = change.flags & EV_ADD;
  if (!adds && !writer) return ENOENT;
  const int original = static_cast<int>(change.ident);
  if (adds)
    writer = UniqueFd(fcntl(original, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!writer) return errno;
  change.ident = static_cast<uintptr_t>(writer.get());
  if (change.ident >= originals_.size()) originals_.resize(change.ident + 1);
  originals_[change.ident] = original;
  const intptr_t error = MakeOne(queue_, change);
  if (!adds || error != 0) writer.Reset();
  return error;
}

int Libkqueue::Wait(absl::Span<Event> events, MonotonicTime deadline,
                    const Clock& clock) {
  const auto nobody_interrupts = [this] { return changers_ == 0; };
  for (;;) {
    kevent_.LockWhen(absl::Condition(&nobody_interrupts));
    const int count = WaitOnce(events, PollTimeout(deadline, clock));
    const int error = errno;
    const size_t told =
        count > 0 ? Translate(events.first(static_cast<size_t>(count))) : 0;
    kevent_.Unlock();
    errno = error;
    if (count <= 0) return count;
    if (told > 0) return static_cast<int>(told);
  }
}

int Libkqueue::WaitOnce(absl::Span<Event> events, int timeout_ms) {
  const timespec timeout = {.tv_sec = timeout_ms / 1000,
                            .tv_nsec = timeout_ms % 1000 * 1'000'000L};
  return kevent(queue_, nullptr, 0, events.data(),
                static_cast<int>(events.size()),
                timeout_ms < 0 ? nullptr : &timeout);
}

// Leaves out interruptions and names writers by their originals; returns how
// many are left.
size_t Libkqueue::Translate(absl::Span<Event> events) {
  const auto end = std::remove_if(
      events.begin(), events.end(),
      [](const Event& event) { return event.filter == EVFILT_USER; });
  for (auto event = events.begin(); event != end; ++event) {
    if (event->filter != EVFILT_WRITE) continue;
    event->ident = static_cast<uintptr_t>(originals_[event->ident]);
  }
  return static_cast<size_t>(end - events.begin());
}

}  // namespace fio::poller_internal

#endif  // defined(FIO_LIBKQUEUE)
