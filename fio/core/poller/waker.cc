#include "fio/core/poller/waker.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"

namespace fio {

absl::StatusOr<Waker> Waker::Create(Poller& poller, Token token) {
  UniqueFd event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return absl::ErrnoToStatus(errno, "eventfd");
  // Each write is an edge of its own, so nobody need ever read it: the counter
  // has room for 2^64 of them.
  absl::Status added =
      poller.Add(event.get(), token, Interest::kReadable, Trigger::kEdge);
  if (!added.ok()) return added;
  return Waker(std::move(event));
}

void Waker::Wake() const {
  const int saved_errno = errno;  // A signal handler must not change it.
  const uint64_t one = 1;
  const ssize_t written = write(event_.get(), &one, sizeof(one));
  static_cast<void>(written);  // Only a full counter fails, and that is awake.
  errno = saved_errno;
}

}  // namespace fio
