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

  // As an id was taken apart by fd() and serial(). REQUIRES: `fd` is not
  // negative, and `serial` less than 2^48.
  constexpr ConnectionId(int fd, uint64_t serial)
      : serial_(serial), fd_(serial == 0 ? -1 : fd) {}

  // The descriptor's number, for logs; -1 if it names none.
  constexpr int fd() const { return fd_; }
  // Counts the connections of a process, from 1; 0 in an id that names none. It
  // is less than 2^48: a process that opens 100,000 connections a second comes
  // to the end of them after 89 years.
  constexpr uint64_t serial() const { return serial_; }

  friend constexpr bool operator==(ConnectionId, ConnectionId) = default;
  // The order is that in which they were opened.
  friend constexpr auto operator<=>(ConnectionId, ConnectionId) = default;

  template <typename H>
  friend H AbslHashValue(H state, ConnectionId id) {
    return H::combine(std::move(state), id.serial_, id.fd_);
  }
  // For logs: "fd 7 (connection 12)", the latter being the serial number, or
  // "no connection".
  template <typename Sink>
  friend void AbslStringify(Sink& sink, ConnectionId id) {
    if (id.serial_ == 0) {
      sink.Append("no connection");
    } else {
      absl::Format(&sink, "fd %d (connection %d)", id.fd_, id.serial_);
    }
  }

 private:
  uint64_t serial_ = 0;
  int fd_ = -1;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_ID_H_
