// A LoopHandle is the door of a Loop for other threads, and for anyone who may
// outlive it: tasks, sockets for it to serve, and calls of connections by id.
// What goes through it is a task of the loop, in order of posting; to an id
// whose connection is gone it does nothing. Once the loop has gone, everything
// does nothing.
//
//   fio::LoopHandle handle = loop.handle();
//   handle.Write(id, "hello\n");       // Any thread.
//
// Posting costs no system call while the loop is awake, and one for all posts
// that find it asleep.
//
// Thread safety: all of it from any thread, callbacks of the loop included;
// copying and assigning as any value.

#ifndef FIO_CORE_LOOP_LOOP_HANDLE_H_
#define FIO_CORE_LOOP_LOOP_HANDLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "fio/base/move_only_function.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/defer/task.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"

namespace fio {

// A task for a connection; captures of up to 32 bytes cost no allocation.
using ConnectionTask = MoveOnlyFunction<void(Connection*), 32>;

// What is called with a connection that was handed over; captures of up to 32
// bytes cost no allocation.
using OpenCallback = MoveOnlyFunction<void(Connection&), 32>;

class LoopHandle {
 public:
  // Of no loop: as if it had gone.
  LoopHandle() = default;

  // Runs `task` in the loop's next turn. False if it is null or the loop has
  // gone; `task` is then destroyed.
  bool Post(Task task) const;

  // Runs `task` on the loop's thread, exactly once: with the connection, or
  // with null if it is gone by then, or the loop ends before. It is never run
  // inside of this call, so the caller may hold a lock that `task` takes. As
  // OnData() it waits for who has locked the protocol. False if `task` is null
  // or the loop has gone; `task` is then destroyed.
  bool Post(ConnectionId id, ConnectionTask task) const;

  // The RunOnce() under way, or else the next one, waits no longer. Also from a
  // signal handler.
  void Wake() const;

  // Hands a connected, non-blocking socket to the loop, which adopts it and
  // calls `on_open` on its thread, as Loop::Adopt() does. If that fails, or the
  // loop stops or goes before, the socket is closed and `on_open` not called.
  // False if it is closed already: the loop has gone, or `on_open` is null.
  bool Adopt(Socket socket, OpenCallback on_open) const;

  // How many connections the loop has, and those that were handed to it and
  // wait to be adopted. Exact, as long as nobody changes it meanwhile; 0 once
  // the loop has gone.
  size_t connection_count() const;

  // Whether the loop has that connection: from before its on_open to after its
  // OnClose(). It may have ended when this returns.
  bool Has(ConnectionId id) const;

  // Whether the loop has gone; it does not come back.
  bool expired() const;

  // Whether both are of the same loop, or of none.
  friend bool operator==(const LoopHandle&, const LoopHandle&) = default;

  // As those of Connection.
  void Write(ConnectionId id, std::string_view bytes) const;
  void Write(ConnectionId id, absl::Cord bytes) const;
  void Write(ConnectionId id, SharedBytes bytes) const;
  void Close(ConnectionId id, uint16_t code = 0) const;
  void Abort(ConnectionId id) const;
  void Touch(ConnectionId id) const;
  void SetTimeout(ConnectionId id, absl::Duration timeout) const;
  void Resume(ConnectionId id) const;
  void ResumeHandshake(ConnectionId id) const;
  void Force(ConnectionId id, Connection::Callback callback) const;

  // Locks the protocol of a connection, so that none of its callbacks of that
  // kind runs until the lock dies. Errors: kUnavailable (EWOULDBLOCK) if one
  // runs, or another has the lock; kFailedPrecondition (EBADF) if the
  // connection is gone or has no protocol.
  absl::StatusOr<ProtocolLock> TryLock(ConnectionId id,
                                       ProtocolLock::Kind kind) const;

 private:
  friend class Loop;
  class AdoptSocket;
  class RunWithConnection;

  explicit LoopHandle(std::shared_ptr<loop_internal::Mailbox> mailbox)
      : mailbox_(std::move(mailbox)) {}

  std::shared_ptr<loop_internal::Mailbox> mailbox_;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_HANDLE_H_
