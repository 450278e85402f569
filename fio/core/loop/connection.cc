#include "fio/core/loop/connection.h"

#include <limits.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/base/no_throw.h"
#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/receive_buffer.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/sock/environment.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::ReceiveBuffer;

namespace {

constexpr absl::Duration kMemoryPause = absl::Milliseconds(10);

// How often OnTimeout() comes while nothing happens.
constexpr absl::Duration kTimeoutRepeats = absl::Seconds(1);

}  // namespace

void Connection::Open(Connections& connections, Socket socket,
                      uint32_t generation) {
  connections_ = &connections;
  socket_ = std::move(socket);
  socket_.HoldDescriptor(true);
  socket_.AllowHalfOpen();
  last_active_ = connections.now();
  timeout_ms_ = 0;
  generation_.store(generation, std::memory_order_release);
  flags_ = kInUse | kWritable;
  error_ = 0;
  CountMemory();
}

void Connection::RequireAttach() {
  if (Has(kAttached | kHandshaking) || !is_open()) return;
  Set(kMustAttach);
  ArmIdle();
}

Loop& Connection::loop() { return connections_->loop(); }

// --- Protocol ---

// Calls the protocol, unless another thread has locked it for callbacks of this
// kind: then Connections::OnUnlocked() comes when it does not any more.
template <typename Call>
bool Connection::Tell(Kind kind, Call call) {
  if (!lock_.Enter(kind, connections_->membarrier())) return false;
  Protocol& told = *protocol();
  NoThrow([&told] { return told.Name(); }, [&] { call(told); });
  lock_.Leave(kind);
  connections_->AfterCallback(&told);
  return true;
}

std::unique_ptr<Protocol> Connection::ExchangeProtocol(
    std::unique_ptr<Protocol> protocol) {
  return std::unique_ptr<Protocol>(
      protocol_.exchange(protocol.release(), std::memory_order_acq_rel));
}

bool Connection::Attach(std::unique_ptr<Protocol> protocol) {
  if (protocol == nullptr) {
    Detach();
    return is_open();
  }
  if (!IsServed()) {
    connections_->EndProtocol(
        std::move(protocol), id(),
        {.origin = CloseReason::Origin::kError, .error = EBADF});
    return false;
  }
  Protocol& attached = *protocol;
  std::unique_ptr<Protocol> replaced = ExchangeProtocol(std::move(protocol));
  if (replaced != nullptr) {
    connections_->EndProtocol(std::move(replaced), id(),
                              {.origin = CloseReason::Origin::kReplaced});
  }
  // The end is for the new one to hear, too.
  if (Has(kEndTold)) Set(kReadable | kHungUp);
  Clear(kMustAttach | kSuspended | kEndTold | kDataForced | kTimeoutDue |
        kAboveHigh);
  Set(kAttached | kReadyDue);
  Touch();
  ArmIdle();
  connections_->FlushLater(*this);
  DeliverUnread();
  if (Has(kReadable)) connections_->DeliverLater(*this);
  NoThrow([&attached] { return attached.Name(); },
          [&] { attached.OnOpen(*this); });
  return true;
}

void Connection::Detach() {
  if (!IsServed() || protocol() == nullptr) return;
  connections_->EndProtocol(ExchangeProtocol(nullptr), id(),
                            {.origin = CloseReason::Origin::kReplaced});
  if (error_ != 0) Fail(error_);  // Nobody is left to read what came before.
}

bool Connection::Release(MoveOnlyFunction<void(Socket)> take) {
  if (!is_open()) return false;
  extra().release = std::move(take);
  Set(kReleased);
  connections_->BuryLater(*this);
  return true;
}

void Connection::Suspend() {
  if (IsServed()) Set(kSuspended);
}

void Connection::Resume() {
  if (!IsServed() || !Has(kSuspended)) return;
  Clear(kSuspended);
  DeliverUnread();
  if (Has(kReadable)) connections_->DeliverLater(*this);
}

// What is left over is not told of by any event.
void Connection::DeliverUnread() {
  if (socket_.unread_bytes() == 0) return;
  Set(kDataForced);
  connections_->DeliverLater(*this);
}

