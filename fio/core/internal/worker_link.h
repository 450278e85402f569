// A WorkerLink connects a worker's loop with its root: it wakes the loop when
// the root asks for something or has died, and sends reports again that could
// not be sent.
//
// Thread safety: none. Use it on the thread of the loop, which must outlive it.

#ifndef FIO_CORE_INTERNAL_WORKER_LINK_H_
#define FIO_CORE_INTERNAL_WORKER_LINK_H_

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/internal/wake_watch.h"
#include "fio/core/loop/loop.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/process/worker_event.h"

namespace fio::core_internal {

class WorkerLink {
 public:
  // What Next() has to tell.
  struct News {
    std::vector<int> lent;  // Places to serve as well, for a while.
    bool reload = false;
    bool root_died = false;
    std::optional<StopLevel> stop = std::nullopt;  // A new level.
  };

  WorkerLink(std::unique_ptr<WorkerEnd> end, Loop& loop);
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;
  ~WorkerLink() = default;

  // Begins to wake the loop. Errors: those of Loop::Watch().
  absl::Status Watch();
  // See WorkerEnd. An error is logged: it is not fatal, because only a worker
  // that hangs would then outlive a root that is killed.
  void StartWatchdog(absl::Duration grace,
                     std::function<void()> on_root_death) const;

  // About this worker.
  WorkerEvent event() const;

  // Whether there may be News since the last call.
  bool TakeWoken() { return wakes_.TakeWoken(); }
  News Next();

  // Reports that the worker serves, and that it stops by itself. Both are tried
  // again until they have been sent.
  void TellReady();
  void TellDrains();

 private:
  void PollRoot();
  void SendReports();

  Loop& loop_;
  const std::unique_ptr<WorkerEnd> end_;
  WakeWatch wakes_;
  StopLevel asked_ = StopLevel::kNone;
  bool root_has_died_ = false;
  bool sends_again_ = false;  // A timer is armed.
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_WORKER_LINK_H_
