#include "fio/core/poller/poll_poller.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/pipe.h"
#include "fio/core/poller/internal/poll_timeout.h"
#include "fio/core/poller/internal/why_not_watch.h"
#include "fio/core/poller/poller.h"

namespace fio {
namespace {

using poller_internal::Pipe;
using poller_internal::WhyNotWatch;

#if !defined(POLLRDHUP)  // Linux's own.
#define POLLRDHUP 0
#endif

static_assert(Readiness::kReadable == POLLIN &&
              Readiness::kPriority == POLLPRI &&
              Readiness::kWritable == POLLOUT && Readiness::kError == POLLERR &&
              Readiness::kHangUp == POLLHUP);
static_assert(POLLRDHUP == 0 || Readiness::kReadClosed == POLLRDHUP);

using PollBits = decltype(pollfd::events);

// poll(2) always reports hang-ups and errors. They are included so that a kEdge
// watch still polls for them when all else was reported.
PollBits PollEvents(Interest interest) {
  int events = POLLHUP | POLLERR;
  if (interest.readable()) events |= POLLIN | POLLRDHUP;
  if (interest.writable()) events |= POLLOUT;
  if (interest.priority()) events |= POLLPRI;
  return static_cast<PollBits>(events);
}

// What need not be asked for any more. A hang-up or an error goes both ways and
// stays.
PollBits ToldEvents(PollBits revents) {
  constexpr PollBits kAll = ~0;
  return revents & (POLLHUP | POLLERR) ? kAll : revents;
}

absl::Status Error(int error, std::string_view call, int fd) {
  return ErrnoToStatus(error, absl::StrCat("poll: ", call, " fd ", fd));
}

class PollPoller final : public Poller {
 public:
  PollPoller(const Clock& clock, Pipe interrupt)
      : clock_(clock), interrupt_(std::move(interrupt)) {}

  PollerKind kind() const override { return PollerKind::kPoll; }
  bool tells_every_edge() const override { return false; }
  void MarkDrained(int fd, Interest interest) override;

 private:
  struct Watch {
    int fd;
    PollBits events;  // Of the interest.
    PollBits asked;   // Those that are polled now.
    Trigger trigger;
    Token token;
    uint64_t change;  // The number of its latest change.
  };

  absl::Status AddFd(int fd, Token token, Interest interest,
                     Trigger trigger) override;
  absl::Status ModifyFd(int fd, Token token, Interest interest,
                        Trigger trigger) override;
  absl::Status RemoveFd(int fd) override;
  void ForgetFd(int fd) override;
  absl::StatusOr<size_t> WaitForEvents(absl::Span<Event> events,
                                       MonotonicTime deadline) override;

