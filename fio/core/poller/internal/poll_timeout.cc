#include "fio/core/poller/internal/poll_timeout.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"

namespace fio::poller_internal {

int PollTimeout(MonotonicTime deadline, const Clock& clock) {
  if (deadline == MonotonicTime::InfiniteFuture()) return -1;
  if (deadline == MonotonicTime::InfinitePast()) return 0;
  const MonotonicTime now = clock.Now();
  if (deadline <= now) return 0;
  const int64_t ms = absl::ToInt64Milliseconds(
      absl::Ceil(deadline - now, absl::Milliseconds(1)));
  return static_cast<int>(
      std::min<int64_t>(ms, std::numeric_limits<int>::max()));
}

}  // namespace fio::poller_internal
