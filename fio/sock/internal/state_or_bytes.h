// What the one pointer of a Socket leads to: nothing, a State, or one
// SharedBytes that is queued alone. So a broadcast needs no State for sockets
// on which nothing else is queued: only the reference, and 16 bytes more once a
// part of it has been sent.
//
// Owns what it holds. `Delete` deletes a State, which may be incomplete here.
//
// Thread safety: none.

#ifndef FIO_SOCK_INTERNAL_STATE_OR_BYTES_H_
#define FIO_SOCK_INTERNAL_STATE_OR_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "fio/base/free_list.h"
#include "fio/sock/shared_bytes.h"

namespace fio::sock_internal {

template <typename State, typename Delete>
class StateOrBytes {
 public:
  StateOrBytes() = default;
  StateOrBytes(StateOrBytes&& other) noexcept
      : word_(std::exchange(other.word_, 0)) {}
  StateOrBytes& operator=(StateOrBytes&& other) noexcept {
    StateOrBytes moved(std::move(other));
    std::swap(word_, moved.word_);
    return *this;
  }
  ~StateOrBytes() {
    if (State* const state = this->state()) Delete()(state);
    DropBytes();
  }

  bool empty() const { return word_ == 0; }

  // Null if it holds none.
  State* state() const {
    return tag() == kState ? reinterpret_cast<State*>(word_) : nullptr;
  }
  // REQUIRES: empty.
  void SetState(State* state) {
    ABSL_DCHECK(empty());
    word_ = reinterpret_cast<uintptr_t>(state);
  }

  bool has_bytes() const { return tag() != kState; }
  // What is left of the SharedBytes; empty if it holds none.
  std::string_view bytes() const {
    switch (tag()) {
      case kWhole:
        return SharedBytes::ViewOf(block());
      case kPart:
        return part()->bytes.view().substr(part()->sent);
      default:
        return {};
    }
  }
  // Holds `bytes` without the first `sent` of them. REQUIRES: empty; some are
  // left.
  void SetBytes(SharedBytes bytes, size_t sent) {
    ABSL_DCHECK(empty() && sent < bytes.size());
    if (sent == 0) {
      word_ = reinterpret_cast<uintptr_t>(bytes.Release()) | kWhole;
    } else {
      word_ =
          reinterpret_cast<uintptr_t>(new Part{std::move(bytes), sent}) | kPart;
    }
  }
  // Returns them, and how many of them are sent. REQUIRES: has_bytes().
  std::pair<SharedBytes, size_t> TakeBytes() {
    std::pair<SharedBytes, size_t> taken;
    if (tag() == kWhole) {
      taken.first = SharedBytes::Adopt(block());
    } else {
      taken = {std::move(part()->bytes), part()->sent};
      delete part();
    }
    word_ = 0;
    return taken;
  }
  // Forgets `count` from the front. Releasing the last ones may run code of the
  // user's, so this is done when all is in order. REQUIRES: they are there.
  void Forget(size_t count) {
    if (count == 0) return;
    if (tag() == kPart && count < bytes().size()) {
      part()->sent += count;
      return;
    }
    auto [bytes, sent] = TakeBytes();
    if (sent + count < bytes.size()) SetBytes(std::move(bytes), sent + count);
  }
  void DropBytes() {
    if (has_bytes()) static_cast<void>(TakeBytes());
  }

 private:
  enum Tag : uintptr_t { kState = 0, kWhole = 1, kPart = 2, kMask = 3 };

  struct Part {
    static void* operator new(size_t) { return FreeList<sizeof(Part)>::Take(); }
    static void operator delete(void* part) {
      FreeList<sizeof(Part)>::Give(part);
    }

    SharedBytes bytes;
    size_t sent;
  };

  uintptr_t tag() const { return word_ & kMask; }
  SharedBytes::Block* block() const {
    return reinterpret_cast<SharedBytes::Block*>(word_ & ~uintptr_t{kMask});
  }
  Part* part() const {
    return reinterpret_cast<Part*>(word_ & ~uintptr_t{kMask});
  }

  uintptr_t word_ = 0;
};

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_STATE_OR_BYTES_H_
