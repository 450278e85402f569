// A Supervisor manages the workers of a root. It forks them, keeps their number
// constant, replaces them one by one, and makes sure that they end.
//
// It runs no loop and reads no clock. Its owner waits for fds() and
// next_deadline() and then calls Advance():
//
//   auto supervisor = Supervisor::Create({.workers = 4}, lifecycle);
//   while (!(*supervisor)->finished()) {
//     ... wait until one of fds() is readable, or next_deadline() ...
//     auto worker = (*supervisor)->Advance(clock.Now());
//     if (!worker.ok()) return worker.status();
//     if (*worker != nullptr) return RunWorker(**worker);  // A forked child.
//   }
//
// Advance() also returns in each child that it forks. Call it where the child
// can return to the top level: with no callback of a loop on the stack.
//
// Each worker has a socket to the root, which asks it to stop through that
// socket. No signal is used for this, because ^C in a terminal reaches the
// workers and the root, and would count twice. The only signal that is sent is
// SIGKILL, and only to workers that have not been reaped. Other children of the
// process are not touched. A message that cannot be sent is tried again every
// 10 ms until it is sent or the worker has ended.
//
// A child has a copy of the unwritten output of the root's stdio streams, and
// writes it again if it flushes them. Nothing is flushed here; a callback for
// kBeforeFork may do it.
//
// In a forked child, a worker or another one, only the destructor of the
// supervisor may be called.
//
// Thread safety: none. While Advance() forks, other threads should hold no lock
// that a child needs.

#ifndef FIO_CORE_PROCESS_SUPERVISOR_H_
#define FIO_CORE_PROCESS_SUPERVISOR_H_

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/child_watch.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/supervisor_options.h"
#include "fio/core/process/supervisor_stats.h"
#include "fio/core/process/worker_end.h"
#include "fio/core/process/worker_event.h"

namespace fio {

class Supervisor {
 public:
  // Forks no worker yet. `lifecycle` must outlive the supervisor. Errors:
  // kInvalidArgument, with the name of the option; the errno of socketpair(2);
  // those of ChildWatch::Create().
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(
      SupervisorOptions options, Lifecycle& lifecycle);

  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  // Kills the workers that are left and waits until they have ended. In a
  // forked child it only closes its copies of the descriptors.
  ~Supervisor();

  // Readable while Advance() has something to do; level-triggered. They never
  // change. Empty in a worker, where they are closed.
  absl::Span<const int> fds() const;

  // When Advance() has something to do even if no fds() are readable.
  // InfinitePast: now.
  MonotonicTime next_deadline() const;

  // Does what is due: reads reports, reaps workers that have ended, asks
  // workers to stop, kills, forks. Returns null in the root. In a forked child
  // it returns the WorkerEnd, which may outlive the supervisor.
  //
  // Fires in the root: kOnChildCrash for a worker that crashed; kBeforeFork,
  // kAfterFork and kInRoot around each fork. Fires in the child: kAfterFork,
  // kInChild. These callbacks may call Stop() and Restart(), and no other
  // method.
  //
  // A worker that drains by itself (WorkerEnd::TellDrains()) loses its place.
  // Its replacement is forked as if it had ended. It is asked for kDrain, and
  // killed after `drain_time` plus `stop_timeout`.
  //
  // Errors: the errno of the call if a worker cannot be forked while a place
  // has never had one. Later failures are logged and tried again, with the
  // delays of the options. kFailedPrecondition in a forked child.
  //
  // A worker crashes if it exits with a code that is not 0, or is killed by a
  // signal; but not if the supervisor killed it, nor after Stop(). If other
  // code has reaped it, or SIGCHLD is ignored, its status is lost: that does
  // not count as a crash.
  absl::StatusOr<std::unique_ptr<WorkerEnd>> Advance(MonotonicTime now);

  // With `respawn` false: how the first worker crashed, kAborted with "worker 1
  // (process 12) crashed: signal 11". Ok if none has, and with `respawn`.
  const absl::Status& crash() const { return crash_; }

  // Replaces all workers that are older than the call, place after place. For
  // each it forks a new worker, waits until that is ready, asks the old one to
  // drain, and continues with the next place while the old one drains. If the
  // new one ends before it is ready, another is forked after the delay, and the
  // old one continues to serve. A worker that an earlier restart has forked and
  // that is not ready yet is asked to stop. If `max_leaving` workers of a place
  // have not ended yet, the restart waits there for the first of them; calls
  // meanwhile are one restart. Takes effect in Advance(). Does nothing after
  // Stop().
  void Restart();

  // Asks all workers to reload (WorkerEnd::Request::reload), also those that
  // are starting or leaving. Takes effect in Advance(). Workers that are forked
  // later are not asked: they are copies of a root that has reloaded.
  void Reload();

  // Asks up to `count` workers to accept also on the sockets of `place`, for a
  // limited time that the workers choose. It asks workers that are ready and do
  // not drain, different ones at each call, and the worker of the place itself
  // last. A request is lost if the worker does not read and its socket is full:
  // repeat the call while it is needed. Does nothing after Stop().
  //
  // Advance() calls it with a count of one when a place has lost its worker.
  // One, because a client that waits there may have caused the crash.
  void Lend(int place, int count);

