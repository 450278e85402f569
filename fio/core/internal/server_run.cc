#include "fio/core/internal/server_run.h"

#include <unistd.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/loop_group.h"
#include "fio/core/internal/preset.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/server.h"
#include "fio/core/internal/signal_scope.h"
#include "fio/core/internal/stop_phases.h"
#include "fio/core/internal/stop_request.h"
#include "fio/core/internal/worker_link.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/process/worker_event.h"

namespace fio::core_internal {
namespace {

// How long a worker serves a place that is lent to it.
constexpr absl::Duration kLoan = absl::Seconds(5);

}  // namespace

ServerRun::ServerRun(Server& server, ReactorSetup& setup, StopRequest& request)
    : server_(server),
      setup_(setup),
      request_(request),
      wakes_(server.main()),
      phases_(server, setup, [this] { OnStop(); }) {
  if (setup.options.notify_service_manager && !server.role().is_worker()) {
    notice_.emplace(server.main());
  }
}

absl::Status ServerRun::Begin() {
  absl::StatusOr<std::unique_ptr<SignalScope>> signals =
      SignalScope::Create(setup_.options.signals, setup_.hears_reload);
  if (signals.ok()) {
    signals_ = *std::move(signals);
    begun_ = wakes_.Add(signals_->fds());
  } else {
    begun_ = signals.status();
  }
  return begun_;
}

void ServerRun::End() {
  server_.set_running(0);
  phases_.End();
  if (notice_.has_value()) notice_->Finish();
  server_.Finish();
  setup_.preset.Drop();
  phases_.Rest();  // What kOnFinish sets up is for the next run.
  Fire(LifecycleEvent::kOnFinish);
}

void ServerRun::Fire(LifecycleEvent event) {
  WorkerEvent worker;
  if (link_.has_value()) worker = link_->event();
  if (server_.role().is_single()) worker = WorkerEvent(0, 0, getpid());
  setup_.lifecycle.Force(event, worker);
}

// --- Serving ---

void ServerRun::Start() {
  phases_.Serve();
  server_.set_running(setup_.concurrency.workers);
}

// The originals are kept for workers that are forked later.
void ServerRun::RunPreset() {
  Preset& preset = setup_.preset;
  preset.MarkStarted();
  for (const Preset::Task& task : preset.tasks()) server_.Post(task);
  for (const Preset::Timer& timer : preset.timers()) server_.RunEvery(timer);
  for (const Preset::Connector& connector : preset.connectors()) {
    const bool is_roots = connector.options.root_only && setup_.is_cluster();
    if (is_roots != server_.role().is_root()) continue;
    const absl::Status started =
        server_.Connect(connector.id, connector.url, connector.options);
    if (!started.ok()) ABSL_LOG(ERROR) << started;
  }
}

absl::Status ServerRun::Serve() {
  LoopGroup& loops = server_.loops();
  absl::Status status =
      loops.Resize(static_cast<size_t>(setup_.concurrency.threads));
  if (!status.ok()) return status;
  Start();
  RunPreset();
  Fire(LifecycleEvent::kOnStart);
  status = server_.Accept();
  if (!status.ok()) return status;
  status = loops.StartThreads();
  if (status.ok()) {
    if (link_.has_value()) link_->TellReady();
    Tell("READY=1");
    status = ServeTurns();
  }
  if (!status.ok()) loops.Stop(absl::ZeroDuration());
  return status;
}

absl::Status ServerRun::ServeTurns() {
  while (!phases_.has_ended()) {
    absl::Status turn = Turn(phases_.hang_deadline());
    if (!turn.ok()) return turn;
    phases_.Advance();
  }
  return absl::OkStatus();
}

absl::Status ServerRun::ServeAsWorker(std::unique_ptr<WorkerEnd> end) {
  link_.emplace(std::move(end), server_.main());
  phases_.set_may_drain(true);
  if (!begun_.ok()) return begun_;
  absl::Status watched = link_->Watch();
  if (!watched.ok()) return watched;
  link_->StartWatchdog(setup_.options.shutdown_timeout + kKillDelay,
                       setup_.listeners.StopForRoot());
  return Serve();
}

absl::Status ServerRun::Turn(MonotonicTime deadline) {
  absl::Status turn = server_.RunTurn(deadline);
  Hear();
  return turn;
}

// --- Requests ---

void ServerRun::Stop(absl::Duration grace) {
  if (request_.Stop(setup_.Now() + grace)) server_.main().Wake();
}

// Makes system calls only if something may have arrived. The root always does,
// so that it does not fork after a signal to stop.
void ServerRun::Hear() {
  const bool signals_woke = wakes_.TakeWoken();
  const bool root_woke = link_.has_value() && link_->TakeWoken();
  if (signals_woke || root_woke || server_.role().is_root()) {
    HearSignals();
    if (link_.has_value()) HearRoot();
  }
  if (!server_.role().is_root()) {
    if (request_.TakeRestart()) HearRestart();
    Reload();
  }
  const std::optional<MonotonicTime> by = request_.TakeStop();
  if (by.has_value()) phases_.Stop(*by);
}

void ServerRun::HearSignals() {
  for (;;) {
    switch (signals_->Next()) {
      case SignalScope::Meaning::kNone:
        return;
      case SignalScope::Meaning::kRestart:
        request_.Restart();
        break;
      case SignalScope::Meaning::kReload:
        // If it has to wait, nothing else wakes the first turn.
        if (request_.Reload()) server_.main().Wake();
        break;
      case SignalScope::Meaning::kStop:
        ++stop_signals_;
        Stop(stop_signals_ == 1 ? absl::InfiniteDuration()
                                : absl::ZeroDuration());
        break;
    }
  }
}

void ServerRun::HearRoot() {
  const WorkerLink::News news = link_->Next();
  if (phases_.serves()) {
    for (const int place : news.lent) server_.AcceptLent(place, kLoan);
  }
  if (news.reload) request_.Reload();
  if (news.root_died) {
    // Other workers may hang, or other processes have copies.
    setup_.listeners.StopForRoot()();
    phases_.set_may_drain(false);
    Fire(LifecycleEvent::kOnParentCrash);
    Stop(absl::InfiniteDuration());
  }
  if (!news.stop.has_value()) return;
  if (*news.stop > StopLevel::kDrain) phases_.set_may_drain(false);
  Stop(*news.stop <= StopLevel::kGraceful ? absl::InfiniteDuration()
                                          : absl::ZeroDuration());
}

// What is asked for inside of a callback is another reload.
bool ServerRun::Reload() {
  if (!phases_.is_running() || !request_.TakeReload()) return false;
  Fire(LifecycleEvent::kOnReload);
  return true;
}

void ServerRun::HearRestart() {
  if (server_.role().is_worker()) {
    Stop(absl::InfiniteDuration());
  } else {
    ABSL_LOG(WARNING) << "reactor: a single process has no workers to restart";
  }
}

// When a process that serves begins to stop. A worker that is replaced reports
// it before it stops accepting.
void ServerRun::OnStop() {
  if (phases_.may_drain()) link_->TellDrains();
  Fire(LifecycleEvent::kOnShutdown);
  Tell("STOPPING=1");
}

void ServerRun::Tell(std::string_view state) {
  if (notice_.has_value()) notice_->Tell(state);
}

}  // namespace fio::core_internal
