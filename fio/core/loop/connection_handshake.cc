#include <cerrno>
#include <memory>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/internal/connection_tell.h"
#include "fio/core/poller/event.h"
#include "fio/sock/transport.h"

namespace fio {

using loop_internal::ConnectionExtra;

bool Connection::StartHandshake(std::unique_ptr<Transport> transport,
                                absl::Duration timeout, HandshakeDone done) {
  if (!is_open() || IsHandshaking()) return false;
  if (FindExtra() != nullptr && !FindExtra()->detail.ok()) return false;
  ABSL_CHECK(transport != nullptr && done)
      << "Connection::StartHandshake: no transport, or nobody to tell";
  SetTransport(std::move(transport)).IgnoreError();
  ConnectionExtra& extra = this->extra();
  extra.handshake_done = std::move(done);
  extra.handshake_deadline = connections_->turn().ReadClock() + timeout;
  extra.handshaking = true;
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
  if (socket_.is_over()) {
    connections_->BuryLater(*this);
    return false;
  }
  if (socket_.raw_is_empty()) ClearReadable();
  if (socket_.raw_is_full()) {
    Clear(kWritable);
    connections_->MarkDrained(*this, Interest::kWritable);
  }
  if (result == Handshake::kFailed) {
    EndHandshake(failure.ok() ? absl::UnknownError("the handshake has failed")
                              : failure);
    return false;
  }
  const Transport* const transport = socket_.transport();
  if (transport != nullptr && transport != shaken) {
    connections_->ShakeLater(*this);  // It goes on with the one that is new.
  } else if (result == Handshake::kDone) {
    const bool was_none = !socket_.raw_has_read();
    EndHandshake(absl::OkStatus());
    return was_none;
  } else if (transport == nullptr) {
    EndHandshake(absl::FailedPreconditionError(
        "the transport was taken off during its handshake"));
  } else if (result == Handshake::kMore) {
    AwaitMore();
  }
  return false;
}

// The handshake needs bytes of the peer, or room.
void Connection::AwaitMore() {
  if (socket_.raw_had_no_memory()) {
    FlushSoon();
  } else if (socket_.raw_has_ended()) {
    EndHandshake(absl::UnavailableError(
        "the peer has ended its stream during the handshake"));
  } else if (socket_.raw_has_read() && Has(kReadable)) {
    connections_->ShakeLater(*this);
  } else if (!socket_.raw_has_read() && !socket_.raw_is_empty() &&
             !socket_.raw_is_full()) {
    FlushSoon();  // The kernel had no memory.
  }
}

// `done` may do anything.
void Connection::EndHandshake(const absl::Status& status) {
  extra().handshaking = false;
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
  SetError(EPROTO);
  last_active_ = connections_->turn().ReadClock();
  LimitClosing();
  socket_.CloseFailed();
  CountMemory();
  connections_->FlushLater(*this);
}

}  // namespace fio
