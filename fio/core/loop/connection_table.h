// The connections of a loop, by descriptor. Connections live in the table
// itself, in pages that come with the first descriptor of their range and go
// with the last.
//
// Thread safety: none.

#ifndef FIO_CORE_LOOP_CONNECTION_TABLE_H_
#define FIO_CORE_LOOP_CONNECTION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"

namespace fio {

class ConnectionTable {
 public:
  struct Entry {
    Connection& connection;
    uint32_t generation;
  };

  // A free entry for `fd`, with a generation that no other had, for the caller
  // to open. REQUIRES: `fd` is not negative and not in use.
  Entry Allocate(int fd);

  // Null if the id names no connection that is in use.
  Connection* Find(ConnectionId id);
  // Null if no connection uses `fd`, which may be negative.
  Connection* FindByFd(int fd);

  // From here on Find() does not know the connection; its memory stays.
  void Retire(Connection& connection);

  // Makes the entry of `fd` free. REQUIRES: its connection was retired and has
  // given up all that it held, or was never opened.
  void Free(int fd);

  // Calls `visit` for each connection in use. It must not allocate or free.
  void ForEach(absl::FunctionRef<void(Connection&)> visit);

  // How many are in use.
  size_t size() const { return size_; }

 private:
  static constexpr size_t kPageSize = 256;

  struct Page {
    Connection connections[kPageSize];
    size_t allocated = 0;
  };

  std::vector<std::unique_ptr<Page>> pages_;
  size_t size_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_TABLE_H_
