// What the one pointer of a Socket leads to: nothing, a State, or bytes that
// are queued alone: one SharedBytes, or a block of copied bytes. So a broadcast
// needs no State for sockets on which nothing else is queued: only the
// reference, and 16 bytes more once a part of it has been sent. And an answer
// that leaves at once needs the block only.
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
#include "fio/sock/internal/write_node.h"
#include "fio/sock/shared_bytes.h"

namespace fio::sock_internal {

template <typename State, typename Delete>
class StateOrBytes {
 public:
  StateOrBytes() = default;
  StateOrBytes(StateOrBytes&& other) noexcept
      : place_(std::exchange(other.place_, nullptr)) {}
  StateOrBytes& operator=(StateOrBytes&& other) noexcept {
    StateOrBytes moved(std::move(other));
    std::swap(place_, moved.place_);
    return *this;
  }
  ~StateOrBytes() {
    if (empty()) return;
    if (State* const state = this->state()) Delete()(state);
    DropBytes();
  }

  bool empty() const { return place_ == nullptr; }

  // Null if it holds none.
  State* state() const {
    return tag() == kState ? reinterpret_cast<State*>(place_) : nullptr;
  }
  // REQUIRES: empty.
  void SetState(State* state) {
    ABSL_DCHECK(empty());
    place_ = Tagged(state, kState);
  }

  bool has_bytes() const { return tag() != kState; }
  size_t size() const {
    return tag() == kCopied ? copied()->size() : bytes().size();
  }
  // Of these, how many calls of Socket::Write() have a byte that is left.
  size_t calls() const {
    return tag() == kCopied ? copied()->pending_calls() : has_bytes();
  }
  // What is left of the bytes; empty if it holds none.
  std::string_view bytes() const {
    switch (tag()) {
      case kWhole:
        return SharedBytes::ViewOf(block());
      case kPart:
        return part()->bytes.view().substr(part()->sent);
      case kCopied:
        return copied()->left_over();
      default:
        return {};
    }
  }
  // Holds `bytes` without the first `sent` of them. REQUIRES: empty; some are
  // left.
  void SetBytes(SharedBytes bytes, size_t sent) {
    ABSL_DCHECK(empty() && sent < bytes.size());
    if (sent == 0) {
      place_ = Tagged(bytes.Release(), kWhole);
    } else {
      place_ = Tagged(new Part{std::move(bytes), sent}, kPart);
    }
  }
  // Null if it holds none. Bytes may be added.
  WriteBlock* copied() const {
    return tag() == kCopied ? At<WriteBlock>(kCopied) : nullptr;
  }
  // REQUIRES: empty.
  void SetCopied(WriteBlock* block) {
    static_assert(alignof(WriteBlock) > kMask);
    ABSL_DCHECK(empty());
    place_ = Tagged(block, kCopied);
  }
  // Gives the block to the caller. REQUIRES: there is one.
  [[nodiscard]] WriteBlock* TakeCopied() {
    WriteBlock* const block = copied();
    place_ = nullptr;
    return block;
  }

  // Returns them, and how many of them are sent. REQUIRES: they are a
  // SharedBytes.
  std::pair<SharedBytes, size_t> TakeBytes() {
    std::pair<SharedBytes, size_t> taken;
    if (tag() == kWhole) {
      taken.first = SharedBytes::Adopt(block());
    } else {
      taken = {std::move(part()->bytes), part()->sent};
      delete part();
    }
    place_ = nullptr;
    return taken;
  }
  // Forgets `count` from the front. Releasing the last ones may run code of the
  // user's, so this is done when all is in order. REQUIRES: they are there.
  void Forget(size_t count) {
    if (count == 0) return;
    if (WriteBlock* const block = copied()) {
      block->Forget(count);
      if (block->size() == 0) delete TakeCopied();
      return;
    }
    if (tag() == kPart && count < bytes().size()) {
      part()->sent += count;
      return;
    }
    auto [bytes, sent] = TakeBytes();
    if (sent + count < bytes.size()) SetBytes(std::move(bytes), sent + count);
  }
  void DropBytes() {
    if (copied() != nullptr) {
      delete TakeCopied();
    } else if (has_bytes()) {
      static_cast<void>(TakeBytes());
    }
  }

 private:
  enum Tag : uintptr_t {
    kState = 0,
    kWhole = 1,
    kPart = 2,
    kCopied = 3,
    kMask = 3
  };

  struct Part {
    static void* operator new(size_t) { return FreeList<sizeof(Part)>::Take(); }
    static void operator delete(void* part) {
      FreeList<sizeof(Part)>::Give(part);
    }

    SharedBytes bytes;
    size_t sent;
  };

  template <typename T>
  static char* Tagged(T* object, Tag tag) {
    return reinterpret_cast<char*>(object) + tag;
  }
  uintptr_t tag() const { return reinterpret_cast<uintptr_t>(place_) & kMask; }
  template <typename T>
  T* At(Tag tag) const {
    return reinterpret_cast<T*>(place_ - tag);
  }
  SharedBytes::Block* block() const { return At<SharedBytes::Block>(kWhole); }
  Part* part() const { return At<Part>(kPart); }

  char* place_ = nullptr;  // Of what it holds, plus the Tag.
};

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_STATE_OR_BYTES_H_
