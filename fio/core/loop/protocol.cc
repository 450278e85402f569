#include "fio/core/loop/protocol.h"

#include "fio/core/loop/connection.h"

namespace fio {

void Protocol::OnEnd(Connection& connection) { connection.Close(); }

void Protocol::OnTimeout(Connection& connection) { connection.Close(); }

}  // namespace fio
