#include "fio/core/poller/poller.h"

#include <atomic>
#include <cstddef>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/ready_events.h"

// gcc 12 takes the address that Join() leaves in the list for one that dangles:
// it does not see that the destructor takes it out.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#pragma GCC diagnostic ignored "-Wdangling-pointer"
#endif

namespace fio {
namespace {

absl::Status Inherited(std::string_view call) {
  return absl::FailedPreconditionError(absl::StrCat(
      call, ": the poller is the parent's; make one after fork()"));
}

// Refused by all backends, because epoll(7) refuses it.
absl::Status CheckExclusive(std::string_view call, int fd, Interest interest,
                            Trigger trigger) {
  if (trigger != Trigger::kLevelExclusive || !interest.priority()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "poller: ", call, " fd ", fd, ": kLevelExclusive is not for kPriority"));
}

}  // namespace

std::string_view PollerKindName(PollerKind kind) {
  switch (kind) {
    case PollerKind::kAuto:
      return "auto";
    case PollerKind::kEpoll:
      return "epoll";
    case PollerKind::kKqueue:
      return "kqueue";
    case PollerKind::kPoll:
      return "poll";
  }
  return "unknown";
}

absl::Status Poller::Add(int fd, Token token, Interest interest,
                         Trigger trigger) {
  if (is_inherited()) return Inherited(absl::StrCat("poller: add fd ", fd));
  absl::Status checked = CheckExclusive("add", fd, interest, trigger);
  if (!checked.ok()) return checked;
  return AddFd(fd, token, interest, trigger);
}

absl::Status Poller::Modify(int fd, Token token, Interest interest,
                            Trigger trigger) {
  if (is_inherited()) return Inherited(absl::StrCat("poller: modify fd ", fd));
  absl::Status checked = CheckExclusive("modify", fd, interest, trigger);
  if (!checked.ok()) return checked;
  return ModifyFd(fd, token, interest, trigger);
}

absl::Status Poller::Remove(int fd, Token token) {
  Discard(token);
  if (is_inherited()) return absl::OkStatus();
  return RemoveFd(fd);
}

void Poller::RemoveForClose(int fd, Token token) {
  Discard(token);
  if (!is_inherited()) ForgetFd(fd);
}

absl::StatusOr<ReadyEvents> Poller::Wait(absl::Span<Event> events,
                                         MonotonicTime deadline) {
  if (events.empty()) {
    return absl::InvalidArgumentError("poller: wait with no room for events");
  }
  if (is_inherited()) return Inherited("poller: wait");
  waiter_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  const absl::StatusOr<size_t> count = WaitForEvents(events, deadline);
  if (!count.ok()) return count.status();
  if (*count == 0) return ReadyEvents();
  return ReadyEvents(events.first(*count), &ready_);
}

void ReadyEvents::Join() { *first_ = this; }

// An event without readiness is skipped.
void Poller::Discard(Token token) {
  if (!OnWaitingThread()) return;
  for (ReadyEvents* ready = ready_; ready != nullptr; ready = ready->next_) {
    for (Event& event : ready->events_) {
      if (event.token() == token) event = Event(token, Readiness());
    }
  }
}

}  // namespace fio
