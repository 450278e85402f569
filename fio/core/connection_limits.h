// ConnectionLimits bound what one connection may keep in memory. A Listener and
// a Connector apply theirs to each of their connections before on_open:
//
//   fio::ListenOptions options;
//   options.limits.watermarks = {.high_bytes = 64 << 10,
//                                .limit_bytes = 1 << 20};
//   options.limits.unread_limit_bytes = 16 << 10;
//
// What is not set is that of the loop (LoopOptions): 1 MiB and 16 MiB of what
// is queued, and 64 KiB of what is unread. Watermarks without a limit_bytes
// have the loop's limit, too. A connection that has one of its own needs about
// 400 bytes more.
//
// Thread safety: as an int.

#ifndef FIO_CORE_CONNECTION_LIMITS_H_
#define FIO_CORE_CONNECTION_LIMITS_H_

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>

#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/watermarks.h"

namespace fio {

struct ConnectionLimits {
  void ApplyTo(Connection& connection) const {
    if (watermarks.has_value()) {
      constexpr Watermarks kUnset;
      Watermarks marks = *watermarks;
      const Watermarks& of_loop = connection.loop().options().watermarks;
      if (marks.limit_bytes == kUnset.limit_bytes) {
        marks.limit_bytes = std::max(of_loop.limit_bytes, marks.high_bytes);
      }
      connection.SetWatermarks(marks);
    }
    if (unread_limit_bytes.has_value()) {
      connection.SetUnreadLimit(*unread_limit_bytes);
    }
  }

  // What is wrong with them, to be told; empty if nothing is.
  std::string_view Fault() const {
    return watermarks.has_value() &&
                   watermarks->high_bytes > watermarks->limit_bytes &&
                   watermarks->high_bytes != Watermarks().high_bytes
               ? "limits.watermarks: high_bytes is more than limit_bytes"
               : "";
  }

  // See Connection::SetWatermarks(). Bytes of files do not count for its
  // limits, which bound memory.
  std::optional<Watermarks> watermarks = {};
  // See Connection::SetUnreadLimit().
  std::optional<size_t> unread_limit_bytes = {};
};

}  // namespace fio

#endif  // FIO_CORE_CONNECTION_LIMITS_H_
