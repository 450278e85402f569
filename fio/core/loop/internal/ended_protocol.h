// A protocol that has lost its connection, and is to be told.

#ifndef FIO_CORE_LOOP_INTERNAL_ENDED_PROTOCOL_H_
#define FIO_CORE_LOOP_INTERNAL_ENDED_PROTOCOL_H_

#include <memory>

#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/protocol.h"

namespace fio::loop_internal {

struct EndedProtocol {
  std::unique_ptr<Protocol> protocol;  // Null: only `extra` is left.
  ConnectionId id;
  CloseReason reason;
  // Of a connection that has gone already.
  std::unique_ptr<ConnectionExtra> extra = nullptr;
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_INTERNAL_ENDED_PROTOCOL_H_
