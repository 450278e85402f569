#include "fio/core/internal/wake_watch.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"

namespace fio::core_internal {

absl::Status WakeWatch::Add(absl::Span<const int> fds) {
  for (const int fd : fds) {
    absl::StatusOr<WatchId> watch =
        loop_.Watch(fd, Interest::kReadable, Trigger::kLevel,
                    [this](Readiness) { woken_ = true; });
    if (!watch.ok()) return watch.status();
    watches_.push_back(*watch);
  }
  return absl::OkStatus();
}

void WakeWatch::Clear() {
  for (const WatchId watch : std::exchange(watches_, {})) loop_.Unwatch(watch);
}

}  // namespace fio::core_internal
