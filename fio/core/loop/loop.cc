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
#include "fio/base/no_throw.h"
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

// Timers that a turn looks at; a cache miss each.
constexpr size_t kTimersPerTurn = 256;

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
  if (options.process_memory == nullptr) {
    return absl::InvalidArgumentError("LoopOptions.process_memory is null");
  }
  if (options.write_budget_bytes == 0) {
    return absl::InvalidArgumentError(
        "LoopOptions::write_budget_bytes is 0: nothing could be written");
  }
  return CheckNotNegative("LoopOptions",
                          {{"turn_budget", options.turn_budget},
                           {"close_timeout", options.close_timeout},
                           {"close_limit", options.close_limit},
                           {"close_linger", options.close_linger},
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
      mailbox_(std::make_shared<Mailbox>(std::move(waker))),
      handle_(mailbox_),
      fork_count_(ForkCount()),
      turn_clock_(*options.clock, options.turn_budget, options.stall),
      timers_(turn_clock_.now()),
      connections_({.loop = *this,
                    .options = options_,
                    .poller = *poller_,
                    .timers = timers_,
                    .turn = turn_clock_,
                    .thread = thread_,
                    .counters = counters_,
                    .mailbox = *mailbox_}),
      next_watch_(kWakerToken + 1) {
  asleep_ = mailbox_->tasks.PrepareToSleep();
}

Loop::~Loop() {
  connections_.EndAll(is_inherited() ? Connections::Sockets::kCopies
                                     : Connections::Sockets::kOwn);
  // What these own may still call the loop; it arms no more timers.
  ending_ = true;
  timers_.CancelAll();
  EndWatches();
  mailbox_->DropTasks();
  timers_.CancelAll();
  on_turn_begin_.Set(nullptr);
  on_turn_end_.Set(nullptr);
  locals_.Clear();
  // A handle on another thread may keep it, but it leaves the poller alone.
  mailbox_->waker.Unregister();
}

void Loop::EndWatches() {
  while (!watches_.empty() || !ended_watches_.empty()) {
    std::exchange(watches_, {}).clear();
    std::exchange(ended_watches_, {}).clear();
  }
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
  return connections_.busy() || watches_.size() > unref_watches_ ||
         timers_.busy() || mailbox_->tasks.HasTasks() ||
         connections_.HasMoreToDo();
}

void Loop::Finish() {
  mailbox_->tasks.RunPosted();
  timers_.CancelAll();
  connections_.Finish();
}

void Loop::BeforeFork() {
  mailbox_->table.LockForFork();
  mailbox_->tasks.BeforeFork();
}

void Loop::AfterFork() {
  mailbox_->tasks.AfterFork(is_inherited() ? TaskQueue::Side::kChild
                                           : TaskQueue::Side::kParent);
  mailbox_->table.UnlockAfterFork();
}

absl::Status Loop::RunOnce(MonotonicTime deadline) {
  ABSL_CHECK(!thread_.runs()) << "Loop::RunOnce: a turn is under way";
  thread_.Begin();
  const uint64_t system_calls = SystemCallsOfThisThread();
  absl::Status turn;
  NoThrow([] { return "a task, timer, watch or hook of a loop"; },
          [&] { turn = Turn(deadline); });
  CountTurn(system_calls);
  asleep_ = mailbox_->tasks.PrepareToSleep();
  thread_.End();
  return turn;
}

absl::Status Loop::Turn(MonotonicTime deadline) {
  counters_.turns.Add(1);
  on_turn_begin_.Run();
  absl::Status waited = WaitAndDispatch(deadline);
  if (!waited.ok()) return waited;
  timers_.Advance(now(), kTimersPerTurn);
  AfterCallback();
  connections_.AdvanceIdle();
  RunTasks();
  connections_.Deliver();
  connections_.Shake();
  connections_.Flush();
  connections_.Bury();
  std::exchange(ended_watches_, {}).clear();
  on_turn_end_.Run();
  return absl::OkStatus();
}

void Loop::TurnHook::Set(Hook hook) {
  hook_ = std::move(hook);
  replaced_ = true;
}

void Loop::TurnHook::Run() {
  if (!hook_) return;
  Hook hook = std::move(hook_);
  replaced_ = false;
  hook();
  if (!replaced_) hook_ = std::move(hook);
}

inline void Loop::Dispatch(Event event) {
  if (event.token() < kFirstWatch) {
    connections_.OnEvent(event.token(), event.readiness());
  } else if (event.token() == kWakerToken) {
    mailbox_->waker.Acknowledge();
  } else {
    DispatchWatch(event);
  }
}

void Loop::DispatchWatch(Event event) {
  const auto watch = watches_.find(event.token());
  if (watch == watches_.end()) return;
  // Its address, since the callback may change the map.
  WatchedFd* const watched = watch->second.get();
  watched->callback(event.readiness());
  AfterCallback();
}

// A signal only ends the wait.
absl::Status Loop::WaitAndDispatch(MonotonicTime deadline) {
  const absl::StatusOr<ReadyEvents> ready = WaitForEvents(deadline);
  turn_clock_.Woke();
  if (!ready.ok()) {
    return absl::IsUnavailable(ready.status()) ? absl::OkStatus()
                                               : ready.status();
  }
  counters_.events.Add(ready->size());
  connections_.OnEvents(ready->size() == events_.size());
  for (const Event event : *ready) Dispatch(event);
  return absl::OkStatus();
}

// While the loop does not run it sleeps, too, so that a post tells who watches
// fd().
absl::StatusOr<ReadyEvents> Loop::WaitForEvents(MonotonicTime deadline) {
  const bool sleeps = asleep_ && !connections_.HasMoreToDo();
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

MonotonicTime Loop::NextDeadline() const {
  return std::min(timers_.NextDeadline(), connections_.NextDeadline());
}

MonotonicTime Loop::next_deadline() const {
  return asleep_ && !connections_.HasMoreToDo() && !mailbox_->wake_asked
             ? NextDeadline()
             : MonotonicTime::InfinitePast();
}

void Loop::RunTasks() {
  turn_clock_.Begin();
  counters_.tasks.Add(mailbox_->tasks.RunPosted([this] {
    AfterCallback();
    return !turn_clock_.IsUp();
  }));
}

// --- What the loop tells of itself ---

// A task, a timer or a watch has run.
void Loop::AfterCallback() {
  if (turn_clock_.CallbackEnded(nullptr)) counters_.stalls.Add(1);
}

void Loop::CountTurn(uint64_t system_calls_before) {
  counters_.system_calls.Add(SystemCallsOfThisThread() - system_calls_before);
  const absl::Duration busy = options_.clock->Now() - now();
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
  stats.overloads = counters_.overloads.Get();
  stats.shed = counters_.shed.Get();
  stats.memory_bytes = counters_.memory_bytes.Get();
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

// --- Tasks and timers ---

void Loop::Defer(Task task) {
  ABSL_DCHECK(thread_.IsThis())
      << "Loop::Defer: from another thread; see Post()";
  handle_.Post(std::move(task));
}

TimerId Loop::RunAt(MonotonicTime deadline, Task task) {
  ABSL_DCHECK(thread_.IsThis())
      << "Loop::RunAt: from another thread; see Post()";
  if (ending_) return TimerId::kNone;
  return timers_.Arm(deadline, std::move(task));
}

TimerId Loop::RunAfter(absl::Duration delay, Task task) {
  // From the real now: the turn's may be as old as the turn is long.
  return RunAt(options_.clock->Now() + delay, std::move(task));
}

void Loop::Arm(Timer& timer, MonotonicTime deadline) {
  ABSL_DCHECK(thread_.IsThis()) << "Loop::Arm: from another thread; see Post()";
  if (!ending_) timers_.Arm(timer, deadline);
}

void Loop::Arm(Timer& timer, absl::Duration delay) {
  Arm(timer, options_.clock->Now() + delay);
}

TimerId Loop::RunEvery(TimerWheel::Repeated repeated) {
  ABSL_DCHECK(thread_.IsThis())
      << "Loop::RunEvery: from another thread; see Post()";
  if (ending_) repeated.callback = nullptr;  // Only its `on_finish` runs.
  if (repeated.first == MonotonicTime::InfinitePast()) {
    repeated.first = options_.clock->Now() + repeated.interval;
  }
  return timers_.ArmEvery(std::move(repeated));
}

// --- Connections ---

absl::StatusOr<ConnectionId> Loop::Adopt(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open) {
  return connections_.Adopt(std::move(socket), on_open);
}

absl::StatusOr<ConnectionId> Loop::Adopt(
    WatchId watch, Socket socket,
    absl::FunctionRef<void(Connection&)> on_open) {
  const auto watched = watches_.find(static_cast<Token>(watch));
  if (stopping() || watched == watches_.end() ||
      watched->second->fd != socket.fd()) {
    Unwatch(watch);
    return Adopt(std::move(socket), on_open);
  }
  EndWatch(watched);
  return connections_.Adopt(std::move(socket), on_open,
                            Connections::Registered::kYes);
}

absl::StatusOr<ConnectionId> Loop::Adopt(UniqueFd fd,
                                         std::unique_ptr<Protocol> protocol) {
  const absl::Status status =
      fd ? SetNonBlocking(fd.get())
         : absl::InvalidArgumentError("adopt a descriptor: it is negative");
  return connections_.Adopt(status.ok()
                                ? absl::StatusOr<Socket>(Socket(std::move(fd)))
                                : absl::StatusOr<Socket>(status),
                            std::move(protocol));
}

void Loop::Drain() {
  Post([this] { connections_.BeginDrain(); });
}

void Loop::Stop(absl::Duration grace) {
  const MonotonicTime cut_off = options_.clock->Now() + grace;
  Post([this, cut_off] { connections_.BeginStop(cut_off); });
}

// --- Other descriptors ---

absl::StatusOr<WatchId> Loop::Watch(
    int fd, Interest interest, Trigger trigger,
    absl::AnyInvocable<void(Readiness)> callback) {
  if (ending_) {
    return absl::FailedPreconditionError("watch: the loop is destroyed");
  }
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
  // It fails only for a descriptor that was closed, and that ends it as well.
  poller_->Remove(watch->second->fd, watch->first).IgnoreError();
  EndWatch(watch);
}

// The poller is told by the caller.
void Loop::EndWatch(Watches::iterator watch) {
  if (watch->second->unref) --unref_watches_;
  ended_watches_.push_back(std::move(watch->second));
  watches_.erase(watch);
}

absl::Status Loop::Rewatch(WatchId id, Interest interest, Trigger trigger) {
  const auto watch = watches_.find(static_cast<Token>(id));
  if (watch == watches_.end()) {
    return absl::NotFoundError("watch: there is no watch with this id");
  }
  return poller_->Modify(watch->second->fd, watch->first, interest, trigger);
}

void Loop::Unref(WatchId id) {
  const auto watch = watches_.find(static_cast<Token>(id));
  if (watch == watches_.end() || watch->second->unref) return;
  watch->second->unref = true;
  ++unref_watches_;
}

}  // namespace fio
