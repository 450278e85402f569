#include "fio/core/loop/connection_table.h"

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"

namespace fio {

ConnectionTable::Entry ConnectionTable::Allocate(int fd) {
  const size_t page = static_cast<size_t>(fd) / kPageSize;
  if (page >= pages_.size()) pages_.resize(page + 1);
  if (pages_[page] == nullptr) pages_[page] = std::make_unique<Page>();
  Connection& connection = pages_[page]->connections[fd % kPageSize];
  ABSL_CHECK(connection.flags_ == 0) << "fd " << fd << " is in use";
  ++pages_[page]->allocated;
  ++size_;
  if (++generation_ == 0) ++generation_;
  return {connection, generation_};
}

Connection* ConnectionTable::Find(ConnectionId id) {
  Connection* connection = FindByFd(id.fd());
  return connection != nullptr && connection->generation_ == id.generation()
             ? connection
             : nullptr;
}

Connection* ConnectionTable::FindByFd(int fd) {
  const size_t page = static_cast<size_t>(fd) / kPageSize;
  if (page >= pages_.size() || pages_[page] == nullptr) return nullptr;
  Connection& connection = pages_[page]->connections[fd % kPageSize];
  return connection.Has(Connection::kInUse) ? &connection : nullptr;
}

void ConnectionTable::Retire(Connection& connection) {
  connection.Clear(Connection::kInUse);
}

void ConnectionTable::Free(int fd) {
  const size_t page = static_cast<size_t>(fd) / kPageSize;
  pages_[page]->connections[fd % kPageSize].flags_ = 0;
  --size_;
  // The first page stays, so that a lone connection that comes and goes does
  // not take a page along each time.
  if (--pages_[page]->allocated == 0 && page != 0) pages_[page] = nullptr;
}

void ConnectionTable::ForEach(absl::FunctionRef<void(Connection&)> visit) {
  // By index: a visit may make connections, and pages for them.
  for (size_t i = 0; i < pages_.size(); ++i) {
    if (pages_[i] == nullptr) continue;
    for (Connection& connection : pages_[i]->connections) {
      if (connection.Has(Connection::kInUse)) visit(connection);
    }
  }
}

}  // namespace fio
