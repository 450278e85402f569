// A Reactor is what a program runs: listeners and connectors, the loops that
// serve their connections, each on a thread of its own, in one process or in
// several workers; signals, and an orderly end.
//
//   fio::Reactor reactor({.threads = 4, .workers = 2});
//   auto listener = reactor.Listen("tcp://0.0.0.0:3000", {.on_open = ...});
//   if (!listener.ok()) return fio::ExitWith(listener.status());
//   return fio::ExitWith(reactor.Run());  // Until SIGINT or SIGTERM.
//
// What is set up before Run() is set up in every process. The workers are
// forked by Run(), and end inside of it by exit(3). A worker that replaces
// another one is a copy of the root as it is then; the tasks, timers and
// connections of the root's loop are dropped in the copy and go on in the root.
//
// The root of workers has no thread of fio's beside the one that calls Run().
// The program should start none there either: see RootThreads and
// docs/processes.md.
//
// A process may have several Reactors. A signal is heard by all of them that
// handle it.
//
// Thread safety: any thread where it says so; everything else from the thread
// that calls Run(), which runs the main loop, and before Run().

#ifndef FIO_CORE_REACTOR_H_
#define FIO_CORE_REACTOR_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/concurrency.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor_options.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/repeated_callback.h"
#include "fio/defer/task.h"
#include "fio/sock/socket_address.h"

namespace fio {

// Name a listener and a connector of one reactor. Never reused.
enum class ListenerId : uint64_t { kNone = 0 };
enum class ConnectorId : uint64_t { kNone = 0 };

class Reactor {
 public:
  // A repeated timer, as TimerWheel::Repeated. Copied into each process.
  struct Timer {
    RepeatedCallback<std::function<TimerNext()>> callback;
    absl::Duration interval;
    int64_t repetitions = -1;  // n > 0 n times, 0 once, n < 0 without end.
    std::function<void()> on_finish = nullptr;
  };

  // What is wrong with `options`, or with the system, Listen() and Run() tell.
  explicit Reactor(ReactorOptions options = {});
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  // Closes what is open, at once. REQUIRES: Run() is not running; otherwise the
  // process is aborted with a message that says so. Exception: a static Reactor
  // whose Run() is running when the process calls exit(3), in a callback or on
  // any other thread. It is left as it is, and its threads run until the
  // process has ended. Workers notice that their root has ended, and stop.
  ~Reactor();

  // --- Running ---

  // Serves until it is stopped, then closes the listeners, lets connections end
  // (Protocol::OnShutdown()) and returns. May be called again: Lifecycle
  // callbacks are still there, listeners, connectors and timers are not. In a
  // worker it does not return. Errors: those of the constructor; of system
  // calls, by their errno.
  absl::Status Run();

  // Ends Run(). What is open after `grace`, or after
  // ReactorOptions::shutdown_timeout, is aborted as by Connection::Abort(). A
  // later call can only shorten the grace. In the root it ends all workers. In
  // a worker it ends that one: the root starts its replacement at once, and the
  // worker first drains for up to ReactorOptions::drain_time, within `grace`.
  // Inside of kPreStart it cancels the start. While Run() is not running it
  // does nothing. Any thread, and signal handlers.
  void Stop(absl::Duration grace = absl::InfiniteDuration());

  // Replaces the workers one by one, each when its successor is ready, so that
  // no client is refused meanwhile; see Supervisor::Restart(). An old worker
  // accepts no more, drains for up to ReactorOptions::drain_time, and stops. In
  // a worker: Stop(). In a single process it is logged and ignored. Any thread,
  // and signal handlers.
  void Restart();

  // The callbacks for what happens to the process. Any thread.
  Lifecycle& lifecycle();

  // --- Listening ---

  // Listens from now on; connections wait in the kernel until Run() accepts
  // them. What `url` leaves out is filled in as by ListenDefaults, so the empty
  // one is tcp://0.0.0.0:3000. May block to resolve a name.
  //
  // While Run() is running it is this process that listens; in a root of
  // workers the listener must then be `root_only`.
  //
  // Errors: those of the constructor; kInvalidArgument for a bad url, without
  // an on_open, or for datagrams; kFailedPrecondition in a root, as above;
  // those of Resolve() and ListenSocket::Listen(). on_finish has then been
  // called, or is by a task if it was a loop that could not accept.
  absl::StatusOr<ListenerId> Listen(std::string_view url,
                                    ListenOptions options);

