// A Lifecycle holds callbacks for events of the process: start, fork, serving,
// stop, end. The reactor fires most of the events; the program may fire any of
// them with Force().
//
//   lifecycle.Add(LifecycleEvent::kOnStart, &OpenDatabase, &database);
//   lifecycle.Add(LifecycleEvent::kAtExit, [] { WriteReport(); });
//   lifecycle.Add(LifecycleEvent::kInRoot,
//                 [](WorkerEvent& worker) { Note(worker.pid()); });
//
// Each event has a list of callbacks. For events up to kOnIdle the callback
// that was added first runs first; from kOnUserReverse on the one that was
// added last runs first. Force() runs the list as it is when Force() is called:
// if a callback adds or removes callbacks, that has an effect from the next
// Force() on. No lock is held while callbacks run, so they may call every
// method.
//
// A forked child has a copy of its parent's lists.
//
// Thread safety: any thread. If two threads fire the same event at the same
// time, its callbacks run on both at the same time.

#ifndef FIO_CORE_PROCESS_LIFECYCLE_H_
#define FIO_CORE_PROCESS_LIFECYCLE_H_

#include <cstdint>
#include <memory>

#include "fio/base/move_only_function.h"
#include "fio/core/process/worker_event.h"

namespace fio {

// The root is the process that calls Run(). With several workers the root forks
// them and does not serve itself; otherwise the root is the only worker.
enum class LifecycleEvent : uint8_t {
  kOnInitialize,     // Once, at Initialize().
  kPreStart,         // In the root, before any fork.
  kBeforeFork,       // In the root, before each fork of a worker.
  kAfterFork,        // In both processes after it; in the root if it failed.
  kInChild,          // After kAfterFork, in the worker.
  kInRoot,           // After kAfterFork, in the root; not if the fork failed.
  kOnStart,          // In each worker, before it serves. Start threads here.
  kOnReload,         // By Reactor::Reload(): in the root, then in each worker.
  kOnPubSubConnect,  // By Force() only.
  kOnPubSubError,    // In the root: PubSub dropped messages, or lost a link.
  kOnUser,           // By Force() only.
  kOnIdle,           // No loop of the process has anything left to do.
  kOnUserReverse,    // By Force() only.
  kOnShutdown,       // The process begins to stop.
  // The process has stopped: all connections are closed. The loops still exist,
  // so this is where thread pools are destroyed. Run() does not return, and the
  // process does not end, before the callbacks have returned.
  kOnFinish,
  kOnParentCrash,  // In a worker, once: the root died.
  // In the root, once for each worker that crashed; not for one that the root
  // killed, nor after a stop.
  kOnChildCrash,
  // Once, in each process that ends by exit(3) or by returning from main(),
  // forked ones included; not after _exit(2) or a fatal signal. The callbacks
  // run even if the Lifecycle was destroyed before. With several Lifecycles all
  // callbacks run as one list, the newest first. A callback that is added
  // during this runs after the others.
  //
  // In the root and in a single process this is after Run(), so SignalOptions
  // no longer ignores SIGPIPE: see there before printing.
  kAtExit,
  kNever,  // Is never fired, and takes no callbacks.
};

class Lifecycle {
 public:
  using Function = void (*)(void* argument);

  // Identifies a callback that was added as a callable. Never reused in a
  // process.
  enum class CallbackId : uint64_t { kNone = 0 };

  Lifecycle();
  Lifecycle(const Lifecycle&) = delete;
  Lifecycle& operator=(const Lifecycle&) = delete;
  // Destroys all callbacks but those for kAtExit. REQUIRES: no callback runs.
  ~Lifecycle();

  // Adds `function` with `argument` at the end of the event's list. Returns
  // false, and changes nothing, if the list contains the same pair already, if
  // `function` is null or if the event is kNever.
  bool Add(LifecycleEvent event, Function function, void* argument = nullptr);

  // As above, for a callable. Two callables are never the same. Returns kNone
  // if `callback` is null or the event is kNever. The Lifecycle owns
  // `callback`: it is destroyed when it has been removed and no Force() runs it
  // any more; for kAtExit, after it has run.
  CallbackId Add(LifecycleEvent event, MoveOnlyFunction<void()> callback);

  // The same for a callable that is told which worker the event is about:
  //
  //   kBeforeFork, kAfterFork, kInChild, kInRoot   the worker that is forked
  //   kOnChildCrash                                the worker that crashed
  //   kOnStart, kOnReload, kOnShutdown,
  //     kOnFinish, kOnParentCrash                  the calling worker or single
  //                                                process
  //   all others, and kOnReload, kOnShutdown and
  //     kOnFinish in a root of workers             no worker
  CallbackId Add(LifecycleEvent event,
                 MoveOnlyFunction<void(WorkerEvent&)> callback);

  // Returns false if the list does not contain it.
  bool Remove(LifecycleEvent event, Function function,
              void* argument = nullptr);
  bool Remove(CallbackId callback);

  // Removes all callbacks of `event`.
  void Clear(LifecycleEvent event);

  // Fires `event`: runs all its callbacks, in the calling thread. Without a
  // `worker` it is about no worker.
  void Force(LifecycleEvent event);
  void Force(LifecycleEvent event, WorkerEvent& worker);

  // Whether `event` has callbacks. Costs one relaxed load.
  bool Has(LifecycleEvent event) const;

  // The first call fires kOnInitialize; later calls do nothing. A callback that
  // is added for kOnInitialize after that runs at once, inside of Add().
  void Initialize();

 private:
  struct Callback;
  struct State;
  class ExitHook;

  CallbackId AddCallback(LifecycleEvent event, Callback callback);

  // Shared, because kAtExit may need it after the destructor.
  const std::shared_ptr<State> state_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_LIFECYCLE_H_
