// A Loop is one thread's event loop: its connections, other descriptors, timers
// and tasks. One turn of it, RunOnce(), goes:
//
//   1. timers that are due
//   2. tasks that were posted
//   3. wait for readiness, until the next deadline at most
//   4. each connection that is readable: OnData(), one receive buffer each
//   5. each connection that was written to: one send
//   6. each connection that is closed: OnClose(), then its memory and fd go
//
// The clock is read once a turn, after the wait.
//
// Thread safety: Post(), Stop() and Wake() from any thread; everything else
// from the thread that runs the loop, or from any one thread while none does.
// Debug builds check that.

#ifndef FIO_CORE_LOOP_LOOP_H_
#define FIO_CORE_LOOP_LOOP_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connection_table.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/waker.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/task_queue.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"

namespace fio {

struct LoopOptions {
  // Outlives the loop.
  const Clock* clock = &Clock::System();

  // What the kernel is asked with.
  PollerKind poller = PollerKind::kAuto;

  // What a connection reads at once, and at most in one turn.
  size_t receive_buffer_bytes = 64 * 1024;

  // What a connection may have queued to write: above the high mark it stops
  // reading until half of it has left, past the limit it is aborted.
  Watermarks watermarks = {};

  // How long a closing connection may take to get rid of what is queued.
  absl::Duration close_timeout = absl::Seconds(8);

  // How long a connection may be without a protocol.
  absl::Duration attach_timeout = absl::Seconds(10);
};

// A task for a connection; captures of up to 40 bytes cost no allocation.
using ConnectionTask = MoveOnlyFunction<void(Connection*), 40>;

// Names a Loop::Watch(). Never reused within a loop.
enum class WatchId : uint64_t { kNone = 0 };

class Loop {
 public:
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
  // destroys timers and tasks without running them. REQUIRES: not called from a
  // callback of this loop.
  ~Loop();

  // Runs turns until Stop() has been called and no connection is left; then may
  // be called again. Errors: those of Poller::Wait(), but EINTR.
  absl::Status Run();

  // Runs one turn, and waits in it until `deadline` at most. Errors: as Run().
  absl::Status RunOnce(MonotonicTime deadline);

  // Asks each connection how long it stays (Protocol::OnShutdown()), closes it
  // then, takes no new ones, and ends Run() when all are gone. What is left
  // after `grace` is cut off as by Connection::Abort(). A later call can only
  // shorten the grace. Any thread.
  void Stop(absl::Duration grace = absl::InfiniteDuration());

  // Runs `task` in the next turn, in the order of posting. Tasks that are left
  // when Run() ends wait for the next Run(). Any thread.
  void Post(Task task);
  // Runs `task` with the connection, or with null if it is gone by then or the
  // loop ends first; exactly once. Any thread.
  void Post(ConnectionId id, ConnectionTask task);

  // The RunOnce() under way, or else the next one, waits no longer. Any thread.
  void Wake();

  // Runs `task` once, never early, unless it is cancelled first.
  TimerId RunAt(MonotonicTime deadline, Task task);
  TimerId RunAfter(absl::Duration delay, Task task);
  // True if the timer was armed: its task will not run.
  bool Cancel(TimerId id) { return timers_.Cancel(id); }

  // Makes a connection of a connected, non-blocking socket and calls `on_open`
  // with it, before anything else is told of it. `on_open` gives it a protocol
  // or closes it. Errors: kFailedPrecondition if the loop is stopping; those of
  // Poller::Add(). The socket is then closed and `on_open` not called.
  absl::StatusOr<ConnectionId> Adopt(
      Socket socket, absl::FunctionRef<void(Connection&)> on_open);

  // Null if the connection is gone. The pointer is good until the next turn.
  Connection* Find(ConnectionId id) { return connections_.Find(id); }
  // The connection that uses the descriptor, likewise.
  Connection* FindByFd(int fd) { return connections_.FindByFd(fd); }
  size_t connection_count() const { return connections_.size(); }

  // Offers what is queued to the kernel now instead of at the end of the turn,
  // and returns of how many connections something is left.
  size_t FlushAll();

  // Calls `callback` when `fd`, which stays the caller's, is ready. Errors: as
  // Poller::Add().
  absl::StatusOr<WatchId> Watch(int fd, Interest interest, Trigger trigger,
                                absl::AnyInvocable<void(Readiness)> callback);
  // Ends the watch; call it before `fd` is closed. `callback` does not run
  // again, and is destroyed by the end of the turn. An unknown id does nothing.
  void Unwatch(WatchId id);

  // When this turn's wait ended.
  MonotonicTime now() const { return now_; }
  const LoopOptions& options() const { return options_; }

 private:
  friend class Connection;

  struct WatchedFd {
    int fd;
    absl::AnyInvocable<void(Readiness)> callback;
  };

  Loop(const LoopOptions& options, std::unique_ptr<Poller> poller, Waker waker);

  // What connections ask of their loop; each at most once at a time.
  void DeliverLater(Connection& connection);
  void FlushLater(Connection& connection);
  void BuryLater(Connection& connection);
  // What the poller is told of a connection's descriptor.
  void MarkDrained(const Connection& connection, Interest interest);
  void Forget(const Connection& connection);

  // Whether this thread may touch the loop, as far as can be told.
  bool OnItsThread() const;

  absl::Status Turn(MonotonicTime deadline);
  absl::Status WaitAndDispatch(MonotonicTime deadline);
  absl::StatusOr<ReadyEvents> WaitForEvents(MonotonicTime deadline);
  void Dispatch(Event event);
  void Deliver();
  void Flush();
  void Bury();
  void BeginStop(MonotonicTime cut_off);
  void AbortAll();
  void CloseLastStayers();

  const LoopOptions options_;
  const std::unique_ptr<Poller> poller_;
  const bool marks_drained_;  // The poller needs to be told.
  MonotonicTime now_;
  TimerWheel timers_;
  ConnectionTable connections_;

  // Watches have tokens from 2^63 on, connections their ids below.
  absl::flat_hash_map<Token, std::unique_ptr<WatchedFd>> watches_;
  std::vector<std::unique_ptr<WatchedFd>> ended_watches_;
  Token next_watch_;

  // What the rest of this turn, or the next one, has to do.
  std::vector<ConnectionId> to_deliver_, delivering_;
  std::vector<ConnectionId> to_flush_, flushing_;
  std::vector<ConnectionId> to_bury_;

  std::vector<char> receive_buffer_;
  const Connection* receiving_ = nullptr;  // Whose OnData() runs.
  std::array<Event, 512> events_;

  bool stopping_ = false;
  size_t stayers_ = 0;  // Connections that stay until no other does.
  MonotonicTime cut_off_ = MonotonicTime::InfiniteFuture();
  TimerId cut_off_timer_ = TimerId::kNone;

  // Whose RunOnce() runs; of no thread otherwise.
  std::atomic<std::thread::id> thread_;

  // Shared with other threads.
  Waker waker_;
  std::atomic<bool> wake_asked_{false};
  TaskQueue tasks_;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_H_
