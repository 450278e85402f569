#include "fio/core/poller/epoll_poller.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"

namespace fio {
namespace {

// More than this come in the next Wait().
constexpr size_t kMaxBatch = 512;

uint32_t EpollEvents(Interest interest, Trigger trigger) {
  const auto bits = static_cast<uint8_t>(interest);
  uint32_t events = 0;
  if (bits & static_cast<uint8_t>(Interest::kReadable)) {
    events |= EPOLLIN | EPOLLRDHUP;
  }
  if (bits & static_cast<uint8_t>(Interest::kWritable)) events |= EPOLLOUT;
  if (trigger == Trigger::kEdge) events |= EPOLLET;
  if (trigger == Trigger::kOneShot) events |= EPOLLONESHOT;
  return events;
}

Readiness ReadinessOf(uint32_t events) {
  unsigned bits = 0;
  if (events & EPOLLIN) bits |= Readiness::kReadable;
  if (events & EPOLLOUT) bits |= Readiness::kWritable;
  if (events & (EPOLLRDHUP | EPOLLHUP)) bits |= Readiness::kReadClosed;
  if (events & EPOLLHUP) bits |= Readiness::kWriteClosed;
  if (events & EPOLLERR) bits |= Readiness::kError | Readiness::kWriteClosed;
  return Readiness(bits);
}

absl::Status Control(const UniqueFd& epoll, int operation,
                     std::string_view name, int fd, epoll_event event) {
  if (epoll_ctl(epoll.get(), operation, fd, &event) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno,
                             absl::StrCat("epoll_ctl ", name, " fd ", fd));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EpollPoller>> EpollPoller::Create(
    const Clock& clock) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return absl::ErrnoToStatus(errno, "epoll_create1");
  return std::unique_ptr<EpollPoller>(new EpollPoller(clock, std::move(epoll)));
}

absl::Status EpollPoller::Add(int fd, Token token, Interest interest,
                              Trigger trigger) {
  return Control(
      epoll_, EPOLL_CTL_ADD, "ADD", fd,
      {.events = EpollEvents(interest, trigger), .data = {.u64 = token}});
}

absl::Status EpollPoller::Modify(int fd, Token token, Interest interest,
                                 Trigger trigger) {
  return Control(
      epoll_, EPOLL_CTL_MOD, "MOD", fd,
      {.events = EpollEvents(interest, trigger), .data = {.u64 = token}});
}

absl::Status EpollPoller::Remove(int fd) {
  return Control(epoll_, EPOLL_CTL_DEL, "DEL", fd, {});
}

absl::StatusOr<size_t> EpollPoller::Wait(absl::Span<Event> events,
                                         MonotonicTime deadline) {
  std::array<epoll_event, kMaxBatch> ready;
  const auto room = static_cast<int>(std::min(events.size(), ready.size()));
  const int count =
      epoll_wait(epoll_.get(), ready.data(), room, TimeoutMs(deadline));
  if (count < 0) return absl::ErrnoToStatus(errno, "epoll_wait");
  for (int i = 0; i < count; ++i) {
    events[i] = {.token = ready[i].data.u64,
                 .readiness = ReadinessOf(ready[i].events)};
  }
  return static_cast<size_t>(count);
}

// Rounded up, so that a wait never ends before its deadline, and clamped: a
// wait of 24 days that ends early is one more turn of the loop.
int EpollPoller::TimeoutMs(MonotonicTime deadline) const {
  if (deadline == MonotonicTime::InfiniteFuture()) return -1;
  if (deadline == MonotonicTime::InfinitePast()) return 0;
  const MonotonicTime now = clock_.Now();
  if (deadline <= now) return 0;
  const int64_t ms = absl::ToInt64Milliseconds(
      absl::Ceil(deadline - now, absl::Milliseconds(1)));
  return static_cast<int>(
      std::min<int64_t>(ms, std::numeric_limits<int>::max()));
}

}  // namespace fio
