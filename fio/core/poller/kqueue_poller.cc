#include "fio/core/poller/kqueue_poller.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/core/poller/internal/kqueue.h"
#include "fio/core/poller/poller.h"

#if defined(FIO_HAS_KQUEUE)

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/why_not_watch.h"

namespace fio {
namespace {

using poller_internal::Kqueue;
using poller_internal::WhyNotWatch;

// A direction that the kernel is asked for.
struct Filter {
  Interest interest;
  decltype(Kqueue::Event::filter) name;
  unsigned fflags;
};

constexpr Filter kFilters[] = {
    {Interest::kReadable, EVFILT_READ, 0},
    {Interest::kWritable, EVFILT_WRITE, 0},
#if defined(EVFILT_EXCEPT) && defined(NOTE_OOB)
    {Interest::kPriority, EVFILT_EXCEPT, NOTE_OOB},
#endif
};

constexpr Interest kEverything =
    Interest::kReadable | Interest::kWritable | Interest::kPriority;

constexpr bool Has(Interest interest, const Filter& filter) {
  return (interest | filter.interest) == interest;
}

unsigned Flags(Trigger trigger) {
  switch (trigger) {
    case Trigger::kLevel:
    case Trigger::kLevelExclusive:
      return EV_ADD;
    case Trigger::kEdge:
      return EV_ADD | EV_CLEAR;
    case Trigger::kOneShot:
      break;
  }
  return EV_ADD | EV_ONESHOT;
}

// The readiness of an event. End and error of EVFILT_WRITE apply to both
// directions, like POLLHUP of poll(2).
uint32_t Bits(const Kqueue::Event& event) {
  uint32_t bits = Readiness::kPriority;
  if (event.filter == EVFILT_READ) bits = Readiness::kReadable;
  if (event.filter == EVFILT_WRITE) bits = Readiness::kWritable;
  if (bits == Readiness::kPriority) return bits;  // Its flags say no more.
  if (event.flags & EV_EOF) {
    bits |= bits == Readiness::kReadable ? Readiness::kReadClosed
                                         : Readiness::kHangUp;
  }
  if (event.fflags != 0) bits |= Readiness::kError;
  return bits;
}

absl::Status Error(int error, std::string_view call, int fd) {
  if (error == EINVAL || error == ENODEV) error = EPERM;  // As epoll_ctl(2).
  return ErrnoToStatus(error, absl::StrCat("kevent: ", call, " fd ", fd));
}

class KqueuePoller final : public Poller {
 public:
  KqueuePoller(const Clock& clock, std::unique_ptr<Kqueue> queue)
      : clock_(clock), queue_(std::move(queue)) {}

  PollerKind kind() const override { return PollerKind::kKqueue; }

 private:
  struct Watch {
    // The number of its latest change, which its filters carry; 0 if there is
    // no watch.
    uintptr_t change = 0;
    Token token = 0;
    uint64_t told_in = 0;    // The number of the Wait() that reported it last,
    uint32_t told_at = 0;    // and the place of the event there.
    bool is_waiting = true;  // kOneShot: not reported yet.
    Trigger trigger = Trigger::kLevel;
    Interest interest = Interest::kReadable;
  };

  // Changes of one descriptor: all that can be deleted and all that can be
  // added.
  class Changes {
   public:
    void Delete(int fd, Interest interest);
    void Add(int fd, const Watch& watch);
    // The first errno of what was to be added, or 0.
    int MakeBy(Kqueue& queue);

   private:
    void Append(int fd, const Filter& filter, unsigned flags, uintptr_t change);

    std::array<Kqueue::Event, 2 * std::size(kFilters)> changes_;
    size_t count_ = 0;
    size_t deletions_ = 0;  // They come first.
  };

