// A Lifecycle holds the callbacks for what happens to a process as a whole: it
// starts, forks, serves, stops, ends. The reactor fires most of the events;
// anybody may fire any of them with Force().
//
//   lifecycle.Add(LifecycleEvent::kOnStart, &OpenDatabase, &database);
//   lifecycle.Add(LifecycleEvent::kAtExit, [] { WriteReport(); });
//
// The callbacks of an event are a list. Events up to kOnIdle run it from the
// oldest to the newest, those from kOnUserReverse on from the newest to the
// oldest. A firing runs the list as it was when it began: what a callback adds,
// removes or clears counts from the next firing on. No lock is held while
// callbacks run, so that they may do all of this, and fire as well.
//
// A forked child has a copy of its parent's lists.
//
// Thread safety: any thread. Two threads that fire an event at once run its
// callbacks at once.

#ifndef FIO_CORE_PROCESS_LIFECYCLE_H_
#define FIO_CORE_PROCESS_LIFECYCLE_H_

#include <cstdint>
#include <memory>

#include "fio/base/move_only_function.h"

namespace fio {

// The root is the process that calls Run(). If there are several workers, it
// forks them and serves nobody; otherwise it is the one worker itself.
enum class LifecycleEvent : uint8_t {
  kOnInitialize,     // Once, at Initialize().
  kPreStart,         // In the root, before any fork.
  kBeforeFork,       // In the root, before each fork of a worker.
  kAfterFork,        // After it in both, or in the root if it failed.
  kInChild,          // After kAfterFork, in the worker.
  kInMaster,         // After kAfterFork, in the root; not if the fork failed.
  kOnStart,          // In each worker, before it serves.
  kOnPubSubConnect,  // By Force() only.
  kOnPubSubError,    // By Force() only.
  kOnUser,           // By Force() only.
  kOnIdle,           // The last loop that was busy has run out of work.
  kOnUserReverse,    // By Force() only.
  kOnShutdown,       // The process begins to stop.
  kOnFinish,         // It has stopped.
  kOnParentCrash,    // In a worker, once: the root died.
  kOnChildCrash,     // In the root, once for each worker that crashed.
  // Once, at the end of each process that ends by exit(3) or by returning from
  // main(), forked ones included; not after _exit(2) or a fatal signal. Runs
  // also if the Lifecycle was destroyed before. Of several Lifecycles the
  // newest callback is first. What is added meanwhile runs afterwards.
  kAtExit,
  kNever,  // Is not fired, and takes no callbacks.
};

class Lifecycle {
 public:
  using Function = void (*)(void* argument);

  // Names a callback that was added as a callable. Never reused in a process.
  enum class CallbackId : uint64_t { kNone = 0 };

  Lifecycle();
  Lifecycle(const Lifecycle&) = delete;
  Lifecycle& operator=(const Lifecycle&) = delete;
  // Destroys all callbacks but those for kAtExit. REQUIRES: no callback runs.
  ~Lifecycle();

  // Adds the pair at the end of the event's list. False, and no change, if the
  // list has it already, or `function` is null, or the event is kNever.
  bool Add(LifecycleEvent event, Function function, void* argument = nullptr);

  // Likewise; two callables are never the same. kNone if `callback` is null or
  // the event is kNever. It is destroyed when it has been removed and runs no
  // more; if it is for kAtExit, after it has run at the exit.
  CallbackId Add(LifecycleEvent event, MoveOnlyFunction<void()> callback);

  // False if it is not there.
  bool Remove(LifecycleEvent event, Function function,
              void* argument = nullptr);
  bool Remove(CallbackId callback);

  // Removes all callbacks of `event`.
  void Clear(LifecycleEvent event);

  // Runs all callbacks of `event`, in the calling thread.
  void Force(LifecycleEvent event);

  // Whether `event` has callbacks; one relaxed load.
  bool Has(LifecycleEvent event) const;

  // Fires kOnInitialize, the first time that it is called. From then on what is
  // added for kOnInitialize runs at once as well, inside of Add().
  void Initialize();

 private:
  struct Callback;
  struct State;
  class ExitHook;

  CallbackId AddCallback(LifecycleEvent event, Callback callback);

  // At the end of the process kAtExit may still want it.
  const std::shared_ptr<State> state_;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_LIFECYCLE_H_
