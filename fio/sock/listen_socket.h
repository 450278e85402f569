// A ListenSocket owns one bound and listening, non-blocking stream socket: TCP,
// or Unix at a path or an abstract name.
//
// Thread safety: Accept() may be called from several threads.

#ifndef FIO_SOCK_LISTEN_SOCKET_H_
#define FIO_SOCK_LISTEN_SOCKET_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {

// An option that means nothing for the address is an error, unless it has its
// default. Accepted sockets inherit nodelay, keepalive and defer_accept from
// the listening one, so that they cost no system call.
struct ListenSocketOptions {
  // How many connections the kernel completes ahead of Accept(). It lowers this
  // to net.core.somaxconn; see listen(2).
  int backlog = SOMAXCONN;

  // TCP: an address that only old connections hold (TIME_WAIT) can be bound.
  // One with a listening socket cannot.
  bool reuse_address = true;

  // TCP: share the address with other sockets of this user that have this
  // option; the kernel deals out the connections.
  bool reuse_port = false;

  // TCP: be the first there. With reuse_port, an address that others share
  // already is an error too; who comes later may still join. Without, this is
  // always so, and nobody can join.
  bool exclusive = false;

  // IPv6: do not take IPv4 connections too, as [::] otherwise does.
  bool v6_only = false;

  // TCP: accept a connection when its first bytes are there, or about this long
  // after it began; rounded up to whole seconds, and more by the kernel. Zero
  // accepts at once.
  absl::Duration defer_accept = absl::ZeroDuration();

  // TCP: send small writes at once, without Nagle's delay.
  bool nodelay = true;

  // TCP: find out that a silent peer is gone. The system's default is not to.
  std::optional<KeepAlive> keepalive = {};

  // Unix paths: exactly this mode, whatever the umask, and never more open than
  // that on the way. Without it, what the umask leaves of 0777. Connecting
  // takes the right to write.
  std::optional<mode_t> unix_mode = {};
};

class ListenSocket {
 public:
  using Options = ListenSocketOptions;

  // One accepted connection, or why there is none.
  struct [[nodiscard]] Accepted {
    Socket socket = {};
    SocketAddress peer_address = {};
    int error = 0;  // An errno: EAGAIN if nobody waits.
  };

  // Port 0 picks a free one, and a Unix address without a name a free abstract
  // name; see local_address().
  //
  // A Unix path that a dead server has left is taken over. A live server's
  // never is, nor a file that is no socket: "Address already in use". (Of two
  // servers that take over the same path in the same instant, the later one may
  // win.) The path is removed with the ListenSocket, by the process that called
  // this and no child of it, unless it is another file by then.
  //
  // Errors: kInvalidArgument for options that make no sense; otherwise the
  // failed call's errno. Always with the call and `address` in the message, as
  // in "bind 127.0.0.1:80: Permission denied", and with nothing left behind.
  static absl::StatusOr<ListenSocket> Listen(const SocketAddress& address,
                                             const Options& options);

  // Takes over a stream socket that listens already, as those that systemd
  // passes from 3 on (LISTEN_FDS), with whatever options it has, and makes it
  // non-blocking and closed on exec(3). A Unix path is never removed. Errors:
  // kInvalidArgument if `fd` is negative, no stream socket or does not listen;
  // otherwise the failed call's errno. All name the descriptor, as in "listen
  // on fd 3: it is no stream socket"; it is closed then.
  static absl::StatusOr<ListenSocket> FromFd(UniqueFd fd);

  ListenSocket(ListenSocket&&) = default;
  ListenSocket& operator=(ListenSocket&& other) noexcept;

  // The longest-waiting connection: non-blocking, closed on exec(3), and with
  // the options above, all by one accept4(2). A connection that died in the
  // queue is skipped.
  Accepted Accept();

  int fd() const { return fd_.get(); }

  // Where it listens, with the real port.
  const SocketAddress& local_address() const { return local_address_; }

 private:
  ListenSocket(UniqueFd fd, sock_internal::BoundPath path);

  UniqueFd fd_;
  sock_internal::BoundPath path_;  // After fd_, so that it dies first.
  SocketAddress local_address_;
};

// Listens on the first of `addresses` that allows it. Errors: kInvalidArgument
// if there are none; ListenSocket::Listen()'s for the last one.
absl::StatusOr<ListenSocket> ListenOnAny(
    absl::Span<const SocketAddress> addresses,
    const ListenSocketOptions& options);

}  // namespace fio

#endif  // FIO_SOCK_LISTEN_SOCKET_H_