  // Where a listener listens, with the real port. Errors: kNotFound.
  absl::StatusOr<SocketAddress> ListenAddress(ListenerId id) const;

  // Accepts no more for a while, in this process. Clients that connect wait in
  // the kernel; those of a worker that has paused are served by workers that
  // have not. Errors: kNotFound.
  absl::Status PauseListener(ListenerId id);
  absl::Status ResumeListener(ListenerId id);

  // Accepts no more on that listener, in this process; its connections stay. If
  // no worker shares it, the kernel refuses new clients from then on, also if a
  // forked child has a copy of the socket. Errors: kNotFound.
  absl::Status CloseListener(ListenerId id);

  // --- Connecting ---

  // Connects, and connects again, as Connector does, on the main loop: before
  // Run(), in each process that serves, when it starts; while it is running, in
  // this process. Errors: as Connector::Create(); those of the constructor;
  // kFailedPrecondition while Run() is running in a root, unless `root_only`.
  // on_finish has then been called.
  absl::StatusOr<ConnectorId> Connect(std::string_view url,
                                      ConnectorOptions options);

  // Connector::Cancel(), for connectors of this process. Errors: kNotFound if
  // it is none of its, or has finished.
  absl::Status CancelConnect(ConnectorId id);

  // Connects on any loop of this process, for example inside a callback of a
  // connection, on the loop of that connection:
  //
  //   upstream_ = reactor.ConnectOn(connection.loop(), url, {.on_open = ...});
  //
  // The caller owns the Connector. Destroying it cancels the attempt; an
  // established connection stays, since the loop owns that. It is also
  // cancelled when the loop's Run() ends. `root_only` is not looked at. Call
  // this on the thread of `loop`, and destroy the Connector there, before the
  // reactor. Errors: those of the constructor; as Connector::Create().
  absl::StatusOr<std::unique_ptr<Connector>> ConnectOn(
      Loop& loop, std::string_view url, ConnectorOptions options);

  // For Connectors of the user's own, on any loop of this process; it dies with
  // the reactor. In a worker it is another object than in its root: ask anew.
  // Any thread.
  Resolver& resolver();

  // --- Tasks and timers ---

  // Runs `task` on the main loop: before Run(), in each process when it starts,
  // root and workers alike; while it is running, in this process. False if it
  // is null.
  bool Defer(std::function<void()> task);

  // Likewise a timer; what is set up before Run() counts from its start.
  // Errors: kInvalidArgument without a callback or for an interval that is not
  // positive; on_finish has then been called.
  absl::Status RunEvery(Timer timer);

  // Runs `task` on the main loop of this process, once Run() is running; see
  // Loop::Post(). Any thread.
  void Post(Task task);

  // Runs `task` with the connection, on whichever loop of this process has it;
  // with null if none has. See LoopHandle. Any thread.
  void Post(ConnectionId id, ConnectionTask task);

  // The door of the loop that has the connection, or of the main one. Any
  // thread.
  LoopHandle HandleOf(ConnectionId id) const;
  // Of this process's loops, the main one first. Any thread.
  std::vector<LoopHandle> handles() const;

  // The main loop. A worker has another than its root: ask anew. REQUIRES: the
  // constructor had no error.
  Loop& loop();

  // --- State, any thread ---

  // How many processes serve: 0 unless Run() is running and not stopping.
  int running_workers() const;
  // Whether this process serves, or will; whether it is no worker of another.
  // Of a single process both are true.
  bool is_worker() const;
  bool is_root() const;
  // The process that called Run(), in its workers, too.
  pid_t root_pid() const;
  // Which worker this is, from 0; a replacement has the place of who it
  // replaces.
  int worker_place() const;

  // What `threads` and `workers` came to.
  const Concurrency& concurrency() const;
  // What the kernel is asked with: "epoll" or another.
  std::string_view engine() const;
  // When the main loop last looked for events, in wall time; now, before.
  absl::Time last_tick() const;
  // How many descriptors the process may have open while Run() is running; 0
  // otherwise, and if a sandbox does not let the process ask.
  size_t capacity() const;

 private:
  class Impl;

  std::unique_ptr<Impl> impl_;  // Never replaced.
};

}  // namespace fio

#endif  // FIO_CORE_REACTOR_H_
