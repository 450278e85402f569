// A Reactor runs a whole server or client: its listeners and connectors, one
// loop per thread to serve the connections, one process or several workers,
// signals, and a graceful stop.
//
//   fio::Reactor reactor({.threads = 4, .workers = 2});
//   auto listener = reactor.Listen("tcp://0.0.0.0:3000", {.on_open = ...});
//   if (!listener.ok()) return fio::ExitWith(listener.status());
//   return fio::ExitWith(reactor.Run());  // Until SIGINT or SIGTERM.
//
// Set-up before Run() applies to every process. Run() forks the workers; each
// ends inside of Run(), by exit(3). A replacement for a worker is a copy of the
// root at that time. Tasks, timers and connections of the root's loop are
// dropped in the copy and continue in the root.
//
// In a root with workers, fio has no thread but the one that calls Run(). The
// program should start none there either: see RootThreads and
// docs/processes.md.
//
// A process may have several Reactors. A signal reaches all of them that handle
// it.
//
// Thread safety: any thread may call the methods marked "Any thread". Call all
// others on the thread that calls Run() and so runs the main loop.

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
#include "fio/core/process/supervisor_stats.h"
#include "fio/core/reactor_options.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/repeated_callback.h"
#include "fio/defer/task.h"
#include "fio/sock/socket_address.h"

namespace fio {

// Identify a listener and a connector of one reactor. Never reused.
enum class ListenerId : uint64_t { kNone = 0 };
enum class ConnectorId : uint64_t { kNone = 0 };

class Reactor {
 public:
  // A repeated timer, as TimerWheel::Repeated. Copied into each process.
  struct Timer {
    RepeatedCallback<std::function<TimerNext()>> callback;
    absl::Duration interval;
    int64_t repetitions = -1;  // n > 0: n times; 0: once; n < 0: no limit.
    std::function<void()> on_finish = nullptr;
  };

  // Errors in `options` (kInvalidArgument, with the name of the option), and of
  // the system, are returned by Listen(), Connect(), ConnectOn() and Run().
  explicit Reactor(ReactorOptions options = {});
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  // Closes everything at once. REQUIRES: Run() is not running; otherwise this
  // aborts the process with a message that says so. Exception: a static Reactor
  // whose Run() is running when a callback or another thread calls exit(3).
  // Then the destructor does nothing: threads of the Reactor run until the
  // process has ended. Workers detect that their root has ended, and stop.
  ~Reactor();

  // --- Running ---

  // Serves until it is stopped, then closes the listeners, lets connections end
  // (Protocol::OnShutdown()) and returns. In a worker it does not return. May
  // be called again: lifecycle callbacks are kept; listeners, connectors and
  // timers are not. Errors: those of the constructor; the errno of a system
  // call that failed; with ReactorOptions::respawn false, kAborted after the
  // crash of a worker: "worker 1 (process 12) crashed: signal 11".
  absl::Status Run();

  // Ends Run(). Connections that are open after `grace`, or after
  // ReactorOptions::shutdown_timeout, are aborted as by Connection::Abort(). A
  // later call can only shorten the grace. In the root this ends all workers.
  // In a worker it ends that worker: the root starts a replacement at once, and
  // the worker first drains for up to ReactorOptions::drain_time, within
  // `grace`. In a callback for kPreStart it cancels the start. While Run() is
  // not running it does nothing: a later Run() serves. To end a Run() that has
  // not begun, for example in an on_finish that Connect() calls before it
  // returns, let Run() call it: Defer([&reactor] { reactor.Stop(); }). Any
  // thread, and signal handlers.
  void Stop(absl::Duration grace = absl::InfiniteDuration());

  // Replaces the workers one by one, each when its replacement is ready, so
  // that no client is refused; see Supervisor::Restart(). An old worker stops
  // accepting, drains for up to ReactorOptions::drain_time, and stops. While
  // three old workers of a place have not ended, the restart waits for the
  // first of them. In a worker this is Stop(). In a single process it is logged
  // and ignored. Any thread, and signal handlers.
  void Restart();

  // Fires kOnReload, on the main loop, between two turns. In a root it does so
  // there first, and then sends it to each worker, which fires it, too; also to
  // those that are starting, drain or stop. A worker that is forked later is a
  // copy of the root, and has what that has reloaded. In a worker it reloads
  // that worker alone. Before the process serves it waits until it does.
  // Several calls may become one, but a call after the callbacks have begun
  // leads to another. While Run() is not running it does nothing. Any thread,
  // and signal handlers.
  void Reload();

  // The callbacks for events of the process. Any thread.
  Lifecycle& lifecycle();

  // --- Listening ---

  // Listens from now on; connections wait in the kernel until Run() accepts
  // them. ListenDefaults completes `url`, so an empty one means
  // tcp://0.0.0.0:3000. May block to resolve a name.
  //
  // While Run() is running, only this process listens; in a root with workers
  // the listener must then be `root_only`.
  //
  // Errors: those of the constructor; those of CompleteListenOptions(), which
  // calls ListenOptions::secure; kInvalidArgument for a bad url;
  // kFailedPrecondition in a root, as above; those of Resolve() and
  // ListenSocket::Listen(). After an error on_finish has
  // been called; if a loop could not accept, it is called in a task.
  absl::StatusOr<ListenerId> Listen(std::string_view url,
                                    ListenOptions options);

