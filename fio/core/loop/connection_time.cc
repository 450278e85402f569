#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/connection_tell.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/transport.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::ConnectionExtra;

namespace {

// How often OnTimeout() comes while nothing happens.
constexpr absl::Duration kTimeoutRepeats = absl::Seconds(1);

}  // namespace

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
    // The wheel finds out by itself.
    if (FindExtra() != nullptr)
      extra().deadline = MonotonicTime::InfiniteFuture();
    return;
  }
  extra().deadline = connections_->options().clock->Now() + span;
  ArmIdle();
}

MonotonicTime Connection::deadline() const {
  return IsServed() ? AnyDeadline() : MonotonicTime::InfiniteFuture();
}

void Connection::Touch() {
  if (is_open()) last_active_ = connections_->turn().ReadClock();
}

void Connection::ArmIdle() { connections_->ArmIdle(*this, IdleDeadline()); }

MonotonicTime Connection::IdleDeadline() const {
  MonotonicTime idle = MonotonicTime::InfiniteFuture();
  if (IsHandshaking()) return FindExtra()->handshake_deadline;
  if (IsLingering()) {
    idle = last_active_ + LingerSpan();
  } else if (socket_.is_closing()) {
    idle = PatienceEnd();
  } else if (MustAttach()) {
    idle = last_active_ + connections_->options().attach_timeout;
  } else if (timeout_ms_ != 0 &&
             protocol_.load(std::memory_order_relaxed) != nullptr) {
    idle = PatienceEnd();
  }
  return std::min(idle, AnyDeadline());
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
  if (MustAttach() || IsHandshaking() || !IsServed()) return;
  if (!Has(kReadable) && connections_->has_more_events() &&
      socket_.Peek().bytes > 0) {
    Set(kReadable);
    connections_->DeliverLater(*this);
  }
  if (Has(kInDeliverList)) Deliver();
}

// A closing connection has made no progress for too long.
MonotonicTime Connection::CheckClosing() {
  // LoopOptions::close_limit.
  const bool over = AnyDeadline() <= connections_->now();
  if (IsLingering()) {
    if (!over && HasBeenAcknowledged()) return IdleDeadline();
    connections_->BuryLater(*this);
    return MonotonicTime::InfiniteFuture();
  }
  if (!over && !IsIdle()) return IdleDeadline();
  socket_.Abort();
  Fail(ETIMEDOUT);
  return MonotonicTime::InfiniteFuture();
}

absl::Duration Connection::LingerSpan() const {
  const LoopOptions& options = connections_->options();
  return connections_->stopping() && options.stop_linger > absl::ZeroDuration()
             ? options.stop_linger
             : options.close_linger;
}

// Of one that lingers: whether the peer, that still reads our last bytes, has
// taken some of them since the last look.
bool Connection::HasBeenAcknowledged() {
  const size_t left = socket_.unacknowledged_bytes();
  const size_t before = std::exchange(extra().unacknowledged, left);
  if (left <= 1 || left >= before) return false;  // The end counts as one.
  last_active_ = connections_->now();
  return true;
}

MonotonicTime Connection::CheckServed() {
  if (IsHandshaking()) {
    const Transport* const transport = socket_.transport();
    FailHandshake(absl::DeadlineExceededError(absl::StrCat(
                      transport == nullptr ? "the handshake"
                                           : transport->handshake_name(),
                      " has timed out")),
                  EPROTO);
    return Has(kDead) ? MonotonicTime::InfiniteFuture() : IdleDeadline();
  }
  if (deadline() <= connections_->now()) {
    TellDeadline();
    return IsServed() ? IdleDeadline() : MonotonicTime::InfiniteFuture();
  }
  if (MustAttach()) {
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

// Whether the timeout is due, unless the peer has acknowledged bytes meanwhile,
// be it the last ones.
// Only the kernel knows of that, and only if it is asked: a full buffer becomes
// writable when much of it has left. So it is asked when half of the timeout is
// over, and again at its end.
bool Connection::IsIdle() {
  const bool due = last_active_ + Patience() <= connections_->now();
  if (!Has(kUnacknowledged)) return due;
  const size_t unacknowledged = socket_.unacknowledged_bytes();
  const bool is_all = unacknowledged == 0 && socket_.pending_bytes() == 0;
  if (is_all) Clear(kUnacknowledged);
  if (KnowsUnacknowledged() && unacknowledged < extra().unacknowledged) {
    extra().unacknowledged = unacknowledged;
    // Unlike the time of any activity of this turn.
    SetIdleSince(connections_->now() + absl::Nanoseconds(1));
    return false;
  }
  if (!is_all) {
    extra().unacknowledged = unacknowledged;
    extra().idle_since = last_active_;
  }
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
  if (FindExtra() != nullptr) extra().timeout_due = false;
  if (!IsServed() || protocol() == nullptr) return;
  if (!Tell(CallbackLock::kWrite, [this](Protocol& protocol) {
        connections_->counters().timeouts.Add(1);
        protocol.OnTimeout(*this);
      })) {
    extra().timeout_due = true;
  }
}

void Connection::TellDeadline() {
  if (FindExtra() != nullptr) {
    extra().deadline = MonotonicTime::InfiniteFuture();
  }
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

}  // namespace fio
