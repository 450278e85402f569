// A SharedBytes is one immutable block of bytes with a reference count. It is
// made once and then queued on any number of sockets, without a copy of the
// bytes, as a broadcast needs:
//
//   const SharedBytes message = SharedBytes::Gather({header, body});
//   for (Socket* socket : receivers) Write(*socket, message);
//
// To make one is one allocation, of 24 bytes and the bytes themselves. To copy
// or to destroy one is one atomic operation. On a Socket with nothing else
// queued it takes no memory, or 16 bytes once a part of it has been sent; in a
// WriteQueue it takes 32 bytes.
//
// Thread safety: as a std::shared_ptr. Several threads may use copies of the
// same SharedBytes at once. The last one frees the block, on its own thread.

#ifndef FIO_SOCK_SHARED_BYTES_H_
#define FIO_SOCK_SHARED_BYTES_H_

#include <atomic>
#include <cstddef>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"

namespace fio {

class SharedBytes {
 public:
  // The least size that FromCord() shares.
  static constexpr size_t kMinSharedCord = 512;

  // Holds no bytes and no memory, like each of the ways below that has none.
  SharedBytes() = default;

  // Copies `bytes`.
  explicit SharedBytes(std::string_view bytes) : SharedBytes(Gather({bytes})) {}

  // Copies all of `pieces`, one after another.
  static SharedBytes Gather(absl::Span<const std::string_view> pieces);

  // Has `fill` write the bytes: it is called once, before this returns, with
  // `size` bytes that are not initialized, and must write all of them. It is
  // not called for a size of 0.
  static SharedBytes Fill(size_t size,
                          absl::FunctionRef<void(absl::Span<char> out)> fill);

  // Shares the memory of a `cord` that is in one piece and has at least
  // kMinSharedCord bytes, otherwise copies. What the cord shares is released
  // with the last copy of the SharedBytes, on its thread.
  static SharedBytes FromCord(absl::Cord cord);

  SharedBytes(const SharedBytes& other) : block_(other.block_) {
    if (block_ != nullptr) Ref(block_);
  }
  SharedBytes(SharedBytes&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)) {}
  SharedBytes& operator=(SharedBytes other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~SharedBytes() {
    if (block_ != nullptr) Unref(block_);
  }

  bool empty() const { return block_ == nullptr; }
  size_t size() const { return empty() ? 0 : block_->size_; }
  // Valid as long as a copy of this exists.
  std::string_view view() const { return ViewOf(block_); }

  // A cord that shares the block: one small allocation, and none if this was
  // made from a cord.
  absl::Cord ToCord() const;

  // --- For owners that keep the reference in a word of their own ---

  // The bytes with their reference count. The address is a multiple of 8, so
  // that the owner can use its lowest bits.
  class alignas(8) Block {
   private:
    friend class SharedBytes;
    Block(const char* data, size_t size) : size_(size), data_(data) {}

    std::atomic<size_t> references_ = 1;
    const size_t size_;
    const char* data_;  // Right behind this, or it is an OwnedBlock.
  };

  // A block that its owner allocates, with more in it than bytes. Adopt() makes
  // a SharedBytes of it.
  class OwnedBlock : public Block {
   protected:
    // Frees the block. Called once, by whoever drops the last reference.
    using DestroyFunction = void (*)(OwnedBlock* block);

    // REQUIRES: `data` is not right behind this object.
    OwnedBlock(const char* data, size_t size, DestroyFunction destroy)
        : Block(data, size), destroy_(destroy) {}
    ~OwnedBlock() = default;

   private:
    friend class SharedBytes;
    const DestroyFunction destroy_;
  };

  static std::string_view ViewOf(const Block* block) {
    return block == nullptr ? std::string_view()
                            : std::string_view(block->data_, block->size_);
  }
  const Block* block() const { return block_; }
  // Gives the reference to the caller, who passes it to Adopt() later. Null if
  // empty.
  [[nodiscard]] Block* Release() { return std::exchange(block_, nullptr); }
  static SharedBytes Adopt(Block* block) { return SharedBytes(block); }

 private:
  class CordBlock;

  explicit SharedBytes(Block* block) : block_(block) {}

  static void Ref(Block* block) {
    block->references_.fetch_add(1, std::memory_order_relaxed);
  }
  static void Unref(Block* block) {
    if (block->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Destroy(block);
    }
  }
  static bool IsOwned(const Block* block);
  static void Destroy(Block* block);

  Block* block_ = nullptr;
};

}  // namespace fio

#endif  // FIO_SOCK_SHARED_BYTES_H_
