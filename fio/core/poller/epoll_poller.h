// The Poller on Linux's epoll(7): one system call per Add, Modify, Remove and
// Wait. Closing the last descriptor of an open file ends its watch.
//
// Thread safety: as Poller.

#ifndef FIO_CORE_POLLER_EPOLL_POLLER_H_
#define FIO_CORE_POLLER_EPOLL_POLLER_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"

namespace fio {

class EpollPoller final : public Poller {
 public:
  // `clock` outlives the poller. Errors: the errno of epoll_create1(2).
  static absl::StatusOr<std::unique_ptr<EpollPoller>> Create(
      const Clock& clock);

  absl::Status Add(int fd, Token token, Interest interest,
                   Trigger trigger) override;
  absl::Status Modify(int fd, Token token, Interest interest,
                      Trigger trigger) override;
  absl::Status Remove(int fd) override;
  absl::StatusOr<size_t> Wait(absl::Span<Event> events,
                              MonotonicTime deadline) override;

 private:
  EpollPoller(const Clock& clock, UniqueFd epoll)
      : clock_(clock), epoll_(std::move(epoll)) {}

  int TimeoutMs(MonotonicTime deadline) const;

  const Clock& clock_;
  const UniqueFd epoll_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_EPOLL_POLLER_H_