  absl::Status AddFd(int fd, Token token, Interest interest,
                     Trigger trigger) override;
  absl::Status ModifyFd(int fd, Token token, Interest interest,
                        Trigger trigger) override;
  absl::Status RemoveFd(int fd) override;
  void ForgetFd(int fd) override;
  absl::StatusOr<size_t> WaitForEvents(absl::Span<Event> events,
                                       MonotonicTime deadline) override;

  size_t Tell(absl::Span<const Kqueue::Event> told, absl::Span<Event> events);
  Watch* Find(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(int fd, Watch& watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndFilters(int fd, Interest interest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const std::unique_ptr<Kqueue> queue_;
  uint64_t waits_ = 0;  // Of the waiting thread.

  absl::Mutex mutex_;
  std::vector<Watch> watches_ ABSL_GUARDED_BY(mutex_);  // By descriptor.
  uintptr_t last_change_ ABSL_GUARDED_BY(mutex_) = 0;
};

void KqueuePoller::Changes::Append(int fd, const Filter& filter, unsigned flags,
                                   uintptr_t change) {
  Kqueue::Event& event = changes_[count_++];
  event = {};
  event.ident = static_cast<uintptr_t>(fd);
  event.filter = filter.name;
  event.flags = static_cast<decltype(event.flags)>(flags | EV_RECEIPT);
  event.fflags = filter.fflags;
  event.udata = std::bit_cast<void*>(change);
}

void KqueuePoller::Changes::Delete(int fd, Interest interest) {
  for (const Filter& filter : kFilters) {
    if (Has(interest, filter)) Append(fd, filter, EV_DELETE, 0);
  }
  deletions_ = count_;
}

void KqueuePoller::Changes::Add(int fd, const Watch& watch) {
  for (const Filter& filter : kFilters) {
    if (!Has(watch.interest, filter)) continue;
    Append(fd, filter, Flags(watch.trigger), watch.change);
  }
}

int KqueuePoller::Changes::MakeBy(Kqueue& queue) {
  queue.Change(absl::MakeSpan(changes_.data(), count_));
  for (size_t i = deletions_; i < count_; ++i) {
    if (changes_[i].data != 0) return static_cast<int>(changes_[i].data);
  }
  return 0;  // What was not there to delete was a one-shot, or is closed.
}

absl::Status KqueuePoller::AddFd(int fd, Token token, Interest interest,
                                 Trigger trigger) {
  if (const int error = WhyNotWatch(fd)) return Error(error, "add", fd);
  absl::MutexLock lock(&mutex_);
  if (Find(fd) != nullptr) return Error(EEXIST, "add", fd);
  const auto number = static_cast<size_t>(fd);
  if (watches_.size() <= number) watches_.resize(number + 1);
  Watch& watch = watches_[number];
  watch = {.change = ++last_change_,
           .token = token,
           .trigger = trigger,
           .interest = interest};
  Changes changes;
  changes.Add(fd, watch);
  const int error = changes.MakeBy(*queue_);
  if (error == 0) return absl::OkStatus();
  Erase(fd, watch);
  return Error(error, "add", fd);
}

// Deletes and adds filters, because the kernel does not change the trigger of
// an existing one.
absl::Status KqueuePoller::ModifyFd(int fd, Token token, Interest interest,
                                    Trigger trigger) {
  const int closed = WhyNotWatch(fd);
  absl::MutexLock lock(&mutex_);
  Watch* const watch = Find(fd);
  if (closed != 0 && watch != nullptr) Erase(fd, *watch);
  if (closed != 0) return Error(closed, "modify", fd);
  if (watch == nullptr) return Error(ENOENT, "modify", fd);
  Watch before = *watch;
  *watch = {.change = ++last_change_,
            .token = token,
            .trigger = trigger,
            .interest = interest};
  Changes changes;
  changes.Delete(fd, before.interest);
  changes.Add(fd, *watch);
  const int error = changes.MakeBy(*queue_);
  if (error == 0) return absl::OkStatus();
  Changes undo;
  undo.Delete(fd, interest);
  before.change = ++last_change_;
  undo.Add(fd, before);
  *watch = before;
  if (undo.MakeBy(*queue_) != 0) Erase(fd, *watch);
  return Error(error, "modify", fd);
}

absl::Status KqueuePoller::RemoveFd(int fd) {
  const int closed = WhyNotWatch(fd);
  absl::MutexLock lock(&mutex_);
  Watch* const watch = Find(fd);
  if (watch != nullptr) Erase(fd, *watch);
  if (closed != 0) return Error(closed, "remove", fd);
  return watch != nullptr ? absl::OkStatus() : Error(ENOENT, "remove", fd);
}

void KqueuePoller::ForgetFd(int fd) {
  absl::MutexLock lock(&mutex_);
  Watch* const watch = Find(fd);
  if (watch == nullptr) return;
  if constexpr (Kqueue::kCloseEndsFilters) {
    *watch = {};
  } else {
    Erase(fd, *watch);
  }
}

absl::StatusOr<size_t> KqueuePoller::WaitForEvents(absl::Span<Event> events,
                                                   MonotonicTime deadline) {
  std::array<Kqueue::Event, 256> told;
  const auto room =
      absl::MakeSpan(told).first(std::min(told.size(), events.size()));
  for (;;) {
    const int count = queue_->Wait(room, deadline, clock_);
    if (count < 0) return ErrnoToStatus(errno, "kevent");
    const size_t kept = Tell(room.first(static_cast<size_t>(count)), events);
    // Otherwise no event is to be reported: wait again.
    if (count == 0 || kept > 0) return kept;
  }
}

// Returns how many `events` tell what was told, one per descriptor; not of a
// watch that has changed since.
size_t KqueuePoller::Tell(absl::Span<const Kqueue::Event> told,
                          absl::Span<Event> events) {
  ++waits_;
  size_t count = 0;
  absl::MutexLock lock(&mutex_);
  for (const Kqueue::Event& each : told) {
    const int fd = static_cast<int>(each.ident);
    Watch* const watch = Find(fd);
    if (watch == nullptr) {
      EndFilters(fd, kEverything);  // Of one that is still open after all.
      continue;
    }
    if (watch->change != std::bit_cast<uintptr_t>(each.udata)) continue;
    uint32_t bits = Bits(each);
    if (watch->told_in == waits_) {
      bits |= events[watch->told_at].readiness().bits();
      events[watch->told_at] = Event(watch->token, Readiness(bits));
      continue;
    }
    if (!watch->is_waiting) continue;
    watch->is_waiting = watch->trigger != Trigger::kOneShot;
    watch->told_in = waits_;
    watch->told_at = static_cast<uint32_t>(count);
    events[count++] = Event(watch->token, Readiness(bits));
  }
  return count;
}

KqueuePoller::Watch* KqueuePoller::Find(int fd) {
  const auto number = static_cast<size_t>(fd);  // Of -1: beyond all others.
  if (number >= watches_.size() || watches_[number].change == 0) return nullptr;
  return &watches_[number];
}

void KqueuePoller::Erase(int fd, Watch& watch) {
  EndFilters(fd, std::exchange(watch, {}).interest);
}

void KqueuePoller::EndFilters(int fd, Interest interest) {
  Changes changes;
  changes.Delete(fd, interest);
  changes.MakeBy(*queue_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> CreateKqueuePoller(const Clock& clock) {
  absl::StatusOr<std::unique_ptr<Kqueue>> queue = Kqueue::Open();
  if (!queue.ok()) return queue.status();
  return std::make_unique<KqueuePoller>(clock, *std::move(queue));
}

}  // namespace fio

#else

namespace fio {

absl::StatusOr<std::unique_ptr<Poller>> CreateKqueuePoller(const Clock&) {
  return absl::UnimplementedError("kqueue: this system has none");
}

}  // namespace fio

#endif  // defined(FIO_HAS_KQUEUE)
