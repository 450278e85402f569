#include "fio/core/loop/loop.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connection_table.h"
#include "fio/core/poller/create_poller.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/waker.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/defer/task_queue.h"
#include "fio/sock/socket.h"

namespace fio {
namespace {

constexpr Token kFirstWatch = Token{1} << 63;
constexpr Token kWakerToken = kFirstWatch;

absl::Status CheckOptions(const LoopOptions& options) {
  if (options.clock == nullptr) {
    return absl::InvalidArgumentError("LoopOptions.clock is null");
  }
  if (options.receive_buffer_bytes == 0) {
    return absl::InvalidArgumentError(
        "LoopOptions.receive_buffer_bytes is 0: nothing could be read");
  }
  return absl::OkStatus();
}

// The task that finds the connection for another, or calls it with none if it
// is dropped. It fits a Task.
class FindAndRun {
 public:
  FindAndRun(Loop& loop, ConnectionId id, ConnectionTask task)
      : loop_(loop), id_(id), task_(std::move(task)) {}
  FindAndRun(FindAndRun&&) noexcept = default;
  FindAndRun& operator=(FindAndRun&&) = delete;
  ~FindAndRun() {
    if (task_ != nullptr) task_(nullptr);
  }
  void operator()() {
    ConnectionTask task = std::move(task_);
    task(loop_.Find(id_));
  }

