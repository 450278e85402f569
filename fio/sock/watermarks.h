// Watermarks say how much may wait to be written before something is done about
// it: above the high mark whoever produces it pauses, and goes on when half of
// that has left; past the limit the peer is given up.
//
// Thread safety: a value.

#ifndef FIO_SOCK_WATERMARKS_H_
#define FIO_SOCK_WATERMARKS_H_

#include <cstddef>
#include <cstdint>
#include <limits>

namespace fio {

struct Watermarks {
  enum class Level : uint8_t {
    kLow,   // Go on.
    kHigh,  // Pause.
    kOver,  // Give up.
  };

  uint64_t high_bytes = uint64_t{1} << 20;
  uint64_t limit_bytes = std::numeric_limits<uint64_t>::max();
  size_t limit_calls = std::numeric_limits<size_t>::max();

  // `before` is the level until now: it is high until half has left.
  Level Judge(uint64_t pending_bytes, size_t pending_calls,
              Level before) const {
    if (pending_bytes > limit_bytes || pending_calls > limit_calls) {
      return Level::kOver;
    }
    const uint64_t mark = before == Level::kLow ? high_bytes : high_bytes / 2;
    return pending_bytes > mark ? Level::kHigh : Level::kLow;
  }
};

}  // namespace fio

#endif  // FIO_SOCK_WATERMARKS_H_
