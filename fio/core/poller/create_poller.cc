#include "fio/core/poller/create_poller.h"

#include <memory>

#include "absl/status/statusor.h"
#include "fio/base/clock.h"
#include "fio/core/poller/epoll_poller.h"
#include "fio/core/poller/poller.h"

namespace fio {

absl::StatusOr<std::unique_ptr<Poller>> CreatePoller(const Clock& clock) {
  return EpollPoller::Create(clock);
}

}  // namespace fio