void Connection::Force(Callback callback) {
  if (!IsServed() || protocol() == nullptr) return;
  switch (callback) {
    case Callback::kData:
      Clear(kSuspended);
      Set(kDataForced);
      connections_->DeliverLater(*this);
      break;
    case Callback::kReady:
      Set(kReadyDue);
      connections_->FlushLater(*this);
      break;
    case Callback::kTimeout:
      if (Has(kTimeoutDue)) return;
      Set(kTimeoutDue);
      connections_->loop().Defer([connections = connections_, id = id()] {
        Connection* const connection = connections->Find(id);
        if (connection != nullptr && connection->Has(kTimeoutDue)) {
          connection->TellTimeout();
        }
      });
      break;
  }
}

// --- Reading ---

// Takes note of what the poller told. It tells each change once, so whatever
// is not dealt with now must stay in the flags.
void Connection::OnReadiness(Readiness readiness) {
  if (Has(kDead)) return;
  const bool hung_up =
      readiness.read_closed() || readiness.write_closed() || readiness.error();
  if (hung_up) Set(kHungUp);
  if (readiness.priority()) socket_.DistrustShortReads();
  if (readiness.readable()) {
    Set(kReadable);
    connections_->DeliverLater(*this);
  }
  if (hung_up || readiness.writable()) {
    // A handshake that had room is not waiting for it.
    const uint32_t waits =
        Has(kWritable) ? kReadyDue : kReadyDue | kHandshaking;
    Set(kWritable);
    if (Has(waits) || socket_.wants_write()) connections_->FlushLater(*this);
  }
}

// Tells the protocol of bytes or of the end: bytes first, whatever the poller
// said of hang-ups.
void Connection::Deliver() {
  if (Has(kDead) || !Has(kReadable | kDataForced)) return;
  if (Has(kHandshaking)) {
    connections_->ShakeLater(*this);
    return;
  }
  if (socket_.is_closing()) {
    connections_->FlushLater(*this);
    return;
  }
  if (protocol() == nullptr) return;
  if (!Has(kDataForced)) {
    if (IsFull()) return;
    if (Has(kHungUp)) {
      PeekHungUp();
      if (!Has(kReadable) || Has(kEndRead)) return;
    }
    if (MustPause() || connections_->HoldsBack(*this)) {
      Set(kReadPaused);
      return;
    }
    if (Has(kSuspended)) return;
  }
  TellData();
}

