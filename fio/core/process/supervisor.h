// A Supervisor is the root's side of a cluster. It forks the workers, keeps
// their number constant, replaces them one by one, and makes sure that they
// end.
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
// can leave by returning: with no callback of a loop on the stack.
//
// Each worker has a socket to the root, and is asked to stop through it. No
// signal is used for that: ^C in a terminal goes to the workers and to the
// root, and would count twice. The only signal that is sent is SIGKILL, and
// only to workers that have not been reaped. Other children of the process are
// not touched. A message that cannot be sent is sent again after 10 ms, until
// it has left or the worker has ended.
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
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/child_watch.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_end.h"

namespace fio {

struct SupervisorOptions {
  // How many places there are; each has one worker.
  int workers = 1;

  // A worker that ends, or drains by itself, before it is ready or less than
  // `min_lifetime` after that is replaced after `first_delay`. Each further one
  // in a row of the same place doubles the delay, up to `max_delay`. All others
  // are replaced at once.
  absl::Duration first_delay = absl::Milliseconds(50);
  absl::Duration max_delay = absl::Seconds(10);
  absl::Duration min_lifetime = absl::Milliseconds(250);

  // A worker that was asked to stop and has not ended after this is killed.
  absl::Duration stop_timeout = absl::Seconds(254 + 8 + 1);
  // How much longer it may take if it was replaced or stops by itself
  // (StopLevel::kDrain).
  absl::Duration drain_time = absl::ZeroDuration();
  // Likewise from kCutOff on.
  absl::Duration cut_off_timeout = absl::Seconds(1);

  // False: a crash stops all workers, as by Stop(kGraceful), for debugging.
  bool respawn = true;

  // Called before each fork(2), after the callbacks for kBeforeFork. If it
  // returns an error, the worker is not forked; that error is treated as one of
  // fork(2).
  std::function<absl::Status(int place)> may_fork = nullptr;

  // Called around each fork(2), as the handlers of pthread_atfork(3): before
  // it, after it in the root, and after it in the child, there before any
  // callback of the lifecycle. Each may be null.
  std::function<void()> prepare_fork = nullptr;
  std::function<void()> forked_in_root = nullptr;
  std::function<void(int place)> entered_child = nullptr;
};

struct SupervisorStats {
  uint64_t forked = 0;        // All workers so far.
  uint64_t respawned = 0;     // Those that followed one that had ended.
  uint64_t crashed = 0;       // As kOnChildCrash was fired.
  uint64_t killed = 0;        // By SIGKILL, for a timeout or kKill.
  uint64_t failed_forks = 0;  // Tried again later.
  uint64_t lent = 0;          // Orders to serve another place, by Lend().
};

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
  // forked child it only closes what is its own there.
  ~Supervisor();

  // Readable while Advance() has something to do; level-triggered. The same
  // ones all the time, and none in a worker, where they are closed.
  absl::Span<const int> fds() const;

  // When Advance() has something to do, whatever fds() say: InfinitePast for
  // at once.
  MonotonicTime next_deadline() const;

  // Does what is due: reads reports, reaps workers that have ended, asks
  // workers to stop, kills, forks. Returns null in the root. Returns the
  // worker's end in a child that it forked; that may outlive the supervisor.
  //
  // Fires in the root: kOnChildCrash for a worker that crashed; kBeforeFork,
  // kAfterFork and kInRoot around each fork. Fires in the child: kAfterFork,
  // kInChild. These callbacks may call Stop() and Restart(), and no other
  // method.
  //
  // A worker that drains by itself (WorkerEnd::TellDrains()) loses its place:
  // another one is forked as if it had ended, and it is asked for kDrain, so
  // that it is killed when `drain_time` and `stop_timeout` are over.
  //
  // Errors: the errno of the call if a worker cannot be forked while a place
  // has never had one. Later ones are logged and tried again, with the delays
  // of the options. kFailedPrecondition in a forked child.
  //
  // A worker crashes if it exits with a code that is not 0, or is killed by a
  // signal; but not if the supervisor killed it, nor after Stop(). If another
  // part of the process has reaped it, or SIGCHLD is ignored, it is not known
  // how it ended: that is no crash.
  absl::StatusOr<std::unique_ptr<WorkerEnd>> Advance(MonotonicTime now);

  // Replaces all workers that are older than the call, place after place. For
  // each it forks a new worker, waits until that is ready, asks the old one to
  // drain, and goes on with the next place while the old one drains. If the new
  // one ends before it is ready, another is forked after the delay, and the old
  // one goes on serving. If an earlier restart has forked one that is not ready
  // yet, that one is asked to stop. Takes effect in Advance(). Does nothing
  // after Stop().
  void Restart();

