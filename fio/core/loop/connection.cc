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
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"

namespace fio {

void Connection::Open(Loop& loop, Socket socket, uint32_t generation) {
  loop_ = &loop;
  last_active_ = loop.now();
  timer_ = TimerId::kNone;
  timeout_ms_ = 0;
  socket_ = std::move(socket);
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
  if (hung_up || readiness.readable()) {
    Set(kReadable);
    loop_->DeliverLater(*this);
  }
  if (hung_up || readiness.writable()) {
    Set(kWritable);
    if (!queue_.empty()) loop_->FlushLater(*this);
  }
}

// Tells the protocol of bytes or of the end: bytes first, whatever the poller
// said of hang-ups.
void Connection::Deliver() {
  if (Has(kClosing | kDead) || !Has(kReadable) || protocol_ == nullptr) return;
  if (queue_.size() > loop_->options().write_high_watermark_bytes) {
    Set(kReadPaused);
    return;
  }
  if (Has(kHungUp) && !BytesBeforeEnd()) return;
  loop_->receiving_ = this;
  protocol_->OnData(*this);
  loop_->receiving_ = nullptr;
  if (Has(kReadable)) loop_->DeliverLater(*this);
}

// Whether bytes are left to read on a connection that has ended or failed; if
// not, tells so.
bool Connection::BytesBeforeEnd() {
  const IoResult peek = socket_.Peek();
  if (peek.bytes > 0) return true;
  Clear(kReadable);
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
  if (Has(kClosing | kDead) || !Has(kReadable) || out.empty()) return 0;
  return Account(socket_.Read(out), out.size());
}

size_t Connection::Account(const IoResult& read, size_t asked) {
  if (read.bytes > 0) {
    Touch();
    // Less than asked for is all there was: what comes now is a new edge. But
    // an end that was told before has no edge to come.
    if (read.bytes < asked && !Has(kHungUp)) Clear(kReadable);
    return read.bytes;
  }
  if (read.would_block()) {
    Clear(kReadable);
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
  if (!is_open()) return false;
  if (bytes.empty()) return true;
  const bool was_empty = queue_.empty();
  queue_.Append(bytes);
  Queued(was_empty);
  return true;
}

bool Connection::Write(absl::Cord bytes) {
  if (!is_open()) return false;
  if (bytes.empty()) return true;
  const bool was_empty = queue_.empty();
  queue_.Append(std::move(bytes));
  Queued(was_empty);
  return true;
}

void Connection::Queued(bool was_empty) {
  if (was_empty) Touch();
  Set(kReadyDue);
  loop_->FlushLater(*this);
}

// Gives the kernel what it takes, and does what was waiting for that.
void Connection::Flush() {
  if (Has(kDead)) return;
  while (Has(kWritable) && !queue_.empty()) {
    const IoResult written = queue_.Flush(socket_);
    if (written.bytes > 0) Touch();
    if (written.would_block()) Clear(kWritable);
    if (!written.ok() && !written.would_block()) {
      WriteFailed(written.error);
      return;
    }
  }
  if (Has(kReadPaused) &&
      queue_.size() <= loop_->options().write_high_watermark_bytes / 2) {
    Clear(kReadPaused);
    loop_->DeliverLater(*this);
  }
  if (!queue_.empty()) {
    if (Has(kClosing) && timer_ == TimerId::kNone) {
      ArmTimer(loop_->now() + loop_->options().close_timeout);
    }
  } else if (Has(kClosing)) {
    loop_->BuryLater(*this);
  } else if (Has(kReadyDue) && protocol_ != nullptr) {
    Clear(kReadyDue);
    protocol_->OnReady(*this);
  }
}

// The peer takes no more. What it sent before is still delivered.
void Connection::WriteFailed(int error) {
  queue_.Clear();
  if (Has(kClosing) || protocol_ == nullptr) {
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
  if (Has(kClosing)) {
    Set(kAborted);
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
  if (Has(kClosing | kDead)) return;
  Set(kClosing);
  ArmTimer(MonotonicTime::InfiniteFuture());
  loop_->FlushLater(*this);
}

void Connection::Abort() {
  if (Has(kDead)) return;
  Set(kAborted);
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
  queue_.Clear();
  if (std::unique_ptr<Protocol> protocol = std::move(protocol_)) {
    protocol->OnClose(*this, reason());
  }
  // Only now: from here on the kernel may give the number to another.
  if (Has(kAborted)) {
    socket_.Abort();
  } else {
    socket_.Close();
  }
}

CloseReason Connection::reason() const {
  if (error_ != 0) {
    return {.origin = CloseReason::Origin::kError, .error = error_};
  }
  return {.origin = Has(kEnd) ? CloseReason::Origin::kPeer
                              : CloseReason::Origin::kLocal};
}

}  // namespace fio