 private:
  Loop& loop_;
  const ConnectionId id_;
  ConnectionTask task_;
};

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
      marks_drained_(!poller_->tells_every_edge()),
      now_(options.clock->Now()),
      timers_(now_),
      next_watch_(kWakerToken + 1),
      receive_buffer_(options.receive_buffer_bytes),
      waker_(std::move(waker)),
      tasks_({.consumers = TaskQueueOptions::Consumers::kOne,
              .waker = [this] { waker_.Wake(); }}) {}

Loop::~Loop() {
  stopping_ = true;  // No new connections from the callbacks below.
  AbortAll();
  Bury();
  tasks_.Close(TaskQueue::OnClose::kDrop);
}

// --- The turn ---

absl::Status Loop::Run() {
  while (!stopping_ || connection_count() > 0) {
    absl::Status turn = RunOnce(MonotonicTime::InfiniteFuture());
    if (!turn.ok()) return turn;
  }
  Cancel(cut_off_timer_);
  cut_off_ = MonotonicTime::InfiniteFuture();
  stopping_ = false;
  return absl::OkStatus();
}

absl::Status Loop::RunOnce(MonotonicTime deadline) {
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  absl::Status turn = Turn(deadline);
  thread_.store(std::thread::id(), std::memory_order_relaxed);
  return turn;
}

bool Loop::OnItsThread() const {
  const std::thread::id runs = thread_.load(std::memory_order_relaxed);
  return runs == std::thread::id() || runs == std::this_thread::get_id();
}

absl::Status Loop::Turn(MonotonicTime deadline) {
  timers_.Advance(now_);
  tasks_.RunPosted();
  absl::Status waited = WaitAndDispatch(deadline);
  if (!waited.ok()) return waited;
  Deliver();
  Flush();
  Bury();
  CloseLastStayers();
  std::exchange(ended_watches_, {}).clear();
  return absl::OkStatus();
}

// A signal only ends the wait.
absl::Status Loop::WaitAndDispatch(MonotonicTime deadline) {
  const absl::StatusOr<ReadyEvents> ready = WaitForEvents(deadline);
  now_ = options_.clock->Now();
  if (ready.ok()) {
    for (const Event event : *ready) Dispatch(event);
    return absl::OkStatus();
  }
  return absl::IsUnavailable(ready.status()) ? absl::OkStatus()
                                             : ready.status();
}

absl::StatusOr<ReadyEvents> Loop::WaitForEvents(MonotonicTime deadline) {
  const bool more_to_do = !to_deliver_.empty() || !to_flush_.empty() ||
                          !to_bury_.empty() ||
                          (stopping_ && connection_count() == 0);
  const bool sleeps = !more_to_do && tasks_.PrepareToSleep();
  // Looked at last: who asks for a wake after that finds the loop asleep.
  const bool waits = sleeps && !wake_asked_;
  absl::StatusOr<ReadyEvents> ready =
      poller_->Wait(absl::MakeSpan(events_),
                    waits ? std::min(deadline, timers_.NextDeadline())
                          : MonotonicTime::InfinitePast());
  if (sleeps) tasks_.EndSleep();
  wake_asked_ = false;
  return ready;
}

void Loop::Dispatch(Event event) {
  if (event.token() == kWakerToken) {
    waker_.Acknowledge();
    return;
  }
  if (event.token() < kFirstWatch) {
    Connection* connection = Find(ConnectionId::FromValue(event.token()));
    if (connection != nullptr) connection->OnReadiness(event.readiness());
    return;
  }
  const auto watch = watches_.find(event.token());
  // Its address, since the callback may change the map.
  if (watch != watches_.end()) {
    WatchedFd* const watched = watch->second.get();
    watched->callback(event.readiness());
  }
}

void Loop::Deliver() {
  delivering_.swap(to_deliver_);
  for (const ConnectionId id : delivering_) {
    Connection* connection = Find(id);
    if (connection == nullptr) continue;
    connection->Clear(Connection::kInDeliverList);
    connection->Deliver();
  }
  delivering_.clear();
}

void Loop::Flush() {
  flushing_.swap(to_flush_);
  for (const ConnectionId id : flushing_) {
    Connection* connection = Find(id);
    if (connection == nullptr) continue;
    connection->Clear(Connection::kInFlushList);
    connection->Flush();
  }
  flushing_.clear();
}

void Loop::Bury() {
  // By index, since an OnClose() may close others.
  for (size_t i = 0; i < to_bury_.size(); ++i) {
    Connection* connection = Find(to_bury_[i]);
    connections_.Retire(*connection);
    if (connection->Has(Connection::kStays) && stayers_ > 0) --stayers_;
    connection->Bury();
    connections_.Free(to_bury_[i].fd());
  }
  to_bury_.clear();
}

void Loop::DeliverLater(Connection& connection) {
  if (connection.Has(Connection::kInDeliverList | Connection::kDead)) return;
  connection.Set(Connection::kInDeliverList);
  to_deliver_.push_back(connection.id());
}

void Loop::FlushLater(Connection& connection) {
  ABSL_DCHECK(OnItsThread()) << "Connection: used from another thread than its "
                                "loop's; see Loop::Post()";
  if (connection.Has(Connection::kInFlushList | Connection::kDead)) return;
  connection.Set(Connection::kInFlushList);
  to_flush_.push_back(connection.id());
}

void Loop::BuryLater(Connection& connection) {
  if (connection.Has(Connection::kDead)) return;
  connection.Set(Connection::kDead);
  to_bury_.push_back(connection.id());
}

void Loop::MarkDrained(const Connection& connection, Interest interest) {
  if (marks_drained_) poller_->MarkDrained(connection.id().fd(), interest);
}

void Loop::Forget(const Connection& connection) {
  poller_->RemoveForClose(connection.id().fd(), connection.id().value());
}

// --- Tasks and timers ---

void Loop::Post(Task task) { tasks_.Post(std::move(task)); }

void Loop::Post(ConnectionId id, ConnectionTask task) {
  if (task == nullptr) return;
  Post(FindAndRun(*this, id, std::move(task)));
}

void Loop::Wake() {
  wake_asked_ = true;
  tasks_.Wake();
}

TimerId Loop::RunAt(MonotonicTime deadline, Task task) {
  ABSL_DCHECK(OnItsThread()) << "Loop::RunAt: from another thread; see Post()";
  return timers_.Arm(deadline, std::move(task));
}

TimerId Loop::RunAfter(absl::Duration delay, Task task) {
  // From the real now: the turn's may be as old as the turn is long.
  return RunAt(options_.clock->Now() + delay, std::move(task));
}

// --- Connections and other descriptors ---

absl::StatusOr<ConnectionId> Loop::Adopt(
    Socket socket, absl::FunctionRef<void(Connection&)> on_open) {
  ABSL_DCHECK(OnItsThread()) << "Loop::Adopt: from another thread; see Post()";
  if (stopping_) {
    return absl::FailedPreconditionError(
        "adopt a socket: the loop is stopping");
  }
  const int fd = socket.fd();
  if (fd < 0) {
    return absl::InvalidArgumentError("adopt a socket: there is none");
  }
  const ConnectionTable::Entry entry = connections_.Allocate(fd);
  const ConnectionId id(fd, entry.generation);
  absl::Status added =
      poller_->Add(fd, id.value(), Interest::kReadable | Interest::kWritable,
                   Trigger::kEdge);
  if (!added.ok()) {
    connections_.Free(fd);
    return added;
  }
  entry.connection.Open(*this, std::move(socket), entry.generation);
  on_open(entry.connection);
  entry.connection.RequireAttach();
  return id;
}

size_t Loop::FlushAll() {
  size_t left = 0;
  connections_.ForEach([&left](Connection& connection) {
    connection.FlushNow();
    if (connection.pending_bytes() > 0) ++left;
  });
  return left;
}

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
  // It fails only for a descriptor that was closed, and that ends it as well.
  poller_->Remove(watch->second->fd, watch->first).IgnoreError();
  ended_watches_.push_back(std::move(watch->second));
  watches_.erase(watch);
}

// --- Stopping ---

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
