// Both ends of a socket, as the kernel knows them.
//
// Thread safety: any thread.

#ifndef FIO_SOCK_INTERNAL_FD_ADDRESS_H_
#define FIO_SOCK_INTERNAL_FD_ADDRESS_H_

#include <optional>

#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

// By getsockname(2). If the call fails: none, and errno says why.
std::optional<SocketAddress> FindLocalAddress(int fd);

// By getsockname(2) and getpeername(2); an empty address if the call fails.
SocketAddress LocalAddress(int fd);
SocketAddress PeerAddress(int fd);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_FD_ADDRESS_H_
