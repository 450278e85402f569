// How a Connection calls its protocol.

#ifndef FIO_CORE_LOOP_INTERNAL_CONNECTION_TELL_H_
#define FIO_CORE_LOOP_INTERNAL_CONNECTION_TELL_H_

#include "fio/base/no_throw.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/protocol.h"

namespace fio {

// Calls the protocol, unless another thread has locked it for callbacks of this
// kind: then Connections::OnUnlocked() comes when it does not any more.
template <typename Call>
bool Connection::Tell(Kind kind, Call call) {
  if (!lock_.Enter(kind, connections_->membarrier())) return false;
  Protocol& told = *protocol();
  NoThrow([&told] { return told.Name(); }, [&] { call(told); });
  lock_.Leave(kind);
  connections_->AfterCallback(&told);
  return true;
}

}  // namespace fio

#endif  // FIO_CORE_LOOP_INTERNAL_CONNECTION_TELL_H_