void Connection::TellData() {
  const uint32_t forced = flags_ & kDataForced;
  Clear(kDataForced);
  bool progress = false;
  const bool told =
      Tell(CallbackLock::kTask, [this, &progress](Protocol& protocol) {
        ReceiveBuffer& buffer = connections_->receive_buffer();
        buffer.Begin(*this);
        protocol.OnData(*this);
        progress = buffer.spent();
        KeepUnread();
        buffer.End();
        if (&protocol != this->protocol()) DeliverUnread();
      });
  if (!told) {
    Set(forced);
  } else if (Has(kReadable) && !Has(kSuspended) && progress) {
    connections_->DeliverLater(*this);
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
  const LoopOptions& options = connections_->options();
  return socket_.unread_bytes() >=
         std::min(options.unread_limit_bytes, options.receive_buffer_bytes);
}

// The poller tells when there is something again.
void Connection::ClearReadable() {
  Clear(kReadable);
  connections_->MarkDrained(*this, Interest::kReadable);
}

// Of a connection that has ended or failed: if no bytes are left to read, tells
// so. What a transport holds, only reading tells.
void Connection::PeekHungUp() {
  if (Has(kEndTold)) {  // A reset may have followed, which no read tells.
    Clear(kReadable);
    if (const int error = socket_.TakeError()) Fail(error);
    return;
  }
  if (!Has(kEndRead)) {
    if (socket_.has_transport()) return;
    const IoResult peek = socket_.Peek();
    if (peek.bytes > 0) return;
    if (peek.would_block() || peek.out_of_memory()) {
      Account(peek);
      return;
    }
    if (error_ == 0) error_ = static_cast<uint16_t>(peek.error);
    Set(kEndRead);
  }
  if (error_ != 0) {
    Fail(error_);
  } else {
    TellEnd();
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
  ABSL_CHECK(buffer.IsOf(*this) && bytes <= buffer.unread().size())
      << "Connection::Consume: more than Unread() has shown";
  buffer.Consume(bytes);
}

// What is unread of what was read in this OnData(); if that is nothing, reads.
absl::Span<char> Connection::Fill(const char* call) {
  ReceiveBuffer& buffer = connections_->receive_buffer();
  ABSL_CHECK(buffer.IsOf(*this))
      << "Connection::" << call << ": not in OnData() of this connection";
  if (!buffer.unread().empty()) return buffer.unread();
  // What was left over comes first, and more behind it.
  const size_t kept = socket_.unread_bytes();
  if (kept > 0) {
    const absl::Span<char> room = buffer.room();
    const IoResult again =
        socket_.Read(room.first(std::min(kept, room.size())));
    CountMemory();
    buffer.Add(again.bytes);
  }
  buffer.Add(ReadNew(buffer.room()));
  return buffer.unread();
}

size_t Connection::Read(absl::Span<char> out) {
  if (Has(kDead) || out.empty() || socket_.is_closing()) return 0;
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
  return ReadNew(out);
}

// What the protocol has not seen yet.
size_t Connection::ReadNew(absl::Span<char> out) {
  if (Has(kDead) || !Has(kReadable) || Has(kEndRead) || out.empty() ||
      socket_.is_closing()) {
    return 0;
  }
  if (connections_->receive_buffer().IsOf(*this)) {
    out = connections_->receive_buffer().Limit(out);
    if (out.empty()) return 0;
  }
  const size_t bytes = Account(socket_.Read(out));
  if (!socket_.is_direct()) AfterTransport();
  return bytes;
}

// --- Handshake ---

bool Connection::StartHandshake(std::unique_ptr<Transport> transport,
                                absl::Duration timeout, HandshakeDone done) {
  if (!is_open() || Has(kHandshaking)) return false;
  ABSL_CHECK(transport != nullptr && done)
      << "Connection::StartHandshake: no transport, or nobody to tell";
  SetTransport(std::move(transport)).IgnoreError();
  Extra& extra = this->extra();
  extra.handshake_done = std::move(done);
  extra.handshake_deadline = connections_->turn().ReadClock() + timeout;
  Set(kHandshaking);
  Clear(kMustAttach);
  ArmIdle();
  connections_->ShakeLater(*this);
  return true;
}

void Connection::ResumeHandshake() {
  if (Has(kHandshaking)) connections_->ShakeLater(*this);
}

void Connection::Shake() {
  if (Has(kDead) || !Has(kHandshaking)) return;
  const Transport::Handshake result = socket_.Shake();
  if (Has(kDead) || !Has(kHandshaking)) return;  // By a call of its own.
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
    return;
  }
  if (socket_.raw_is_empty()) ClearReadable();
  if (socket_.raw_is_full()) {
    Clear(kWritable);
    connections_->MarkDrained(*this, Interest::kWritable);
  }
  switch (result) {
    case Transport::Handshake::kDone:
      EndHandshake(absl::OkStatus());
      break;
    case Transport::Handshake::kFailed: {
      const absl::Status status = socket_.transport()->status();
      EndHandshake(status.ok() ? absl::UnknownError("the handshake has failed")
                               : status);
      break;
    }
    case Transport::Handshake::kMore:
      if (socket_.raw_has_ended()) {
        EndHandshake(absl::UnavailableError(
            "the peer has ended its stream during the handshake"));
      } else if (socket_.raw_has_read() && Has(kReadable)) {
        connections_->ShakeLater(*this);
      }
      break;
    case Transport::Handshake::kSuspended:
      break;
  }
}

// `done` may do anything.
void Connection::EndHandshake(const absl::Status& status) {
  Clear(kHandshaking);
  HandshakeDone done = std::move(extra().handshake_done);
  Active();
  if (status.ok()) {
    // What the transport has read already, no edge tells of.
    Set(kReadable);
    connections_->DeliverLater(*this);
    connections_->FlushLater(*this);
    done(*this, status);
    RequireAttach();
    ArmIdle();
    return;
  }
  extra().detail = status;
  done(*this, status);
  if (Has(kDead) || socket_.is_closing()) return;
  error_ = EPROTO;
  last_active_ = connections_->turn().ReadClock();
  LimitClosing();
  socket_.CloseFailed();
  CountMemory();
  connections_->FlushLater(*this);
}

// A transport may have ended the socket in any call, and reading may have given
// it something to send.
void Connection::AfterTransport() {
  if (Has(kDead)) return;
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
  } else if (socket_.wants_write()) {
    connections_->FlushLater(*this);
  }
}

size_t Connection::Account(const IoResult& read) {
  if (read.bytes > 0) {
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
    // For the next Deliver() to tell.
    if (error_ == 0) error_ = static_cast<uint16_t>(read.error);
    Set(kHungUp | kEndRead);
    connections_->DeliverLater(*this);
  }
  return 0;
}

