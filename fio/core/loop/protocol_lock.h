// A ProtocolLock lets another thread work on a connection's protocol: while it
// lives, callbacks of its kind wait, as does OnClose(). LoopHandle::TryLock()
// makes one. It never waits, and nor does the loop, which serves its other
// connections meanwhile.
//
// Hold it for a moment. If the connection closes and the lock is still held
// after LoopOptions::close_timeout, or when the loop ends, that is logged, and
// the protocol told OnClose() and destroyed in spite of it.
//
// Thread safety: may be used and destroyed on any thread, one at a time.

#ifndef FIO_CORE_LOOP_PROTOCOL_LOCK_H_
#define FIO_CORE_LOOP_PROTOCOL_LOCK_H_

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/internal/callback_lock.h"
#include "fio/core/loop/protocol.h"

namespace fio {

namespace loop_internal {
struct Mailbox;
}  // namespace loop_internal

class ProtocolLock {
 public:
  // What waits. A lock of one kind leaves the callbacks of the other alone.
  enum class Kind {
    kTask,   // OnData(), OnEnd(), OnShutdown(), tasks.
    kWrite,  // OnReady(), OnHighWater(), OnLowWater(), OnTimeout(),
             // OnDeadline().
  };

  ProtocolLock(ProtocolLock&& other) noexcept = default;
  ProtocolLock& operator=(ProtocolLock&& other) noexcept;
  ~ProtocolLock() { Unlock(); }

  Protocol& protocol() const { return *protocol_; }

  // Ends the lock before its time; protocol() must not be used any more.
  void Unlock();

 private:
  friend class LoopHandle;
  using Bits = loop_internal::CallbackLock::Kind;

  // See LoopHandle::TryLock(). `mailbox` may be null.
  static absl::StatusOr<ProtocolLock> Try(
      std::shared_ptr<loop_internal::Mailbox> mailbox, ConnectionId id,
      Kind kind);
  static void Tell(loop_internal::Mailbox& mailbox, ConnectionId id);

  ProtocolLock(std::shared_ptr<loop_internal::Mailbox> mailbox, ConnectionId id,
               Bits kind, Protocol* protocol)
      : mailbox_(std::move(mailbox)),
        id_(id),
        kind_(kind),
        protocol_(protocol) {}

  std::shared_ptr<loop_internal::Mailbox> mailbox_;  // Null once unlocked.
  ConnectionId id_;
  Bits kind_;
  Protocol* protocol_;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_PROTOCOL_LOCK_H_
