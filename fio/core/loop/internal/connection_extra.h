// What a Connection has that few have, kept with its socket.

#ifndef FIO_CORE_LOOP_INTERNAL_CONNECTION_EXTRA_H_
#define FIO_CORE_LOOP_INTERNAL_CONNECTION_EXTRA_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "fio/base/free_list.h"
#include "fio/base/list_link.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"

namespace fio {
namespace loop_internal {

struct ConnectionExtra final : SocketData {
  static constexpr size_t kBytes = 384;
  void* operator new(size_t) {
    static_assert(sizeof(ConnectionExtra) <= kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* extra) { FreeList<kBytes>::Give(extra); }

  // What was due for the protocol is not for its successor.
  void ForgetProtocol() {
    must_attach = false;
    timeout_due = false;
    above_high = false;
  }

  std::optional<Watermarks> watermarks;
  std::optional<size_t> unread_limit_bytes;         // See SetUnreadLimit().
  std::unique_ptr<const ProxyHeader> proxy_header;  // See proxy_header().
  ConnectionId partner;                             // See LinkWith().
  ConnectionGroup* group = nullptr;
  // What the peer had not acknowledged when the kernel was asked, and for which
  // time of the last activity that was.
  size_t unacknowledged = 0;
  MonotonicTime idle_since = MonotonicTime::InfinitePast();
  // See SetDeadline(); while it closes, LoopOptions::close_limit.
  MonotonicTime deadline = MonotonicTime::InfiniteFuture();
  // Of a handshake.
  MonotonicTime handshake_deadline = MonotonicTime::InfiniteFuture();
  Connection::HandshakeDone handshake_done;
  absl::Status detail;  // See CloseReason::detail.
  uint16_t code = 0;    // Of Close().

  bool above_high = false;        // OnHighWater() was called.
  bool must_attach = false;       // The timeout is for Attach().
  bool detached = false;          // By Detach(): it need not attach.
  bool handshaking = false;       // By StartHandshake(), until it is done.
  bool in_shake_list = false;     // Of Connections.
  bool lingers_at_close = false;  // By LingerAtClose().
  bool close_armed = false;       // The timeout is for closing,
  bool lingers = false;           // or for the peer's.
  bool deadline_due = false;      // These wait for the protocol's lock:
  bool timeout_due = false;       // OnDeadline(), OnTimeout(),
  bool shutdown_due = false;      // OnShutdown(),
  bool held_up = false;           // and the burial.
  bool shutdown_told = false;     // OnShutdown() was called.
  bool stays = false;             // Until no other stays.
  bool released = false;          // The socket goes to who asked for it.
  bool unref = false;             // By Unref().
  bool lost = false;              // The descriptor is another's by now.

  MoveOnlyFunction<void(Socket)> release;     // Who gets the socket.
  std::vector<ConnectionTask> waiting_tasks;  // For the protocol's lock.
  std::vector<Connection::OnGone> gone;       // Who is told of the end.
  ListLink ends;                              // Of ConnectionEnds.
};

}  // namespace loop_internal

inline loop_internal::ConnectionExtra* Connection::FindExtra() const {
  return static_cast<loop_internal::ConnectionExtra*>(socket_.data());
}

inline bool Connection::IsHandshaking() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && extra->handshaking;
}

// Watermarks of its own, or a partner, or OnLowWater() is due.
inline bool Connection::HasMarks() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr &&
         (extra->watermarks.has_value() || extra->above_high ||
          extra->partner != ConnectionId());
}

inline bool Connection::HasWaitingTasks() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && !extra->waiting_tasks.empty();
}

inline bool Connection::IsDeadlineDue() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && extra->deadline_due;
}

inline bool Connection::IsTimeoutDue() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && extra->timeout_due;
}

inline bool Connection::IsCloseArmed() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && extra->close_armed;
}

inline bool Connection::IsLingering() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && extra->lingers;
}

inline bool Connection::MustAttach() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra != nullptr && extra->must_attach;
}

// SetDeadline(), or the bound of closing.
inline MonotonicTime Connection::AnyDeadline() const {
  const loop_internal::ConnectionExtra* const extra = FindExtra();
  return extra == nullptr ? MonotonicTime::InfiniteFuture() : extra->deadline;
}

}  // namespace fio

#endif  // FIO_CORE_LOOP_INTERNAL_CONNECTION_EXTRA_H_
