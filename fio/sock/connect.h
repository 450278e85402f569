// StartConnect() makes the client's end of a connection, TCP or Unix.

#ifndef FIO_SOCK_CONNECT_H_
#define FIO_SOCK_CONNECT_H_

#include <optional>

#include "absl/status/statusor.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {

// An option that means nothing for the address is an error, unless it has its
// default.
struct ConnectOptions {
  // TCP: send small writes at once, without Nagle's delay.
  bool nodelay = true;

  // TCP: find out that a silent peer is gone. The system's default is not to.
  std::optional<KeepAlive> keepalive = {};

  // Where to connect from, or no address: the system picks. Port 0 picks a port
  // of that IP. A Unix socket may take an abstract name, but no path, for
  // nobody would remove it.
  SocketAddress local_address = {};
};

// A socket on its way to `address`: non-blocking and closed on exec(3) from the
// start. It becomes writable when the outcome is known, which
// Socket::FinishConnect() then tells; a Unix socket, and often one to this
// machine, is connected at once. Blocks never.
//
// Errors: kInvalidArgument if the address has no port or name, or the options
// make no sense; otherwise the failed call's errno, for a Unix socket also
// EAGAIN if the server's queue is full. Always with the call and `address` in
// the message, as in "connect /run/x: Connection refused".
absl::StatusOr<Socket> StartConnect(const SocketAddress& address,
                                    const ConnectOptions& options = {});

}  // namespace fio

#endif  // FIO_SOCK_CONNECT_H_
