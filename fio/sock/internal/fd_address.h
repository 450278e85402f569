// Both ends of a socket, as the kernel knows them.
//
// Thread safety: any thread.

#ifndef FIO_SOCK_INTERNAL_FD_ADDRESS_H_
#define FIO_SOCK_INTERNAL_FD_ADDRESS_H_

#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

// By getsockname(2) and getpeername(2); no address if the call fails.
SocketAddress LocalAddress(int fd);
SocketAddress PeerAddress(int fd);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_FD_ADDRESS_H_
