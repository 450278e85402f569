// A Supervisor is the root's side of a cluster: it forks the workers, keeps
// their number, replaces them one by one, and sees to it that they end.
//
// It runs no loop and reads no clock. Its owner watches fds() and
// next_deadline() and calls Advance() when there is something to do:
//
//   auto supervisor = Supervisor::Create({.workers = 4}, lifecycle);
//   while (!(*supervisor)->finished()) {
//     ... wait until one of fds() is readable, or next_deadline() ...
//     auto worker = (*supervisor)->Advance(clock.Now());
//     if (!worker.ok()) return worker.status();
//     if (*worker != nullptr) return RunWorker(**worker);  // A forked child.
//   }
//
// Advance() returns in each child that it forks, so call it where a child can
// leave from by returning: with no callback of a loop on the stack.
//
// A worker is asked to stop through a socket of its own, never by a signal:
// a terminal's ^C reaches the workers as well as the root and would count
// twice. The only signal that is ever sent is SIGKILL, and only to workers
// that have not been reaped. Other children of the process are left alone.
//
// A child has a copy of what the root's stdio streams have not written yet, and
// writes it again if it flushes them. Nothing is flushed here: a callback for
// kBeforeFork may do so.
//
// In a forked child, be it a worker or another, a supervisor is only to be
// destroyed.
//
// Thread safety: none. Other threads should not hold locks that a child needs
// while Advance() forks.

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

  // A worker that ended before it was ready, or less than `min_lifetime` after
  // that, is followed after `first_delay`; each further one of that place in a
  // row doubles the delay, up to `max_delay`. Any other is followed at once.
  absl::Duration first_delay = absl::Milliseconds(50);
  absl::Duration max_delay = absl::Seconds(10);
  absl::Duration min_lifetime = absl::Milliseconds(250);

  // A worker that was asked to stop and has not ended after this is killed.
  absl::Duration stop_timeout = absl::Seconds(254 + 8 + 1);
  // Likewise from kCutOff on.
  absl::Duration cut_off_timeout = absl::Seconds(1);

  // False: a crash stops all workers, as by Stop(kGraceful), for debugging.
  bool respawn = true;

  // Called before each fork(2), after the callbacks for kBeforeFork. If it
  // returns an error, the worker is not forked; that error is treated as one of
  // fork(2).
  std::function<absl::Status(int place)> may_fork = nullptr;

  // Around each fork(2), as those of pthread_atfork(3): before it, after it in
  // the root, and in the child, before any callback of the lifecycle.
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
};

class Supervisor {
 public:
  // Forks nobody yet. `lifecycle` outlives the supervisor. Errors:
  // kInvalidArgument naming the option; the errno of socketpair(2); those of
  // ChildWatch::Create().
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

  // Does what is due: hears workers, reaps those that have ended, asks to stop,
  // kills, forks. Null in the root; in a child that it forked, its end, which
  // may outlive the supervisor. Fires, in the root: kOnChildCrash for a worker
  // that crashed, and around each fork kBeforeFork, kAfterFork, kInMaster; in
  // the child: kAfterFork, kInChild. These may call Stop() and Restart(), and
  // nothing else here. Errors: the errno of the call for a worker that cannot
  // be forked while not all places have had one; later ones are logged and
  // tried again, with the delays of the options; kFailedPrecondition in a
  // forked child.
  //
  // A worker that exits with another code than 0, or is killed by a signal,
  // crashed; not if it was killed from here, nor after Stop(). Of one that
  // somebody else has reaped, or of all if SIGCHLD is ignored, nobody knows how
  // they ended: they did not crash.
  absl::StatusOr<std::unique_ptr<WorkerEnd>> Advance(MonotonicTime now);

  // Replaces all workers that are older than the call, place after place: forks
  // another, waits until it is ready, asks the old one to stop, and goes on
  // with the next while the old one drains. If the new one ends before it is
  // ready, another follows after the delay, and the old one serves on; of an
  // earlier restart, one that is not ready is asked to stop. Takes effect in
  // Advance(); does nothing after Stop().
  void Restart();

  // Asks all workers to stop. Nobody is forked from here on. Takes effect in
  // Advance(); a level that is not above the one before does nothing.
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
    UniqueFd channel;       // To it, each byte a StopLevel.
    std::optional<MonotonicTime> ready_at = std::nullopt;
    StopLevel told = StopLevel::kNone;
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
  void Kill(Worker& worker);

  const SupervisorOptions options_;
  Lifecycle& lifecycle_;
  const pid_t root_;
  std::unique_ptr<ChildWatch> children_;
  UniqueFd reports_;         // Ids of workers that are ready.
  UniqueFd worker_reports_;  // The other end, for the workers.
  std::array<int, 2> fds_;

  std::vector<Place> places_;
  std::vector<Worker> leaving_;  // Replaced, not ended yet.
  StopLevel stop_ = StopLevel::kNone;
  uint64_t restarts_ = 0;
  uint64_t last_id_ = 0;
  SupervisorStats stats_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_SUPERVISOR_H_
