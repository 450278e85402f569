// The Connections of a loop: their table, what each has to do in this turn,
// their idle timeouts, and how they end. The loop calls one function for each
// part of its turn. A Connection asks to be part of it (DeliverLater() and the
// like).
//
// One byte's way: OnEvent() marks a connection as readable, Deliver() calls
// Protocol::OnData(), what that writes is queued, Flush() sends it.
//
// Thread safety: none; all of it belongs to the thread of the loop.

#ifndef FIO_CORE_LOOP_CONNECTIONS_H_
#define FIO_CORE_LOOP_CONNECTIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connection_table.h"
#include "fio/core/loop/external_lock.h"
#include "fio/core/loop/idle_wheel.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/internal/overload_guard.h"
#include "fio/core/loop/internal/receive_buffer.h"
#include "fio/core/loop/internal/turn_clock.h"
#include "fio/core/loop/internal/turn_thread.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/task.h"
#include "fio/sock/socket.h"

namespace fio {

class Connections final : private IdleWheel::Owner {
 public:
  // What they use of their loop; all of it outlives them.
  struct Uses {
    Loop& loop;
    const LoopOptions& options;
    Poller& poller;
    TimerWheel& timers;
    loop_internal::TurnClock& turn;
    const loop_internal::TurnThread& thread;
    loop_internal::Counters& counters;
    loop_internal::Mailbox& mailbox;
  };

  explicit Connections(const Uses& uses);
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;
  // REQUIRES: EndAll() was called.
  ~Connections();

  // --- The parts of a turn, for the loop ---

  void OnEvents(bool more_may_wait) { has_more_events_ = more_may_wait; }
  void OnEvent(Token token, Readiness readiness);
  void AdvanceIdle();
  void Deliver();
  void Shake();
  void Flush();
  void Bury();

  // Whether the next turn must not wait.
  bool HasMoreToDo() const;
  // Of idle timeouts.
  MonotonicTime NextDeadline() const { return idle_.NextDeadline(); }

  // --- What the loop does with all ---

  // See Loop::Adopt(). AdoptCounted() takes a socket that is in the mailbox's
  // count already.
  enum class Registered : bool { kNo, kYes };  // The poller knows it already.
  absl::StatusOr<ConnectionId> Adopt(
      Socket socket, absl::FunctionRef<void(Connection&)> on_open,
      Registered registered = Registered::kNo);
  absl::StatusOr<ConnectionId> AdoptCounted(
      Socket socket, absl::FunctionRef<void(Connection&)> on_open,
      Registered registered = Registered::kNo);
  // The same with a protocol, which is told OnClose() after an error, or
  // detached. Errors: that of `socket`, too.
  absl::StatusOr<ConnectionId> Adopt(absl::StatusOr<Socket> socket,
                                     std::unique_ptr<Protocol> protocol);

  // Null if the connection is gone, or is dead and waits for its burial.
  Connection* Find(ConnectionId id);
  Connection* FindByFd(int fd);
  // The same, but knows dead ones.
  Connection* FindUnburied(ConnectionId id) { return table_.Find(id); }

  size_t size() const { return table_.size(); }
  // Whether there is one that keeps Loop::RunWhileBusy() going.
  bool busy() const { return table_.size() > unref_; }

  // How many have something left.
  size_t FlushAll();

  // Calls `visit` for each. It must neither open nor bury one.
  void ForEach(absl::FunctionRef<void(Connection&)> visit) {
    table_.ForEach(visit);
  }

  // See Loop::Drain() and Loop::Stop(). Finish() forgets both.
  void BeginDrain();
  void BeginStop(MonotonicTime cut_off);
  void Finish();
  bool draining() const { return draining_; }
  bool stopping() const { return stopping_; }

  // For the end of the loop: ends all, each with its OnClose(), even if another
  // thread has locked it. kCopies: the sockets are those of the parent process.
  enum class Sockets : bool { kOwn, kCopies };
  void EndAll(Sockets sockets);

  // --- What a connection asks for; each at most once at a time ---

  void DeliverLater(Connection& connection);
  void ShakeLater(Connection& connection);
  void FlushLater(Connection& connection);
  void BuryLater(Connection& connection);
  void BuryAgain(const Connection& connection);
  // The protocol has lost its connection, and is told at the end of the turn.
  void EndProtocol(std::unique_ptr<Protocol> protocol, ConnectionId id,
                   CloseReason reason);
  // The same for those that the external lock has held up.
  void EndHeldUpProtocols();
  void ArmIdle(Connection& connection, MonotonicTime deadline);
  // Has the poller, if it needs that, tell when more comes or room is made.
  void AwaitBytes(const Connection& connection);
  void AwaitRoom(const Connection& connection);
  // False if that connection is being told of it; else the end of it follows.
  bool BeginShutdown(ConnectionId id);
  void EndShutdown() { telling_shutdown_.pop_back(); }
  // It does not count for busy(); it stays until no other stays.
  void Unref() { ++unref_; }
  void AddStayer() { ++stayers_; }

