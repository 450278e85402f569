#include "fio/core/loop/connections.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/base/prefetch.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/no_throw.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connection_table.h"
#include "fio/core/loop/idle_wheel.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/ended_protocol.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/defer/task.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::ConnectionExtra;

namespace {

// Idle connections that a turn looks at; a cache miss each.
constexpr size_t kIdlePerTurn = 2048;

// From so many connections on they are no longer in the caches when their turn
// comes.
constexpr size_t kManyFlushes = 256;

// The share of handshakes in a turn.
constexpr int kShakesPerTurn = 4;
constexpr absl::Duration kShakeTime = absl::Milliseconds(1);

constexpr auto kIsYounger = [](ConnectionId a, ConnectionId b) {
  return a.serial() > b.serial();
};

// More than any socket has queued that is_short().
constexpr PendingWrites kShort = {.calls = Socket::kShortBytes,
                                  .bytes = Socket::kShortBytes,
                                  .memory_bytes = Socket::kShortBytes};

}  // namespace

// What is left of a connection that has gone.
struct Connections::Buried {
  std::unique_ptr<ConnectionExtra> extra;
  CloseReason reason;
  Socket socket;
};

Connections::Connections(const Uses& uses)
    : loop_(uses.loop),
      options_(uses.options),
      poller_(uses.poller),
      timers_(uses.timers),
      turn_(uses.turn),
      thread_(uses.thread),
      counters_(uses.counters),
      mailbox_(uses.mailbox),
      table_(uses.mailbox.table),
      marks_drained_(!uses.poller.tells_every_edge()),
      membarrier_(uses.mailbox.membarrier),
      has_small_limits_(uses.options.watermarks.IsOver(kShort)),
      idle_(uses.turn.now(), *this),
      receive_buffer_(uses.options.receive_buffer_bytes,
                      uses.options.read_budget_bytes),
      external_lock_(*this),
      memory_(*this) {
  mailbox_.connections = this;
  nobody_.connections_ = this;
}

Connections::~Connections() = default;

// --- The parts of a turn ---

void Connections::AdvanceIdle() { idle_.Advance(now(), kIdlePerTurn); }

IdleWheel::Link& Connections::link(uint32_t fd) {
  return table_.at(static_cast<int>(fd)).idle_;
}

MonotonicTime Connections::Check(uint32_t fd) {
  return table_.at(static_cast<int>(fd)).CheckIdle();
}

