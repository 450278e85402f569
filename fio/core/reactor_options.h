// How a Reactor is made.

#ifndef FIO_CORE_REACTOR_OPTIONS_H_
#define FIO_CORE_REACTOR_OPTIONS_H_

#include <csignal>
#include <cstddef>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/loop/loop_options.h"

namespace fio {

// What signals mean to a reactor while Run() is running. A signal can be in one
// list; empty lists leave all signals alone. When Run() returns their
// dispositions are what they were before.
struct SignalOptions {
  // Stop gracefully; a second one cuts off what is still open, a third one
  // kills the workers that are left. A worker that gets one of its own stops,
  // and is replaced.
  std::vector<int> stop = {SIGINT, SIGTERM, SIGQUIT};

  // Reactor::Restart().
  std::vector<int> restart = {SIGUSR1};

  // Ignores SIGPIPE, so that what users write to pipes fails with EPIPE. fio's
  // own writes to sockets raise none.
  bool ignore_sigpipe = true;
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

  // How many cores there are; 0 finds out (AvailableCores()).
  int cores = 0;

  SignalOptions signals = {};

  // Run() raises the process's limit of descriptors to this, or to the hard
  // limit if that is less.
  size_t max_descriptors = 131'072;

  // What is open this long after Stop() is cut off, whatever its
  // Protocol::OnShutdown() has asked for. Of a worker that does not end even
  // then the root makes an end one second later.
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
