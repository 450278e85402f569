// A ConnectionGroup is a set of connections of one loop: those of a listener,
// of a tenant, of a room. A connection is in one group at most, and leaves it
// when it closes.
//
// Thread safety: none; that of the loop.

#ifndef FIO_CORE_LOOP_CONNECTION_GROUP_H_
#define FIO_CORE_LOOP_CONNECTION_GROUP_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"

namespace fio {

class Loop;

class ConnectionGroup {
 public:
  // `loop` outlives the group.
  explicit ConnectionGroup(Loop& loop) : loop_(loop) {}
  ConnectionGroup(const ConnectionGroup&) = delete;
  ConnectionGroup& operator=(const ConnectionGroup&) = delete;
  // Its connections stay, and are in no group.
  ~ConnectionGroup();

  // Takes it out of the group that it was in. Does nothing if the connection is
  // not open. REQUIRES: it is of this group's loop.
  void Add(Connection& connection);
  // Does nothing if it is not in this group.
  void Remove(Connection& connection);

  // How many are in it, were ever added, and closed while they were in it.
  size_t size() const { return ids_.size(); }
  uint64_t added() const { return added_; }
  uint64_t closed() const { return closed_; }

  // Calls `visit` for each, in no order. It may do anything, to the group, too:
  // it is not called for those that have left meanwhile.
  void ForEach(absl::FunctionRef<void(Connection&)> visit);

  // Closes or aborts each.
  void CloseAll();
  void AbortAll();

 private:
  friend class Connection;

  void Forget(ConnectionId id);

  Loop& loop_;
  absl::flat_hash_set<ConnectionId> ids_;
  uint64_t added_ = 0;
  uint64_t closed_ = 0;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_GROUP_H_
