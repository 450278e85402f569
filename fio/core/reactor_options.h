// The options of a Reactor.

#ifndef FIO_CORE_REACTOR_OPTIONS_H_
#define FIO_CORE_REACTOR_OPTIONS_H_

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/loop/loop_options.h"

namespace fio {

// What signals do while Run() is running. A signal can be in one list; signals
// in no list are not touched. A signal that is listed twice, or cannot be
// handled (SIGKILL, SIGSTOP), is an error of the Reactor's constructor. The
// listed signals are unblocked in the thread of Run(), even if the program
// inherited a mask that blocks them; fio's other threads block all signals.
// When Run() returns, dispositions and mask are restored. In a worker, where
// Run() does not return, they stay until the process has ended.
struct SignalOptions {
  // Stop gracefully. A second signal aborts what is still open; a third one
  // kills the workers that are left. If only a worker gets the signal, it stops
  // and is replaced.
  std::vector<int> stop = {SIGINT, SIGTERM, SIGQUIT};

  // Reactor::Restart().
  std::vector<int> restart = {SIGUSR1};

  // Reactor::Reload(). They are handled only if a callback for kOnReload is
  // registered when Run() begins. Otherwise they are not touched, and SIGHUP
  // ends the process as it does by default; a callback that is added later
  // changes nothing. Only SIGHUP, which is here by default, may be in another
  // list at the same time, and then it has the meaning of that list.
  std::vector<int> reload = {SIGHUP};

  // Ignores SIGPIPE, so that a user's write to a broken pipe fails with EPIPE.
  // fio's own writes to sockets never raise it. When Run() returns, the
  // disposition of SIGPIPE is restored: if the program then prints to a broken
  // pipe, in main() or in a callback for kAtExit, the signal ends it, unless it
  // ignores SIGPIPE itself. A worker ignores it until it has ended.
  bool ignore_sigpipe = true;
};

// What happens if the root, when it forks a worker, has threads besides the one
// that runs Run(). A lock that such a thread holds at that moment (of malloc,
// of getaddrinfo(3), of a log) stays locked in the worker, which may then hang.
// See docs/processes.md.
enum class RootThreads : uint8_t {
  // kRefuse if fio is compiled without NDEBUG, otherwise kWarn.
  kDefault,
  // The worker is not forked. Until all workers have been started, Run()
  // returns kFailedPrecondition. Later the error is logged and the fork is
  // tried again, with the delays of ReactorOptions.
  kRefuse,
  // Logged once for each Reactor. The worker is forked.
  kWarn,
  // The worker is forked. The program guarantees that no thread holds a lock
  // then.
  kAllow,
};

// A negative duration is an error of the Reactor's constructor.
struct ReactorOptions {
  // How many loops each process that serves has, and how many such processes
  // there are. ResolveConcurrency() reads the numbers; if both are 0, one
  // process uses all cores. With more than one thread, callbacks of different
  // connections may run at the same time. With more than one worker, the
  // calling process is the root: it forks them, keeps their number constant,
  // and serves no clients, except those of `root_only` listeners.
  int threads = 0;
  int workers = 0;

  // With one worker: the root forks and supervises it, too.
  bool supervise_single_worker = false;

  // See RootThreads. A single process, which forks no worker, may have threads.
  RootThreads root_threads = RootThreads::kDefault;

  // How many cores there are; 0 means AvailableCores().
  int cores = 0;

  SignalOptions signals = {};

  // Run() raises the process's limit of descriptors to this, or to the hard
  // limit if that is less.
  size_t max_descriptors = 131'072;

  // How long a worker that is replaced drains: it serves its open connections
  // before it stops. It is replaced by Reactor::Restart(), or because it stops
  // by itself (Reactor::Stop() in the worker, a signal to it alone). While it
  // drains it accepts nothing. Protocol::OnDrain() is called for each
  // connection, so that a protocol can ask its peer to connect again. Draining
  // ends early when no connection is left, and at once when the root stops or
  // has died. Then `shutdown_timeout` begins. A single process, and all workers
  // at a stop of the root, do not drain. Zero: no draining.
  absl::Duration drain_time = absl::Seconds(10);

  // Connections that are open this long after Stop() are aborted, whatever time
  // Protocol::OnShutdown() has returned. A worker that has not ended one second
  // later is killed by the root, which logs it; if the root has died, by a
  // thread of the worker itself. A single process ends then by _exit(2) with
  // code 1 if a loop other than the main one hangs in a callback; see
  // docs/processes.md.
  absl::Duration shutdown_timeout = absl::Seconds(254 + 8);

  // While a process stops, a connection that has sent everything waits this
  // long for its peer to close first. So a client that sends a request at that
  // moment sees an end and not a reset. Replaces LoopOptions::stop_linger in
  // `loop`, which is ignored.
  absl::Duration linger_timeout = absl::Milliseconds(500);

  // A worker that ends before it is ready, or within `worker_min_lifetime`
  // after that, is replaced after a delay: `respawn_delay`, and twice the
  // previous delay for each further one in a row, up to `max_respawn_delay`.
  // All others are replaced at once. If `respawn` is false, a crash of one
  // worker stops all, and Run() returns how it ended.
  absl::Duration respawn_delay = absl::Milliseconds(50);
  absl::Duration max_respawn_delay = absl::Seconds(10);
  absl::Duration worker_min_lifetime = absl::Milliseconds(250);
  bool respawn = true;

  // Takes the listening sockets that a service manager has opened for this
  // process (sd_listen_fds(3)): Listen() uses one with the address of its url
  // instead of opening its own.
  bool socket_activation = false;

  // Notifies the service manager when the process serves and when it stops
  // (sd_notify(3)). Does not wait for it: while its queue is full, the message
  // is sent again every 100 ms, for up to 90 s and not after the end of Run().
  bool notify_service_manager = false;

  LoopOptions loop = {};
};

}  // namespace fio

#endif  // FIO_CORE_REACTOR_OPTIONS_H_
