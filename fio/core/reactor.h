// A Reactor is what a process runs: listeners, the loop that serves their
// connections, signals, and an orderly end.
//
//   fio::Reactor reactor({.threads = 1, .workers = 1});
//   auto listener = reactor.Listen("tcp://0.0.0.0:3000", {.on_open = ...});
//   if (!listener.ok()) return fio::ExitWith(listener.status());
//   return fio::ExitWith(reactor.Run());  // Until SIGINT or SIGTERM.
//
// It is an object like any other: several may live in a process. Those that
// handle signals all hear each.
//
// Thread safety: Stop() and Post() from any thread; everything else from the
// thread that calls Run().

#ifndef FIO_CORE_REACTOR_H_
#define FIO_CORE_REACTOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/listener.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/defer/task_queue.h"
#include "fio/sock/listen_defaults.h"
#include "fio/sock/socket_address.h"

namespace fio {

struct ReactorOptions {
  // Loops, each on a thread of its own. This version runs one.
  int threads = 1;
  // Processes that serve. This version runs one, the calling process.
  int workers = 1;

  // While Run() is running, SIGINT and SIGTERM stop it gracefully; a second one
  // cuts off what is still open.
  bool handle_signals = true;

  // Run() raises the process's limit of descriptors to this, or to the hard
  // limit if that is less.
  size_t max_descriptors = 131'072;

  LoopOptions loop = {};
};

// Names a listener of one reactor. Never reused.
enum class ListenerId : uint64_t { kNone = 0 };

class Reactor {
 public:
  // What is wrong with `options`, or with the system, Listen() and Run() tell.
  explicit Reactor(ReactorOptions options = {});
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  // Closes what is open, at once. REQUIRES: Run() is not running.
  ~Reactor();

  // Listens from now on; connections wait in the kernel until Run() accepts
  // them. What `url` leaves out is filled in as by ListenDefaults, so the empty
  // one is tcp://0.0.0.0:3000. May block to resolve a name. Errors: as
  // Listener::Create(); those of the constructor; kInvalidArgument for a bad
  // url.
  absl::StatusOr<ListenerId> Listen(std::string_view url,
                                    ListenOptions options);

  // Where a listener listens, with the real port. Errors: kNotFound.
  absl::StatusOr<SocketAddress> ListenAddress(ListenerId id) const;

  // Accepts no more on that listener; its connections stay. Errors: kNotFound.
  absl::Status CloseListener(ListenerId id);

  // Serves until it is stopped, then closes the listeners, lets connections end
  // (Protocol::OnShutdown()) and returns. May be called again. Errors: those of
  // the constructor, of SignalWatch::Create() and of Loop::Run().
  absl::Status Run();

  // Ends Run() as a signal does: see Loop::Stop(). If Run() is not running, the
  // next one ends at once. Any thread.
  void Stop(absl::Duration grace = absl::InfiniteDuration());

  // Runs `task` on the loop's thread while Run() is running; see Loop::Post().
  // Any thread. REQUIRES: the constructor had no error.
  void Post(Task task);

  // For timers and foreign descriptors. REQUIRES: the constructor had no error.
  Loop& loop();

 private:
  absl::Status RunWithSignals();
  void OnSignal(SignalWatch& signals);

  const ReactorOptions options_;
  const absl::StatusOr<std::unique_ptr<Loop>> loop_;

  ListenDefaults listen_defaults_;
  absl::flat_hash_map<ListenerId, std::unique_ptr<Listener>> listeners_;
  uint64_t last_listener_ = 0;
  int stop_signals_ = 0;  // Of this Run().
};

}  // namespace fio

#endif  // FIO_CORE_REACTOR_H_
