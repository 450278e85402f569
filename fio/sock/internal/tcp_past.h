// What the kernel knows about the past of a TCP socket without a peer.

#ifndef FIO_SOCK_INTERNAL_TCP_PAST_H_
#define FIO_SOCK_INTERNAL_TCP_PAST_H_

#include <cstdint>

namespace fio::sock_internal {

enum class TcpPast : uint8_t {
  kUnknown,         // Connecting, or not known.
  kEstablished,     // Established now, or before a reset.
  kNotEstablished,  // Connecting has failed, or was never begun.
};

// By TCP_INFO, see tcp(7). Does not clear the socket's pending error.
TcpPast TcpPastOf(int fd);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_TCP_PAST_H_
