// The local and the peer address of a socket, from the kernel.
//
// Thread safety: any thread.

#ifndef FIO_SOCK_INTERNAL_FD_ADDRESS_H_
#define FIO_SOCK_INTERNAL_FD_ADDRESS_H_

#include <optional>

#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

// By getsockname(2). None, with errno set, if the call fails.
std::optional<SocketAddress> FindLocalAddress(int fd);

// By getsockname(2) and getpeername(2); an empty address if the call fails.
SocketAddress LocalAddress(int fd);
SocketAddress PeerAddress(int fd);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_FD_ADDRESS_H_
