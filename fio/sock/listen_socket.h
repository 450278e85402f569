// A ListenSocket owns one bound and listening, non-blocking TCP socket.
//
// Thread safety: Accept() may be called from several threads.

#ifndef FIO_SOCK_LISTEN_SOCKET_H_
#define FIO_SOCK_LISTEN_SOCKET_H_

#include <sys/socket.h>

#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {

class ListenSocket {
 public:
  struct Options {
    // How many connections the kernel completes ahead of Accept(). It lowers
    // this to net.core.somaxconn; see listen(2).
    int backlog = SOMAXCONN;
  };

  // One accepted connection, or why there is none.
  struct [[nodiscard]] Accepted {
    Socket socket = {};
    int error = 0;  // An errno: EAGAIN if nobody waits.
  };

  // Port 0 picks a free one; see local_address(). An address in use by a
  // listening socket is an error; one that only old connections hold is not
  // (SO_REUSEADDR).
  //
  // Errors: the failed call's errno, with the call and `address` in the
  // message, as in "bind 127.0.0.1:80: Permission denied".
  static absl::StatusOr<ListenSocket> Listen(const SocketAddress& address,
                                             const Options& options);

  // The longest-waiting connection: non-blocking, closed on exec(3), and
  // without Nagle's delay (TCP_NODELAY), all by one accept4(2). A connection
  // that died in the queue is skipped.
  Accepted Accept();

  int fd() const { return fd_.get(); }

  // Where it listens, with the real port.
  const SocketAddress& local_address() const { return local_address_; }

 private:
  ListenSocket(UniqueFd fd, const SocketAddress& local_address)
      : fd_(std::move(fd)), local_address_(local_address) {}

  UniqueFd fd_;
  SocketAddress local_address_;
};

}  // namespace fio

#endif  // FIO_SOCK_LISTEN_SOCKET_H_