  // The address of a listener, with the real port. Errors: kNotFound.
  absl::StatusOr<SocketAddress> ListenAddress(ListenerId id) const;

  // Pauses and resumes accepting in this process. Meanwhile clients wait in the
  // kernel; those of a paused worker are served by workers that are not paused.
  // Errors: kNotFound.
  absl::Status PauseListener(ListenerId id);
  absl::Status ResumeListener(ListenerId id);

  // Adds up what that listener has done in this process, on all loops, and
  // calls `done` with it on the main loop, once, when Run() is running. Errors:
  // kNotFound; kInvalidArgument if `done` is null.
  absl::Status GetListenerStats(ListenerId id,
                                std::function<void(const ListenerStats&)> done);

  // Stops accepting on that listener in this process; its connections stay
  // open. If no worker shares it, the kernel refuses new clients from then on,
  // even if a forked child has a copy of the socket. Errors: kNotFound.
  absl::Status CloseListener(ListenerId id);

  // --- Connecting ---

  // Creates a Connector on the main loop. If called before Run(), each process
  // that serves (with `root_only`: the root) connects when it starts, and
  // ConnectorOptions::secure is called once, here; while Run() is running, this
  // process connects. Errors: those of
  // Connector::Create() and of the constructor; kFailedPrecondition while Run()
  // is running in a root with workers, unless `root_only`. After an error
  // on_finish has been called.
  absl::StatusOr<ConnectorId> Connect(std::string_view url,
                                      ConnectorOptions options);

  // Connector::Cancel(), for connectors of this process. Errors: kNotFound if
  // this process has no such connector, or it has finished.
  absl::Status CancelConnect(ConnectorId id);

  // Connects on any loop of this process, for example on connection.loop() in a
  // callback of a connection. The caller owns the Connector. Destroying it
  // cancels the attempt; an established connection stays open, because the loop
  // owns it. The attempt is also cancelled when the loop's Run() ends.
  // `root_only` is ignored. Call this on the thread of `loop`, and destroy the
  // Connector there, before the reactor. Errors: those of the constructor and
  // of Connector::Create().
  absl::StatusOr<std::unique_ptr<Connector>> ConnectOn(
      Loop& loop, std::string_view url, ConnectorOptions options);

  // For Connectors that the user creates, on any loop of this process. Valid as
  // long as the reactor. A worker has another one than its root: call this
  // again there. Any thread.
  Resolver& resolver();

  // --- Tasks and timers ---

  // Runs `task` once on the main loop. If called before Run(), it runs in each
  // process, root and workers, when that starts; while Run() is running, in
  // this process. False if `task` is null.
  bool Defer(std::function<void()> task);

  // The same for a timer. If called before Run(), the first interval begins
  // when the process starts. Errors: kInvalidArgument without a callback or for
  // an interval that is not positive; on_finish has then been called.
  absl::Status RunEvery(Timer timer);

  // Runs `task` on the main loop of this process, when Run() is running; see
  // Loop::Post(). False if it will not run. Any thread.
  bool Post(Task task);

  // Runs `task` once with each loop of this process, as a task of that loop,
  // and when all of these have returned, `done`, which may be null, on the main
  // loop. They may run at the same time. As Post(), it takes effect when Run()
  // is running. No call is lost while Run() stops: a loop whose thread has
  // ended is passed to `task` on the thread of Run(). False if `task` is null
  // or the constructor had an error. Any thread.
  bool ForEachLoop(std::function<void(Loop&)> task,
                   std::function<void()> done = nullptr);

  // Runs `task` with the connection, on the loop of this process that has it;
  // with null if none has. False if it will not run. See LoopHandle. Any
  // thread.
  bool Post(ConnectionId id, ConnectionTask task);

  // The handle of the loop that has the connection, or of the main loop if none
  // has. Any thread.
  LoopHandle HandleOf(ConnectionId id) const;
  // The handles of this process's loops, the main one first. Any thread.
  std::vector<LoopHandle> handles() const;

  // The main loop. A worker has another one than its root: call this again
  // there. REQUIRES: the constructor had no error.
  Loop& loop();

  // --- State, any thread ---

  // How many processes serve: 0 unless Run() is running and not stopping.
  int running_workers() const;
  // Whether this process serves (or will), and whether it is not a worker of
  // another process. In a single process both are true.
  bool is_worker() const;
  bool is_root() const;
  // The pid of the process that called Run(), also in its workers.
  pid_t root_pid() const;
  // The place of this worker, from 0; a replacement has the place of the worker
  // that it replaces. 0 in a root, too.
  int worker_place() const;

  // Of the root, in this Run() or the last one. Zero in other processes.
  SupervisorStats supervisor_stats() const;

  // The numbers that `threads` and `workers` were resolved to.
  const Concurrency& concurrency() const;
  // The name of the poller: "epoll" or another.
  std::string_view engine() const;
  // The wall time when the main loop last looked for events; the current time
  // if it has not yet.
  absl::Time last_tick() const;
  // How many descriptors the process may have open. 0 while Run() is not
  // running, and if a sandbox forbids reading the limit.
  size_t capacity() const;

 private:
  class Impl;

  std::unique_ptr<Impl> impl_;  // Never replaced.
};

}  // namespace fio

#endif  // FIO_CORE_REACTOR_H_