void Connections::Deliver() {
  turn_.Begin();
  delivering_.swap(to_deliver_);
  size_t delivered = 0;
  while (delivered < delivering_.size() && !turn_.IsUp()) {
    Connection* const connection = table_.Find(delivering_[delivered++]);
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

// Handshakes are expensive, so they have a share of their own.
void Connections::Shake() {
  if (to_shake_.empty()) return;
  const MonotonicTime end = turn_.ReadClock() + kShakeTime;
  for (int shakes = 0; shakes < kShakesPerTurn && !to_shake_.empty();) {
    std::pop_heap(to_shake_.begin(), to_shake_.end(), kIsYounger);
    Connection* const connection = table_.Find(to_shake_.back());
    to_shake_.pop_back();
    if (connection == nullptr) continue;
    connection->extra().in_shake_list = false;
    // One that was done before it read anything is none.
    if (!connection->Shake()) ++shakes;
    if (turn_.ReadClock() > end) break;
  }
}

void Connections::ShakeLater(Connection& connection) {
  if (connection.Has(Connection::kDead)) return;
  if (std::exchange(connection.extra().in_shake_list, true)) return;
  to_shake_.push_back(connection.id());
  std::push_heap(to_shake_.begin(), to_shake_.end(), kIsYounger);
}

void Connections::Flush() {
  flushing_.swap(to_flush_);
  const bool many = flushing_.size() > kManyFlushes;
  for (size_t i = 0; i < flushing_.size(); ++i) {
    if (many) PrefetchFlush(i);
    Connection* const connection = table_.Find(flushing_[i]);
    if (connection == nullptr) continue;
    connection->Clear(Connection::kInFlushList);
    connection->FlushTurn();
  }
  flushing_.clear();
  memory_.Check();
}

// Of many, each has been pushed out of the caches by what the kernel did for
// those before it.
void Connections::PrefetchFlush(size_t i) {
  if (i + 2 < flushing_.size()) table_.Prefetch(flushing_[i + 2]);
  if (i + 1 >= flushing_.size()) return;
  if (Connection* const next = table_.Find(flushing_[i + 1])) {
    absl::PrefetchToLocalCache(next->protocol());
  }
}

bool Connections::HasMoreToDo() const {
  return !to_deliver_.empty() || !to_shake_.empty() || !to_flush_.empty() ||
         !to_bury_.empty() || !ended_protocols_.empty();
}

// --- What a connection asks for ---

void Connections::BuryLater(Connection& connection) {
  if (connection.Has(Connection::kDead)) return;
  connection.Set(Connection::kDead);
  to_bury_.push_back(connection.id());
}

void Connections::EndProtocol(std::unique_ptr<Protocol> protocol,
                              ConnectionId id, CloseReason reason) {
  ended_protocols_.push_back({std::move(protocol), id, reason});
}

void Connections::EndHeldUpProtocols() {
  std::vector<EndedProtocol> held_up = external_lock_.TakeProtocols();
  absl::c_move(held_up, std::back_inserter(ended_protocols_));
}

void Connections::BuryAgain(const Connection& connection) {
  to_bury_.push_back(connection.id());
}

bool Connections::BeginShutdown(ConnectionId id) {
  if (absl::c_linear_search(telling_shutdown_, id)) return false;
  telling_shutdown_.push_back(id);
  return true;
}

void Connections::ArmIdle(Connection& connection, MonotonicTime deadline) {
  const auto fd = static_cast<uint32_t>(connection.id().fd());
  if (connection.idle_.linked()) idle_.Remove(fd);
  idle_.Add(fd, deadline);
}

void Connections::MarkDrained(const Connection& connection, Interest interest) {
  poller_.MarkDrained(connection.id().fd(), interest);
}

void Connections::AfterNestedCallback(const Protocol* protocol,
                                      MonotonicTime began) {
  if (turn_.NestedEnded(protocol, began)) counters_.stalls.Add(1);
}

void Connections::RunAfter(absl::Duration delay, Task task) {
  static_cast<void>(
      timers_.Arm(options_.clock->Now() + delay, std::move(task)));
}

// --- Burial ---

void Connections::Bury() {
  EndProtocols();
  // By index, since an OnClose() may close others.
  for (size_t i = 0; i < to_bury_.size(); ++i) {
    Connection* const connection = table_.Find(to_bury_[i]);
    if (connection == nullptr) continue;  // Was dropped as stale.
    if (connection->lock_.Enter(CallbackLock::kBoth, membarrier_)) {
      BuryOne(*connection);
    } else {
      connection->extra().held_up = true;
      external_lock_.HoldUp(*connection);
    }
  }
  to_bury_.clear();
  CloseLastStayers();
  table_.FreePages();
  memory_.Tell();
}

// Protocols whose connection lives on, or that never had one. What their
// callbacks end waits for the next turn.
void Connections::EndProtocols() {
  std::vector<EndedProtocol> ended = std::move(ended_protocols_);
  ended_protocols_.clear();
  for (EndedProtocol& one : ended) {
    Connection* const found = table_.Find(one.id);
    Connection& connection = found == nullptr ? nobody_ : *found;
    if (!connection.lock_.Enter(CallbackLock::kBoth, membarrier_)) {
      external_lock_.HoldUp(connection, std::move(one));
      continue;
    }
    connection.TellEnds(one.extra.get(), one.reason);
    if (one.protocol != nullptr) {
      NoThrow([&one] { return one.protocol->Name(); },
              [&] { one.protocol->OnClose(connection, one.reason); });
      AfterCallback(one.protocol.get());
      one.protocol = nullptr;
    }
    connection.lock_.Leave(CallbackLock::kBoth);
    TellGone(one.extra.get(), one.reason);
  }
}

void Connections::BuryOne(Connection& connection) {
  Buried buried = TakeOut(connection);
  TellGone(buried.extra.get(), buried.reason);
  if (buried.extra == nullptr || !buried.extra->released) return;
  buried.socket.HoldDescriptor(false);
  if (buried.extra->release != nullptr) {
    buried.extra->release(std::move(buried.socket));
  }
}

// From here on no id names the connection, and its place is free.
Connections::Buried Connections::TakeOut(Connection& connection) {
  const int fd = connection.id().fd();
  const Token token = ConnectionTable::TokenOf(connection);
  table_.Retire(connection);
  counters_.closed.Add(1);
  Buried buried;
  buried.reason = connection.reason();
  buried.extra = connection.Bury(buried.reason);
  const ConnectionExtra* const extra = buried.extra.get();
  if (extra != nullptr && extra->stays && stayers_ > 0) --stayers_;
  if (extra != nullptr && extra->unref) --unref_;
  connection.lock_.Leave(CallbackLock::kBoth);
  if (extra != nullptr && extra->released) {
    // It fails only for a descriptor that was closed, and that ends it as well.
    poller_.Remove(fd, token).IgnoreError();
  } else {
    poller_.RemoveForClose(fd, token);
  }
  buried.socket = std::move(connection.socket_);
  if (extra != nullptr && extra->lost) buried.socket.Forget();
  table_.Free(fd);
  mailbox_.connection_count.fetch_sub(1, std::memory_order_relaxed);
  return buried;
}

// After OnClose().
void Connections::TellGone(ConnectionExtra* extra, const CloseReason& reason) {
  if (extra == nullptr) return;
  for (ConnectionTask& task : std::exchange(extra->waiting_tasks, {})) {
    task(nullptr);
  }
  for (Connection::OnGone& gone : std::exchange(extra->gone, {})) gone(reason);
}

// The descriptor of a connection was closed behind its back, since its number
// has come again.
void Connections::DropStale(int fd) {
  Connection* const stale = table_.FindByFd(fd);
  if (stale == nullptr) return;
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "fd " << fd << " of a connection was closed by somebody else";
  const ConnectionId id = stale->id();
  std::unique_ptr<Protocol> protocol = stale->ExchangeProtocol(nullptr);
  stale->Set(Connection::kDead);
  stale->extra().lost = true;
  stale->lock_.Break();
  if (receive_buffer_.IsOf(*stale)) receive_buffer_.Drop();
  Buried buried = TakeOut(*stale);
  ended_protocols_.push_back(
      {std::move(protocol), id,
       CloseReason{.origin = CloseReason::Origin::kError, .error = EBADF},
       std::move(buried.extra)});
}

// --- Finding ---

Connection* Connections::Find(ConnectionId id) {
  Connection* const connection = table_.Find(id);
  return connection == nullptr || connection->Has(Connection::kDead)
             ? nullptr
             : connection;
}

Connection* Connections::FindByFd(int fd) {
  Connection* const connection = table_.FindByFd(fd);
  return connection == nullptr ? nullptr : Find(connection->id());
}

size_t Connections::FlushAll() {
  size_t left = 0;
  table_.ForEach([&left](Connection& connection) {
    if (!connection.Flush()) ++left;
  });
  return left;
}

// --- Stopping ---

void Connections::BeginDrain() {
  if (std::exchange(draining_, true)) return;
  table_.ForEach([this](Connection& connection) {
    external_lock_.RunTask(connection.id(), [](Connection* served) {
      if (served == nullptr || !served->IsServed()) return;
      Protocol* const protocol = served->protocol();
      if (protocol == nullptr) return;
      NoThrow([protocol] { return protocol->Name(); },
              [&] { protocol->OnDrain(*served); });
    });
  });
}

void Connections::BeginStop(MonotonicTime cut_off) {
  stopping_ = true;
  if (cut_off < cut_off_) {
    cut_off_ = cut_off;
    timers_.Cancel(cut_off_timer_);
    cut_off_timer_ = timers_.Arm(cut_off, [this] { AbortAll(); });
  }
  table_.ForEach([](Connection& connection) { connection.Shutdown(); });
}

void Connections::Finish() {
  cut_off_ = MonotonicTime::InfiniteFuture();
  cut_off_timer_ = TimerId::kNone;
  draining_ = false;
  stopping_ = false;
}

void Connections::EndAll(Sockets sockets) {
  stopping_ = true;  // No new connections from the callbacks below.
  sockets == Sockets::kOwn ? AbortAll() : ForsakeAll();
  // Again, if another thread has locked one meanwhile.
  while (size() > 0 || !ended_protocols_.empty() ||
         external_lock_.has_protocols()) {
    EndHeldUpProtocols();
    to_bury_.clear();
    table_.ForEach([this](Connection& connection) {
      connection.lock_.Break();
      if (connection.FindExtra() != nullptr) connection.extra().held_up = false;
      to_bury_.push_back(connection.id());
    });
    Bury();
  }
}

void Connections::ForsakeAll() {
  table_.ForEach([this](Connection& connection) {
    connection.socket_.Forsake();
    BuryLater(connection);
  });
}

void Connections::AbortAll() {
  table_.ForEach([](Connection& connection) { connection.Abort(); });
}

// Those that stay until no other stays; see Protocol::OnShutdown().
void Connections::CloseLastStayers() {
  if (stayers_ == 0 || size() > stayers_) return;
  table_.ForEach([](Connection& connection) { connection.Close(); });
  stayers_ = 0;
}

}  // namespace fio
