#include <cerrno>
#include <memory>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/connection_tell.h"
#include "fio/sock/transport.h"

namespace fio {

using loop_internal::ConnectionExtra;

bool Connection::StartHandshake(std::unique_ptr<Transport> transport,
                                absl::Duration timeout, HandshakeDone done) {
  if (!is_open() || IsHandshaking()) return false;
  ABSL_CHECK(transport != nullptr && done)
      << "Connection::StartHandshake: no transport, or nobody to tell";
  SetTransport(std::move(transport)).IgnoreError();
  ConnectionExtra& extra = this->extra();
  extra.handshake_done = std::move(done);
  extra.handshake_deadline = connections_->turn().ReadClock() + timeout;
  extra.handshaking = true;
  socket_.SetShaking(true);
  extra.must_attach = false;
  ArmIdle();
  connections_->ShakeLater(*this);
  return true;
}

void Connection::ResumeHandshake() {
  if (IsHandshaking()) connections_->ShakeLater(*this);
}

// True if there was nothing to do.
bool Connection::Shake() {
  if (Has(kDead) || !IsHandshaking()) return true;
  using Handshake = Transport::Handshake;
  const Transport* const shaken = socket_.transport();
  absl::Status failure;
  const Handshake result =
      shaken == nullptr ? Handshake::kMore : socket_.Shake(&failure);
  if (Has(kDead) || !IsHandshaking()) return false;  // By a call of its own.
  CountMemory();
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
    return false;
  }
  if (socket_.is_closing()) {
    FailHandshake(absl::CancelledError("the transport has closed the socket"));
    return false;
  }
  // An end that was told has no edge to come.
  if (socket_.raw_is_empty() && !Has(kHungUp)) ClearReadable();
  if (socket_.raw_is_full()) {
    AwaitRoom();
  }
  if (result == Handshake::kFailed) {
    FailHandshake(
        failure.ok() ? absl::UnknownError("the handshake has failed") : failure,
        EPROTO);
    return false;
  }
  const Transport* const transport = socket_.transport();
  if (transport != nullptr && transport != shaken) {
    connections_->ShakeLater(*this);  // It goes on with the one that is new.
  } else if (result == Handshake::kDone) {
    const bool was_none = !socket_.raw_has_read();
    EndHandshake();
    return was_none;
  } else if (transport == nullptr) {
    FailHandshake(absl::FailedPreconditionError(
                      "the transport was taken off during its handshake"),
                  EPROTO);
  } else if (result == Handshake::kMore) {
    AwaitMore();
  } else {
    PeekSuspended();
  }
  return false;
}

// The handshake needs bytes of the peer, or room.
void Connection::AwaitMore() {
  if (socket_.raw_had_no_memory()) {
    FlushSoon();
  } else if (socket_.raw_has_ended()) {
    PeerHasGone(socket_.raw_error());
  } else if (socket_.raw_has_read() && Has(kReadable)) {
    connections_->ShakeLater(*this);
  } else if (!socket_.raw_has_read() && !socket_.raw_is_empty() &&
             !socket_.raw_is_full()) {
    FlushSoon();  // The kernel had no memory.
  }
}

// The handshake waits for its owner. What the peer has sent is for the
// transport, and so comes before the end.
void Connection::PeekSuspended() {
  if (!Has(kReadable)) return;
  const IoResult peek = socket_.PeekRaw();
  if (peek.bytes > 0) return;
  if (peek.would_block()) {
    ClearReadable();
  } else if (peek.out_of_memory()) {
    FlushSoon();
  } else {
    PeerHasGone(peek.error);
  }
}

// In the middle of the handshake: by the end of its stream, or by an error.
void Connection::PeerHasGone(int error) {
  if (error == 0) {
    Set(kEndTold);
    FailHandshake(absl::UnavailableError(
        "the peer has ended its stream during the handshake"));
  } else {
    FailHandshake(
        absl::UnavailableError(ErrnoToStatus(error, "handshake").message()),
        error);
  }
}

// `done` may do anything.
void Connection::EndHandshake() {
  extra().handshaking = false;
  socket_.SetShaking(false);
  HandshakeDone done = std::move(extra().handshake_done);
  Active();
  // What the transport has read already, no edge tells of.
  Set(kReadable);
  connections_->DeliverLater(*this);
  connections_->FlushLater(*this);
  done(*this, absl::OkStatus());
  RequireAttach();
  ArmIdle();
}

// `error` is that of the CloseReason; 0 if it is none. The connection closes
// before `done` is called, so that nothing passes a transport that is not done.
void Connection::FailHandshake(const absl::Status& status, int error) {
  extra().handshaking = false;
  socket_.SetShaking(false);
  HandshakeDone done = std::move(extra().handshake_done);
  extra().detail = status;
  if (error != 0) SetError(error);
  last_active_ = connections_->turn().ReadClock();
  LimitClosing();
  socket_.CloseFailed();
  CountMemory();
  connections_->FlushLater(*this);
  done(*this, status);
}

}  // namespace fio
