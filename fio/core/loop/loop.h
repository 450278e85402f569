// A Loop is one thread's event loop: its connections, other descriptors, timers
// and tasks. One turn of it, RunOnce(), goes:
//
//   1. wait for readiness, until the next deadline at most
//   2. timers that are due, and connections that were idle for too long
//   3. tasks that were posted
//   4. each connection that is readable: OnData()
//   5. each connection that was written to: one send
//   6. each connection that is closed: OnClose(), then its memory and fd go
//
// The clock is read once a turn, after the wait. What a turn has no time for
// (LoopOptions::turn_budget) is the next one's first.
//
// Thread safety: none; all of it belongs to the thread that runs the loop, or
// to any one thread while none does. Debug builds check that. Other threads
// have handle(), and Post(), Wake(), Drain(), Stop() and stats(), which are for
// any.

#ifndef FIO_CORE_LOOP_LOOP_H_
#define FIO_CORE_LOOP_LOOP_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/internal/turn_clock.h"
#include "fio/core/loop/internal/turn_thread.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_locals.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/waker.h"
#include "fio/core/timer/timer.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/task.h"
#include "fio/sock/socket.h"

namespace fio {

// Names a Loop::Watch(). Never reused within a loop.
enum class WatchId : uint64_t { kNone = 0 };

class Loop {
 public:
  using Hook = MoveOnlyFunction<void()>;

  // Errors: kInvalidArgument for options that make no sense; the errno of the
  // system call that failed.
  static absl::StatusOr<std::unique_ptr<Loop>> Create(
      const LoopOptions& options);
  // On a poller of the caller's own making; LoopOptions::poller is not looked
  // at.
  static absl::StatusOr<std::unique_ptr<Loop>> Create(
      const LoopOptions& options, std::unique_ptr<Poller> poller);

  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  // Closes the connections that are left at once, each with its OnClose(), and
  // destroys timers, each repeated one with its `on_finish`, and tasks without
  // running them. In a child of fork(2) that has inherited the loop, the same
  // happens to the child's copies and nothing of it reaches the wire, nor the
  // parent's loop; see BeforeFork(). REQUIRES: not called from a callback of
  // this loop.
  ~Loop();

  // --- Running ---

  // Runs turns until Stop() has been called and no connection is left. Then
  // runs the tasks that wait, cancels all timers, each repeated one with its
  // `on_finish`, and may be called again. Errors: those of Poller::Wait(), but
  // EINTR.
  absl::Status Run();

  // As Run(), but also returns, and cancels nothing, when no connection, watch,
  // timer or task is left but for those that Unref() has named.
  absl::Status RunWhileBusy();

  // Runs one turn, and waits in it until `deadline` at most. REQUIRES: no turn
  // is under way. Errors: as Run().
  absl::Status RunOnce(MonotonicTime deadline);

  // For a loop inside another one: RunOnce() has something to do when fd() is
  // readable or next_deadline() has passed. After calls of this loop that are
  // not made by RunOnce(), look at the deadline anew. fd() is negative if the
  // poller has none (PollerKind::kPoll).
  int fd() const { return poller_->fd(); }
  MonotonicTime next_deadline() const;

  // Asks each connection how long it stays (Protocol::OnShutdown()), closes it
  // then, takes no new ones, and ends Run() when all are gone. What is left
  // after `grace` is cut off as by Connection::Abort(). A later call can only
  // shorten the grace. Any thread.
  void Stop(absl::Duration grace = absl::InfiniteDuration());

  // Calls Protocol::OnDrain() for each connection, in a task of the loop. All
  // else goes on as before, and new connections are taken; Stop() ends the
  // loop. A second call does nothing. Any thread.
  void Drain();

  // Whether Stop() has been called and no connection is left: time to Finish().
  bool stopped() const { return stopping() && connection_count() == 0; }

  // What ends Run(), for who runs turns by RunOnce(): runs the tasks that wait,
  // cancels all timers, each repeated one with its `on_finish`, and forgets
  // that Stop() was called.
  void Finish();

