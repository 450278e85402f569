// How a Reactor is made.

#ifndef FIO_CORE_REACTOR_OPTIONS_H_
#define FIO_CORE_REACTOR_OPTIONS_H_

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/loop/loop_options.h"

namespace fio {

// What signals mean to a reactor while Run() is running. A signal can be in one
// list; empty lists leave all signals alone. The listed signals are unblocked
// in the thread of Run(), also if the program inherited a mask that blocks
// them; fio's other threads block all signals. When Run() returns, dispositions
// and mask are what they were before. In a worker, where Run() does not return,
// they stay until the process has ended.
struct SignalOptions {
  // Stop gracefully; a second one cuts off what is still open, a third one
  // kills the workers that are left. A worker that gets one of its own stops,
  // and is replaced.
  std::vector<int> stop = {SIGINT, SIGTERM, SIGQUIT};

  // Reactor::Restart().
  std::vector<int> restart = {SIGUSR1};

  // Ignores SIGPIPE, so that what users write to pipes fails with EPIPE. fio's
  // own writes to sockets raise none. Where Run() returns, SIGPIPE is what it
  // was before: a program that then prints to a broken pipe, in main() or in a
  // callback for kAtExit, is ended by the signal unless it ignores it itself.
  // A worker ignores it to its end.
  bool ignore_sigpipe = true;
};

// What happens if the root has other threads than the one that runs Run() when
// it forks a worker. A lock that such a thread holds at that moment (of malloc,
// of getaddrinfo(3), of a log) stays locked in the worker, which may then hang.
// docs/processes.md says more.
enum class RootThreads : uint8_t {
  // kRefuse if fio is compiled without NDEBUG, otherwise kWarn.
  kDefault,
  // The worker is not forked. While not all workers have been started, Run()
  // ends with kFailedPrecondition; later the error is logged and the fork is
  // tried again, with the delays of ReactorOptions.
  kRefuse,
  // Logged once for each Reactor. The worker is forked.
  kWarn,
  // The worker is forked: the caller knows that no thread holds a lock then.
  kAllow,
};

struct ReactorOptions {
  // Loops of each process that serves, and such processes, by the rule of
  // ResolveConcurrency(): of both 0, all cores are used by one process. With
  // more than one thread, callbacks of different connections may run at the
  // same time. With more than one worker the calling process is the root: it
  // forks them, keeps their number and serves nobody itself.
  int threads = 0;
  int workers = 0;

  // Has a single worker forked and watched over as well.
  bool supervise_single_worker = false;

  // See above. A single process, which forks no worker, may have threads.
  RootThreads root_threads = RootThreads::kDefault;

  // How many cores there are; 0 finds out (AvailableCores()).
  int cores = 0;

  SignalOptions signals = {};

  // Run() raises the process's limit of descriptors to this, or to the hard
  // limit if that is less.
  size_t max_descriptors = 131'072;

  // How long a worker that is replaced goes on with its connections before it
  // stops. It is replaced by Reactor::Restart(), or because it stops by itself
  // (Reactor::Stop() in the worker, a signal to it alone). It accepts no more
  // from the beginning; its protocols are told by Protocol::OnDrain(), so that
  // they can have their peers connect anew. It stops earlier when no connection
  // is left, and at once when the root stops or has died. Then
  // `shutdown_timeout` begins. The end of a single process, or of all workers,
  // has no such time. Zero for none.
  absl::Duration drain_time = absl::Seconds(10);

  // What is open this long after Stop() is aborted, whatever its
  // Protocol::OnShutdown() has asked for. A worker that does not end even then
  // is killed by the root one second later. If the root has died meanwhile, the
  // worker kills itself at that time; a thread that sleeps sees to that.
  absl::Duration shutdown_timeout = absl::Seconds(254 + 8);

  // While a process stops, a connection that has sent all that it had waits
  // this long for its peer to close first: LoopOptions::stop_linger, which is
  // not looked at in `loop`. A client whose request crosses the stop so sees an
  // end and not a reset.
  absl::Duration linger_timeout = absl::Milliseconds(500);

  // A worker that ended before it was ready, or within `worker_min_lifetime`
  // after, is replaced after a delay: the first, then twice as long for each
  // further one in a row. All others are replaced at once. Without `respawn` a
  // crash of one stops all.
  absl::Duration respawn_delay = absl::Milliseconds(50);
  absl::Duration max_respawn_delay = absl::Seconds(10);
  absl::Duration worker_min_lifetime = absl::Milliseconds(250);
  bool respawn = true;

  // Takes the listening sockets that a service manager has opened for this
  // process (sd_listen_fds(3)): Listen() uses one with the address of its url
  // instead of opening its own.
  bool socket_activation = false;

  // Tells the service manager when the process serves and when it stops
  // (sd_notify(3)).
  bool notify_service_manager = false;

  LoopOptions loop = {};
};

}  // namespace fio

#endif  // FIO_CORE_REACTOR_OPTIONS_H_
