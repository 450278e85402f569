// What a Connection has that few have, kept with its socket.

#ifndef FIO_CORE_LOOP_INTERNAL_CONNECTION_EXTRA_H_
#define FIO_CORE_LOOP_INTERNAL_CONNECTION_EXTRA_H_

#include <cstddef>
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
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"

namespace fio {

struct Connection::Extra final : SocketData {
  static constexpr size_t kBytes = 320;
  void* operator new(size_t) {
    static_assert(sizeof(Extra) <= kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* extra) { FreeList<kBytes>::Give(extra); }

  std::optional<Watermarks> watermarks;
  ConnectionId partner;  // See LinkWith().
  ConnectionGroup* group = nullptr;
  // What the peer had not acknowledged when the kernel was asked, and for which
  // time of the last activity that was.
  size_t unacknowledged = 0;
  MonotonicTime idle_since = MonotonicTime::InfinitePast();
  MonotonicTime deadline;  // See SetDeadline(); of use with kHasDeadline.
  // Of a handshake.
  MonotonicTime handshake_deadline = MonotonicTime::InfiniteFuture();
  HandshakeDone handshake_done;
  absl::Status detail;        // See CloseReason::detail.
  bool deadline_due = false;  // OnDeadline() waits for the protocol's lock.
  MoveOnlyFunction<void(Socket)> release;     // Who gets the socket.
  std::vector<ConnectionTask> waiting_tasks;  // For the protocol's lock.
  std::vector<OnGone> gone;                   // Who is told of the end.
  ListLink ends;                              // Of ConnectionEnds.
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_INTERNAL_CONNECTION_EXTRA_H_