  // Asks all workers to stop. No worker is forked from now on. Takes effect in
  // Advance(). A level that is not higher than the previous one does nothing.
  void Stop(StopLevel level);

  // Whether a stop was asked for and no worker is left.
  bool finished() const;

  // Whether each place has a worker that is ready.
  bool all_ready() const;

  // Whether workers are still to be replaced for Restart().
  bool restarting() const;

  // The pids of all workers that have not been reaped, including those that
  // drain.
  std::vector<pid_t> pids() const;

  const SupervisorStats& stats() const { return stats_; }

 private:
  struct Worker {
    uint64_t id = 0;  // Never reused, unlike a pid.
    pid_t pid = 0;
    int place = 0;
    uint64_t generation = 0;  // See WorkerEvent.
    uint64_t restarts = 0;    // Restart() calls before it.
    UniqueFd channel;         // Sends Orders to it.
    std::optional<MonotonicTime> ready_at = std::nullopt;
    StopLevel asked = StopLevel::kNone;                      // It sets kill_at.
    MonotonicTime asked_at = MonotonicTime::InfinitePast();  // The first time.
    StopLevel told = StopLevel::kNone;                       // Last one sent.
    uint64_t reloads = 0;  // Reload() calls before it, or that it was told of.
    MonotonicTime retry_at = MonotonicTime::InfinitePast();  // No send earlier.
    MonotonicTime kill_at = MonotonicTime::InfiniteFuture();
  };

  struct Place {
    // Oldest first: the one that serves and, in a restart, its replacement. May
    // be empty.
    std::vector<Worker> workers;
    uint64_t forked = 0;
    absl::Duration delay;  // The last one; 0 after a success.
    MonotonicTime not_before = MonotonicTime::InfinitePast();  // To fork.
  };

  Supervisor(SupervisorOptions options, Lifecycle& lifecycle,
             std::unique_ptr<ChildWatch> children, UniqueFd reports,
             UniqueFd worker_reports);

  static std::string Describe(const Worker& worker);
  bool in_root() const;
  bool IsOutdated(const Worker& worker) const;
  // The place that Restart() replaces now: the first that is not done. Null if
  // no worker is outdated.
  const Place* RestartedPlace() const;
  // Whether `place` needs a new worker, ignoring its `not_before`.
  bool WantsWorker(const Place& place, const Place* restarted) const;
  // Whether as many workers of `place` are leaving as may.
  bool IsFull(const Place& place) const;
  // What leaving_[index] is to be asked for.
  StopLevel LevelOfLeaving(size_t index) const;
  // Whether the newer worker of `place` is older than the last Restart().
  bool HasStaleReplacement(const Place& place) const;

  void HearReports(MonotonicTime now);
  void OnReport(const process_internal::Report& report, MonotonicTime now);
  // The serving `worker` was removed from `place`: it has ended or drains.
  void OnLostWorker(Place& place, const Worker& worker, MonotonicTime now);
  void OnExit(const ChildExit& exit, MonotonicTime now);
  void Delay(Place& place, MonotonicTime now) const;

  // Moves workers that have been replaced, and stale replacements, to leaving_.
  void ReplaceWorkers();
  absl::StatusOr<std::unique_ptr<WorkerEnd>> ForkWorkers(MonotonicTime now);
  // One worker; null in the root.
  absl::StatusOr<std::unique_ptr<WorkerEnd>> Fork(Place& place,
                                                  MonotonicTime now);
  std::unique_ptr<WorkerEnd> BecomeWorker(WorkerEvent& event, uint64_t id,
                                          UniqueFd channel);
  // There is no worker: tells those who prepared for one.
  void EndFork(WorkerEvent& event);
  void SendOrders(MonotonicTime now);
  void TellReload(Worker& worker, MonotonicTime now) const;
  bool MustReload(const Worker& worker) const;
  void Ask(Worker& worker, StopLevel level, MonotonicTime now);
  absl::Duration TimeoutOf(StopLevel level) const;
  void Kill(Worker& worker, StopLevel level);

  const SupervisorOptions options_;
  Lifecycle& lifecycle_;
  const pid_t root_;
  std::unique_ptr<ChildWatch> children_;
  UniqueFd reports_;         // Reports of workers are read here.
  UniqueFd worker_reports_;  // The other end, for workers.
  std::array<int, 2> fds_;

  std::vector<Place> places_;
  std::vector<Worker> leaving_;  // Replaced, not ended yet; oldest first.
  StopLevel stop_ = StopLevel::kNone;
  uint64_t restarts_ = 0;
  uint64_t reloads_ = 0;
  uint64_t last_id_ = 0;
  size_t next_lender_ = 0;  // The place whose worker Lend() asks next.
  SupervisorStats stats_;
  absl::Status crash_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_SUPERVISOR_H_
