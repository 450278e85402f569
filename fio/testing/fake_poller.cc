#include "fio/testing/fake_poller.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"

namespace fio::testing {
namespace {

uint32_t BitsToTell(Interest interest) {
  uint32_t bits = Readiness::kError | Readiness::kHangUp;
  if (interest.readable()) {
    bits |= Readiness::kReadable | Readiness::kReadClosed;
  }
  if (interest.writable()) bits |= Readiness::kWritable;
  if (interest.priority()) bits |= Readiness::kPriority;
  return bits;
}

}  // namespace

FakePoller::FakePoller(const Options& options) {
  if (options.shuffle_seed) shuffle_.emplace(*options.shuffle_seed);
}

// --- What the test says ---

void FakePoller::Open(int fd, Readiness readiness) {
  ABSL_CHECK_GE(fd, 0) << "FakePoller::Open";
  Descriptor& descriptor = descriptors_.Get(fd);
  ABSL_CHECK(!descriptor.open) << "FakePoller::Open: fd " << fd << " is open";
  descriptor = {.readiness = readiness.bits(), .open = true};
}

void FakePoller::Close(int fd) {
  Descriptor* descriptor = FindOpen(fd);
  ABSL_CHECK(descriptor != nullptr)
      << "FakePoller::Close: fd " << fd << " is not open";
  Unwatch(*descriptor);
  *descriptor = {};
}

void FakePoller::SetReadiness(int fd, Readiness readiness, Readiness anew) {
  Descriptor* descriptor = FindOpen(fd);
  ABSL_CHECK(descriptor != nullptr)
      << "FakePoller::SetReadiness: fd " << fd << " is not open";
  const uint32_t now = readiness.bits();
  const uint32_t changed = now & (~descriptor->readiness | anew.bits());
  descriptor->readiness = now;
  if (changed & descriptor->interest) Queue(fd, *descriptor);
}

// --- What the poller's user says ---

absl::Status FakePoller::AddFd(int fd, Token token, Interest interest,
                               Trigger trigger) {
  Descriptor* descriptor = FindOpen(fd);
  if (descriptor == nullptr) {
    absl::Status created = CreateReal();
    return created.ok() ? real_->Add(fd, token, interest, trigger) : created;
  }
  if (descriptor->watched) {
    return absl::AlreadyExistsError(
        absl::StrCat("fake poller: add fd ", fd, ": it is watched"));
  }
  ++watched_;
  Watch(fd, *descriptor, token, interest, trigger);
  return absl::OkStatus();
}

absl::Status FakePoller::ModifyFd(int fd, Token token, Interest interest,
                                  Trigger trigger) {
  Descriptor* descriptor = FindOpen(fd);
  if (descriptor == nullptr) {
    absl::Status created = CreateReal();
    return created.ok() ? real_->Modify(fd, token, interest, trigger) : created;
  }
  if (!descriptor->watched) {
    return absl::NotFoundError(
        absl::StrCat("fake poller: modify fd ", fd, ": it is not watched"));
  }
  Watch(fd, *descriptor, token, interest, trigger);
  return absl::OkStatus();
}

absl::Status FakePoller::RemoveFd(int fd) {
  Descriptor* descriptor = FindOpen(fd);
  if (descriptor == nullptr) {
    absl::Status created = CreateReal();
    return created.ok() ? real_->Remove(fd, 0) : created;
  }
  if (!descriptor->watched) {
    return absl::NotFoundError(
        absl::StrCat("fake poller: remove fd ", fd, ": it is not watched"));
  }
  Unwatch(*descriptor);
  return absl::OkStatus();
}

void FakePoller::ForgetFd(int fd) {
  Descriptor* descriptor = FindOpen(fd);
  if (descriptor != nullptr) {
    Unwatch(*descriptor);
  } else if (real_ != nullptr) {
    real_->RemoveForClose(fd, 0);
  }
}

absl::StatusOr<size_t> FakePoller::WaitForEvents(absl::Span<Event> events,
                                                 MonotonicTime deadline) {
  last_deadline_ = deadline;
  last_told_ = 0;
  if (real_ != nullptr) {
    // Half of a full house for each kind, so that both get on.
    const size_t room =
        events.size() - std::min(ready_.size(), events.size() / 2);
    const absl::StatusOr<ReadyEvents> real =
        real_->Wait(events.first(room), MonotonicTime::InfinitePast());
    if (!real.ok()) return real.status();
    last_told_ = real->size();
  }
  last_told_ += TellReady(events.subspan(last_told_));
  return last_told_;
}

FakePoller::Descriptor* FakePoller::FindOpen(int fd) {
  Descriptor* descriptor = descriptors_.Find(fd);
  return descriptor != nullptr && descriptor->open ? descriptor : nullptr;
}

void FakePoller::Watch(int fd, Descriptor& descriptor, Token token,
                       Interest interest, Trigger trigger) {
  descriptor.token = token;
  descriptor.interest = BitsToTell(interest);
  descriptor.trigger = trigger;
  descriptor.watched = true;
  if (descriptor.readiness & descriptor.interest) Queue(fd, descriptor);
}

void FakePoller::Unwatch(Descriptor& descriptor) {
  if (descriptor.watched) --watched_;
  descriptor.watched = false;
  descriptor.interest = 0;
  descriptor.ticket = 0;
}

void FakePoller::Queue(int fd, Descriptor& descriptor) {
  if (descriptor.ticket != 0) return;
  if (++last_ticket_ == 0) ++last_ticket_;
  descriptor.ticket = last_ticket_;
  ready_.push_back({.fd = fd, .ticket = last_ticket_});
}

void FakePoller::Shuffle() {
  for (size_t i = ready_.size(); i > 1; --i) {
    std::swap(ready_[i - 1], ready_[shuffle_->Below(i)]);
  }
}

// As epoll does it: who is in the list is asked what is so now, and goes back
// to its end if the trigger is of a level.
size_t FakePoller::TellReady(absl::Span<Event> events) {
  if (shuffle_) Shuffle();
  size_t told = 0;
  for (size_t left = ready_.size(); left > 0 && told < events.size(); --left) {
    const Place place = ready_.front();
    ready_.pop_front();
    Descriptor* descriptor = descriptors_.Find(place.fd);
    if (descriptor->ticket != place.ticket) continue;
    descriptor->ticket = 0;
    const uint32_t bits = descriptor->readiness & descriptor->interest;
    if (bits == 0) continue;
    events[told++] = Event(descriptor->token, Readiness(bits));
    if (descriptor->trigger == Trigger::kOneShot) descriptor->interest = 0;
    if (descriptor->trigger == Trigger::kLevel ||
        descriptor->trigger == Trigger::kLevelExclusive) {
      Queue(place.fd, *descriptor);
    }
  }
  return told;
}

absl::Status FakePoller::CreateReal() {
  if (real_ != nullptr) return absl::OkStatus();
  // epoll, because an edge-triggered Waker needs every edge.
  absl::StatusOr<std::unique_ptr<Poller>> real =
      CreatePoller(Clock::System(), PollerKind::kEpoll);
  if (!real.ok()) return real.status();
  real_ = *std::move(real);
  return absl::OkStatus();
}

}  // namespace fio::testing
