#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/connection_tell.h"
#include "fio/core/loop/internal/receive_buffer.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/sock/io_result.h"
#include "fio/sock/transport.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::ConnectionExtra;
using loop_internal::ReceiveBuffer;

namespace {

constexpr absl::Duration kMemoryPause = absl::Milliseconds(10);

}  // namespace

// Takes note of what a read has given; returns how many bytes.
inline size_t Connection::Account(const IoResult& read) {
  const bool moved = !socket_.is_direct() && socket_.TakeRawMoved();
  if (read.bytes == 0) {
    // A part of a record; not what a transport reads for itself.
    const Transport* const transport = socket_.transport();
    if (moved && transport != nullptr && transport->HasUnread()) Active();
    // It has stopped behind a short read, and the end has no edge to come.
    if (moved && read.would_block() && Has(kHungUp)) {
      connections_->DeliverLater(*this);
      return 0;
    }
    AccountNone(read);
    return 0;
  }
  Active();
  connections_->counters().bytes_read.Add(read.bytes);
  if (connections_->receive_buffer().IsOf(*this)) {
    connections_->receive_buffer().Spend(read.bytes);
  }
  // What comes now is a new edge. But an end that was told before has none to
  // come.
  if (socket_.is_drained() && !Has(kHungUp)) ClearReadable();
  return read.bytes;
}

// Takes note of what the poller told. It tells each change once, so whatever
// is not dealt with now must stay in the flags.
void Connection::OnReadiness(Readiness readiness) {
  if (Has(kDead)) return;
  bool hung_up = false;
  if (!readiness.is_only_data()) {
    hung_up = readiness.read_closed() || readiness.write_closed();
    if (hung_up) Set(kHungUp);
    if (readiness.priority()) socket_.DistrustShortReads();
  }
  if (readiness.readable()) {
    Set(kReadable);
    connections_->DeliverLater(*this);
  }
  if (hung_up || readiness.writable()) {
    // A handshake that had room is not waiting for it.
    const bool waits = !Has(kWritable) && IsHandshaking();
    Set(kWritable);
    if (waits || Has(kReadyDue) || socket_.wants_write()) {
      connections_->FlushLater(*this);
    }
  }
}

// Tells the protocol of bytes or of the end: bytes first, whatever the poller
// said of hang-ups.
void Connection::Deliver() {
  constexpr unsigned kHeeded =
      kReadable | kDataForced | kHungUp | kSuspended | kDead;
  // Most have bytes to read, and nothing else to heed.
  if ((flags_ & kHeeded) == kReadable && socket_.is_direct() &&
      protocol() != nullptr && !connections_->memory().HoldsBack(*this)) {
    TellData();
    return;
  }
  if (Has(kDead) || !Has(kReadable | kDataForced)) return;
  if (IsHandshaking()) {
    connections_->ShakeLater(*this);
    return;
  }
  if (socket_.is_closing()) {
    connections_->FlushLater(*this);
    return;
  }
  if (protocol() == nullptr) return;
  if (!Has(kDataForced)) {
    if (socket_.unread_bytes() > 0 && IsFull()) {
      if (Has(kHungUp)) PeekHungUp();
      return;
    }
    if (Has(kHungUp)) {
      PeekHungUp();
      if (!Has(kReadable) || Has(kEndRead)) return;
    }
    const bool paused =
        ((socket_.pending_bytes() > 0 || HasMarks()) && MustPause()) ||
        connections_->memory().HoldsBack(*this);
    if (paused) Set(kReadPaused);
    if (paused || Has(kSuspended)) {
      if (Has(kHungUp) && socket_.has_transport()) PeekHungUp();
      return;
    }
  }
  TellData();
}

void Connection::TellData() {
  const uint32_t forced = flags_ & kDataForced;
  Clear(kDataForced);
  const size_t kept = socket_.unread_bytes();
  bool progress = false;
  bool replaced = false;
  const bool told = Tell(CallbackLock::kTask, [&](Protocol& protocol) {
    ReceiveBuffer& buffer = connections_->receive_buffer();
    buffer.Begin(*this);
    protocol.OnData(*this);
    progress = buffer.spent();
    if (!buffer.unread().empty()) KeepUnread();
    buffer.End();
    replaced = &protocol != this->protocol();
  });
  // Consuming what was kept makes room for more.
  progress = progress || socket_.unread_bytes() < kept;
  if (!told) {
    Set(forced);
  } else if (replaced) {
    DeliverUnread();
  }
  if (!told || !Has(kReadable) || Has(kSuspended)) return;
  if (progress || (forced != 0 && Has(kHungUp))) {
    connections_->DeliverLater(*this);
  } else if (connections_->marks_drained() && !replaced && IsServed() &&
             !Has(kInDeliverList)) {
    ReadWhatWasTold();
  }
}

