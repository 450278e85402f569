#include "fio/core/internal/stop_phases.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/server.h"

namespace fio::core_internal {
namespace {

// How long a stop waits for loops to close their listeners.
constexpr absl::Duration kCloseTime = absl::Seconds(1);

}  // namespace

StopPhases::StopPhases(Server& server, const ReactorSetup& setup,
                       std::function<void()> on_begin)
    : server_(server), setup_(setup), on_begin_(std::move(on_begin)) {}

void StopPhases::End() {
  if (is_running()) phase_ = Phase::kStopping;
}

bool StopPhases::has_ended() const {
  return phase_ == Phase::kStopping && server_.loops().stopped();
}

void StopPhases::Stop(MonotonicTime by) {
  const MonotonicTime now = setup_.Now();
  stop_asked_ = true;
  const absl::Duration longest =
      setup_.options.shutdown_timeout +
      (may_drain_ ? setup_.options.drain_time : absl::ZeroDuration());
  cut_off_ = std::min({cut_off_, now + longest, by});
  if (phase_ == Phase::kStopping) server_.loops().Stop(cut_off_ - now);
  if (phase_ == Phase::kDraining && !drains()) StopLoops();
  if (phase_ != Phase::kServing) return;
  phase_ = Phase::kClosing;
  server_.set_running(0);
  on_begin_();
  server_.DropConnectors();
  CloseListeners();
}

void StopPhases::CloseListeners() {
  close_by_ = setup_.Now() + kCloseTime;
  server_.CloseListeners([this] {
    // Otherwise it took too long, or Run() ends because of an error.
    if (phase_ == Phase::kClosing) EndClosing();
  });
}

void StopPhases::EndClosing() { drains() ? BeginDrain() : StopLoops(); }

// Whether the stop leaves time to drain.
bool StopPhases::drains() const {
  return may_drain_ && setup_.options.drain_time > absl::ZeroDuration() &&
         setup_.Now() < cut_off_;
}

void StopPhases::BeginDrain() {
  phase_ = Phase::kDraining;
  server_.loops().Drain();
  server_.main().RunAfter(setup_.options.drain_time, [this] {
    if (phase_ == Phase::kDraining) StopLoops();
  });
}

void StopPhases::StopLoops() {
  phase_ = Phase::kStopping;
  server_.loops().Stop(cut_off_ - setup_.Now());
}

// --- Loops that hang ---

// The root kills a worker that hangs; if the root has died, the watchdog does.
MonotonicTime StopPhases::hang_deadline() const {
  if (phase_ == Phase::kClosing) return std::min(close_by_, cut_off_);
  const bool only_others_run = phase_ == Phase::kStopping &&
                               server_.main().stopped() &&
                               !server_.loops().stopped();
  return only_others_run && !server_.role().is_worker()
             ? exit_by_.value_or(cut_off_)
             : MonotonicTime::InfiniteFuture();
}

void StopPhases::Advance() {
  if (setup_.Now() >= hang_deadline()) GoOnWithoutHungLoops();
  if (phase_ == Phase::kDraining && server_.loops().drained()) StopLoops();
}

// Run() must not return while another thread is in a callback: the callback
// uses what the caller owns. For the same reason no destructors run.
void StopPhases::GoOnWithoutHungLoops() {
  if (phase_ == Phase::kClosing) {
    EndClosing();
  } else if (!exit_by_.has_value()) {
    // Counted from here: the whole process may have been stopped before.
    exit_by_ = setup_.Now() + kKillDelay;
  } else {
    ABSL_LOG(ERROR) << "reactor: a loop hangs in a callback; the process exits";
    _exit(EXIT_FAILURE);
  }
}

}  // namespace fio::core_internal