  // Asks up to `count` workers to serve the sockets of `place` beside their
  // own; they do so for a limited time that they know themselves. It asks
  // workers that are ready and do not drain, other ones at each call, and the
  // worker of the place itself last. A request may get lost, if a worker does
  // not read and its socket is full: call it again while there is cause. Does
  // nothing after Stop().
  //
  // Advance() calls it with a count of one when a place has lost the worker
  // that served it. One, because a client that waits there may be what that
  // worker has died of.
  void Lend(int place, int count);

  // Asks all workers to stop. No worker is forked from now on. Takes effect in
  // Advance(). A level that is not above the one before does nothing.
  void Stop(StopLevel level);

  // Whether a stop was asked for and no worker is left.
  bool finished() const;

  // Whether each place has a worker that is ready.
  bool all_ready() const;

  // Whether workers are still to be replaced for Restart().
  bool restarting() const;

  // Of all workers that have not been reaped, those that drain included.
  std::vector<pid_t> pids() const;

  const SupervisorStats& stats() const { return stats_; }

 private:
  struct Worker {
    uint64_t id = 0;  // Never reused, as a pid is.
    pid_t pid = 0;
    int place = 0;
    uint64_t restarts = 0;  // How many came before it.
    UniqueFd channel;       // To it, for Orders.
    std::optional<MonotonicTime> ready_at = std::nullopt;
    StopLevel asked = StopLevel::kNone;  // Since then `kill_at` runs.
    StopLevel told = StopLevel::kNone;   // The order has left.
    MonotonicTime retry_at = MonotonicTime::InfinitePast();  // To tell it.
    MonotonicTime kill_at = MonotonicTime::InfiniteFuture();
  };

  struct Place {
    // Oldest first: who serves and, in a restart, who will. Or none.
    std::vector<Worker> workers;
    bool had_worker = false;
    absl::Duration delay;  // The last one; 0 if all is well.
    MonotonicTime not_before = MonotonicTime::InfinitePast();  // To fork.
  };

  Supervisor(SupervisorOptions options, Lifecycle& lifecycle,
             std::unique_ptr<ChildWatch> children, UniqueFd reports,
             UniqueFd worker_reports);

  bool in_root() const;
  bool IsOutdated(const Worker& worker) const;
  // Whose replacement the restart is at: the first that is not done, if there
  // is an outdated one at all.
  const Place* RestartedPlace() const;
  // Whether a worker is to be forked for `place`, not before its `not_before`.
  bool WantsWorker(const Place& place, const Place* restarted) const;
  // Whether the newer worker of `place` is older than the last Restart().
  bool HasStaleReplacement(const Place& place) const;

  void HearReports(MonotonicTime now);
  void OnReport(const process_internal::Report& report, MonotonicTime now);
  // Its serving worker, which has been taken off, has gone or is going.
  void OnLostWorker(Place& place, const Worker& worker, MonotonicTime now);
  void OnExit(const ChildExit& exit, MonotonicTime now);
  void Delay(Place& place, MonotonicTime now) const;

  // Moves those that are to go to leaving_.
  void ReplaceWorkers();
  absl::StatusOr<std::unique_ptr<WorkerEnd>> ForkWorkers(MonotonicTime now);
  // One worker; null in the root.
  absl::StatusOr<std::unique_ptr<WorkerEnd>> Fork(Place& place,
                                                  MonotonicTime now);
  std::unique_ptr<WorkerEnd> BecomeWorker(int place, uint64_t id,
                                          UniqueFd channel);
  void AskToStop(MonotonicTime now);
  void Ask(Worker& worker, StopLevel level, MonotonicTime now);
  absl::Duration TimeoutOf(StopLevel level) const;
  void Kill(Worker& worker);

  const SupervisorOptions options_;
  Lifecycle& lifecycle_;
  const pid_t root_;
  std::unique_ptr<ChildWatch> children_;
  UniqueFd reports_;         // What workers tell.
  UniqueFd worker_reports_;  // The other end, for the workers.
  std::array<int, 2> fds_;

  std::vector<Place> places_;
  std::vector<Worker> leaving_;  // Replaced, not ended yet.
  StopLevel stop_ = StopLevel::kNone;
  uint64_t restarts_ = 0;
  uint64_t last_id_ = 0;
  size_t next_lender_ = 0;  // The place whose worker is lent to next.
  SupervisorStats stats_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_SUPERVISOR_H_
