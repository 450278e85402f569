// What a WriteQueue is made of, and what a Socket keeps by itself if it is all
// that is queued: copied bytes.
//
// Thread safety: none.

#ifndef FIO_SOCK_INTERNAL_WRITE_NODE_H_
#define FIO_SOCK_INTERNAL_WRITE_NODE_H_

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "absl/types/span.h"
#include "fio/base/free_list.h"

namespace fio::sock_internal {

struct FileNode;

struct WriteNode {
  struct Forgotten {
    size_t bytes;
    size_t calls;  // Whose last byte was among them.
  };

  WriteNode() = default;
  WriteNode(const WriteNode&) = delete;
  WriteNode& operator=(const WriteNode&) = delete;
  virtual ~WriteNode() = default;

  // What is left, in memory; of a file nothing.
  virtual size_t Gather(absl::Span<iovec>) const { return 0; }
  virtual FileNode* file() { return nullptr; }

  virtual uint64_t size() const = 0;
  // Forgets up to `bytes` from the front.
  virtual Forgotten Forget(uint64_t bytes) = 0;

  WriteNode* next = nullptr;
};

// Copied bytes, of many calls or of a part of one. The positions at which calls
// end are kept at the far end of the room and grow towards the bytes.
struct WriteBlock : WriteNode {
  static constexpr size_t kSlot = sizeof(uint16_t);

  WriteBlock(char* room, size_t capacity)
      : room(room), capacity(static_cast<uint16_t>(capacity)) {}

  // A new one for a call of that size. kFirst: as small as may be, or null if
  // none holds all of it. Most servers answer with little, and there are many
  // connections: so those of a turn fit into the first level of caches.
  enum class Place : bool { kFirst, kFurther };
  static WriteBlock* New(size_t bytes, Place place);

  // For bytes, if a call's end is still to fit.
  size_t left() const {
    const size_t used = end + (calls + size_t{1}) * kSlot;
    return used < capacity ? capacity - used : 0;
  }

  // REQUIRES: bytes.size() <= left().
  void Append(std::string_view bytes) {
    std::memcpy(room + end, bytes.data(), bytes.size());
    end += static_cast<uint16_t>(bytes.size());
  }

  void EndCall() {
    ++calls;
    std::memcpy(room + capacity - calls * kSlot, &end, kSlot);
  }

  // All bytes of a call. REQUIRES: as Append().
  void AppendCall(std::string_view bytes) {
    Append(bytes);
    EndCall();
  }

  // Calls with a byte that is left.
  size_t pending_calls() const { return size_t{calls} - ended; }
  std::string_view left_over() const { return {room + begin, size()}; }

  uint16_t CallEnd(size_t call) const {
    uint16_t at;
    std::memcpy(&at, room + capacity - (call + 1) * kSlot, kSlot);
    return at;
  }

  size_t Gather(absl::Span<iovec> pieces) const final {
    pieces[0] = {.iov_base = room + begin, .iov_len = size()};
    return 1;
  }

  uint64_t size() const final { return static_cast<uint64_t>(end - begin); }

  Forgotten Forget(uint64_t bytes) final {
    const size_t n = std::min(bytes, size());
    begin += static_cast<uint16_t>(n);
    const size_t ended_before = ended;
    if (begin == end) ended = calls;
    while (ended < calls && CallEnd(ended) <= begin) ++ended;
    return {.bytes = n, .calls = ended - ended_before};
  }

  char* const room;
  const uint16_t capacity;
  uint16_t begin = 0;
  uint16_t end = 0;
  uint16_t calls = 0;  // That end in this block,
  uint16_t ended = 0;  // and of which nothing is left.
};

template <size_t kBytes>
struct SizedWriteBlock final : WriteBlock {
  static constexpr size_t kRoom = kBytes - sizeof(WriteBlock);

  SizedWriteBlock() : WriteBlock(bytes, kRoom) {}

  void* operator new(size_t) {
    static_assert(sizeof(SizedWriteBlock) <= kBytes);
    return FreeList<kBytes>::Take();
  }
  void operator delete(void* block) { FreeList<kBytes>::Give(block); }

  char bytes[kRoom];
};

// No WriteBlock holds more.
inline constexpr size_t kMostBlockBytes = SizedWriteBlock<4096>::kRoom;

inline WriteBlock* WriteBlock::New(size_t bytes, Place place) {
  using Small = SizedWriteBlock<256>;
  using Medium = SizedWriteBlock<1024>;
  using Large = SizedWriteBlock<4096>;
  const size_t needed = bytes + kSlot;
  if (place == Place::kFurther || needed > Medium::kRoom) {
    return place == Place::kFirst && needed > Large::kRoom ? nullptr
                                                           : new Large;
  }
  if (needed > Small::kRoom) return new Medium;
  return new Small;
}

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_WRITE_NODE_H_