// --- Writing ---

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
  if (socket_.pending_calls() == 0) Active();
  if (!socket_.Write(std::forward<Bytes>(bytes)...).ok()) return false;
  CountMemory();
  if (LevelAfter(Watermarks::Level::kLow) == Watermarks::Level::kOver) {
    connections_->counters().over_limit.Add(1);
    AbortFor(ENOBUFS);
    return false;
  }
  if (connections_->overload().IsExhausted()) {
    connections_->counters().shed.Add(1);
    AbortFor(ENOBUFS);
    return false;
  }
  Set(kReadyDue);
  connections_->FlushLater(*this);
  return true;
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
  if (Has(kHandshaking)) return {.error = EAGAIN};
  // Answered without asking the kernel, which so tells no edge.
  if (!socket_.is_open() || socket_.pending_calls() > 0 ||
      socket_.in_callback()) {
    return socket_.TryWrite(pieces, more);
  }
  const IoResult written = socket_.TryWrite(pieces, more);
  CountWritten(written.bytes);
  if (written.failed()) {
    WriteFailed(written.error);
  } else if (written.out_of_memory()) {
    Set(kReadyDue);
    FlushSoon();
  } else if (written.bytes < size) {
    Clear(kWritable);
    Set(kReadyDue);
    connections_->MarkDrained(*this, Interest::kWritable);
  } else if (more == Socket::More::kYes) {
    connections_->FlushLater(*this);  // In case that no more comes.
  }
  return written;
}

// The kernel has taken them.
void Connection::CountWritten(size_t bytes) {
  if (bytes == 0) return;
  if (!Has(kLingers)) last_active_ = connections_->turn().active();
  connections_->counters().bytes_written.Add(bytes);
  if (Has(kUnacknowledged)) return;
  Set(kUnacknowledged);
  if (Has(kCloseArmed) || (timeout_ms_ != 0 && is_open())) {
    ArmIdle();  // For half of it.
  }
}

const Watermarks& Connection::watermarks() const {
  if (Has(kHasMarks)) {
    const Extra& extra = *FindExtra();
    if (extra.watermarks.has_value()) return *extra.watermarks;
  }
  return connections_->options().watermarks;
}

Watermarks::Level Connection::LevelAfter(Watermarks::Level before) const {
  return watermarks().Judge(socket_.pending(), before);
}

void Connection::SetWatermarks(const Watermarks& watermarks) {
  if (!is_open()) return;
  Set(kHasMarks);
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
    one->Set(kHasMarks);
    connections_->FlushLater(*one);
  }
}

Connection* Connection::partner() const {
  return Has(kHasMarks) ? connections_->FindUnburied(FindExtra()->partner)
                        : nullptr;
}

// Whether too much of what it reads is queued already, here or at its partner.
bool Connection::MustPause() const {
  if (!Has(kHasMarks) && socket_.pending_calls() == 0) return false;
  const Connection* const partner = this->partner();
  const Connection& full = partner == nullptr ? *this : *partner;
  return full.LevelAfter(Has(kReadPaused) ? Watermarks::Level::kHigh
                                          : Watermarks::Level::kLow) !=
         Watermarks::Level::kLow;
}

void Connection::ReadOn() {
  if (!Has(kReadPaused) || MustPause()) return;
  Clear(kReadPaused);
  connections_->DeliverLater(*this);
}

// What has changed with how much is queued.
void Connection::TellWatermarks() {
  ReadOn();
  if (Connection* const partner = this->partner()) partner->ReadOn();
  const bool above = Has(kAboveHigh);
  const bool now_above =
      LevelAfter(above ? Watermarks::Level::kHigh : Watermarks::Level::kLow) !=
      Watermarks::Level::kLow;
  if (above == now_above || protocol() == nullptr) return;
  flags_ ^= kAboveHigh;
  const bool told =
      Tell(CallbackLock::kWrite, [this, now_above](Protocol& protocol) {
        now_above ? protocol.OnHighWater(*this) : protocol.OnLowWater(*this);
      });
  if (!told) flags_ ^= kAboveHigh;
}

// Gives the kernel what it takes, and does what was waiting for that.
void Connection::FlushTurn() {
  if (Has(kHandshaking)) connections_->ShakeLater(*this);
  if (Has(kDead | kHandshaking) || !FlushSocket()) return;
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
    return;
  }
  if (socket_.is_closing()) {
    CloseWhenDrained();
    return;
  }
  if (Has(kReadPaused | kAboveHigh | kHasMarks) ||
      socket_.pending_calls() > 0) {
    TellWatermarks();
  }
  TellReady();
}

