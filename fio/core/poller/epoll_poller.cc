#include "fio/core/poller/epoll_poller.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/core/poller/poller.h"

#if defined(__linux__)

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/poll_timeout.h"

namespace fio {
namespace {

constexpr bool Same(Readiness::Bit bit, EPOLL_EVENTS event) {
  return uint32_t{bit} == uint32_t{event};
}
static_assert(Same(Readiness::kReadable, EPOLLIN) &&
              Same(Readiness::kPriority, EPOLLPRI) &&
              Same(Readiness::kWritable, EPOLLOUT) &&
              Same(Readiness::kError, EPOLLERR) &&
              Same(Readiness::kHangUp, EPOLLHUP) &&
              Same(Readiness::kReadClosed, EPOLLRDHUP));
static_assert(sizeof(Event) == sizeof(epoll_event));
static_assert(alignof(Event) == alignof(epoll_event));

uint32_t EpollEvents(Interest interest, Trigger trigger) {
  uint32_t events = 0;
  if (interest.readable()) events |= EPOLLIN;
  if (interest.writable()) events |= EPOLLOUT;
  if (interest.priority()) events |= EPOLLPRI;
  if (trigger == Trigger::kEdge) events |= EPOLLET;
  if (trigger == Trigger::kOneShot) events |= EPOLLONESHOT;
  if (trigger == Trigger::kLevelExclusive) {
    events |= EPOLLEXCLUSIVE;  // Goes with few others; see epoll_ctl(2).
  } else if (interest.readable()) {
    events |= EPOLLRDHUP;
  }
  return events;
}

class EpollPoller final : public Poller {
 public:
  EpollPoller(const Clock& clock, UniqueFd epoll)
      : clock_(clock), epoll_(std::move(epoll)) {}

  PollerKind kind() const override { return PollerKind::kEpoll; }
  int fd() const override { return epoll_.get(); }

 private:
  absl::Status AddFd(int fd, Token token, Interest interest,
                     Trigger trigger) override {
    return Control(
        EPOLL_CTL_ADD, "ADD", fd,
        {.events = EpollEvents(interest, trigger), .data = {.u64 = token}});
  }
  absl::Status ModifyFd(int fd, Token token, Interest interest,
                        Trigger trigger) override {
    if (trigger != Trigger::kLevelExclusive) {
      absl::Status modified = Control(
          EPOLL_CTL_MOD, "MOD", fd,
          {.events = EpollEvents(interest, trigger), .data = {.u64 = token}});
      if (!absl::IsInvalidArgument(modified)) return modified;
    }
    // The kernel modifies no watch from or to EPOLLEXCLUSIVE.
    absl::Status removed = RemoveFd(fd);
    return removed.ok() ? AddFd(fd, token, interest, trigger) : removed;
  }
  absl::Status RemoveFd(int fd) override {
    return Control(EPOLL_CTL_DEL, "DEL", fd, {});
  }
  void ForgetFd(int /*fd*/) override {}  // Its close ends the watch.

  absl::StatusOr<size_t> WaitForEvents(absl::Span<Event> events,
                                       MonotonicTime deadline) override {
    const size_t room = std::min<size_t>(
        events.size(), std::numeric_limits<int>::max() / sizeof(epoll_event));
    const int count = Sys().epoll_wait(
        epoll_.get(), reinterpret_cast<epoll_event*>(events.data()),
        static_cast<int>(room), poller_internal::PollTimeout(deadline, clock_));
    if (count < 0) return ErrnoToStatus(errno, "epoll_wait");
    return static_cast<size_t>(count);
  }

  absl::Status Control(int operation, std::string_view name, int fd,
                       epoll_event event) {
    if (Sys().epoll_ctl(epoll_.get(), operation, fd, &event) == 0) {
      return absl::OkStatus();
    }
    return ErrnoToStatus(errno, absl::StrCat("epoll_ctl ", name, " fd ", fd));
  }

  const Clock& clock_;
  const UniqueFd epoll_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> CreateEpollPoller(const Clock& clock) {
  UniqueFd epoll = UniqueFd::Created(Sys().epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return ErrnoToStatus(errno, "epoll_create1");
  return std::make_unique<EpollPoller>(clock, std::move(epoll));
}

}  // namespace fio

#else

namespace fio {

absl::StatusOr<std::unique_ptr<Poller>> CreateEpollPoller(const Clock&) {
  return absl::UnimplementedError("epoll: this system has none");
}

}  // namespace fio

#endif  // defined(__linux__)
