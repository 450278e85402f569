// The connections of a loop, by descriptor. Connections live in the table
// itself, in pages that come with the first descriptor of their range and go
// with the last.
//
// Thread safety: one thread, the loop's, may call everything; any other thread
// With().

#ifndef FIO_CORE_LOOP_CONNECTION_TABLE_H_
#define FIO_CORE_LOOP_CONNECTION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/base/prefetch.h"
#include "absl/functional/function_ref.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/poller/event.h"

namespace fio {

class ConnectionTable {
 public:
  struct Entry {
    Connection& connection;
    uint64_t serial;
  };

  // A free entry for `fd`, with a serial number that no other had in this
  // process, in whatever table, for the caller to open; none if there is no
  // memory.
  // REQUIRES: `fd` is not negative and not in use.
  std::optional<Entry> Allocate(int fd);

  // Null if the id names no connection that is in use.
  Connection* Find(ConnectionId id);
  // What the poller is given for a connection, and its connection, as the
  // lists of a turn have it.
  // The low half of the serial number is enough: they have dropped the token of
  // a connection that is gone long before that half comes again.
  static constexpr Token TokenOf(ConnectionId id) {
    return TokenOf(id.fd(), id.serial());
  }
  // REQUIRES: it is in use.
  static Token TokenOf(const Connection& connection) {
    return TokenOf(connection.socket_.fd(), connection.serial());
  }
  // Null, or a dead one, if that connection is gone.
  Connection* Find(Token token);
  // That one will be needed soon.
  void Prefetch(Token token) const;
  // Null if no connection uses `fd`, which may be negative.
  Connection* FindByFd(int fd);
  // REQUIRES: one is in use or retired.
  Connection& at(int fd);

  // From here on Find() does not know the connection; its memory stays.
  void Retire(Connection& connection);

  // Makes the entry of `fd` free. Its memory stays until FreePages(), since its
  // own callback may be running. REQUIRES: its connection was retired and has
  // given up all that it held, or was never opened.
  void Free(int fd);

  // Gives back the memory of pages without a connection. REQUIRES: no callback
  // of a connection is running.
  void FreePages();

  // Calls `visit` for each connection in use. It must not allocate or free.
  void ForEach(absl::FunctionRef<void(Connection&)> visit);

  // How many are in use.
  size_t size() const { return size_; }

  // Calls `visit` with the connection, which is not freed meanwhile, and
  // returns true; false if the id names none. Of the connection `visit` may
  // touch only what is for other threads. Short, since the loop may wait.
  bool With(ConnectionId id, absl::FunctionRef<void(Connection&)> visit);

  // In between no other thread is in With(): for fork(2). On the loop's thread.
  void LockForFork() { mutex_.lock(); }
  void UnlockAfterFork() { mutex_.unlock(); }

 private:
  static constexpr size_t kPageSize = 256;

  static constexpr Token TokenOf(int fd, uint64_t serial) {
    return static_cast<Token>(fd) << 32 | static_cast<uint32_t>(serial);
  }
  static constexpr int FdOf(Token token) {
    return static_cast<int>(token >> 32);
  }
  static bool IsInUse(const Connection& connection);
  // The memory for the connection of `fd`, in use or free; null if there is
  // none.
  Connection* Mapped(int fd) const;

  // Memory of its own, which goes back to the system with the page.
  struct Unmap {
    void operator()(Connection* connections) const;
  };
  struct Page {
    std::unique_ptr<Connection[], Unmap> connections;
    size_t allocated = 0;
  };
  static std::unique_ptr<Connection[], Unmap> Map();

  // The thread changes `pages_` under the mutex, and reads without it.
  // Not an absl::Mutex, which does not survive a fork() with threads waiting.
  std::mutex mutex_;
  std::vector<Page> pages_;
  std::vector<size_t> emptied_;  // Pages that may be without a connection.
  size_t size_ = 0;
};

// Twice for each event.
inline Connection& ConnectionTable::at(int fd) {
  const auto index = static_cast<size_t>(fd);
  return pages_[index / kPageSize].connections[index % kPageSize];
}

inline Connection* ConnectionTable::Mapped(int fd) const {
  const auto index = static_cast<size_t>(fd);
  const size_t page = index / kPageSize;
  if (page >= pages_.size() || !pages_[page].connections) return nullptr;
  return &pages_[page].connections[index % kPageSize];
}

inline void ConnectionTable::Prefetch(Token token) const {
  if (const Connection* const connection = Mapped(FdOf(token))) {
    absl::PrefetchToLocalCache(connection);
  }
}

inline Connection* ConnectionTable::FindByFd(int fd) {
  Connection* const connection = Mapped(fd);
  return connection != nullptr && IsInUse(*connection) ? connection : nullptr;
}

// A free entry has serial number 0, and so has the id that names none.
inline Connection* ConnectionTable::Find(ConnectionId id) {
  Connection* const connection = Mapped(id.fd());
  return connection != nullptr && connection->serial() == id.serial() &&
                 IsInUse(*connection)
             ? connection
             : nullptr;
}

// The serial number of a free entry, 0, may be taken for the one looked for,
// but it is dead.
inline Connection* ConnectionTable::Find(Token token) {
  Connection* const connection = Mapped(FdOf(token));
  return connection != nullptr && static_cast<uint32_t>(connection->serial()) ==
                                      static_cast<uint32_t>(token)
             ? connection
             : nullptr;
}

inline bool ConnectionTable::IsInUse(const Connection& connection) {
  return connection.serial() != 0 && !connection.Has(Connection::kRetired);
}

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_TABLE_H_
