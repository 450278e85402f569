#include "fio/core/loop/connection_group.h"

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/internal/connection_extra.h"
#include "fio/core/loop/loop.h"

namespace fio {

ConnectionGroup::~ConnectionGroup() {
  ForEach([this](Connection& connection) { Remove(connection); });
}

void ConnectionGroup::Add(Connection& connection) {
  ABSL_CHECK(&connection.loop() == &loop_)
      << "ConnectionGroup::Add: a connection of another loop";
  if (!connection.is_open() || connection.group() == this) return;
  ConnectionGroup*& group = connection.extra().group;
  if (group != nullptr) group->ids_.erase(connection.id());
  group = this;
  ids_.insert(connection.id());
  ++added_;
}

void ConnectionGroup::Remove(Connection& connection) {
  if (connection.group() != this) return;
  connection.extra().group = nullptr;
  ids_.erase(connection.id());
}

void ConnectionGroup::ForEach(absl::FunctionRef<void(Connection&)> visit) {
  const std::vector<ConnectionId> ids(ids_.begin(), ids_.end());
  for (const ConnectionId id : ids) {
    Connection* const connection = loop_.connections().FindUnburied(id);
    if (connection != nullptr && connection->group() == this) {
      visit(*connection);
    }
  }
}

void ConnectionGroup::CloseAll() {
  ForEach([](Connection& connection) { connection.Close(); });
}

void ConnectionGroup::AbortAll() {
  ForEach([](Connection& connection) { connection.Abort(); });
}

void ConnectionGroup::Forget(ConnectionId id) {
  ids_.erase(id);
  ++closed_;
}

}  // namespace fio
