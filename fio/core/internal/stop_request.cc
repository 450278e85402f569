#include "fio/core/internal/stop_request.h"

#include <cstdint>
#include <optional>

#include "fio/base/monotonic_time.h"

namespace fio::core_internal {

bool StopRequest::Stop(MonotonicTime by) {
  if (!open_) return false;
  const int64_t by_ns = by.nanoseconds();
  int64_t before = by_ns_;
  while (by_ns < before && !by_ns_.compare_exchange_weak(before, by_ns)) {
  }
  stop_ = true;
  return true;
}

bool StopRequest::Restart() {
  if (!open_) return false;
  restart_ = true;
  return true;
}

bool StopRequest::Reload() {
  if (!open_) return false;
  reload_ = true;
  return true;
}

void StopRequest::Open() {
  by_ns_ = MonotonicTime::InfiniteFuture().nanoseconds();
  stop_ = false;
  restart_ = false;
  reload_ = false;
  open_ = true;
}

std::optional<MonotonicTime> StopRequest::TakeStop() {
  if (!stop_ || !stop_.exchange(false)) return std::nullopt;
  return MonotonicTime::FromNanoseconds(by_ns_);
}

}  // namespace fio::core_internal
