// A Poller reports which descriptors are ready. It owns none of them, runs no
// callback, and allocates nothing once it has seen the highest descriptor.
// CreatePoller() (fio/core/poller/create_poller.h) makes one.
//
//   absl::Status added =
//       poller->Add(fd, token, Interest::kReadable, Trigger::kEdge);
//   std::array<Event, 256> events;
//   absl::StatusOr<ReadyEvents> ready =
//       poller->Wait(absl::MakeSpan(events), deadline);
//   for (const Event event : *ready) { ... }
//
// In a forked child an inherited poller can only be destroyed: its methods fail
// or do nothing, and the parent's registrations are not changed. (This needs
// fork(2); a direct clone(2) is not detected.)
//
// Thread safety: any thread may call any method, also while another is in
// Wait(). Only one thread at a time may call Wait().

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

// The system call that a poller uses.
enum class PollerKind : uint8_t {
  kAuto,    // The first of the others that works on this machine.
  kEpoll,   // epoll(7), Linux.
  kKqueue,  // kqueue(2), the BSDs and macOS.
  kPoll,    // poll(2), everywhere. Wait() costs more the more it watches.
};

// "epoll" for kEpoll and so on.
std::string_view PollerKindName(PollerKind kind);

class Poller {
 public:
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;
  virtual ~Poller() = default;

  // Watches `fd`, which the caller still owns. If it is ready already, that is
  // reported, for kEdge too. Errors: kAlreadyExists if it is watched;
  // kFailedPrecondition if it is not open, or the poller is inherited;
  // kPermissionDenied if it cannot be watched, such as a regular file;
  // kInvalidArgument for kPriority with kLevelExclusive, or another poller;
  // kResourceExhausted if the kernel lacks memory or the user's limit is
  // reached.
  absl::Status Add(int fd, Token token, Interest interest, Trigger trigger);

  // Replaces token, interest and trigger, and re-arms kOneShot and kEdge: if
  // `fd` is ready, that is reported again. Errors: kNotFound if `fd` is not
  // watched; kFailedPrecondition and kInvalidArgument as Add(). A change to or
  // from kLevelExclusive may also return kResourceExhausted; then the watch has
  // ended.
  absl::Status Modify(int fd, Token token, Interest interest, Trigger trigger);

  // Ends the watch of `fd`, which must still be open. `token` is not reported
  // by later calls of Wait(). If the calling thread is the one that waits, the
  // token's events are also removed from existing ReadyEvents. (On another
  // thread, an event that Wait() has already fetched may still be reported.)
  // Errors: as Modify(), but none for an inherited poller, where it does
  // nothing.
  absl::Status Remove(int fd, Token token);

  // Removes the events of `token` from existing ReadyEvents. Only for the
  // waiting thread; on another it does nothing. Use it for the old token after
  // Modify() with a new one.
  void Discard(Token token);

  // Remove() for a descriptor that the caller closes immediately afterwards and
  // of which there is no copy (dup(2), fork(2)). Costs no system call if the
  // kernel ends a watch at close(2). Does nothing if the descriptor is not
  // watched.
  void RemoveForClose(int fd, Token token);

  // For kEdge: call it after EAGAIN, or a short read or write, in each
  // direction of `interest`, to get the next event. Does nothing, and is not
  // needed, if tells_every_edge().
  virtual void MarkDrained(int /*fd*/, Interest /*interest*/) {}

  // Whether the kernel reports every change for kEdge, without MarkDrained().
  virtual bool tells_every_edge() const { return true; }

  virtual PollerKind kind() const = 0;

  // A descriptor that is readable while Wait() has events, so that another
  // poller can watch this one; negative if there is none (kPoll and, for now,
  // kKqueue).
  virtual int fd() const { return -1; }

  // For objects that may outlive the poller: expired once it is destroyed.
  std::weak_ptr<Poller> handle() const { return handle_; }

  // Waits until a descriptor is ready or `deadline` (rounded up to a
  // millisecond) has passed. Writes the events to the front of `events`, one
  // for each descriptor; events that do not fit are returned next time. Returns
  // none at the deadline. InfinitePast does not wait. One system call; more
  // with kPoll, if other threads register meanwhile, and with kKqueue, if it
  // has only events that are not to be reported. Errors: kUnavailable if a
  // signal came first (EINTR); kInvalidArgument if `events` is empty;
  // kFailedPrecondition as Add().
  absl::StatusOr<ReadyEvents> Wait(absl::Span<Event> events,
                                   MonotonicTime deadline);

 protected:
  Poller() = default;

  // Whether this process is a forked child of the one that created the poller.
  bool is_inherited() const { return fork_count_ != ForkCount(); }

 private:
  // Like the public methods, but only called if the poller is not inherited.
  virtual absl::Status AddFd(int fd, Token token, Interest interest,
                             Trigger trigger) = 0;
  virtual absl::Status ModifyFd(int fd, Token token, Interest interest,
                                Trigger trigger) = 0;
  virtual absl::Status RemoveFd(int fd) = 0;
  virtual void ForgetFd(int fd) = 0;
  // Returns how many events it wrote.
  virtual absl::StatusOr<size_t> WaitForEvents(absl::Span<Event> events,
                                               MonotonicTime deadline) = 0;

  bool OnWaitingThread() const {
    return waiter_.load(std::memory_order_relaxed) ==
           std::this_thread::get_id();
  }

  const int fork_count_ = ForkCount();
  const std::shared_ptr<Poller> handle_{this, [](Poller*) {}};
  std::atomic<std::thread::id> waiter_;  // The last to call Wait().
  ReadyEvents* ready_ = nullptr;  // Existing ones; used by that thread only.
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_POLLER_H_