// What OnData() has not consumed is in front of what comes next.
void Connection::KeepUnread() {
  const absl::Span<char> left = connections_->receive_buffer().unread();
  if (left.empty()) return;
  socket_.Unread({left.data(), left.size()});
  CountMemory();
  connections_->receive_buffer().Consume(left.size());
}

// Whether so much is unread that no more is read.
bool Connection::IsFull() const {
  const size_t unread = socket_.unread_bytes();
  if (unread == 0) return false;
  return unread >= std::min(unread_limit_bytes(),
                            connections_->options().receive_buffer_bytes);
}

size_t Connection::unread_limit_bytes() const {
  const size_t limit = connections_->options().unread_limit_bytes;
  const ConnectionExtra* const extra = FindExtra();
  return extra == nullptr ? limit : extra->unread_limit_bytes.value_or(limit);
}

void Connection::SetUnreadLimit(size_t bytes) {
  if (!is_open()) return;
  extra().unread_limit_bytes = bytes;
  if (Has(kReadable)) connections_->DeliverLater(*this);
}

// Of a connection that has ended or failed: if no bytes are left to read, tells
// so. What a transport holds, only reading tells: while the protocol does not,
// it is read into what is unread.
void Connection::PeekHungUp() {
  if (Has(kEndTold)) {  // A reset may have followed, which no read tells.
    Clear(kReadable);
    if (const int error = socket_.TakeError()) Fail(error);
    return;
  }
  // What the protocol has not consumed comes before the end.
  if (Has(kSuspended | kReadPaused) && socket_.unread_bytes() > 0) return;
  if (!Has(kEndRead)) {
    const bool reads =
        Has(kReadPaused | kSuspended) && socket_.unread_bytes() == 0;
    const bool holds = socket_.has_transport() &&
                       (!IsFull() || socket_.transport()->HasUnread());
    if (holds && !reads) return;
    const IoResult peek = holds ? ReadAhead() : socket_.Peek();
    if (Has(kDead) || peek.bytes > 0) return;
    if (peek.would_block() || peek.out_of_memory()) {
      Account(peek);
      return;
    }
    EndReading(peek.error);
    if (IsSayingLastWords()) return;
  }
  if (error() != 0) {
    Fail(error());
  } else {
    TellEnd();
  }
}

// What it returns is in front of what the protocol reads next.
IoResult Connection::ReadAhead() {
  ReceiveBuffer& buffer = connections_->receive_buffer();
  buffer.Begin(*this);
  const size_t limit = std::max(unread_limit_bytes(), size_t{1});
  // What was kept stays in front.
  if (socket_.unread_bytes() > 0) TakeKept(buffer);
  const absl::Span<char> room = buffer.room();
  const IoResult read = socket_.Read(room.first(std::min(room.size(), limit)));
  if (read.bytes > 0) {
    Account(read);
    buffer.Add(read.bytes);
  }
  if (!buffer.unread().empty()) {
    socket_.Unread({buffer.unread().data(), buffer.unread().size()});
    CountMemory();
  }
  buffer.End();
  if (!read.failed()) AfterTransport();
  return read;
}

// A poller without edges tells of more bytes only when the kernel was seen
// without any. OnData() that has read none leaves them here. One read may not
// show it: of a transport that has more, or over a socket whose short reads say
// nothing.
void Connection::ReadWhatWasTold() {
  while (Has(kReadable) && IsServed() && !IsFull()) {
    const IoResult read = ReadAhead();
    if (read.bytes > 0) continue;
    if (!Has(kDead)) Account(read);
    return;
  }
}

// Nothing comes after it, so the poller is not asked to tell of anything.
void Connection::TellEnd() {
  Clear(kReadable);
  if (Has(kEndTold)) return;
  Set(kEndTold);
  if (!Tell(CallbackLock::kTask,
            [this](Protocol& protocol) { protocol.OnEnd(*this); })) {
    Clear(kEndTold);
    Set(kReadable);
  }
}

