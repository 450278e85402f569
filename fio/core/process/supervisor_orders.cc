// What a Supervisor sends to its workers.

#include <sys/types.h>

#include <algorithm>
#include <csignal>
#include <cstddef>

#include "absl/log/absl_log.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/process/internal/child_process.h"
#include "fio/core/process/internal/worker_channel.h"
#include "fio/core/process/supervisor.h"
#include "fio/core/process/worker_end.h"

namespace fio {

using process_internal::IsOurChild;
using process_internal::Order;
using process_internal::Send;

namespace {

// Until a message that could not be sent is sent again.
constexpr absl::Duration kRetry = absl::Milliseconds(10);

}  // namespace

void Supervisor::Lend(int place, int count) {
  if (stop_ != StopLevel::kNone) return;
  const auto lend_to = [&](const Place& lender) {
    if (lender.workers.empty()) return false;
    const Worker& worker = lender.workers.front();
    return worker.ready_at.has_value() &&
           Send(worker.channel.get(),
                {.kind = Order::Kind::kLend, .place = place});
  };
  const size_t size = places_.size();
  const size_t first = next_lender_;
  for (size_t i = 0; i < size && count > 0; ++i) {
    const size_t lender = (first + i) % size;
    if (lender == static_cast<size_t>(place) || !lend_to(places_[lender])) {
      continue;
    }
    next_lender_ = lender + 1;
    ++stats_.lent;
    --count;
  }
  // Otherwise ask the place's own worker: its other loops may be able to serve.
  if (count > 0 && lend_to(places_[static_cast<size_t>(place)])) ++stats_.lent;
}

void Supervisor::SendOrders(MonotonicTime now) {
  for (Place& place : places_) {
    for (Worker& worker : place.workers) {
      Ask(worker, stop_, now);
      TellReload(worker, now);
    }
  }
  for (size_t i = 0; i < leaving_.size(); ++i) {
    Ask(leaving_[i], LevelOfLeaving(i), now);
    TellReload(leaving_[i], now);
  }
}

bool Supervisor::MustReload(const Worker& worker) const {
  return worker.reloads < reloads_ && worker.told < StopLevel::kKill;
}

void Supervisor::TellReload(Worker& worker, MonotonicTime now) const {
  if (!MustReload(worker) || now < worker.retry_at) return;
  if (Send(worker.channel.get(), {.kind = Order::Kind::kReload})) {
    worker.reloads = reloads_;
  } else {
    worker.retry_at = now + kRetry;
  }
}

void Supervisor::Ask(Worker& worker, StopLevel level, MonotonicTime now) {
  if (worker.asked < level && level != StopLevel::kKill) {
    if (worker.asked == StopLevel::kNone) worker.asked_at = now;
    worker.asked = level;
    worker.retry_at = now;
    worker.kill_at = std::min(worker.kill_at, now + TimeoutOf(level));
  }
  const bool kill_now = level == StopLevel::kKill || now >= worker.kill_at;
  if (kill_now) {
    if (worker.told < StopLevel::kKill) Kill(worker, level);
  } else if (worker.told < level && now >= worker.retry_at) {
    if (Send(worker.channel.get(),
             {.kind = Order::Kind::kStop, .level = level})) {
      worker.told = level;
    } else {
      worker.retry_at = now + kRetry;
    }
  }
}

absl::Duration Supervisor::TimeoutOf(StopLevel level) const {
  switch (level) {
    case StopLevel::kDrain:
      return options_.drain_time + options_.stop_timeout;
    case StopLevel::kCutOff:
      return options_.cut_off_timeout;
    default:
      return options_.stop_timeout;
  }
}

void Supervisor::Kill(Worker& worker, StopLevel level) {
  const absl::Duration limit = worker.kill_at - worker.asked_at;
  worker.told = StopLevel::kKill;
  worker.kill_at = MonotonicTime::InfiniteFuture();
  if (!IsOurChild(worker.pid)) return;
  ABSL_LOG(ERROR) << Describe(worker)
                  << (level == StopLevel::kKill
                          ? " still runs"
                          : absl::StrCat(" did not end within ",
                                         absl::FormatDuration(limit)))
                  << ": killed";
  kill(worker.pid, SIGKILL);
  ++stats_.killed;
}

}  // namespace fio