// Once all that was written has left.
void Connection::TellReady() {
  if (!Has(kReadyDue) || !Has(kWritable) || socket_.wants_write() ||
      protocol() == nullptr || !is_open()) {
    return;
  }
  Clear(kReadyDue);
  if (!Tell(CallbackLock::kWrite,
            [this](Protocol& protocol) { protocol.OnReady(*this); })) {
    Set(kReadyDue);
  }
}

// False if the connection has failed.
bool Connection::FlushSocket() {
  if (!Has(kWritable) || socket_.is_over()) return true;
  const IoResult flushed =
      socket_.Flush(connections_->options().write_budget_bytes);
  CountMemory();
  CountWritten(flushed.bytes);
  if (flushed.would_block() && socket_.wants_write()) {
    Clear(kWritable);
    connections_->MarkDrained(*this, Interest::kWritable);
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
  if (socket_.wants_write()) {
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
  if (socket_.is_closing() || protocol() == nullptr) {
    Fail(error);
    return;
  }
  if (error_ == 0) error_ = static_cast<uint16_t>(error);
  Set(kReadable | kHungUp);
  connections_->DeliverLater(*this);
}

// --- Idle timeout and deadline ---

void Connection::SetTimeout(absl::Duration timeout) {
  if (!is_open()) return;
  const int64_t ms =
      timeout <= absl::ZeroDuration() || timeout == absl::InfiniteDuration()
          ? 0
          : absl::ToInt64Milliseconds(
                absl::Ceil(timeout, absl::Milliseconds(1)));
  const uint32_t before = timeout_ms_;
  timeout_ms_ =
      ms > std::numeric_limits<uint32_t>::max() ? 0 : static_cast<uint32_t>(ms);
  Touch();
  // Later than before the wheel finds out by itself.
  const bool later = before != 0 && timeout_ms_ >= before;
  if (!later || !idle_.linked()) ArmIdle();
}

void Connection::SetDeadline(absl::Duration span) {
  if (!IsServed()) return;
  if (FindExtra() != nullptr) extra().deadline_due = false;
  if (span == absl::InfiniteDuration()) {
    Clear(kHasDeadline);  // The wheel finds out by itself.
    return;
  }
  extra().deadline = connections_->options().clock->Now() + span;
  Set(kHasDeadline);
  ArmIdle();
}

MonotonicTime Connection::deadline() const {
  return Has(kHasDeadline) && IsServed() ? FindExtra()->deadline
                                         : MonotonicTime::InfiniteFuture();
}

void Connection::Touch() {
  if (is_open()) last_active_ = connections_->turn().ReadClock();
}

// As Touch(), without a look at the clock.
void Connection::Active() {
  if (is_open()) last_active_ = connections_->turn().active();
}

void Connection::ArmIdle() { connections_->ArmIdle(*this, IdleDeadline()); }

MonotonicTime Connection::IdleDeadline() const {
  MonotonicTime idle = MonotonicTime::InfiniteFuture();
  if (Has(kHandshaking)) return FindExtra()->handshake_deadline;
  if (Has(kLingers)) {
    idle = last_active_ + connections_->options().stop_linger;
  } else if (socket_.is_closing()) {
    idle = PatienceEnd();
  } else if (Has(kMustAttach)) {
    idle = last_active_ + connections_->options().attach_timeout;
  } else if (timeout_ms_ != 0 &&
             protocol_.load(std::memory_order_relaxed) != nullptr) {
    idle = PatienceEnd();
  }
  return Has(kHasDeadline) ? std::min(idle, FindExtra()->deadline) : idle;
}

// How long nothing may happen: of a closing connection nothing that the peer
// takes, else nothing at all.
absl::Duration Connection::Patience() const {
  return socket_.is_closing() ? connections_->options().close_timeout
                              : timeout();
}

// When to look at it: after half of that, if the kernel is to be asked.
MonotonicTime Connection::PatienceEnd() const {
  const MonotonicTime half = last_active_ + Patience() / 2;
  const bool asks = Has(kUnacknowledged) &&
                    (connections_->now() < half || !KnowsUnacknowledged());
  return asks ? half : last_active_ + Patience();
}

// Activity only stores the time of it, so that it costs nothing; the wheel
// finds out here.
MonotonicTime Connection::CheckIdle() {
  if (Has(kDead)) return MonotonicTime::InfiniteFuture();
  if (IdleDeadline() > connections_->now()) return IdleDeadline();
  DeliverFirst();
  if (Has(kDead)) return MonotonicTime::InfiniteFuture();
  if (IdleDeadline() > connections_->now()) return IdleDeadline();
  return socket_.is_closing() ? CheckClosing() : CheckServed();
}

// What the kernel had before a timeout outranks it.
void Connection::DeliverFirst() {
  if (Has(kMustAttach | kHandshaking) || !IsServed()) return;
  if (!Has(kReadable) && connections_->has_more_events() &&
      socket_.Peek().bytes > 0) {
    Set(kReadable);
    connections_->DeliverLater(*this);
  }
  if (Has(kInDeliverList)) Deliver();
}

// A closing connection has made no progress for too long.
MonotonicTime Connection::CheckClosing() {
  if (Has(kLingers)) {
    connections_->BuryLater(*this);
    return MonotonicTime::InfiniteFuture();
  }
  const bool over = Has(kHasDeadline) &&  // LoopOptions::close_limit.
                    FindExtra()->deadline <= connections_->now();
  if (!over && !IsIdle()) return IdleDeadline();
  socket_.Abort();
  Fail(ETIMEDOUT);
  return MonotonicTime::InfiniteFuture();
}

MonotonicTime Connection::CheckServed() {
  if (Has(kHandshaking)) {
    EndHandshake(absl::DeadlineExceededError("the handshake has timed out"));
    return Has(kDead) ? MonotonicTime::InfiniteFuture() : IdleDeadline();
  }
  if (deadline() <= connections_->now()) {
    TellDeadline();
    return IsServed() ? IdleDeadline() : MonotonicTime::InfiniteFuture();
  }
  if (Has(kMustAttach)) {
    ABSL_LOG_EVERY_N_SEC(WARNING, 1)
        << "fd " << socket_.fd() << ": closed, since no protocol was attached "
        << "within " << connections_->options().attach_timeout;
    Abort();
    return MonotonicTime::InfiniteFuture();
  }
  if (!IsIdle()) return IdleDeadline();
  // As if active at such a time that the next one is due when it shall be.
  SetIdleSince(connections_->now() + (kTimeoutRepeats - timeout()));
  TellTimeout();
  if (!IsServed()) return MonotonicTime::InfiniteFuture();
  const MonotonicTime next = IdleDeadline();
  // Activity may make it sooner than a second from now.
  return next == MonotonicTime::InfiniteFuture()
             ? next
             : std::min(next, connections_->now() + timeout());
}

// Whether the timeout is due, unless the peer has acknowledged bytes meanwhile.
// Only the kernel knows of that, and only if it is asked: a full buffer becomes
// writable when much of it has left. So it is asked when half of the timeout is
// over, and again at its end.
bool Connection::IsIdle() {
  const bool due = last_active_ + Patience() <= connections_->now();
  if (!Has(kUnacknowledged)) return due;
  const size_t unacknowledged = socket_.unacknowledged_bytes();
  if (unacknowledged == 0 && socket_.pending_calls() == 0) {
    Clear(kUnacknowledged);
    return due;
  }
  const bool known = KnowsUnacknowledged();
  const size_t before = std::exchange(extra().unacknowledged, unacknowledged);
  if (known && unacknowledged < before) {
    // Unlike the time of any activity of this turn.
    SetIdleSince(connections_->now() + absl::Nanoseconds(1));
    return false;
  }
  extra().idle_since = last_active_;
  return due;
}

// Whether the kernel was asked since the connection was active.
bool Connection::KnowsUnacknowledged() const {
  return FindExtra() != nullptr && FindExtra()->idle_since == last_active_;
}

// Real activity overrides that.
void Connection::SetIdleSince(MonotonicTime time) {
  last_active_ = time;
  if (FindExtra() != nullptr) extra().idle_since = time;
}

void Connection::TellTimeout() {
  Clear(kTimeoutDue);
  if (!IsServed() || protocol() == nullptr) return;
  if (!Tell(CallbackLock::kWrite, [this](Protocol& protocol) {
        connections_->counters().timeouts.Add(1);
        protocol.OnTimeout(*this);
      })) {
    Set(kTimeoutDue);
  }
}

bool Connection::IsDeadlineDue() const {
  return FindExtra() != nullptr && FindExtra()->deadline_due;
}

void Connection::TellDeadline() {
  Clear(kHasDeadline);
  if (!IsServed()) return;
  extra().deadline_due = false;
  if (protocol() == nullptr) {
    Abort();
  } else if (!Tell(CallbackLock::kWrite, [this](Protocol& protocol) {
               connections_->counters().deadlines.Add(1);
               protocol.OnDeadline(*this);
             })) {
    extra().deadline_due = true;
  }
}

// --- Ending ---

void Connection::Close(uint16_t code) {
  if (Has(kHandshaking)) {
    EndHandshake(absl::CancelledError("the connection was closed"));
    return;
  }
  if (Has(kDead) || socket_.is_closing()) return;
  if (error_ == 0 && code != 0) {
    error_ = code;
    Set(kHasCode);
  }
  last_active_ = connections_->turn().ReadClock();
  LimitClosing();
  // Otherwise the socket may take what it read last for all there is.
  if (Has(kReadable) && !Has(kEndRead)) static_cast<void>(socket_.Peek());
  if (connections_->stopping() &&
      connections_->options().stop_linger > absl::ZeroDuration()) {
    socket_.LingerAtClose();
  }
  socket_.Close();
  connections_->FlushLater(*this);
}

// From here on the deadline is that of closing.
void Connection::LimitClosing() {
  const absl::Duration limit = connections_->options().close_limit;
  if (limit == absl::InfiniteDuration()) {
    Clear(kHasDeadline);
  } else {
    extra().deadline = last_active_ + limit;
    Set(kHasDeadline);
  }
}

// Closing, with something left to do.
void Connection::CloseWhenDrained() {
  if (!Has(kCloseArmed)) {
    Set(kCloseArmed);
    ArmIdle();
  }
  if (socket_.is_lingering() && connections_->stopping() && !Has(kLingers) &&
      connections_->options().stop_linger > absl::ZeroDuration()) {
    Set(kLingers);
    last_active_ = connections_->now();
    ArmIdle();
  }
  if (socket_.is_drained()) {
    connections_->MarkDrained(*this, Interest::kReadable);
  } else if (!socket_.wants_write()) {
    Set(kReadable);
    connections_->DeliverLater(*this);
  }
}

void Connection::CloseNow(uint16_t code) {
  Close(code);
  if (Has(kDead)) return;
  if (socket_.wants_write()) static_cast<void>(Flush());
  connections_->BuryLater(*this);
}

void Connection::Abort() {
  if (Has(kDead)) return;
  socket_.Abort();
  connections_->BuryLater(*this);
}

void Connection::AbortFor(int error) {
  if (Has(kDead)) return;
  socket_.Abort();
  Fail(error);
}

uint64_t Connection::memory_bytes() const {
  return socket_.pending().memory_bytes + socket_.unread_bytes();
}

void Connection::CountMemory() {
  connections_->overload().Add(socket_.CountMemory());
}

void Connection::ShutdownWrite() {
  if (!is_open()) return;
  const IoResult flushed = socket_.ShutdownWrite();
  CountMemory();
  if (flushed.failed()) WriteFailed(flushed.error);
  connections_->FlushLater(*this);
}

void Connection::ShutdownRead() {
  if (is_open()) static_cast<void>(socket_.ShutdownRead());
}

bool Connection::NotifyGone(OnGone gone) {
  if (!is_open() || !gone) return false;
  extra().gone.push_back(std::move(gone));
  return true;
}

void Connection::Unref() {
  if (!is_open() || Has(kUnref)) return;
  Set(kUnref);
  connections_->Unref();
}

void Connection::Fail(int error) {
  error_ = static_cast<uint16_t>(error);
  Clear(kHasCode);
  connections_->BuryLater(*this);
}

void Connection::Shutdown() {
  Clear(kShutdownDue);
  if (!IsServed() || Has(kShutdownTold)) return;
  absl::Duration stay = absl::ZeroDuration();
  if (protocol() != nullptr &&
      !Tell(CallbackLock::kTask, [this, &stay](Protocol& protocol) {
        Set(kShutdownTold);
        stay = protocol.OnShutdown(*this);
      })) {
    Set(kShutdownDue);
    connections_->HoldUp(*this);
    return;
  }
  if (stay <= absl::ZeroDuration()) {
    Close();
  } else if (stay == absl::InfiniteDuration()) {
    if (!IsServed()) return;
    Set(kStays);
    connections_->AddStayer();
  } else {
    connections_->RunAfter(stay, [connections = connections_, id = id()] {
      Connection* const connection = connections->Find(id);
      if (connection != nullptr) connection->Close();
    });
  }
}

// The end of a connection that the table no longer knows; its descriptor is
// still open.
std::unique_ptr<Connection::Extra> Connection::Bury() {
  connections_->ArmIdle(*this, MonotonicTime::InfiniteFuture());
  std::unique_ptr<Extra> extra(
      static_cast<Extra*>(socket_.TakeData().release()));
  if (extra != nullptr) {
    if (extra->group != nullptr) extra->group->Forget(id());
    if (Connection* partner = connections_->FindUnburied(extra->partner)) {
      partner->extra().partner = ConnectionId();
      connections_->FlushLater(*partner);
    }
  }
  connections_->overload().Add(socket_.UncountMemory());
  if (!Has(kReleased)) socket_.Discard();
  if (extra != nullptr && extra->handshake_done) {
    std::exchange(extra->handshake_done, nullptr)(
        *this, absl::CancelledError("the connection has ended"));
  }
  // One whose descriptor was lost is told later, with its protocol.
  CloseReason why = reason();
  if (extra != nullptr) why.detail = extra->detail;
  if (!Has(kLost)) TellEnds(extra.get(), why);
  if (const std::unique_ptr<Protocol> protocol = ExchangeProtocol(nullptr)) {
    NoThrow([&protocol] { return protocol->Name(); },
            [&] { protocol->OnClose(*this, why); });
    connections_->AfterCallback(protocol.get());
  }
  return extra;
}

bool Connection::AddEnd(ConnectionEnd& end) {
  if (!is_open()) return false;
  end.Unlink();
  end.LinkBefore(extra().ends);
  return true;
}

// One that is told may add none, but remove and destroy others.
void Connection::TellEnds(Extra* extra, const CloseReason& reason) {
  if (extra == nullptr) return;
  while (!extra->ends.alone()) {
    auto& end = static_cast<ConnectionEnd&>(*extra->ends.next);
    end.Remove();
    end.OnConnectionEnd(*this, reason);
  }
}

CloseReason Connection::reason() const {
  using Origin = CloseReason::Origin;
  if (Has(kReleased)) return {.origin = Origin::kReleased};
  const Origin origin = Has(kEndTold) ? Origin::kPeer : Origin::kLocal;
  if (Has(kHasCode)) return {.origin = origin, .code = error_};
  if (error_ != 0) return {.origin = Origin::kError, .error = error_};
  return {.origin = origin};
}

// --- Extras ---

Connection::Extra& Connection::extra() {
  Extra* extra = static_cast<Extra*>(socket_.data());
  if (extra == nullptr) {
    auto made = std::make_unique<Extra>();
    extra = made.get();
    socket_.SetData(std::move(made));
  }
  return *extra;
}

const Connection::Extra* Connection::FindExtra() const {
  return static_cast<const Extra*>(socket_.data());
}

bool Connection::HasWaitingTasks() const {
  const Extra* const extra = FindExtra();
  return extra != nullptr && !extra->waiting_tasks.empty();
}

ConnectionGroup* Connection::group() const {
  const Extra* const extra = FindExtra();
  return extra == nullptr ? nullptr : extra->group;
}

absl::Status Connection::SetTransport(std::unique_ptr<Transport> transport) {
  if (connections_->receive_buffer().IsOf(*this)) KeepUnread();
  absl::Status set = socket_.SetTransport(std::move(transport));
  if (set.ok()) TransportChanged();
  return set;
}

std::unique_ptr<Transport> Connection::ReplaceTransport(
    std::unique_ptr<Transport> transport) {
  if (connections_->receive_buffer().IsOf(*this)) KeepUnread();
  std::unique_ptr<Transport> replaced =
      socket_.ReplaceTransport(std::move(transport));
  TransportChanged();
  return replaced;
}

// It may hold bytes that no edge tells of.
void Connection::TransportChanged() {
  if (!is_open()) return;
  Set(kReadable);
  connections_->DeliverLater(*this);
  connections_->FlushLater(*this);
}

absl::Status Connection::SetEnv(Environment::Key key, void* object,
                                Environment::OnClose on_close) {
  return socket_.SetEnv(key, object, std::move(on_close));
}

}  // namespace fio
