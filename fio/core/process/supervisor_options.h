// The options of a Supervisor.

#ifndef FIO_CORE_PROCESS_SUPERVISOR_OPTIONS_H_
#define FIO_CORE_PROCESS_SUPERVISOR_OPTIONS_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"

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
  // How much longer a worker may take that was replaced or stops by itself
  // (StopLevel::kDrain).
  absl::Duration drain_time = absl::ZeroDuration();
  // The same for a worker that was asked for kCutOff.
  absl::Duration cut_off_timeout = absl::Seconds(1);

  // How many workers of one place may be leaving at the same time: replaced, or
  // draining by themselves, and not ended yet. A restart of the place waits
  // until there are fewer. A worker that drains by itself is always replaced;
  // if there are then more, the oldest ones are asked for kCutOff.
  int max_leaving = 3;

  // False: a crash stops all workers, as by Stop(kGraceful), for debugging. See
  // crash().
  bool respawn = true;

  // Called before each fork(2), after the callbacks for kBeforeFork. If it
  // returns an error, the worker is not forked; that error is treated as one of
  // fork(2).
  std::function<absl::Status(int place)> may_fork = nullptr;

  // Called around each fork(2), like the handlers of pthread_atfork(3): before
  // it, after it in the root, and after it in the child, before any callback of
  // the lifecycle there. Each may be null.
  std::function<void()> prepare_fork = nullptr;
  std::function<void()> forked_in_root = nullptr;
  std::function<void(int place)> entered_child = nullptr;
};

namespace process_internal {

// kInvalidArgument, with the name of the option, for one that makes no sense.
absl::Status Check(const SupervisorOptions& options);

}  // namespace process_internal
}  // namespace fio

#endif  // FIO_CORE_PROCESS_SUPERVISOR_OPTIONS_H_