  // For the report of callbacks that take too long.
  ABSL_ATTRIBUTE_ALWAYS_INLINE void AfterCallback(const Protocol* protocol) {
    if (turn_.CallbackEnded(protocol)) counters_.stalls.Add(1);
  }
  // Around one that is called inside of another, as OnOpen() is.
  MonotonicTime BeforeNestedCallback() const { return turn_.BeforeNested(); }
  void AfterNestedCallback(const Protocol* protocol, MonotonicTime began);
  void CheckThread() const {
    ABSL_DCHECK(thread_.IsThis())
        << "Connection: used from another thread than its loop's; see "
           "LoopHandle";
  }
  void RunAfter(absl::Duration delay, Task task);

  Loop& loop() { return loop_; }
  const LoopOptions& options() const { return options_; }
  MonotonicTime now() const { return turn_.now(); }
  const loop_internal::TurnClock& turn() const { return turn_; }
  // Whether the poller may have had more events than it told in this turn.
  bool has_more_events() const { return has_more_events_; }
  loop_internal::Counters& counters() { return counters_; }
  loop_internal::ReceiveBuffer& receive_buffer() { return receive_buffer_; }
  loop_internal::OverloadGuard& memory() { return memory_; }
  ExternalLock& external_lock() { return external_lock_; }
  bool membarrier() const { return membarrier_; }
  // Whether what a socket has queued may exceed LoopOptions::watermarks
  // although it is_short().
  bool has_small_limits() const { return has_small_limits_; }
  // Whether the poller has to be told; see AwaitBytes().
  bool marks_drained() const { return marks_drained_; }

 private:
  using EndedProtocol = loop_internal::EndedProtocol;
  struct Buried;

  // IdleWheel::Owner:
  IdleWheel::Link& link(uint32_t fd) override;
  MonotonicTime Check(uint32_t fd) override;

  absl::StatusOr<ConnectionId> OpenCounted(
      Socket socket, absl::FunctionRef<void(Connection&)> on_open,
      Registered registered);
  absl::StatusOr<ConnectionId> Open(
      Socket socket, absl::FunctionRef<void(Connection&)> on_open,
      Registered registered);
  absl::Status Register(ConnectionId id, Registered registered);
  void PrefetchFlush(size_t i);
  void MarkDrained(const Connection& connection, Interest interest);
  void DropStale(int fd);
  void EndProtocols();
  void BuryOne(Connection& connection);
  Buried TakeOut(Connection& connection);
  static void TellGone(loop_internal::ConnectionExtra* extra,
                       const CloseReason& reason);
  void CloseLastStayers();
  void AbortAll();
  void ForsakeAll();

  Loop& loop_;
  const LoopOptions& options_;
  Poller& poller_;
  TimerWheel& timers_;
  loop_internal::TurnClock& turn_;
  const loop_internal::TurnThread& thread_;
  loop_internal::Counters& counters_;
  loop_internal::Mailbox& mailbox_;
  ConnectionTable& table_;
  const bool marks_drained_;  // The poller needs to be told.
  const bool membarrier_;     // For CallbackLock.
  const bool has_small_limits_;

  IdleWheel idle_;
  loop_internal::ReceiveBuffer receive_buffer_;
  ExternalLock external_lock_;
  loop_internal::OverloadGuard memory_;
  Connection nobody_;  // For protocols whose connection is gone.

  // What the rest of this turn, or the next one, has to do. A connection is in
  // each of them at most once. One that has gone may have left its token
  // behind, which means nothing to the next connection of its descriptor.
  std::vector<Token> to_deliver_, delivering_;
  std::vector<Token> to_flush_, flushing_;
  std::vector<ConnectionId> to_shake_;  // A heap, the oldest first.
  std::vector<ConnectionId> to_bury_;
  std::vector<EndedProtocol> ended_protocols_;
  std::vector<ConnectionId> telling_shutdown_;  // Inside of OnShutdown().

  bool has_more_events_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  MonotonicTime cut_off_ = MonotonicTime::InfiniteFuture();
  TimerId cut_off_timer_ = TimerId::kNone;
  size_t stayers_ = 0;  // Connections that stay until no other does.
  size_t unref_ = 0;    // Connections that do not keep the loop busy.
};

inline void Connections::OnEvent(Token token, Readiness readiness) {
  Connection* const connection = table_.Find(token);
  if (connection != nullptr) connection->OnReadiness(readiness);
}

inline void Connections::DeliverLater(Connection& connection) {
  if (connection.Has(Connection::kInDeliverList | Connection::kDead)) return;
  connection.Set(Connection::kInDeliverList);
  to_deliver_.push_back(ConnectionTable::TokenOf(connection));
}

inline void Connections::FlushLater(Connection& connection) {
  CheckThread();
  if (connection.Has(Connection::kInFlushList | Connection::kDead)) return;
  connection.Set(Connection::kInFlushList);
  to_flush_.push_back(ConnectionTable::TokenOf(connection));
}

inline void Connections::AwaitBytes(const Connection& connection) {
  if (marks_drained_) MarkDrained(connection, Interest::kReadable);
}

inline void Connections::AwaitRoom(const Connection& connection) {
  if (marks_drained_) MarkDrained(connection, Interest::kWritable);
}

// The poller tells when there is something again.
inline void Connection::ClearReadable() {
  Clear(kReadable);
  connections_->AwaitBytes(*this);
}

// As Touch(), without a look at the clock.
inline void Connection::Active() {
  if (is_open()) last_active_ = connections_->turn().active();
}

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTIONS_H_
