// A Poller tells which descriptors are ready. It owns none of them, runs no
// callback and allocates nothing after it is made; CreatePoller()
// (fio/core/poller/create_poller.h) makes one.
//
//   poller->Add(fd, token, Interest::kReadable, Trigger::kEdge);
//   std::array<Event, 64> events;
//   absl::StatusOr<size_t> count = poller->Wait(absl::MakeSpan(events),
//   deadline);
//
// Thread safety: Add(), Modify() and Remove() from any thread, also while
// another is in Wait(); Wait() from one thread at a time.

#ifndef FIO_CORE_POLLER_POLLER_H_
#define FIO_CORE_POLLER_POLLER_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/poller/event.h"

namespace fio {

class Poller {
 public:
  virtual ~Poller() = default;

  // Watches `fd`, which stays the caller's. What is so already counts as a
  // change, for kEdge too. Errors: kAlreadyExists if it is watched;
  // kFailedPrecondition if it is not open; kPermissionDenied if it cannot be
  // watched, as a regular file.
  virtual absl::Status Add(int fd, Token token, Interest interest,
                           Trigger trigger) = 0;

  // Replaces token, interest and trigger, and arms kOneShot anew. Errors:
  // kNotFound if `fd` is not watched; kFailedPrecondition if it is not open.
  virtual absl::Status Modify(int fd, Token token, Interest interest,
                              Trigger trigger) = 0;

  // No Wait() that begins afterwards tells of `fd`. Errors: as Modify().
  virtual absl::Status Remove(int fd) = 0;

  // Waits until something is ready or `deadline` has passed, rounded up to the
  // system's millisecond, and puts what is ready into `events`: as many as fit,
  // the rest comes next time. Returns how many; 0 at the deadline. InfinitePast
  // asks the kernel without waiting. Errors: kUnavailable if a signal came
  // first (EINTR). REQUIRES: `events` is not empty.
  virtual absl::StatusOr<size_t> Wait(absl::Span<Event> events,
                                      MonotonicTime deadline) = 0;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_POLLER_H_
