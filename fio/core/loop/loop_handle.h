// A LoopHandle is the door of a Loop for other threads, and for anyone who may
// outlive it: tasks, and calls of connections by id. What goes through it is a
// task of the loop, in order of posting; to an id whose connection is gone it
// does nothing. Once the loop has gone, everything does nothing.
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

namespace fio {

// A task for a connection; captures of up to 40 bytes cost no allocation.
using ConnectionTask = MoveOnlyFunction<void(Connection*), 40>;

class LoopHandle {
 public:
  // Of no loop: as if it had gone.
  LoopHandle() = default;

  // Runs `task` in the loop's next turn. False if it is null or the loop has
  // gone; `task` is then destroyed.
  bool Post(Task task) const;

  // Runs `task` with the connection, or with null if it is gone by then, or the
  // loop is; exactly once. As OnData() it waits for who has locked the
  // protocol.
  void Post(ConnectionId id, ConnectionTask task) const;

  // The RunOnce() under way, or else the next one, waits no longer.
  void Wake() const;

  // As those of Connection.
  void Write(ConnectionId id, std::string_view bytes) const;
  void Write(ConnectionId id, absl::Cord bytes) const;
  void Close(ConnectionId id, uint16_t code = 0) const;
  void Abort(ConnectionId id) const;
  void Touch(ConnectionId id) const;
  void SetTimeout(ConnectionId id, absl::Duration timeout) const;
  void Resume(ConnectionId id) const;
  void Force(ConnectionId id, Connection::Callback callback) const;

  // Locks the protocol of a connection, so that none of its callbacks of that
  // kind runs until the lock dies. Errors: kUnavailable (EWOULDBLOCK) if one
  // runs, or another has the lock; kFailedPrecondition (EBADF) if the
  // connection is gone or has no protocol.
  absl::StatusOr<ProtocolLock> TryLock(ConnectionId id,
                                       ProtocolLock::Kind kind) const;

 private:
  friend class Loop;
  class RunWithConnection;

  explicit LoopHandle(std::shared_ptr<loop_internal::Mailbox> mailbox)
      : mailbox_(std::move(mailbox)) {}

  std::shared_ptr<loop_internal::Mailbox> mailbox_;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_LOOP_HANDLE_H_