// What is unread of what was read in this OnData(); if that is nothing, reads.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline absl::Span<char> Connection::Fill(
    const char* call) {
  ReceiveBuffer& buffer = connections_->receive_buffer();
  ABSL_CHECK(buffer.IsOf(*this))
      << "Connection::" << call << ": not in OnData() of this connection";
  if (buffer.unread().empty()) {
    // What was left over comes first, and more behind it.
    if (socket_.unread_bytes() > 0) TakeKept(buffer);
    buffer.Add(ReadNew(buffer.Limit(buffer.room())));
  }
  return buffer.unread();
}

std::string_view Connection::Received() {
  const absl::Span<char> bytes = Fill("Received");
  connections_->receive_buffer().Consume(bytes.size());
  return {bytes.data(), bytes.size()};
}

absl::Span<char> Connection::MutableReceived() {
  const absl::Span<char> bytes = Fill("MutableReceived");
  connections_->receive_buffer().Consume(bytes.size());
  return bytes;
}

std::string_view Connection::Unread() {
  const absl::Span<char> bytes = Fill("Unread");
  return {bytes.data(), bytes.size()};
}

void Connection::Consume(size_t bytes) {
  ReceiveBuffer& buffer = connections_->receive_buffer();
  if (buffer.dropped()) return;
  ABSL_CHECK(buffer.IsOf(*this) && bytes <= buffer.unread().size())
      << "Connection::Consume: more than Unread() has shown";
  buffer.Consume(bytes);
}

void Connection::TakeKept(ReceiveBuffer& buffer) {
  if (buffer.dropped()) return;
  const absl::Span<char> room = buffer.room();
  const size_t kept = socket_.unread_bytes();
  buffer.Add(socket_.Read(room.first(std::min(kept, room.size()))).bytes);
  CountMemory();
}

size_t Connection::Read(absl::Span<char> out) {
  if (Has(kDead) || out.empty() || socket_.is_closing() || IsHandshaking()) {
    return 0;
  }
  ReceiveBuffer& buffer = connections_->receive_buffer();
  if (buffer.IsOf(*this) && !buffer.unread().empty()) {
    const size_t bytes = std::min(out.size(), buffer.unread().size());
    std::memcpy(out.data(), buffer.unread().data(), bytes);
    buffer.Consume(bytes);
    return bytes;
  }
  if (socket_.unread_bytes() > 0) {
    const size_t bytes = socket_.Read(out).bytes;
    CountMemory();
    if (Has(kReadable)) connections_->DeliverLater(*this);
    return bytes;
  }
  return ReadNew(buffer.IsOf(*this) ? buffer.Limit(out) : out);
}

// What the protocol has not seen yet.
size_t Connection::ReadNew(absl::Span<char> out) {
  if ((flags_ & (kReadable | kEndRead | kDead)) != kReadable || out.empty() ||
      socket_.is_closing() || IsHandshaking()) {
    return 0;
  }
  const size_t bytes = Account(socket_.Read(out));
  if (!socket_.is_direct()) AfterTransport();
  return bytes;
}

// A transport may have ended the socket in any call, and reading may have given
// it something to send.
void Connection::AfterTransport() {
  if (Has(kDead)) return;
  if (socket_.has_transport()) CountMemory();  // It may hold more, or less.
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
  } else if (socket_.wants_write()) {
    connections_->FlushLater(*this);
  }
}

void Connection::AccountNone(const IoResult& read) {
  if (read.would_block()) {
    ClearReadable();
  } else if (read.out_of_memory()) {
    Clear(kReadable);
    connections_->RunAfter(
        kMemoryPause, [connections = connections_, id = id()] {
          Connection* const connection = connections->Find(id);
          if (connection == nullptr) return;
          connection->Set(kReadable);
          connections->DeliverLater(*connection);
        });
  } else {
    EndReading(read.error);
    connections_->DeliverLater(*this);  // It tells.
  }
}

// At the end of the peer's stream, or by an error.
void Connection::EndReading(int error) {
  if (error != 0) NoteError(error);
  Set(kHungUp | kEndRead);
  if (!IsSayingLastWords()) return;
  last_active_ = connections_->turn().ReadClock();
  LimitClosing();
  CountMemory();
  connections_->FlushLater(*this);
}

// The first error is the one that counts.
void Connection::NoteError(int error) {
  if (this->error() != 0) return;
  SetError(error);
  const Transport* const transport = socket_.transport();
  if (transport == nullptr) return;
  absl::Status why = transport->status();
  if (!why.ok()) extra().detail = std::move(why);
}

}  // namespace fio
