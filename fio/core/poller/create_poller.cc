#include "fio/core/poller/create_poller.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/epoll_poller.h"
#include "fio/core/poller/kqueue_poller.h"
#include "fio/core/poller/poll_poller.h"
#include "fio/core/poller/poller.h"

namespace fio {

absl::StatusOr<std::unique_ptr<Poller>> CreatePoller(const Clock& clock,
                                                     PollerKind kind) {
  switch (kind) {
    case PollerKind::kEpoll:
      return CreateEpollPoller(clock);
    case PollerKind::kKqueue:
      return CreateKqueuePoller(clock);
    case PollerKind::kPoll:
      return CreatePollPoller(clock);
    case PollerKind::kAuto:
      break;
  }
  for (const PollerKind each : {PollerKind::kEpoll, PollerKind::kKqueue}) {
    absl::StatusOr<std::unique_ptr<Poller>> poller = CreatePoller(clock, each);
    if (poller.ok()) return poller;
  }
  return CreatePollPoller(clock);
}

}  // namespace fio
