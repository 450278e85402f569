// A Poller tells which descriptors are ready. It owns none of them, runs no
// callback and allocates nothing once it has seen the highest descriptor;
// CreatePoller() (fio/core/poller/create_poller.h) makes one.
//
//   absl::Status added =
//       poller->Add(fd, token, Interest::kReadable, Trigger::kEdge);
//   std::array<Event, 256> events;
//   absl::StatusOr<ReadyEvents> ready =
//       poller->Wait(absl::MakeSpan(events), deadline);
//   for (const Event event : *ready) { ... }
//
// A process that forks leaves its child a poller to drop: there its methods
// fail or do nothing, and the parent's registrations stay as they are. (The
// fork must be fork(2), not a bare clone(2).)
//
// Thread safety: any thread may call anything, also while another is in Wait();
// Wait() is called by one thread at a time.

#ifndef FIO_CORE_POLLER_POLLER_H_
#define FIO_CORE_POLLER_POLLER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/ready_events.h"

namespace fio {

// What the kernel is asked with.
enum class PollerKind : uint8_t {
  kAuto,    // The first of the others that this machine has.
  kEpoll,   // epoll(7), Linux.
  kKqueue,  // kqueue(2), the BSDs and macOS.
  kPoll,  // poll(2), everywhere; the cost of Wait() grows with what it watches.
};

// "epoll" for kEpoll and so on.
std::string_view PollerKindName(PollerKind kind);

class Poller {
 public:
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;
  virtual ~Poller() = default;

  // Watches `fd`, which stays the caller's. What is so already counts as a
  // change, for kEdge too. Errors: kAlreadyExists if it is watched;
  // kFailedPrecondition if it is not open, or the poller is inherited;
  // kPermissionDenied if it cannot be watched, as a regular file;
  // kInvalidArgument for kPriority with kLevelExclusive, or another poller;
  // kResourceExhausted if the kernel lacks memory or the user's limit is met.
  absl::Status Add(int fd, Token token, Interest interest, Trigger trigger);

  // Replaces token, interest and trigger, and arms kOneShot and kEdge anew:
  // what is so already is told again. Errors: kNotFound if `fd` is not watched;
  // kFailedPrecondition and kInvalidArgument as Add(). To or from
  // kLevelExclusive it may also be kResourceExhausted, which ends the watch.
  absl::Status Modify(int fd, Token token, Interest interest, Trigger trigger);

  // Ends the watch of `fd`, which is still open. `token` is told no more: by no
  // Wait() that begins afterwards, nor, if the calling thread is the one that
  // waits, by what is left of ReadyEvents at hand. (From another thread: an
  // event that Wait() has fetched already may still be told.) Errors: as
  // Modify(), but none for an inherited poller, where it does nothing.
  absl::Status Remove(int fd, Token token);

  // What is left of ReadyEvents at hand for `token` is told no more. For the
  // waiting thread; on another it does nothing. Modify() to another token may
  // want it for the old one.
  void Discard(Token token);

  // Remove() for a descriptor that the caller closes right afterwards, and that
  // shares its open file with no other one (dup(2), fork(2)): costs no system
  // call where the kernel ends a watch by itself at the close. Never fails: a
  // descriptor that is not watched is none to remove.
  void RemoveForClose(int fd, Token token);

  // For kEdge: the caller met EAGAIN, or a short read or write, in each
  // direction of `interest`, and wants to be told when that changes. Where
  // tells_every_edge() this is not needed and does nothing.
  virtual void MarkDrained(int /*fd*/, Interest /*interest*/) {}

  // Whether the kernel notes each change for kEdge by itself.
  virtual bool tells_every_edge() const { return true; }

  virtual PollerKind kind() const = 0;

  // A descriptor that is readable while Wait() has something to tell, so that
  // another poller can watch this one; negative where there is none (kPoll, and
  // kKqueue for now).
  virtual int fd() const { return -1; }

  // For those that may outlive the poller: null once it has gone.
  std::weak_ptr<Poller> handle() const { return handle_; }

  // Waits until something is ready or `deadline` has passed, rounded up to the
  // system's millisecond, and fills `events` from its front: as many as fit,
  // the rest comes next time; one event for a descriptor. Empty at the
  // deadline. InfinitePast asks the kernel without waiting. One system call;
  // with kPoll more, if other threads register meanwhile, and with kKqueue, if
  // nobody is to be told what it says. Errors: kUnavailable if a signal came
  // first (EINTR); kInvalidArgument if `events` is empty; kFailedPrecondition
  // as Add().
  absl::StatusOr<ReadyEvents> Wait(absl::Span<Event> events,
                                   MonotonicTime deadline);

 protected:
  Poller() = default;

  // Whether this process is a fork of the one that made the poller.
  bool is_inherited() const { return fork_count_ != ForkCount(); }

 private:
  // As the public ones, for a poller that is not inherited.
  virtual absl::Status AddFd(int fd, Token token, Interest interest,
                             Trigger trigger) = 0;
  virtual absl::Status ModifyFd(int fd, Token token, Interest interest,
                                Trigger trigger) = 0;
  virtual absl::Status RemoveFd(int fd) = 0;
  virtual void ForgetFd(int fd) = 0;
  // Returns how many events it told.
  virtual absl::StatusOr<size_t> WaitForEvents(absl::Span<Event> events,
                                               MonotonicTime deadline) = 0;

  bool OnWaitingThread() const {
    return waiter_.load(std::memory_order_relaxed) ==
           std::this_thread::get_id();
  }

  const int fork_count_ = ForkCount();
  const std::shared_ptr<Poller> handle_{this, [](Poller*) {}};
  std::atomic<std::thread::id> waiter_;  // Who called Wait() last.
  ReadyEvents* ready_ = nullptr;         // Those alive; of that thread only.
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_POLLER_H_
