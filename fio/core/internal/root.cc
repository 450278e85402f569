#include "fio/core/internal/root.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/root_thread_check.h"
#include "fio/core/internal/server.h"
#include "fio/core/internal/server_run.h"
#include "fio/core/internal/signal_scope.h"
#include "fio/core/internal/stop_phases.h"
#include "fio/core/internal/stop_request.h"
#include "fio/core/process/supervisor.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {

absl::StatusOr<std::unique_ptr<Root>> Root::Create(Parts parts) {
  std::unique_ptr<Root> root(new Root(std::move(parts)));
  absl::StatusOr<std::unique_ptr<Supervisor>> supervisor = Supervisor::Create(
      root->OptionsOfSupervisor(), root->parts_.setup.lifecycle);
  if (!supervisor.ok()) return supervisor.status();
  root->supervisor_ = *std::move(supervisor);
  absl::Status watched = root->parts_.run.WakeBy(root->supervisor_->fds());
  if (!watched.ok()) return watched;
  return root;
}

SupervisorOptions Root::OptionsOfSupervisor() {
  const ReactorOptions& options = parts_.setup.options;
  return {.workers = parts_.setup.concurrency.workers,
          .first_delay = options.respawn_delay,
          .max_delay = options.max_respawn_delay,
          .min_lifetime = options.worker_min_lifetime,
          .stop_timeout = options.shutdown_timeout + kKillDelay,
          .drain_time = options.drain_time,
          .cut_off_timeout = kKillDelay,
          .respawn = options.respawn,
          .may_fork =
              [this](int place) { return parts_.thread_check.MayFork(place); },
          .prepare_fork =
              [this] {
                parts_.run.signals().BeforeFork();
                parts_.server.loops().BeforeFork();
              },
          .forked_in_root =
              [this] {
                parts_.server.loops().AfterFork();
                parts_.run.signals().AfterFork();
              },
          .entered_child = [this](int place) { EnterChild(place); }};
}

void Root::EnterChild(int place) {
  parts_.server.loops().AfterFork();
  parts_.enter_child(place);
}

// Lends the place of a stuck queue to other workers. To one at first, because a
// client in the queue may have crashed or blocked the place's worker; then to
// twice as many at each check.
void Root::WatchQueues() {
  parts_.server.WatchQueues([this](int place, int times) {
    supervisor_->Lend(place, 1 << std::min(times - 1, 16));
  });
}

// Between two turns the supervisor forks, so that a child leaves from here with
// no callback on its stack.
absl::StatusOr<std::unique_ptr<WorkerEnd>> Root::Run() {
  parts_.run.Start();
  absl::Status accepts = parts_.server.Accept();
  if (!accepts.ok()) return accepts;
  WatchQueues();
  parts_.run.RunPreset();
  for (;;) {
    Hear();
    absl::StatusOr<std::unique_ptr<WorkerEnd>> child =
        supervisor_->Advance(parts_.setup.Now());
    if (!child.ok() || *child != nullptr) return child;
    parts_.server.supervisor_stats().Set(supervisor_->stats());
    TellWhenAllReady();
    StopAfterCrash();
    if (supervisor_->finished() && parts_.run.phases().has_ended()) {
      return nullptr;
    }
    absl::Status turn = parts_.run.Turn(NextDeadline());
    if (!turn.ok()) return turn;
  }
}

void Root::Hear() {
  parts_.run.Hear();
  if (parts_.request.TakeRestart()) supervisor_->Restart();
  if (parts_.run.Reload()) supervisor_->Reload();
  const StopPhases& phases = parts_.run.phases();
  if (!phases.is_stop_asked()) return;
  const bool is_over = parts_.setup.Now() >= phases.cut_off();
  supervisor_->Stop(parts_.run.kills() ? StopLevel::kKill
                    : is_over          ? StopLevel::kCutOff
                                       : StopLevel::kGraceful);
}

void Root::TellWhenAllReady() {
  if (told_ready_ || !supervisor_->all_ready()) return;
  told_ready_ = true;
  parts_.run.Tell("READY=1");
}

void Root::StopAfterCrash() {
  const bool crashed =
      !parts_.setup.options.respawn && supervisor_->stats().crashed > 0;
  if (!crashed || !parts_.run.phases().serves()) return;
  parts_.run.Stop(absl::InfiniteDuration());
  Hear();
}

MonotonicTime Root::NextDeadline() const {
  const MonotonicTime cut_off = parts_.run.phases().cut_off();
  const MonotonicTime next = supervisor_->next_deadline();
  return parts_.setup.Now() < cut_off ? std::min(next, cut_off) : next;
}

}  // namespace fio::core_internal
