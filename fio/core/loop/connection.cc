#include "fio/core/loop/connection.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/log/absl_log.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"

namespace fio {
namespace {

constexpr absl::Duration kMemoryPause = absl::Milliseconds(10);

}  // namespace

void Connection::Open(Loop& loop, Socket socket, uint32_t generation) {
  loop_ = &loop;
  last_active_ = loop.now();
  timer_ = TimerId::kNone;
  timeout_ms_ = 0;
  socket_ = std::move(socket);
  socket_.HoldDescriptor();
  socket_.AllowHalfOpen();
  generation_ = generation;
  flags_ = kInUse | kWritable;
  error_ = 0;
}

void Connection::RequireAttach() {
  if (protocol_ != nullptr || !is_open()) return;
  Set(kMustAttach);
  ArmTimer(loop_->now() + loop_->options().attach_timeout);
}

void Connection::Attach(std::unique_ptr<Protocol> protocol) {
  ABSL_CHECK(protocol != nullptr) << "Connection::Attach: no protocol";
  ABSL_CHECK(protocol_ == nullptr) << "Connection::Attach: it has a protocol";
  if (!is_open()) return;
  protocol_ = std::move(protocol);
  if (Has(kMustAttach)) {
    Clear(kMustAttach);
    SetTimeout(timeout());
  }
  Set(kReadyDue);
  loop_->FlushLater(*this);
  if (Has(kReadable)) loop_->DeliverLater(*this);
}

// --- Reading ---

// Takes note of what the poller told. It tells each change once, so whatever
// is not dealt with now must stay in the flags.
void Connection::OnReadiness(Readiness readiness) {
  if (Has(kDead)) return;
  const bool hung_up =
      readiness.read_closed() || readiness.write_closed() || readiness.error();
  if (hung_up) Set(kHungUp);
  if (readiness.readable()) {
    Set(kReadable);
    loop_->DeliverLater(*this);
  }
  if (hung_up || readiness.writable()) {
    Set(kWritable);
    if (socket_.wants_write()) loop_->FlushLater(*this);
  }
}

// Tells the protocol of bytes or of the end: bytes first, whatever the poller
// said of hang-ups.
void Connection::Deliver() {
  if (Has(kDead) || !Has(kReadable)) return;
  if (socket_.is_closing()) {
    loop_->FlushLater(*this);
    return;
  }
  if (protocol_ == nullptr) return;
  if (TooMuchPending()) {
    Set(kReadPaused);
    return;
  }
  if (Has(kHungUp) && !BytesBeforeEnd()) return;
  loop_->receiving_ = this;
  protocol_->OnData(*this);
  loop_->receiving_ = nullptr;
  if (Has(kReadable)) loop_->DeliverLater(*this);
}

// The poller tells when there is something again.
void Connection::ClearReadable() {
  Clear(kReadable);
  loop_->MarkDrained(*this, Interest::kReadable);
}

// Whether bytes are left to read on a connection that has ended or failed; if
// not, tells so.
bool Connection::BytesBeforeEnd() {
  const IoResult peek = socket_.Peek();
  if (peek.bytes > 0) return true;
  ClearReadable();
  if (error_ != 0) {
    Fail(error_);
  } else if (peek.ok()) {
    TellEnd();
  } else if (!peek.would_block()) {
    Fail(peek.error);
  }
  return false;
}

void Connection::TellEnd() {
  if (Has(kEnd)) return;
  Set(kEnd);
  protocol_->OnEnd(*this);
}

std::string_view Connection::Received() {
  ABSL_CHECK(loop_->receiving_ == this)
      << "Connection::Received: not in OnData() of this connection";
  const absl::Span<char> buffer = absl::MakeSpan(loop_->receive_buffer_);
  return {buffer.data(), Read(buffer)};
}

size_t Connection::Read(absl::Span<char> out) {
  if (Has(kDead) || !Has(kReadable) || out.empty() || socket_.is_closing()) {
    return 0;
  }
  return Account(socket_.Read(out), out.size());
}

size_t Connection::Account(const IoResult& read, size_t asked) {
  if (read.bytes > 0) {
    Touch();
    // Less than asked for is all there was: what comes now is a new edge. But
    // an end that was told before has no edge to come.
    if (read.bytes < asked && !Has(kHungUp)) ClearReadable();
    return read.bytes;
  }
  if (read.would_block()) {
    ClearReadable();
    return 0;
  }
  // The end or an error, for the next Deliver() to tell.
  if (!read.ok()) error_ = static_cast<uint16_t>(read.error);
  Set(kHungUp);
  loop_->DeliverLater(*this);
  return 0;
}

// --- Writing ---

bool Connection::Write(std::string_view bytes) {
  return Queue(bytes, !bytes.empty());
}

bool Connection::Write(absl::Cord bytes) {
  const bool any = !bytes.empty();
  return Queue(std::move(bytes), any);
}

bool Connection::Write(FileRange file) { return Queue(std::move(file), true); }

template <typename Bytes>
bool Connection::Queue(Bytes bytes, bool any) {
  if (!is_open()) return false;
  if (!any) return true;
  if (socket_.pending_calls() == 0) Touch();
  const IoResult queued = socket_.Write(std::move(bytes));
  if (!queued.ok()) return false;
  const Watermarks::Level level = loop_->options().watermarks.Judge(
      socket_.pending_bytes(), socket_.pending_calls(),
      Watermarks::Level::kLow);
  if (level == Watermarks::Level::kOver) {
    error_ = ENOBUFS;
    Abort();
    return false;
  }
  Set(kReadyDue);
  loop_->FlushLater(*this);
  return true;
}

bool Connection::TooMuchPending() const {
  return loop_->options().watermarks.Judge(
             socket_.pending_bytes(), socket_.pending_calls(),
             Has(kReadPaused)
                 ? Watermarks::Level::kHigh
                 : Watermarks::Level::kLow) != Watermarks::Level::kLow;
}

// Gives the kernel what it takes, and does what was waiting for that.
void Connection::Flush() {
  if (Has(kDead)) return;
  if (Has(kWritable) && !socket_.is_over()) {
    const IoResult flushed = socket_.Flush();
    if (flushed.bytes > 0) Touch();
    if (flushed.would_block() && socket_.wants_write()) {
      Clear(kWritable);
      loop_->MarkDrained(*this, Interest::kWritable);
    }
    if (flushed.out_of_memory()) FlushSoon();
    if (flushed.failed()) {
      WriteFailed(flushed.error);
      return;
    }
  }
  if (Has(kReadPaused) && !TooMuchPending()) {
    Clear(kReadPaused);
    loop_->DeliverLater(*this);
  }
  if (socket_.is_over()) {
    loop_->BuryLater(*this);
  } else if (socket_.is_closing()) {
    if (timer_ == TimerId::kNone) {
      ArmTimer(loop_->now() + loop_->options().close_timeout);
    }
    if (socket_.is_drained()) {
      loop_->MarkDrained(*this, Interest::kReadable);
    } else if (!socket_.wants_write()) {
      loop_->DeliverLater(*this);
    }
  } else if (Has(kReadyDue) && !socket_.wants_write() && protocol_ != nullptr) {
    Clear(kReadyDue);
    protocol_->OnReady(*this);
  }
}

// Between callbacks or inside of one: the rest, with its callbacks, waits for
// the end of the turn.
void Connection::FlushNow() {
  if (Has(kDead) || !socket_.wants_write()) return;
  if (socket_.Flush().bytes > 0) Touch();
  loop_->FlushLater(*this);
}

// The kernel had no memory, and nothing tells when it has.
void Connection::FlushSoon() {
  loop_->RunAfter(kMemoryPause, [loop = loop_, id = id()] {
    Connection* connection = loop->Find(id);
    if (connection != nullptr) loop->FlushLater(*connection);
  });
}

// The peer takes no more. What it sent before is still delivered.
void Connection::WriteFailed(int error) {
  if (socket_.is_closing() || protocol_ == nullptr) {
    Fail(error);
    return;
  }
  error_ = static_cast<uint16_t>(error);
  Set(kReadable | kHungUp);
  loop_->DeliverLater(*this);
}

// --- Timeouts ---

void Connection::SetTimeout(absl::Duration timeout) {
  if (!is_open()) return;
  const int64_t ms =
      timeout <= absl::ZeroDuration() || timeout == absl::InfiniteDuration()
          ? 0
          : absl::ToInt64Milliseconds(
                absl::Ceil(timeout, absl::Milliseconds(1)));
  timeout_ms_ =
      ms > std::numeric_limits<uint32_t>::max() ? 0 : static_cast<uint32_t>(ms);
  Touch();
  if (Has(kMustAttach)) return;
  ArmTimer(timeout_ms_ == 0 ? MonotonicTime::InfiniteFuture()
                            : last_active_ + this->timeout());
}

void Connection::Touch() { last_active_ = loop_->now(); }

void Connection::ArmTimer(MonotonicTime deadline) {
  if (timer_ != TimerId::kNone) {
    loop_->Cancel(timer_);
    timer_ = TimerId::kNone;
  }
  if (deadline == MonotonicTime::InfiniteFuture()) return;
  timer_ = loop_->RunAt(deadline, [this] { OnTimer(); });
}

// Activity only stores the time of it, so that it costs nothing; the timer
// finds out here and goes back to sleep.
void Connection::OnTimer() {
  timer_ = TimerId::kNone;
  if (Has(kDead)) return;
  if (socket_.is_closing()) {
    socket_.Abort();
    Fail(ETIMEDOUT);
    return;
  }
  if (Has(kMustAttach)) {
    ABSL_LOG_EVERY_N_SEC(WARNING, 1)
        << "fd " << socket_.fd() << ": closed, since no protocol was attached "
        << "within " << loop_->options().attach_timeout;
    Abort();
    return;
  }
  if (loop_->now() < last_active_ + timeout()) {
    ArmTimer(last_active_ + timeout());
    return;
  }
  const MonotonicTime idle_since = last_active_;
  protocol_->OnTimeout(*this);
  if (!is_open() || timer_ != TimerId::kNone || timeout_ms_ == 0) return;
  ArmTimer(last_active_ == idle_since ? loop_->now() + absl::Seconds(1)
                                      : last_active_ + timeout());
}

// --- Closing ---

void Connection::Close() {
  if (Has(kDead) || socket_.is_closing()) return;
  socket_.Close();
  ArmTimer(MonotonicTime::InfiniteFuture());
  loop_->FlushLater(*this);
}

void Connection::Abort() {
  if (Has(kDead)) return;
  socket_.Abort();
  loop_->BuryLater(*this);
}

void Connection::Fail(int error) {
  error_ = static_cast<uint16_t>(error);
  loop_->BuryLater(*this);
}

void Connection::Shutdown() {
  if (!is_open() || Has(kShutdownTold)) return;
  Set(kShutdownTold);
  const absl::Duration stay = protocol_ == nullptr
                                  ? absl::ZeroDuration()
                                  : protocol_->OnShutdown(*this);
  if (stay <= absl::ZeroDuration()) {
    Close();
  } else if (stay == absl::InfiniteDuration()) {
    Set(kStays);
    ++loop_->stayers_;
  } else {
    loop_->RunAfter(stay, [loop = loop_, id = id()] {
      Connection* connection = loop->Find(id);
      if (connection != nullptr) connection->Close();
    });
  }
}

// The end of a connection that the table no longer knows.
void Connection::Bury() {
  ArmTimer(MonotonicTime::InfiniteFuture());
  socket_.Discard();
  if (std::unique_ptr<Protocol> protocol = std::move(protocol_)) {
    protocol->OnClose(*this, reason());
  }
  loop_->Forget(*this);
  // Only now: from here on the kernel may give the number to another.
  socket_ = Socket();
}

CloseReason Connection::reason() const {
  if (error_ != 0) {
    return {.origin = CloseReason::Origin::kError, .error = error_};
  }
  return {.origin = Has(kEnd) ? CloseReason::Origin::kPeer
                              : CloseReason::Origin::kLocal};
}

}  // namespace fio
