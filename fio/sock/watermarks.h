// Watermarks bound what waits to be written to one peer. Above the high mark
// the producer should pause until half of high_bytes has been sent. Above a
// limit the connection is aborted.
//
// The limits bound memory, so bytes of files do not count for them: a file of
// any size can be sent. The high mark counts all bytes, those of files too.
//
// Bytes are counted until the kernel has taken them: over TLS they are
// plaintext, and then the records that TlsTransport holds for the kernel
// (Transport::held_bytes()).
//
// Thread safety: as an int.

#ifndef FIO_SOCK_WATERMARKS_H_
#define FIO_SOCK_WATERMARKS_H_

#include <cstddef>
#include <cstdint>
#include <limits>

namespace fio {

// What waits to be written.
struct PendingWrites {
  size_t calls = 0;           // Calls of Write() with a byte that waits.
  uint64_t bytes = 0;         // All bytes.
  uint64_t memory_bytes = 0;  // Without the bytes of files.
};

struct Watermarks {
  enum class Level : uint8_t {
    kLow,   // Go on.
    kHigh,  // Pause.
    kOver,  // Abort.
  };

  uint64_t high_bytes = uint64_t{1} << 20;
  // In memory; bytes of files do not count.
  uint64_t limit_bytes = std::numeric_limits<uint64_t>::max();
  size_t limit_calls = std::numeric_limits<size_t>::max();

  // Whether `pending` exceeds a limit.
  bool IsOver(const PendingWrites& pending) const {
    return pending.memory_bytes > limit_bytes || pending.calls > limit_calls;
  }

  // The level of `pending`. `before` is the level until now: from kHigh it goes
  // back to kLow only when half of high_bytes has been sent.
  Level Judge(const PendingWrites& pending, Level before) const {
    if (IsOver(pending)) return Level::kOver;
    const uint64_t mark = before == Level::kLow ? high_bytes : high_bytes / 2;
    return pending.bytes > mark ? Level::kHigh : Level::kLow;
  }
};

}  // namespace fio

#endif  // FIO_SOCK_WATERMARKS_H_
