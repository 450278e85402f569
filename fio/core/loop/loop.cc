#include "fio/core/loop/loop.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/check_durations.h"
#include "fio/base/errno_status.h"
#include "fio/base/fork_count.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/poison.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connection_table.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/loop_stats.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/waker.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/task.h"
#include "fio/defer/task_queue.h"
#include "fio/sock/socket.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::Mailbox;

namespace {

constexpr Token kFirstWatch = Token{1} << 63;
constexpr Token kWakerToken = kFirstWatch;

// Timers and idle connections that a turn looks at; a cache miss each.
constexpr size_t kTimersPerTurn = 256;
constexpr size_t kIdlePerTurn = 2048;

absl::Status CheckOptions(const LoopOptions& options) {
  if (options.clock == nullptr) {
    return absl::InvalidArgumentError("LoopOptions::clock is null");
  }
  if (options.receive_buffer_bytes == 0) {
    return absl::InvalidArgumentError(
        "LoopOptions::receive_buffer_bytes is 0: nothing could be read");
  }
  if (options.read_budget_bytes == 0) {
    return absl::InvalidArgumentError(
        "LoopOptions::read_budget_bytes is 0: nothing could be read");
  }
  return CheckNotNegative("LoopOptions",
                          {{"turn_budget", options.turn_budget},
                           {"close_timeout", options.close_timeout},
                           {"stop_linger", options.stop_linger},
                           {"attach_timeout", options.attach_timeout},
                           {"stall", options.stall}});
}

absl::Status SetNonBlocking(int fd) {
  const int flags = Sys().fcntl(fd, F_GETFL);
  if (flags >= 0 && ((flags & O_NONBLOCK) != 0 ||
                     Sys().fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)) {
    return absl::OkStatus();
  }
  return ErrnoToStatus(errno, absl::StrCat("adopt fd ", fd, ": fcntl"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Loop>> Loop::Create(const LoopOptions& options) {
  absl::Status checked = CheckOptions(options);
  if (!checked.ok()) return checked;
  absl::StatusOr<std::unique_ptr<Poller>> poller =
      CreatePoller(*options.clock, options.poller);
  if (!poller.ok()) return poller.status();
  return Create(options, *std::move(poller));
}

absl::StatusOr<std::unique_ptr<Loop>> Loop::Create(
    const LoopOptions& options, std::unique_ptr<Poller> poller) {
  absl::Status checked = CheckOptions(options);
  if (!checked.ok()) return checked;
  if (poller == nullptr) {
    return absl::InvalidArgumentError("loop: the poller is null");
  }
  absl::StatusOr<Waker> waker = Waker::Create(*poller, kWakerToken);
  if (!waker.ok()) return waker.status();
  return std::unique_ptr<Loop>(
      new Loop(options, std::move(poller), *std::move(waker)));
}

Loop::Loop(const LoopOptions& options, std::unique_ptr<Poller> poller,
           Waker waker)
    : options_(options),
      poller_(std::move(poller)),
      mailbox_(std::make_shared<Mailbox>(*this, std::move(waker))),
      handle_(mailbox_),
      fork_count_(ForkCount()),
      marks_drained_(!poller_->tells_every_edge()),
      membarrier_(mailbox_->membarrier),
      connections_(mailbox_->connections),
      now_(options.clock->Now()),
      timers_(now_),
      idle_(now_, *this),
      next_watch_(kWakerToken + 1),
      receive_memory_(std::make_unique_for_overwrite<char[]>(
          options.receive_buffer_bytes + 2 * kPaddingBytes)),
      turn_clock_(*options.clock, options.turn_budget, options.stall) {
  nobody_.loop_ = this;
  nobody_.flags_ = Connection::kDead;
  EndReceiving();
  asleep_ = mailbox_->tasks.PrepareToSleep();
}

Loop::~Loop() {
  stopping_ = true;  // No new connections from the callbacks below.
  is_inherited() ? DropAll() : AbortAll();
  // Again, if another thread has locked one meanwhile.
  while (connection_count() > 0 || !ended_protocols_.empty() ||
         !held_up_protocols_.empty()) {
    std::move(held_up_protocols_.begin(), held_up_protocols_.end(),
              std::back_inserter(ended_protocols_));
    held_up_protocols_.clear();
    to_bury_.clear();
    connections_.ForEach([this](Connection& connection) {
      connection.lock_.Break();
      connection.Clear(Connection::kHeldUp);
      to_bury_.push_back(connection.id());
    });
    Bury();
  }
  timers_.CancelAll();
  mailbox_->tasks.Close(TaskQueue::OnClose::kDrop);
  Unpoison(receive_memory_.get(),
           options_.receive_buffer_bytes + 2 * kPaddingBytes);
}

// --- Running ---

absl::Status Loop::Run() {
  while (!stopped()) {
    absl::Status turn = RunOnce(MonotonicTime::InfiniteFuture());
    if (!turn.ok()) return turn;
  }
  Finish();
  return absl::OkStatus();
}

absl::Status Loop::RunWhileBusy() {
  while (!stopped() && IsBusy()) {
    absl::Status turn = RunOnce(MonotonicTime::InfiniteFuture());
    if (!turn.ok()) return turn;
  }
  if (stopped()) Finish();
  return absl::OkStatus();
}

// Whether something is left that keeps RunWhileBusy() going.
bool Loop::IsBusy() {
  std::erase_if(unref_timers_,
                [this](TimerId id) { return !timers_.IsArmed(id); });
  return connection_count() > unref_connections_ ||
         watches_.size() > unref_watches_ ||
         timers_.armed() > unref_timers_.size() || mailbox_->tasks.HasTasks() ||
         HasMoreToDo();
}

void Loop::Finish() {
  mailbox_->tasks.RunPosted();
  timers_.CancelAll();
  cut_off_ = MonotonicTime::InfiniteFuture();
  cut_off_timer_ = TimerId::kNone;
  draining_ = false;
  stopping_ = false;
}

void Loop::BeforeFork() {
  mailbox_->connections.LockForFork();
  mailbox_->tasks.BeforeFork();
}

void Loop::AfterFork() {
  mailbox_->tasks.AfterFork(is_inherited() ? TaskQueue::Side::kChild
                                           : TaskQueue::Side::kParent);
  mailbox_->connections.UnlockAfterFork();
}

absl::Status Loop::RunOnce(MonotonicTime deadline) {
  ABSL_CHECK(thread_.load(std::memory_order_relaxed) == std::thread::id())
      << "Loop::RunOnce: a turn is under way";
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  const uint64_t system_calls = SystemCallsOfThisThread();
  absl::Status turn = Turn(deadline);
  CountTurn(system_calls);
  asleep_ = mailbox_->tasks.PrepareToSleep();
  thread_.store(std::thread::id(), std::memory_order_relaxed);
  return turn;
}

bool Loop::OnItsThread() const {
  const std::thread::id runs = thread_.load(std::memory_order_relaxed);
  return runs == std::thread::id() || runs == std::this_thread::get_id();
}

absl::Status Loop::Turn(MonotonicTime deadline) {
  counters_.turns.Add(1);
  if (on_turn_begin_) on_turn_begin_();
  absl::Status waited = WaitAndDispatch(deadline);
  if (!waited.ok()) return waited;
  timers_.Advance(now_, kTimersPerTurn);
  AfterCallback(nullptr);
  idle_.Advance(now_, kIdlePerTurn);
  RunTasks();
  Deliver();
  Flush();
  Bury();
  CloseLastStayers();
  std::exchange(ended_watches_, {}).clear();
  if (on_turn_end_) on_turn_end_();
  return absl::OkStatus();
}

// A signal only ends the wait.
absl::Status Loop::WaitAndDispatch(MonotonicTime deadline) {
  const absl::StatusOr<ReadyEvents> ready = WaitForEvents(deadline);
  now_ = options_.clock->Now();
  turn_clock_.Begin();
  if (!ready.ok()) {
    return absl::IsUnavailable(ready.status()) ? absl::OkStatus()
                                               : ready.status();
  }
  counters_.events.Add(ready->size());
  for (const Event event : *ready) Dispatch(event);
  return absl::OkStatus();
}

// While the loop does not run it sleeps, too, so that a post tells who watches
// fd().
absl::StatusOr<ReadyEvents> Loop::WaitForEvents(MonotonicTime deadline) {
  const bool sleeps = asleep_ && !HasMoreToDo();
  // Looked at last: who asks for a wake after that finds the loop asleep.
  const bool waits = sleeps && !mailbox_->wake_asked;
  absl::StatusOr<ReadyEvents> ready = poller_->Wait(
      absl::MakeSpan(events_), waits ? std::min(deadline, NextDeadline())
                                     : MonotonicTime::InfinitePast());
  if (asleep_) mailbox_->tasks.EndSleep();
  asleep_ = false;
  mailbox_->wake_asked = false;
  return ready;
}

bool Loop::HasMoreToDo() const {
  return !to_deliver_.empty() || !to_flush_.empty() || !to_bury_.empty() ||
         !ended_protocols_.empty() || !cork_.empty();
}

MonotonicTime Loop::NextDeadline() const {
  return std::min(timers_.NextDeadline(), idle_.NextDeadline());
}

MonotonicTime Loop::next_deadline() const {
  return asleep_ && !HasMoreToDo() && !mailbox_->wake_asked
             ? NextDeadline()
             : MonotonicTime::InfinitePast();
}

void Loop::Dispatch(Event event) {
  if (event.token() == kWakerToken) {
    mailbox_->waker.Acknowledge();
    return;
  }
  if (event.token() < kFirstWatch) {
    Connection* const connection =
        connections_.Find(ConnectionId::FromValue(event.token()));
    if (connection != nullptr) connection->OnReadiness(event.readiness());
    return;
  }
  const auto watch = watches_.find(event.token());
  if (watch == watches_.end()) return;
  // Its address, since the callback may change the map.
  WatchedFd* const watched = watch->second.get();
  watched->callback(event.readiness());
  AfterCallback(nullptr);
}

void Loop::RunTasks() {
  turn_clock_.Begin();
  counters_.tasks.Add(mailbox_->tasks.RunPosted([this] {
    AfterCallback(nullptr);
    return !turn_clock_.IsUp();
  }));
}

void Loop::Deliver() {
  turn_clock_.Begin();
  delivering_.swap(to_deliver_);
  size_t delivered = 0;
  while (delivered < delivering_.size() && !turn_clock_.IsUp()) {
    Connection* const connection = connections_.Find(delivering_[delivered++]);
    if (connection == nullptr) continue;
    connection->Clear(Connection::kInDeliverList);
    connection->Deliver();
  }
  // The rest comes first in the next turn.
  to_deliver_.insert(
      to_deliver_.begin(),
      delivering_.begin() + static_cast<std::ptrdiff_t>(delivered),
      delivering_.end());
  delivering_.clear();
}

void Loop::Flush() {
  flushing_.swap(to_flush_);
  // What callbacks of this write goes to the queues.
  cork_.Pull([this](ConnectionId id, std::string_view bytes) {
    Connection* const connection = connections_.Find(id);
    if (connection != nullptr) connection->SendCorked(bytes);
  });
  for (const ConnectionId id : flushing_) {
    Connection* const connection = connections_.Find(id);
    if (connection == nullptr) continue;
    connection->Clear(Connection::kInFlushList);
    connection->FlushTurn();
  }
  flushing_.clear();
}

// --- What connections ask for ---

void Loop::CheckThread() const {
  ABSL_DCHECK(OnItsThread()) << "Connection: used from another thread than its "
                                "loop's; see LoopHandle";
}

void Loop::FlushLater(Connection& connection) {
  CheckThread();
  if (connection.Has(Connection::kInFlushList | Connection::kDead)) return;
  connection.Set(Connection::kInFlushList);
  to_flush_.push_back(connection.id());
}

void Loop::BuryLater(Connection& connection) {
  if (connection.Has(Connection::kDead)) return;
  connection.Set(Connection::kDead);
  connection.Clear(Connection::kCorked);
  to_bury_.push_back(connection.id());
}

void Loop::EndProtocol(std::unique_ptr<Protocol> protocol, ConnectionId id,
                       CloseReason reason) {
  ended_protocols_.push_back({std::move(protocol), id, reason});
}

void Loop::ArmIdle(Connection& connection, MonotonicTime deadline) {
  const auto fd = static_cast<uint32_t>(connection.id().fd());
  if (connection.idle_.linked()) idle_.Remove(fd);
  idle_.Add(fd, deadline);
}

IdleWheel::Link& Loop::link(uint32_t fd) {
  return connections_.at(static_cast<int>(fd)).idle_;
}

MonotonicTime Loop::Check(uint32_t fd) {
  return connections_.at(static_cast<int>(fd)).CheckIdle();
}

void Loop::MarkDrained(const Connection& connection, Interest interest) {
  if (marks_drained_) poller_->MarkDrained(connection.id().fd(), interest);
}

Connection::Extra& Loop::ExtraOf(Connection& connection) {
  std::unique_ptr<Connection::Extra>& extra = extras_[connection.id().fd()];
  if (extra == nullptr) {
    extra = std::make_unique<Connection::Extra>();
    connection.Set(Connection::kHasExtra);
  }
  return *extra;
}

std::unique_ptr<Connection::Extra> Loop::TakeExtra(Connection& connection) {
  if (!connection.Has(Connection::kHasExtra)) return nullptr;
  connection.Clear(Connection::kHasExtra);
  const auto found = extras_.find(connection.id().fd());
  std::unique_ptr<Connection::Extra> extra = std::move(found->second);
  extras_.erase(found);
  return extra;
}

// --- What the loop tells of itself ---

// `protocol` is null for tasks, timers and watches.
void Loop::AfterCallback(const Protocol* protocol) {
  if (turn_clock_.CallbackEnded(protocol)) counters_.stalls.Add(1);
}

void Loop::CountTurn(uint64_t system_calls_before) {
  counters_.system_calls.Add(SystemCallsOfThisThread() - system_calls_before);
  const absl::Duration busy = options_.clock->Now() - now_;
  counters_.lag[LoopStats::LagBucket(busy)].Add(1);
}

LoopStats Loop::stats() const {
  LoopStats stats;
  stats.turns = counters_.turns.Get();
  stats.events = counters_.events.Get();
  stats.system_calls = counters_.system_calls.Get();
  stats.bytes_read = counters_.bytes_read.Get();
  stats.bytes_written = counters_.bytes_written.Get();
  stats.opened = counters_.opened.Get();
  stats.closed = counters_.closed.Get();
  stats.over_limit = counters_.over_limit.Get();
  stats.timeouts = counters_.timeouts.Get();
  stats.deadlines = counters_.deadlines.Get();
  stats.tasks = counters_.tasks.Get();
  stats.wakes_sent = mailbox_->wakes_sent.load(std::memory_order_relaxed);
  const uint64_t posted = mailbox_->tasks.posted();
  stats.wakes_merged = posted - std::min(posted, stats.wakes_sent);
  stats.stalls = counters_.stalls.Get();
  for (size_t i = 0; i < stats.lag.size(); ++i) {
    stats.lag[i] = counters_.lag[i].Get();
  }
  return stats;
}

// --- Burial ---

void Loop::Bury() {
  EndProtocols();
  // By index, since an OnClose() may close others.
  for (size_t i = 0; i < to_bury_.size(); ++i) {
    Connection* const connection = connections_.Find(to_bury_[i]);
    if (connection == nullptr) continue;  // Was dropped as stale.
    if (connection->lock_.Enter(CallbackLock::kBoth, membarrier_)) {
      BuryOne(*connection);
    } else {
      connection->Set(Connection::kHeldUp);
      HoldUp(*connection);
    }
  }
  to_bury_.clear();
}

// Protocols whose connection lives on, or that never had one. What their
// callbacks end waits for the next turn.
void Loop::EndProtocols() {
  std::vector<EndedProtocol> ended = std::move(ended_protocols_);
  ended_protocols_.clear();
  for (EndedProtocol& one : ended) {
    Connection* const found = connections_.Find(one.id);
    Connection& connection = found == nullptr ? nobody_ : *found;
    if (!connection.lock_.Enter(CallbackLock::kBoth, membarrier_)) {
      held_up_protocols_.push_back(std::move(one));
      HoldUp(connection);
      continue;
    }
    one.protocol->OnClose(connection, one.reason);
    connection.lock_.Leave(CallbackLock::kBoth);
    AfterCallback(one.protocol.get());
    one.protocol = nullptr;
  }
}

void Loop::BuryOne(Connection& connection) {
  const int fd = connection.id().fd();
  const bool released = connection.Has(Connection::kReleased);
  const bool lost = connection.Has(Connection::kLost);
  connections_.Retire(connection);
  if (connection.Has(Connection::kStays) && stayers_ > 0) --stayers_;
  if (connection.Has(Connection::kUnref)) --unref_connections_;
  counters_.closed.Add(1);
  const std::unique_ptr<Connection::Extra> extra = connection.Bury();
  const CloseReason reason =
      lost ? CloseReason{.origin = CloseReason::Origin::kError, .error = EBADF}
           : connection.reason();
  connection.lock_.Leave(CallbackLock::kBoth);
  const uint64_t token = connection.id().value();
  if (released) {
    // It fails only for a descriptor that was closed, and that ends it as well.
    poller_->Remove(fd, token).IgnoreError();
  } else {
    poller_->RemoveForClose(fd, token);
  }
  Socket socket = std::move(connection.socket_);
  if (lost) socket.Forget();
  connections_.Free(fd);
  mailbox_->connection_count.fetch_sub(1, std::memory_order_relaxed);
  if (extra != nullptr) {
    for (ConnectionTask& task : extra->waiting_tasks) task(nullptr);
    for (Connection::OnGone& gone : extra->gone) gone(reason);
  }
  if (released) {
    socket.HoldDescriptor(false);
    if (extra->release != nullptr) extra->release(std::move(socket));
  }
}

// Another thread has locked the protocol and may have forgotten it.
void Loop::HoldUp(Connection& connection) {
  RunAfter(options_.close_timeout, [this, id = connection.id()] {
    Connection* const held_up = connections_.Find(id);
    const bool waits =
        held_up != nullptr &&
        (held_up->Has(Connection::kHeldUp | Connection::kShutdownDue) ||
         absl::c_any_of(held_up_protocols_, [id](const EndedProtocol& ended) {
           return ended.id == id;
         }));
    if (!waits) return;
    ABSL_LOG(ERROR) << "fd " << id.fd() << ": its protocol was locked for "
                    << options_.close_timeout
                    << " and never unlocked; it is closed all the same";
    held_up->lock_.Break();
    OnUnlocked(id);
  });
}

// What has waited for the lock.
void Loop::OnUnlocked(ConnectionId id) {
  std::move(held_up_protocols_.begin(), held_up_protocols_.end(),
            std::back_inserter(ended_protocols_));
  held_up_protocols_.clear();
  Connection* const connection = connections_.Find(id);
  if (connection == nullptr) return;
  if (connection->Has(Connection::kHeldUp)) {
    connection->Clear(Connection::kHeldUp);
    to_bury_.push_back(id);
    return;
  }
  RunWaitingTasks(id);
  if (connection->Has(Connection::kTimeoutDue)) connection->TellTimeout();
  if (connection->IsDeadlineDue()) connection->TellDeadline();
  if (connection->Has(Connection::kShutdownDue)) connection->Shutdown();
  DeliverLater(*connection);
  FlushLater(*connection);
}

// As far as nobody locks it again; a burial calls the rest.
void Loop::RunWaitingTasks(ConnectionId id) {
  for (;;) {
    Connection* const connection = Find(id);
    if (connection == nullptr || !connection->HasWaitingTasks() ||
        !connection->lock_.Enter(CallbackLock::kTask, membarrier_)) {
      return;
    }
    std::deque<ConnectionTask>& waiting = ExtraOf(*connection).waiting_tasks;
    ConnectionTask task = std::move(waiting.front());
    waiting.pop_front();
    task(connection);
    connection->lock_.Leave(CallbackLock::kTask);
  }
}

void Loop::RunTask(ConnectionId id, ConnectionTask task) {
  Connection* const connection = Find(id);
  if (connection == nullptr) {
    task(nullptr);
  } else if (!connection->HasWaitingTasks() &&
             connection->lock_.Enter(CallbackLock::kTask, membarrier_)) {
    task(connection);
    connection->lock_.Leave(CallbackLock::kTask);
  } else {
    ExtraOf(*connection).waiting_tasks.push_back(std::move(task));
  }
}

// --- Tasks and timers ---

void Loop::Defer(Task task) {
  ABSL_DCHECK(OnItsThread()) << "Loop::Defer: from another thread; see Post()";
  handle_.Post(std::move(task));
}

TimerId Loop::RunAt(MonotonicTime deadline, Task task) {
  ABSL_DCHECK(OnItsThread()) << "Loop::RunAt: from another thread; see Post()";
  return timers_.Arm(deadline, std::move(task));
}

TimerId Loop::RunAfter(absl::Duration delay, Task task) {
  // From the real now: the turn's may be as old as the turn is long.
  return RunAt(options_.clock->Now() + delay, std::move(task));
}

TimerId Loop::RunEvery(TimerWheel::Repeated repeated) {
  ABSL_DCHECK(OnItsThread())
      << "Loop::RunEvery: from another thread; see Post()";
  if (repeated.first == MonotonicTime::InfinitePast()) {
    repeated.first = options_.clock->Now() + repeated.interval;
  }
  return timers_.ArmEvery(std::move(repeated));
}

// --- Connections ---

absl::StatusOr<ConnectionId> Loop::Adopt(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open) {
  ABSL_DCHECK(OnItsThread())
      << "Loop::Adopt: from another thread; see LoopHandle::Adopt()";
  mailbox_->connection_count.fetch_add(1, std::memory_order_relaxed);
  return AdoptCounted(std::move(socket), on_open);
}

// Of a socket that is in the mailbox's count already.
absl::StatusOr<ConnectionId> Loop::AdoptCounted(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open) {
  absl::StatusOr<ConnectionId> id = OpenConnection(std::move(socket), on_open);
  if (!id.ok()) {
    mailbox_->connection_count.fetch_sub(1, std::memory_order_relaxed);
  }
  return id;
}

absl::StatusOr<ConnectionId> Loop::OpenConnection(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open) {
  if (stopping_) {
    return absl::FailedPreconditionError(
        "adopt a socket: the loop is stopping");
  }
  const int fd = socket.fd();
  if (fd < 0) {
    return absl::InvalidArgumentError("adopt a socket: there is none");
  }
  DropStale(fd);
  const std::optional<ConnectionTable::Entry> entry = connections_.Allocate(fd);
  if (!entry.has_value()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("adopt fd ", fd, ": no memory for a connection"));
  }
  const ConnectionId id(fd, entry->generation);
  absl::Status added = poller_->Add(
      fd, id.value(),
      Interest::kReadable | Interest::kWritable | Interest::kPriority,
      Trigger::kEdge);
  if (!added.ok()) {
    connections_.Free(fd);
    return added;
  }
  counters_.opened.Add(1);
  entry->connection.Open(*this, std::move(socket), entry->generation);
  on_open(entry->connection);
  entry->connection.RequireAttach();
  return id;
}

absl::StatusOr<ConnectionId> Loop::Adopt(UniqueFd fd,
                                         std::unique_ptr<Protocol> protocol) {
  const absl::Status status =
      fd ? SetNonBlocking(fd.get())
         : absl::InvalidArgumentError("adopt a descriptor: it is negative");
  absl::StatusOr<ConnectionId> id;
  if (!status.ok()) {
    id = status;
  } else {
    id = Adopt(Socket(std::move(fd)), [&protocol](Connection& connection) {
      connection.Set(Connection::kAttached);
      if (protocol != nullptr) {
        connection.Attach(std::exchange(protocol, nullptr));
      }
    });
  }
  if (protocol != nullptr) {
    EndProtocol(std::move(protocol), ConnectionId(),
                {.origin = CloseReason::Origin::kError, .error = EBADF});
  }
  return id;
}

// The descriptor of a connection was closed behind its back, since its number
// has come again.
void Loop::DropStale(int fd) {
  Connection* const stale = connections_.FindByFd(fd);
  if (stale == nullptr) return;
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "fd " << fd << " of a connection was closed by somebody else";
  if (std::unique_ptr<Protocol> protocol = stale->ExchangeProtocol(nullptr)) {
    EndProtocol(std::move(protocol), stale->id(),
                {.origin = CloseReason::Origin::kError, .error = EBADF});
  }
  stale->Set(Connection::kDead | Connection::kLost);
  stale->Clear(Connection::kCorked);
  stale->lock_.Break();
  BuryOne(*stale);
}

Connection* Loop::Find(ConnectionId id) {
  Connection* const connection = connections_.Find(id);
  return connection == nullptr || connection->Has(Connection::kDead)
             ? nullptr
             : connection;
}

Connection* Loop::FindByFd(int fd) {
  Connection* const connection = connections_.FindByFd(fd);
  return connection == nullptr ? nullptr : Find(connection->id());
}

size_t Loop::FlushAll() {
  size_t left = 0;
  connections_.ForEach([&left](Connection& connection) {
    if (!connection.Flush()) ++left;
  });
  return left;
}

// --- Other descriptors ---

absl::StatusOr<WatchId> Loop::Watch(
    int fd, Interest interest, Trigger trigger,
    absl::AnyInvocable<void(Readiness)> callback) {
  const Token token = next_watch_++;
  absl::Status added = poller_->Add(fd, token, interest, trigger);
  if (!added.ok()) return added;
  watches_[token] =
      std::make_unique<WatchedFd>(WatchedFd{fd, std::move(callback)});
  return static_cast<WatchId>(token);
}

void Loop::Unwatch(WatchId id) {
  const auto watch = watches_.find(static_cast<Token>(id));
  if (watch == watches_.end()) return;
  if (watch->second->unref) --unref_watches_;
  // It fails only for a descriptor that was closed, and that ends it as well.
  poller_->Remove(watch->second->fd, watch->first).IgnoreError();
  ended_watches_.push_back(std::move(watch->second));
  watches_.erase(watch);
}

void Loop::Unref(WatchId id) {
  const auto watch = watches_.find(static_cast<Token>(id));
  if (watch == watches_.end() || watch->second->unref) return;
  watch->second->unref = true;
  ++unref_watches_;
}

void Loop::Unref(TimerId id) {
  if (timers_.IsArmed(id)) unref_timers_.insert(id);
}

// --- Stopping ---

void Loop::Drain() {
  Post([this] { BeginDrain(); });
}

void Loop::BeginDrain() {
  if (std::exchange(draining_, true)) return;
  connections_.ForEach([this](Connection& connection) {
    RunTask(connection.id(), [](Connection* served) {
      if (served == nullptr || !served->IsServed()) return;
      Protocol* const protocol = served->protocol();
      if (protocol != nullptr) protocol->OnDrain(*served);
    });
  });
}

void Loop::Stop(absl::Duration grace) {
  const MonotonicTime cut_off = options_.clock->Now() + grace;
  Post([this, cut_off] { BeginStop(cut_off); });
}

void Loop::BeginStop(MonotonicTime cut_off) {
  stopping_ = true;
  if (cut_off < cut_off_) {
    cut_off_ = cut_off;
    Cancel(cut_off_timer_);
    cut_off_timer_ = RunAt(cut_off, [this] { AbortAll(); });
  }
  connections_.ForEach([](Connection& connection) { connection.Shutdown(); });
}

// As AbortAll() for an inherited loop, whose sockets are the parent's.
void Loop::DropAll() {
  connections_.ForEach([this](Connection& connection) {
    connection.socket_.Forsake();
    BuryLater(connection);
  });
}

void Loop::AbortAll() {
  connections_.ForEach([](Connection& connection) { connection.Abort(); });
}

// Those that stay until no other stays; see Protocol::OnShutdown().
void Loop::CloseLastStayers() {
  if (stayers_ == 0 || connection_count() > stayers_) return;
  connections_.ForEach([](Connection& connection) { connection.Close(); });
  stayers_ = 0;
}

}  // namespace fio
