// A WriteQueue holds bytes that are to leave through one socket, in the order
// in which they were appended, until the kernel has taken them.
//
// Thread safety: none.

#ifndef FIO_SOCK_WRITE_QUEUE_H_
#define FIO_SOCK_WRITE_QUEUE_H_

#include <cstddef>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"

namespace fio {

class WriteQueue {
 public:
  // Copies.
  void Append(std::string_view bytes) { bytes_.Append(bytes); }
  // Shares: what absl::MakeCordFromExternal() wrapped is released when the last
  // byte has left, or by Clear() or the destructor.
  void Append(absl::Cord bytes) { bytes_.Append(std::move(bytes)); }

  bool empty() const { return bytes_.empty(); }
  size_t size() const { return bytes_.size(); }

  // Offers the head of the queue to `socket`, in one system call and at most
  // kMaxPieces pieces, and forgets what it took. Call it until the queue is
  // empty or the result says would_block() or worse. REQUIRES: not empty.
  IoResult Flush(Socket& socket);

  // Drops everything.
  void Clear() { bytes_.Clear(); }

 private:
  static constexpr size_t kMaxPieces = 64;

  absl::Cord bytes_;
};

}  // namespace fio

#endif  // FIO_SOCK_WRITE_QUEUE_H_