  // Around a fork(2): in between no other thread is inside of what the loop
  // shares with them. Call AfterFork() in parent and child; the child can do
  // nothing with its copy but destroy it.
  void BeforeFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void AfterFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // Whether this process is a child that has a copy of it.
  bool is_inherited() const { return fork_count_ != ForkCount(); }

  // Called when a turn begins to wait, and when it is over; null for no more.
  // A hook may replace itself: it is destroyed when it has returned. While the
  // loop is destroyed, none is taken.
  void OnTurnBegin(Hook hook) {
    if (!ending_) on_turn_begin_.Set(std::move(hook));
  }
  void OnTurnEnd(Hook hook) {
    if (!ending_) on_turn_end_.Set(std::move(hook));
  }

  // --- Tasks ---

  // For other threads.
  const LoopHandle& handle() const { return handle_; }

  // As LoopHandle's. Any thread.
  bool Post(Task task) { return handle_.Post(std::move(task)); }
  bool Post(ConnectionId id, ConnectionTask task) {
    return handle_.Post(id, std::move(task));
  }
  void Wake() { handle_.Wake(); }

  // Post(), for callers on the loop's own thread.
  void Defer(Task task);

  // --- Timers ---

  // Runs `task` once, never early, unless it is cancelled first. kNone if it is
  // null, or while the loop is destroyed.
  TimerId RunAt(MonotonicTime deadline, Task task);
  TimerId RunAfter(absl::Duration delay, Task task);
  // Again and again; see TimerWheel::Repeated.
  TimerId RunEvery(TimerWheel::Repeated repeated);
  // True if the timer was armed: its task will not run.
  bool Cancel(TimerId id) { return timers_.Cancel(id); }

  // Calls OnTimer() of a timer inside an object of the caller, once, never
  // early; see fio/core/timer/timer.h. Allocates nothing. A timer that is armed
  // is re-armed. Its destructor cancels it: on this thread.
  void Arm(Timer& timer, MonotonicTime deadline);
  void Arm(Timer& timer, absl::Duration delay);
  bool Cancel(Timer& timer) { return timers_.Cancel(timer); }

  // --- Connections ---

  // Makes a connection of a connected, non-blocking socket and calls `on_open`
  // with it, before anything else is told of it. `on_open` gives it a protocol
  // or closes it. If the descriptor's number is that of a connection whose
  // descriptor was closed behind its back, that one ends (EBADF). Errors:
  // kFailedPrecondition if the loop is stopping; those of Poller::Add(). The
  // socket is then closed and `on_open` not called.
  absl::StatusOr<ConnectionId> Adopt(
      Socket socket, absl::FunctionRef<void(Connection&)> on_open);

  // The same for a socket that is watched: this ends the watch, and its
  // registration with the kernel becomes the connection's.
  absl::StatusOr<ConnectionId> Adopt(
      WatchId watch, Socket socket,
      absl::FunctionRef<void(Connection&)> on_open);

  // Makes a connection of a stream socket that comes from elsewhere: owns it,
  // and makes it non-blocking. Without a protocol it is detached
  // (Connection::Detach()). Errors: kInvalidArgument if `fd` is negative; that
  // of fcntl(2); as Adopt(). `protocol` is then told OnClose(), with a
  // connection that has no id, at the end of the turn.
  absl::StatusOr<ConnectionId> Adopt(UniqueFd fd,
                                     std::unique_ptr<Protocol> protocol);

  // Null if the connection is gone. The pointer is good until the next turn.
  Connection* Find(ConnectionId id) { return connections_.Find(id); }
  // The connection that uses the descriptor, likewise.
  Connection* FindByFd(int fd) { return connections_.FindByFd(fd); }
  size_t connection_count() const { return connections_.size(); }

  // Offers what is queued to the kernel now instead of at the end of the turn,
  // and returns of how many connections something is left.
  size_t FlushAll() { return connections_.FlushAll(); }

  // --- Other descriptors ---

