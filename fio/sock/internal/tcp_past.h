// What the kernel remembers of a TCP socket without a peer.

#ifndef FIO_SOCK_INTERNAL_TCP_PAST_H_
#define FIO_SOCK_INTERNAL_TCP_PAST_H_

#include <cstdint>

namespace fio::sock_internal {

enum class TcpPast : uint8_t {
  kUnknown,         // Connecting, or the kernel does not say.
  kEstablished,     // It is, or was before it was reset.
  kNotEstablished,  // Connecting has failed, or was never begun.
};

// By TCP_INFO, see tcp(7). Takes no error from the socket.
TcpPast TcpPastOf(int fd);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_TCP_PAST_H_
