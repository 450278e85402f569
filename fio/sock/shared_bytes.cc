#include "fio/sock/shared_bytes.h"

#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/strings/cord.h"
#include "absl/types/span.h"

namespace fio {

// One whose bytes are those of a cord.
class SharedBytes::CordBlock final : public OwnedBlock {
 public:
  // REQUIRES: `cord` is in one piece, which is not in the Cord itself.
  explicit CordBlock(absl::Cord cord)
      : OwnedBlock(cord.TryFlat()->data(), cord.size(), &Destroy),
        cord_(std::move(cord)) {}

  static const absl::Cord* CordOf(const Block* block) {
    if (!IsOwned(block)) return nullptr;
    const auto* const owned = static_cast<const OwnedBlock*>(block);
    if (owned->destroy_ != &Destroy) return nullptr;
    return &static_cast<const CordBlock*>(owned)->cord_;
  }

 private:
  static void Destroy(OwnedBlock* block) {
    delete static_cast<CordBlock*>(block);
  }

  const absl::Cord cord_;
};

SharedBytes SharedBytes::Fill(
    size_t size, absl::FunctionRef<void(absl::Span<char> out)> fill) {
  static_assert(sizeof(Block) == 24);
  if (size == 0) return SharedBytes();
  ABSL_CHECK_LE(size, std::numeric_limits<ptrdiff_t>::max() - sizeof(Block));
  void* const memory = ::operator new(sizeof(Block) + size);
  char* const bytes = static_cast<char*>(memory) + sizeof(Block);
  SharedBytes filled(new (memory) Block(bytes, size));
  fill(absl::MakeSpan(bytes, size));
  return filled;
}

SharedBytes SharedBytes::Gather(absl::Span<const std::string_view> pieces) {
  size_t size = 0;
  for (const std::string_view piece : pieces) {
    ABSL_CHECK_LE(piece.size(), std::numeric_limits<size_t>::max() - size);
    size += piece.size();
  }
  return Fill(size, [pieces](absl::Span<char> out) {
    char* to = out.data();
    for (const std::string_view piece : pieces) {
      if (piece.empty()) continue;
      std::memcpy(to, piece.data(), piece.size());
      to += piece.size();
    }
  });
}

SharedBytes SharedBytes::FromCord(absl::Cord cord) {
  // A smaller one may have its bytes in the Cord itself.
  if (cord.size() >= kMinSharedCord && cord.TryFlat().has_value()) {
    return SharedBytes(new CordBlock(std::move(cord)));
  }
  return Fill(cord.size(), [&cord](absl::Span<char> out) {
    char* to = out.data();
    for (const std::string_view chunk : cord.Chunks()) {
      std::memcpy(to, chunk.data(), chunk.size());
      to += chunk.size();
    }
  });
}

absl::Cord SharedBytes::ToCord() const {
  if (empty()) return absl::Cord();
  if (const absl::Cord* cord = CordBlock::CordOf(block_)) return *cord;
  return absl::MakeCordFromExternal(view(), [shared = *this] {});
}

bool SharedBytes::IsOwned(const Block* block) {
  return block->data_ != reinterpret_cast<const char*>(block + 1);
}

void SharedBytes::Destroy(Block* block) {
  if (IsOwned(block)) {
    auto* const owned = static_cast<OwnedBlock*>(block);
    owned->destroy_(owned);
  } else {
    block->~Block();
    ::operator delete(block);
  }
}

}  // namespace fio
