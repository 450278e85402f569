#include <limits.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/connection_tell.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::ConnectionExtra;

namespace {

constexpr absl::Duration kMemoryPause = absl::Milliseconds(10);

}  // namespace

bool Connection::Write(std::string_view bytes) {
  return Queue(!bytes.empty(), bytes);
}

bool Connection::Write(absl::Cord bytes) {
  const bool any = !bytes.empty();
  return Queue(any, std::move(bytes));
}

bool Connection::Write(FileRange file) { return Queue(true, std::move(file)); }

bool Connection::Write(SharedBytes bytes, size_t sent) {
  const bool any = bytes.size() > sent;
  return Queue(any, std::move(bytes), sent);
}

uint64_t Connection::pending_bytes() const {
  return Has(kDead) ? 0 : socket_.pending_bytes();
}

size_t Connection::pending_calls() const {
  return Has(kDead) ? 0 : socket_.pending_calls();
}

template <typename... Bytes>
bool Connection::Queue(bool any, Bytes&&... bytes) {
  if (!can_write()) return false;
  if (!any) return true;
  if (!socket_.has_pending()) last_active_ = connections_->turn().active();
  if (!socket_.Write(std::forward<Bytes>(bytes)...).ok()) return false;
  // What leaves at the end of the turn does not count.
  const bool counts = !Has(kWritable) || !socket_.is_short();
  if (counts) CountMemory();
  if ((counts || connections_->has_small_limits()) &&
      socket_.Exceeds(watermarks())) {
    connections_->counters().over_limit.Add(1);
    AbortFor(ENOBUFS);
    return false;
  }
  if (connections_->memory().IsExhausted()) {
    connections_->counters().shed.Add(1);
    AbortFor(ENOBUFS);
    return false;
  }
  Set(kReadyDue);
  connections_->FlushLater(*this);
  return true;
}

// They have left, or a transport has them. What it had before may leave while
// it takes no more.
inline void Connection::CountWritten(size_t bytes) {
  const bool moved = !socket_.is_direct() && socket_.TakeRawMoved();
  if (bytes == 0 && !moved) return;
  if (!IsLingering()) last_active_ = connections_->turn().active();
  connections_->counters().bytes_written.Add(bytes);
  if (!Has(kUnacknowledged)) AwaitAcknowledgment();
}

void Connection::AwaitAcknowledgment() {
  Set(kUnacknowledged);
  if (IsCloseArmed() || (timeout_ms_ != 0 && is_open())) {
    ArmIdle();  // For half of it.
  }
}

IoResult Connection::TryWrite(std::string_view bytes, Socket::More more) {
  const iovec piece = {.iov_base = const_cast<char*>(bytes.data()),
                       .iov_len = bytes.size()};
  return TryWrite(absl::MakeConstSpan(&piece, 1), more);
}

IoResult Connection::TryWrite(absl::Span<const iovec> pieces,
                              Socket::More more) {
  if (!is_open()) return {.error = EBADF};
  pieces = pieces.first(std::min<size_t>(pieces.size(), IOV_MAX));
  size_t size = 0;
  for (const iovec& piece : pieces) size += piece.iov_len;
  if (size == 0) return {};
  if (IsHandshaking()) return {.error = EAGAIN};
  // Answered without asking the kernel, which so tells no edge.
  if (!socket_.is_open() || socket_.has_pending() || socket_.in_callback()) {
    return socket_.TryWrite(pieces, more);
  }
  const IoResult written = socket_.TryWrite(pieces, more);
  if (socket_.has_transport()) CountMemory();
  CountWritten(written.bytes);
  if (written.failed()) {
    WriteFailed(written.error);
  } else if (written.out_of_memory()) {
    Set(kReadyDue);
    FlushSoon();
  } else if (written.bytes < size) {
    Set(kReadyDue);
    AwaitRoom();
  } else if (socket_.wants_write()) {
    // In case that no more comes. A driver has taken it, and it will leave.
    if (socket_.has_pending()) Set(kReadyDue);
    connections_->FlushLater(*this);
  }
  return written;
}

// None is left; it is told when there is some.
void Connection::AwaitRoom() {
  Clear(kWritable);
  connections_->AwaitRoom(*this);
}

const Watermarks& Connection::watermarks() const {
  const ConnectionExtra* const extra = FindExtra();
  if (extra != nullptr && extra->watermarks.has_value()) {
    return *extra->watermarks;
  }
  return connections_->options().watermarks;
}

Watermarks::Level Connection::LevelAfter(Watermarks::Level before) const {
  return watermarks().Judge(socket_.pending(), before);
}

void Connection::SetWatermarks(const Watermarks& watermarks) {
  if (!is_open()) return;
  extra().watermarks = watermarks;
  connections_->FlushLater(*this);
}

void Connection::LinkWith(Connection& other) {
  ABSL_CHECK(&other != this && other.connections_ == connections_)
      << "Connection::LinkWith: not another connection of the same loop";
  for (Connection* const one : {this, &other}) {
    Connection* const former = one->partner();
    if (former == nullptr) continue;
    one->extra().partner = former->extra().partner = ConnectionId();
    connections_->FlushLater(*former);
  }
  if (!is_open() || !other.is_open()) return;
  extra().partner = other.id();
  other.extra().partner = id();
  for (Connection* const one : {this, &other}) {
    connections_->FlushLater(*one);
  }
}

