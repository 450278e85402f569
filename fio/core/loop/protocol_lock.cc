#include "fio/core/loop/protocol_lock.h"

#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/internal/mailbox.h"
#include "fio/core/loop/protocol.h"

namespace fio {

using loop_internal::CallbackLock;
using loop_internal::Mailbox;

namespace {

absl::Status LockError(int error, ConnectionId id) {
  return ErrnoToStatus(error, absl::StrCat("lock the protocol of ", id));
}

}  // namespace

absl::StatusOr<ProtocolLock> ProtocolLock::Try(std::shared_ptr<Mailbox> mailbox,
                                               ConnectionId id, Kind kind) {
  if (mailbox == nullptr) return LockError(EBADF, id);
  const Bits bits =
      kind == Kind::kTask ? CallbackLock::kTask : CallbackLock::kWrite;
  auto attempt = CallbackLock::Attempt::kBusy;
  Protocol* protocol = nullptr;
  const bool found = mailbox->table.With(id, [&](Connection& connection) {
    attempt = connection.lock_.TryLock(bits, mailbox->membarrier);
    protocol = connection.protocol_.load(std::memory_order_acquire);
  });
  if (!found) return LockError(EBADF, id);
  if (attempt == CallbackLock::Attempt::kLocked) {
    ProtocolLock lock(std::move(mailbox), id, bits, protocol);
    if (protocol == nullptr) return LockError(EBADF, id);
    return lock;
  }
  if (attempt == CallbackLock::Attempt::kBusyAndWanted) Tell(*mailbox, id);
  return LockError(EWOULDBLOCK, id);
}

ProtocolLock& ProtocolLock::operator=(ProtocolLock&& other) noexcept {
  if (this == &other) return *this;
  Unlock();
  mailbox_ = std::move(other.mailbox_);
  id_ = other.id_;
  kind_ = other.kind_;
  protocol_ = other.protocol_;
  return *this;
}

void ProtocolLock::Unlock() {
  const std::shared_ptr<Mailbox> mailbox = std::move(mailbox_);
  if (mailbox == nullptr) return;
  bool wanted = false;
  mailbox->table.With(id_, [&](Connection& connection) {
    wanted = connection.lock_.Unlock(kind_);
  });
  if (wanted) Tell(*mailbox, id_);
}

// The loop found the protocol locked.
void ProtocolLock::Tell(Mailbox& mailbox, ConnectionId id) {
  mailbox.tasks.Post(
      [&mailbox, id] { mailbox.connections->external_lock().OnUnlocked(id); });
}

}  // namespace fio