  uint64_t BeginPoll();
  size_t EndPoll(uint64_t asked_at, absl::Span<Event> events);
  bool Tell(const pollfd& answer, uint64_t asked_at, Event& event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Watch* Find(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(Watch& watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Changed(Watch& watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const Pipe interrupt_;  // Ends a poll(2).

  absl::Mutex mutex_;
  std::vector<Watch> watches_ ABSL_GUARDED_BY(mutex_);
  // By descriptor: its place in watches_ and one, or 0.
  std::vector<uint32_t> places_ ABSL_GUARDED_BY(mutex_);
  uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_polling_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_interrupted_ ABSL_GUARDED_BY(mutex_) = false;

  // Of the waiting thread. The pipe is the first of them.
  std::vector<pollfd> polled_;
  size_t first_ = 0;  // Who is looked at first, so that all get their turn.
};

absl::Status PollPoller::AddFd(int fd, Token token, Interest interest,
                               Trigger trigger) {
  if (const int error = WhyNotWatch(fd)) return Error(error, "add", fd);
  absl::MutexLock lock(&mutex_);
  if (Find(fd) != nullptr) return Error(EEXIST, "add", fd);
  const auto number = static_cast<size_t>(fd);
  if (places_.size() <= number) places_.resize(number + 1);
  watches_.push_back({.fd = fd,
                      .events = PollEvents(interest),
                      .asked = PollEvents(interest),
                      .trigger = trigger,
                      .token = token,
                      .change = 0});
  places_[number] = static_cast<uint32_t>(watches_.size());
  Changed(watches_.back());
  return absl::OkStatus();
}

absl::Status PollPoller::ModifyFd(int fd, Token token, Interest interest,
                                  Trigger trigger) {
  const int error = WhyNotWatch(fd);
  absl::MutexLock lock(&mutex_);
  Watch* const watch = Find(fd);
  if (error != 0 && watch != nullptr) Erase(*watch);
  if (error != 0) return Error(error, "modify", fd);
  if (watch == nullptr) return Error(ENOENT, "modify", fd);
  watch->events = watch->asked = PollEvents(interest);
  watch->trigger = trigger;
  watch->token = token;
  Changed(*watch);
  return absl::OkStatus();
}

absl::Status PollPoller::RemoveFd(int fd) {
  const int error = WhyNotWatch(fd);
  absl::MutexLock lock(&mutex_);
  Watch* const watch = Find(fd);
  if (watch != nullptr) Erase(*watch);
  if (error != 0) return Error(error, "remove", fd);
  return watch != nullptr ? absl::OkStatus() : Error(ENOENT, "remove", fd);
}

void PollPoller::ForgetFd(int fd) {
  absl::MutexLock lock(&mutex_);
  if (Watch* const watch = Find(fd)) Erase(*watch);
}

void PollPoller::MarkDrained(int fd, Interest interest) {
  absl::MutexLock lock(&mutex_);
  Watch* const watch = Find(fd);
  if (watch == nullptr || watch->trigger != Trigger::kEdge) return;
  watch->asked = static_cast<PollBits>(watch->asked |
                                       (watch->events & PollEvents(interest)));
  Changed(*watch);
}

absl::StatusOr<size_t> PollPoller::WaitForEvents(absl::Span<Event> events,
                                                 MonotonicTime deadline) {
  for (;;) {
    const uint64_t asked_at = BeginPoll();
    const int answers =
        Sys().poll(polled_.data(), polled_.size(),
                   poller_internal::PollTimeout(deadline, clock_));
    const int error = errno;
    const size_t told = EndPoll(asked_at, events);
    if (answers < 0) return ErrnoToStatus(error, "poll");
    // Otherwise another thread has changed what there is to ask for.
    if (answers == 0 || told > 0) return told;
  }
}

// Returns the number of the latest change that the poll takes in.
uint64_t PollPoller::BeginPoll() {
  absl::MutexLock lock(&mutex_);
  polled_.clear();
  polled_.push_back(
      {.fd = interrupt_.read_end.get(), .events = POLLIN, .revents = 0});
  for (const Watch& watch : watches_) {
    if (watch.asked == 0) continue;
    polled_.push_back({.fd = watch.fd, .events = watch.asked, .revents = 0});
  }
  is_polling_ = true;
  return changes_;
}

// Returns how many `events` tell what was answered.
size_t PollPoller::EndPoll(uint64_t asked_at, absl::Span<Event> events) {
  absl::MutexLock lock(&mutex_);
  is_polling_ = false;
  if (std::exchange(is_interrupted_, false)) {
    char byte;
    const ssize_t got = read(interrupt_.read_end.get(), &byte, 1);
    static_cast<void>(got);  // The byte that Changed() wrote.
  }
  const size_t count = polled_.size() - 1;
  size_t told = 0;
  size_t looked = 0;
  for (; looked < count && told < events.size(); ++looked) {
    const pollfd& answer = polled_[1 + (first_ + looked) % count];
    if (answer.revents != 0 && Tell(answer, asked_at, events[told])) ++told;
  }
  first_ = count == 0 ? 0 : (first_ + looked) % count;
  return told;
}

// Writes the answer to `event`. False if the watch has changed since it was
// polled: it is polled again.
bool PollPoller::Tell(const pollfd& answer, uint64_t asked_at, Event& event) {
  Watch* const watch = Find(answer.fd);
  if (watch == nullptr || watch->change > asked_at) return false;
  if (answer.revents & POLLNVAL) {
    Erase(*watch);
    return false;
  }
  event = Event(watch->token, Readiness(static_cast<uint16_t>(answer.revents)));
  if (watch->trigger == Trigger::kOneShot) watch->asked = 0;
  if (watch->trigger == Trigger::kEdge) {
    watch->asked =
        static_cast<PollBits>(watch->asked & ~ToldEvents(answer.revents));
  }
  return true;
}

PollPoller::Watch* PollPoller::Find(int fd) {
  const auto number = static_cast<size_t>(fd);  // Of -1: beyond all others.
  if (number >= places_.size() || places_[number] == 0) return nullptr;
  return &watches_[places_[number] - 1];
}

void PollPoller::Erase(Watch& watch) {
  const uint32_t place = std::exchange(places_[watch.fd], 0);
  watch = watches_.back();
  watches_.pop_back();
  if (place <= watches_.size()) places_[watch.fd] = place;
}

void PollPoller::Changed(Watch& watch) {
  watch.change = ++changes_;
  if (!is_polling_ || is_interrupted_) return;
  is_interrupted_ = true;
  const char byte = 0;
  const ssize_t written = write(interrupt_.write_end.get(), &byte, 1);
  static_cast<void>(written);  // The pipe is empty.
}

}  // namespace

absl::StatusOr<std::unique_ptr<Poller>> CreatePollPoller(const Clock& clock) {
  absl::StatusOr<poller_internal::Pipe> pipe = poller_internal::OpenPipe();
  if (!pipe.ok()) return pipe.status();
  return std::make_unique<PollPoller>(clock, *std::move(pipe));
}

}  // namespace fio
