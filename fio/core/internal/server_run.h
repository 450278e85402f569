// A ServerRun is one Run() in one process: it runs the preset, hears signals,
// the root and requests, and brings the Server to its end. A single process and
// a worker serve with it until then; a root of workers has turns of its own,
// see Root. It is made for each Run(), and anew in each worker.
//
// Thread safety: none. Use it on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_SERVER_RUN_H_
#define FIO_CORE_INTERNAL_SERVER_RUN_H_

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/manager_notice.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/server.h"
#include "fio/core/internal/signal_scope.h"
#include "fio/core/internal/stop_phases.h"
#include "fio/core/internal/stop_request.h"
#include "fio/core/internal/wake_watch.h"
#include "fio/core/internal/worker_link.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_end.h"

namespace fio::core_internal {

class ServerRun {
 public:
  // The references must outlive it.
  ServerRun(Server& server, ReactorSetup& setup, StopRequest& request);
  ServerRun(const ServerRun&) = delete;
  ServerRun& operator=(const ServerRun&) = delete;
  // REQUIRES: End() has returned, or this is the copy of a forked child.
  ~ServerRun() = default;

  // Begins to handle signals. Errors: those of SignalScope::Create() and
  // Loop::Watch().
  absl::Status Begin();

  // Serve until the process has been stopped: a single process, or a worker.
  // Errors: that of Begin(), for a worker; those of the loops.
  absl::Status Serve();
  absl::Status ServeAsWorker(std::unique_ptr<WorkerEnd> end);

  // Closes what is open, and fires kOnFinish.
  void End();

  // As Reactor::Stop().
  void Stop(absl::Duration grace);
  const StopPhases& phases() const { return phases_; }

  // --- For the turns of a root ---

  // From now on it serves.
  void Start();
  // Runs the tasks, timers and connectors that were preset for this process.
  void RunPreset();

  // One turn of the main loop, and Hear(). Errors: those of the loops.
  absl::Status Turn(MonotonicTime deadline);
  // Hears signals, the root and StopRequest, but for what a root sends on: its
  // restart, and its reload.
  void Hear();
  // Fires kOnReload, if that was asked for; otherwise returns false. While the
  // process starts, the request waits.
  bool Reload();
  // Wakes the main loop when one of `fds` is readable. Errors: those of
  // Loop::Watch().
  absl::Status WakeBy(absl::Span<const int> fds) { return wakes_.Add(fds); }

  // Tells the service manager, if ReactorOptions say so.
  void Tell(std::string_view state);

  // Whether a third signal to stop was heard.
  bool kills() const { return stop_signals_ > 2; }

  SignalScope& signals() { return *signals_; }
  // For a child that makes its own before it destroys the root's.
  std::unique_ptr<SignalScope> ReleaseSignals() { return std::move(signals_); }

 private:
  // Fires an event about this process.
  void Fire(LifecycleEvent event);
  absl::Status ServeTurns();
  void HearSignals();
  void HearRoot();
  void HearRestart();
  void OnStop();

  Server& server_;
  ReactorSetup& setup_;
  StopRequest& request_;
  absl::Status begun_;  // Of Begin().
  std::unique_ptr<SignalScope> signals_;
  int stop_signals_ = 0;
  WakeWatch wakes_;
  std::optional<ManagerNotice> notice_;
  std::optional<WorkerLink> link_;  // Of a worker.
  StopPhases phases_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_SERVER_RUN_H_
