#include "fio/core/loop/internal/cork.h"

#include <cstddef>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "fio/core/loop/connection_id.h"

namespace fio::loop_internal {

bool Cork::Add(ConnectionId id, std::string_view bytes) {
  const size_t begin = bytes_.size();
  if (pulling_ || pieces_.size() == kPieces || bytes.size() > kBytes - begin) {
    return false;
  }
  bytes_.append(bytes);
  pieces_.push_back({id, begin, bytes.size()});
  return true;
}

size_t Cork::IndexOf(ConnectionId id) const {
  const size_t size = pieces_.size();
  if (size > 0 && pieces_.back().id == id) return size - 1;
  for (size_t i = 0; i < size; ++i) {
    const size_t index = next_ + i < size ? next_ + i : next_ + i - size;
    if (pieces_[index].id != id) continue;
    next_ = index + 1;
    return index;
  }
  return size;
}

std::string_view Cork::Find(ConnectionId id) const {
  const size_t index = IndexOf(id);
  return index < pieces_.size() ? BytesOf(pieces_[index]) : std::string_view();
}

std::string_view Cork::Take(ConnectionId id) {
  const size_t index = IndexOf(id);
  if (index == pieces_.size()) return {};
  pieces_[index].id = ConnectionId();
  return BytesOf(pieces_[index]);
}

void Cork::Pull(absl::FunctionRef<void(ConnectionId, std::string_view)> send) {
  pulling_ = true;
  for (const Piece& piece : pieces_) send(piece.id, BytesOf(piece));
  pulling_ = false;
  pieces_.clear();
  next_ = 0;
  bytes_.clear();
}

}  // namespace fio::loop_internal