  // Calls `callback` when `fd`, which stays the caller's, is ready. Errors: as
  // Poller::Add(); kFailedPrecondition while the loop is destroyed.
  absl::StatusOr<WatchId> Watch(int fd, Interest interest, Trigger trigger,
                                absl::AnyInvocable<void(Readiness)> callback);
  // Has the watch ask for something else from now on; if `fd` is ready for it,
  // that is told again. Errors: as Poller::Modify(); kNotFound for an unknown
  // id.
  absl::Status Rewatch(WatchId id, Interest interest, Trigger trigger);
  // Ends the watch; call it before `fd` is closed. `callback` does not run
  // again, and is destroyed by the end of the turn. An unknown id does nothing.
  void Unwatch(WatchId id);

  // They do not keep RunWhileBusy() from ending. An unknown id does nothing.
  void Unref(WatchId id);
  void Unref(TimerId id) { timers_.Unref(id); }
  void Unref(Timer& timer) { timers_.Unref(timer); }

  // --- State ---

  // From the turn in which Stop() takes effect until Run() returns: nothing is
  // adopted any more.
  bool stopping() const { return connections_.stopping(); }

  // From the turn in which Drain() takes effect until Run() returns.
  bool draining() const { return connections_.draining(); }

  // When this turn's wait ended.
  MonotonicTime now() const { return turn_clock_.now(); }
  // Whether the part of the turn that calls this has had its time
  // (LoopOptions::turn_budget): a callback that could go on for long leaves the
  // rest to the next turn then. Reads the coarse clock.
  bool turn_is_up() const { return turn_clock_.IsUpNow(); }
  // Turns that have begun.
  uint64_t turn() const { return counters_.turns.Get(); }
  // Any thread; each number for itself is right.
  LoopStats stats() const;
  const LoopOptions& options() const { return options_; }
  // What the kernel is asked with; never kAuto, as in options().
  PollerKind poller_kind() const { return poller_->kind(); }

  // The object of type T that this loop has one of. The first call makes it, of
  // this Loop& if T can be made of one. It is destroyed with the loop, after
  // all that may use it; newest first.
  template <typename T>
  T& Local() {
    return locals_.Get<T>(*this);
  }

  // For classes of fio.
  Connections& connections() { return connections_; }

 private:
  // A hook that may replace itself.
  class TurnHook {
   public:
    void Set(Hook hook);
    void Run();

   private:
    Hook hook_;
    bool replaced_ = false;  // While it ran.
  };
  struct WatchedFd {
    int fd;
    absl::AnyInvocable<void(Readiness)> callback;
    bool unref = false;
  };

  Loop(const LoopOptions& options, std::unique_ptr<Poller> poller, Waker waker);

  bool IsBusy();
  absl::Status Turn(MonotonicTime deadline);
  absl::Status WaitAndDispatch(MonotonicTime deadline);
  absl::StatusOr<ReadyEvents> WaitForEvents(MonotonicTime deadline);
  MonotonicTime NextDeadline() const;
  void Dispatch(Event event);
  void DispatchWatch(Event event);
  void RunTasks();
  void AfterCallback();
  using Watches = std::unordered_map<Token, std::unique_ptr<WatchedFd>>;

  void EndWatch(Watches::iterator watch);
  void EndWatches();
  void CountTurn(uint64_t system_calls_before);

  const LoopOptions options_;
  LoopLocals locals_;  // Destroyed nearly last.
  const std::unique_ptr<Poller> poller_;
  const std::shared_ptr<loop_internal::Mailbox> mailbox_;
  const LoopHandle handle_;
  const int fork_count_;  // Of the process it belongs to.
  loop_internal::TurnClock turn_clock_;
  loop_internal::TurnThread thread_;
  loop_internal::Counters counters_;
  TimerWheel timers_;
  Connections connections_;

  // Watches have tokens from 2^63 on, connections their ids below.
  Watches watches_;
  std::vector<std::unique_ptr<WatchedFd>> ended_watches_;
  Token next_watch_;

  std::array<Event, 512> events_;

  size_t unref_watches_ = 0;

  TurnHook on_turn_begin_, on_turn_end_;
  bool asleep_ = false;  // Between turns: posts wake.
  bool ending_ = false;  // Its destructor runs.
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_H_
