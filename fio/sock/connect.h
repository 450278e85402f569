// StartConnect() starts a client's connection, TCP or Unix.

#ifndef FIO_SOCK_CONNECT_H_
#define FIO_SOCK_CONNECT_H_

#include <cstddef>
#include <optional>

#include "absl/status/statusor.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {

// An option that has no meaning for the address must have its default value;
// otherwise it is an error.
struct ConnectOptions {
  // TCP: send small writes at once, without Nagle's delay.
  bool nodelay = true;

  // TCP: detect a peer that vanished without closing. None: keep-alive is off,
  // which is the system's default.
  std::optional<KeepAlive> keepalive = {};

  // Sizes of the kernel's buffers; 0 means its default, which
  // it tunes by itself. A size that is set stays; the kernel lowers it to
  // net.core.rmem_max and wmem_max, and doubles it. See socket(7).
  size_t receive_buffer_bytes = 0;
  size_t send_buffer_bytes = 0;

  // The address to connect from. Without an address the system chooses one;
  // with port 0 it chooses the port. A Unix socket takes an abstract name, but
  // no path, because the file would never be removed.
  SocketAddress local_address = {};
};

// Returns a socket that connects to `address`. It is non-blocking and closed on
// exec(3) from the start. When it is writable, Socket::FinishConnect() returns
// the outcome; a Unix socket, and often a TCP socket to this machine, is
// connected at once. Never blocks.
//
// Errors, all with the call and `address` in the message, as in "connect
// /run/x: Connection refused":
//   - kInvalidArgument if the address has no port or name, or the options make
//     no sense for it;
//   - kAborted if the queue of a Unix server is full (EAGAIN, see unix(7)):
//     try again later; no descriptor becomes ready when there is room;
//   - otherwise the code of the failed call's errno.
absl::StatusOr<Socket> StartConnect(const SocketAddress& address,
                                    const ConnectOptions& options = {});

}  // namespace fio

#endif  // FIO_SOCK_CONNECT_H_
