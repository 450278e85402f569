// What waits because another thread has locked the protocol of a connection
// (ProtocolLock): tasks, callbacks, burials, and protocols that are to be told
// of their end. It goes on when the lock is free; a lock that is never freed is
// broken after LoopOptions::close_timeout.
//
// Thread safety: none; all of it belongs to the thread of the loop.

#ifndef FIO_CORE_LOOP_EXTERNAL_LOCK_H_
#define FIO_CORE_LOOP_EXTERNAL_LOCK_H_

#include <memory>
#include <vector>

#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop_handle.h"

namespace fio {

class Connection;
class Connections;

namespace loop_internal {
struct EndedProtocol;
}  // namespace loop_internal

class ExternalLock {
 public:
  // `connections` outlives it.
  explicit ExternalLock(Connections& connections);
  ExternalLock(const ExternalLock&) = delete;
  ExternalLock& operator=(const ExternalLock&) = delete;
  ~ExternalLock();

  // Has `task` run with the connection now, or when nobody has locked its
  // protocol any more, or with null when it is gone.
  void RunTask(ConnectionId id, ConnectionTask task);

  // Something of the connection waits; the second also keeps the protocol.
  void HoldUp(Connection& connection);
  void HoldUp(Connection& connection, loop_internal::EndedProtocol protocol);

  // The lock of the connection is free. Does nothing if it is gone.
  void OnUnlocked(ConnectionId id);

  // Those that wait to be told; the second takes them.
  bool has_protocols() const { return !protocols_.empty(); }
  std::vector<loop_internal::EndedProtocol> TakeProtocols();

 private:
  bool Waits(ConnectionId id);
  void RunWaitingTasks(ConnectionId id);

  Connections& connections_;
  std::vector<loop_internal::EndedProtocol> protocols_;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_EXTERNAL_LOCK_H_
