// A Cork holds what connections write in a turn until its end. Most write once,
// and the kernel takes it at once: they need no queue, and their bytes lie side
// by side where the processor has them at hand when they are sent.
//
// Thread safety: none.

#ifndef FIO_CORE_LOOP_INTERNAL_CORK_H_
#define FIO_CORE_LOOP_INTERNAL_CORK_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "fio/core/loop/connection_id.h"

namespace fio::loop_internal {

class Cork {
 public:
  Cork() { bytes_.reserve(kBytes); }

  // Copies `bytes`. False if there is no room, or the cork is being pulled.
  // REQUIRES: it has none of this connection.
  bool Add(ConnectionId id, std::string_view bytes);

  // What was added for the connection; empty if nothing. Fast for the last one,
  // and for whoever goes through them in the order of Add().
  std::string_view Find(ConnectionId id) const;
  // The same, and Pull() does not send it. Valid until the next Add().
  std::string_view Take(ConnectionId id);

  bool empty() const { return pieces_.empty(); }

  // Calls `send` with each piece, in the order of Add(), and is empty then.
  void Pull(absl::FunctionRef<void(ConnectionId, std::string_view)> send);

 private:
  // Of all connections together; stays in the second level of caches.
  static constexpr size_t kBytes = size_t{256} << 10;
  static constexpr size_t kPieces = 1024;

  struct Piece {
    ConnectionId id;
    size_t begin;
    size_t size;
  };

  // Of the piece; pieces_.size() if there is none.
  size_t IndexOf(ConnectionId id) const;
  std::string_view BytesOf(const Piece& piece) const {
    const std::string_view all = bytes_;
    return all.substr(piece.begin, piece.size);
  }

  std::vector<Piece> pieces_;
  std::string bytes_;
  mutable size_t next_ = 0;  // Where to look first.
  bool pulling_ = false;
};

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_INTERNAL_CORK_H_