Connection* Connection::partner() const {
  const ConnectionExtra* const extra = FindExtra();
  return extra == nullptr ? nullptr
                          : connections_->FindUnburied(extra->partner);
}

// Whether too much of what it reads is queued already, here or at its partner.
bool Connection::MustPause() const {
  if (!HasMarks() && socket_.pending_bytes() == 0) return false;
  const Connection* const partner = this->partner();
  const Connection& full = partner == nullptr ? *this : *partner;
  return full.LevelAfter(Has(kReadPaused) ? Watermarks::Level::kHigh
                                          : Watermarks::Level::kLow) !=
         Watermarks::Level::kLow;
}

void Connection::ReadOn() {
  if (!Has(kReadPaused) || MustPause()) return;
  Clear(kReadPaused);
  if (socket_.has_transport()) DeliverUnread();  // By ReadAhead().
  connections_->DeliverLater(*this);
}

// What has changed with how much is queued.
void Connection::TellWatermarks() {
  ReadOn();
  if (Connection* const partner = this->partner()) partner->ReadOn();
  const bool above = FindExtra() != nullptr && FindExtra()->above_high;
  const bool now_above =
      LevelAfter(above ? Watermarks::Level::kHigh : Watermarks::Level::kLow) !=
      Watermarks::Level::kLow;
  if (above == now_above || protocol() == nullptr) return;
  extra().above_high = now_above;
  const bool told =
      Tell(CallbackLock::kWrite, [this, now_above](Protocol& protocol) {
        now_above ? protocol.OnHighWater(*this) : protocol.OnLowWater(*this);
      });
  if (!told) extra().above_high = above;
}

// Gives the kernel what it takes, and does what was waiting for that.
void Connection::FlushTurn() {
  if (Has(kDead)) return;
  if (IsHandshaking()) {
    connections_->ShakeLater(*this);
    return;
  }
  if (Has(kWritable) && !socket_.is_over()) {
    const IoResult flushed =
        socket_.Flush(connections_->options().write_budget_bytes);
    CountWritten(flushed.bytes);
    const bool direct = flushed.ok() && socket_.is_direct();
    if (!direct && !AccountFlush(flushed)) return;
    // If all has left, and nothing waits for that.
    if (direct && !Has(kReadPaused)) {
      TellReady();
      return;
    }
  }
  if (AfterFlush()) TellReady();
}

// False if that ends it.
bool Connection::AfterFlush() {
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
    return false;
  }
  if (socket_.is_closing()) {
    CloseWhenDrained();
    return false;
  }
  if (Has(kReadPaused) || HasMarks() || socket_.pending_bytes() > 0) {
    TellWatermarks();
  }
  return true;
}

// Once all that was written has left.
void Connection::TellReady() {
  if ((flags_ & (kReadyDue | kWritable | kDead)) != (kReadyDue | kWritable) ||
      error() != 0 || socket_.is_closing() || socket_.wants_write() ||
      protocol() == nullptr) {
    return;
  }
  Clear(kReadyDue);
  if (!Tell(CallbackLock::kWrite,
            [this](Protocol& protocol) { protocol.OnReady(*this); })) {
    Set(kReadyDue);
  }
}

// False if the connection has failed.
bool Connection::AccountFlush(const IoResult& flushed) {
  CountMemory();
  if (flushed.would_block() && socket_.wants_write()) {
    AwaitRoom();
  } else if (flushed.ok() && socket_.wants_write()) {
    connections_->FlushLater(*this);  // Now others have their turn.
  }
  if (flushed.out_of_memory()) FlushSoon();
  if (!flushed.failed()) return true;
  WriteFailed(flushed.error);
  return false;
}

// Between callbacks or inside of one: the rest, with its callbacks, waits for
// the end of the turn.
bool Connection::Flush() {
  if (Has(kDead)) return true;
  if (socket_.wants_write() && !IsHandshaking()) {
    const IoResult flushed =
        socket_.Flush(connections_->options().write_budget_bytes);
    CountMemory();
    CountWritten(flushed.bytes);
    if (flushed.failed()) WriteFailed(flushed.error);
    connections_->FlushLater(*this);
  }
  return socket_.pending_calls() == 0;
}

// The kernel had no memory, and nothing tells when it has.
void Connection::FlushSoon() {
  connections_->RunAfter(kMemoryPause, [connections = connections_, id = id()] {
    Connection* const connection = connections->Find(id);
    if (connection != nullptr) connections->FlushLater(*connection);
  });
}

// The peer takes no more. What it sent before is still delivered.
void Connection::WriteFailed(int error) {
  if (Has(kDead)) return;  // By a transport, which had it aborted.
  const bool has_reason = this->error() != 0 || Has(kEndTold) ||
                          (FindExtra() != nullptr && !FindExtra()->detail.ok());
  if (has_reason && socket_.is_closing() && socket_.has_said_farewell()) {
    connections_->BuryLater(*this);  // Nothing but the farewell is lost.
    return;
  }
  NoteError(error);
  if (socket_.is_closing() || protocol() == nullptr) {
    Fail(error);
    return;
  }
  Set(kReadable | kHungUp);
  connections_->DeliverLater(*this);
}

}  // namespace fio
