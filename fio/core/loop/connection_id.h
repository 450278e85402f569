// A ConnectionId names one connection of a process, for ever: once the
// connection is gone the id names nothing, even when the kernel gives its file
// descriptor to the next one.
//
// Thread safety: a value.

#ifndef FIO_CORE_LOOP_CONNECTION_ID_H_
#define FIO_CORE_LOOP_CONNECTION_ID_H_

#include <compare>
#include <cstdint>
#include <utility>

#include "absl/strings/str_format.h"

namespace fio {

class ConnectionId {
 public:
  // Names no connection, ever.
  constexpr ConnectionId() = default;

  // REQUIRES: `fd` is not negative.
  constexpr ConnectionId(int fd, uint32_t generation)
      : value_(uint64_t{static_cast<uint32_t>(fd)} << 32 | generation) {}

  static constexpr ConnectionId FromValue(uint64_t value) {
    return ConnectionId(static_cast<int>(value >> 32),
                        static_cast<uint32_t>(value));
  }

  // The descriptor's number, for logs; -1 if it names none.
  constexpr int fd() const {
    return generation() == 0 ? -1 : static_cast<int>(value_ >> 32);
  }
  // Counts the connections of a process; 0 in an id that names none.
  constexpr uint32_t generation() const {
    return static_cast<uint32_t>(value_);
  }
  // All of it in one number, less than 2^63.
  constexpr uint64_t value() const { return value_; }

  friend constexpr bool operator==(ConnectionId, ConnectionId) = default;
  // For the keys of ordered containers; the order has no other meaning.
  friend constexpr auto operator<=>(ConnectionId, ConnectionId) = default;

  template <typename H>
  friend H AbslHashValue(H state, ConnectionId id) {
    return H::combine(std::move(state), id.value_);
  }
  // For logs: "fd 7 (connection 12)", the latter being the generation, or "no
  // connection".
  template <typename Sink>
  friend void AbslStringify(Sink& sink, ConnectionId id) {
    if (id.generation() == 0) {
      sink.Append("no connection");
    } else {
      absl::Format(&sink, "fd %d (connection %d)", id.fd(), id.generation());
    }
  }

 private:
  uint64_t value_ = 0;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_ID_H_
