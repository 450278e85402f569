#include "fio/core/loop/connection_table.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "absl/base/config.h"
#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/internal/serials.h"

namespace fio {
namespace {

[[maybe_unused]] constexpr std::align_val_t kPageAlignment{alignof(Connection)};

}  // namespace

std::unique_ptr<Connection[], ConnectionTable::Unmap> ConnectionTable::Map() {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  // It would take what only connections point at for leaked.
  void* const memory = ::operator new(kPageSize * sizeof(Connection),
                                      kPageAlignment, std::nothrow);
  if (memory == nullptr) return nullptr;
#else
  void* const memory =
      mmap(nullptr, kPageSize * sizeof(Connection), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
#endif
  auto* const connections = static_cast<Connection*>(memory);
  for (size_t i = 0; i < kPageSize; ++i) new (connections + i) Connection;
  return std::unique_ptr<Connection[], Unmap>(connections);
}

void ConnectionTable::Unmap::operator()(Connection* connections) const {
  std::destroy_n(connections, kPageSize);
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  ::operator delete(connections, kPageAlignment);
#else
  munmap(connections, kPageSize * sizeof(Connection));
#endif
}

std::optional<ConnectionTable::Entry> ConnectionTable::Allocate(int fd) {
  const size_t page = static_cast<size_t>(fd) / kPageSize;
  if (page >= pages_.size() || !pages_[page].connections) {
    std::unique_ptr<Connection[], Unmap> connections = Map();
    if (connections == nullptr) return std::nullopt;
    const std::lock_guard lock(mutex_);
    if (page >= pages_.size()) pages_.resize(page + 1);
    pages_[page].connections = std::move(connections);
  }
  Connection& connection = at(fd);
  ABSL_CHECK(connection.serial() == 0) << "fd " << fd << " is in use";
  ++pages_[page].allocated;
  ++size_;
  return Entry{connection, core_internal::NextSerial(fd)};
}

void ConnectionTable::Retire(Connection& connection) {
  connection.Set(Connection::kRetired);
}

void ConnectionTable::Free(int fd) {
  const size_t page = static_cast<size_t>(fd) / kPageSize;
  Connection& connection = at(fd);
  --size_;
  // Under the mutex, so that no With() has it. Who has locked it by then does
  // not find it any more.
  const std::lock_guard lock(mutex_);
  connection.flags_ = Connection::kDead;
  connection.SetSerialAndError(0, 0);
  connection.lock_.Break();
  // The first page stays, so that a lone connection that comes and goes does
  // not take a page along each time.
  if (--pages_[page].allocated == 0 && page != 0) emptied_.push_back(page);
}

void ConnectionTable::FreePages() {
  if (emptied_.empty()) return;
  const std::lock_guard lock(mutex_);
  for (const size_t page : std::exchange(emptied_, {})) {
    if (pages_[page].allocated == 0) pages_[page].connections = nullptr;
  }
}

void ConnectionTable::ForEach(absl::FunctionRef<void(Connection&)> visit) {
  // A visit may make connections, and pages for them, and even replace one.
  for (size_t i = 0; i < pages_.size() * kPageSize; ++i) {
    Connection* const connections = pages_[i / kPageSize].connections.get();
    if (connections == nullptr) {
      i |= kPageSize - 1;
    } else if (IsInUse(connections[i % kPageSize])) {
      visit(connections[i % kPageSize]);
    }
  }
}

bool ConnectionTable::With(ConnectionId id,
                           absl::FunctionRef<void(Connection&)> visit) {
  if (id.fd() < 0) return false;
  const auto index = static_cast<size_t>(id.fd());
  const std::lock_guard lock(mutex_);
  if (index / kPageSize >= pages_.size() ||
      !pages_[index / kPageSize].connections) {
    return false;
  }
  Connection& connection = at(id.fd());
  if (connection.serial() != id.serial()) return false;
  visit(connection);
  return true;
}

}  // namespace fio
