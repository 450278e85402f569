// A Root is one Run() in the root of workers: it forks them by its Supervisor,
// and turns the root's own loop.
//
// Thread safety: none. Use it on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_ROOT_H_
#define FIO_CORE_INTERNAL_ROOT_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/root_thread_check.h"
#include "fio/core/internal/server.h"
#include "fio/core/internal/server_run.h"
#include "fio/core/internal/stop_request.h"
#include "fio/core/process/supervisor.h"
#include "fio/core/process/worker_end.h"

namespace fio::core_internal {

class Root {
 public:
  // What the reactor gives it. All of it must outlive the Root, in the root.
  struct Parts {
    ReactorSetup& setup;
    StopRequest& request;
    RootThreadCheck& thread_check;
    Server& server;
    ServerRun& run;
    // Called in each worker right after fork(2), before any callback of the
    // lifecycle. It destroys the worker's copies of `server` and `run`.
    std::function<void(int place)> enter_child;
  };

  // Forks no worker yet. Errors: those of Supervisor::Create() and
  // Loop::Watch().
  static absl::StatusOr<std::unique_ptr<Root>> Create(Parts parts);

  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  // As ~Supervisor(). In a worker, only this may be called.
  ~Root() = default;

  // Returns null when the root has stopped and all workers have ended. Returns
  // in each worker, too, with its WorkerEnd. Errors: those of
  // Listener::Create(), Supervisor::Advance() and the loop.
  absl::StatusOr<std::unique_ptr<WorkerEnd>> Run();

  // See Supervisor::crash().
  const absl::Status& crash() const { return supervisor_->crash(); }

 private:
  explicit Root(Parts parts) : parts_(std::move(parts)) {}

  SupervisorOptions OptionsOfSupervisor();
  void EnterChild(int place);
  void WatchQueues();
  void Hear();
  void TellWhenAllReady();
  void StopAfterCrash();
  MonotonicTime NextDeadline() const;

  const Parts parts_;
  std::unique_ptr<Supervisor> supervisor_;
  bool told_ready_ = false;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_ROOT_H_
