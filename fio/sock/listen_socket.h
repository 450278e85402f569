// A ListenSocket owns one non-blocking stream socket that is bound and listens:
// TCP, or Unix at a path or an abstract name.
//
// Its destructor closes this process's descriptor. The kernel goes on accepting
// connections while another process has a copy of it, such as a child of
// fork(2); StopListening() ends that.
//
// Thread safety: several threads may call Accept() at the same time.

#ifndef FIO_SOCK_LISTEN_SOCKET_H_
#define FIO_SOCK_LISTEN_SOCKET_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
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

// An option that has no meaning for the address must have its default value;
// another value is an error. Accepted sockets inherit nodelay, keepalive,
// defer_accept and the sizes of buffers from the listening socket, without a
// system call for each.
struct ListenSocketOptions {
  // How many connections the kernel completes before Accept() takes them. The
  // kernel lowers this to net.core.somaxconn; see listen(2).
  int backlog = SOMAXCONN;

  // TCP: an address can be bound although old connections (TIME_WAIT) use it.
  // An address with a listening socket cannot.
  bool reuse_address = true;

  // TCP: share the address with other sockets of the same user that have this
  // option. The kernel distributes the connections among them.
  bool reuse_port = false;

  // TCP: be the first socket at the address. With reuse_port, it is an error if
  // other sockets share the address already; later ones may still join. Without
  // reuse_port this is always so, and no other socket can join.
  bool exclusive = false;

  // IPv6: accept no IPv4 connections. By default [::] accepts them too.
  bool v6_only = false;

  // TCP: accept a connection when its first bytes have arrived, or about this
  // long after it began. Rounded up to whole seconds; the kernel rounds up
  // further. Zero accepts at once. See TCP_DEFER_ACCEPT in tcp(7).
  absl::Duration defer_accept = absl::ZeroDuration();

  // TCP: send small writes at once, without Nagle's delay.
  bool nodelay = true;

  // TCP: detect a peer that vanished without closing. None: keep-alive is off,
  // which is the system's default.
  std::optional<KeepAlive> keepalive = {};

  // TCP: sizes of the kernel's buffers of each connection; 0 means its default,
  // which it tunes by itself. A size that is set stays; the kernel lowers it to
  // net.core.rmem_max and wmem_max, and doubles it. See socket(7).
  size_t receive_buffer_bytes = 0;
  size_t send_buffer_bytes = 0;

  // Unix paths: the file has exactly this mode, whatever the umask is, and at
  // no time a more permissive one. Without it the mode is 0777 less the umask.
  // A client needs the right to write.
  std::optional<mode_t> unix_mode = {};
};

class ListenSocket {
 public:
  using Options = ListenSocketOptions;

  // One accepted connection, or the reason why there is none.
  struct [[nodiscard]] Accepted {
    Socket socket = {};
    SocketAddress peer_address = {};
    int error = 0;  // An errno; 0 if there is a connection.
  };

  // Port 0 picks a free port, and a Unix address without a name picks a free
  // abstract name; see local_address().
  //
  // The Unix path of a server that is dead is taken over. The path of a live
  // server is not, and neither is a file that is no socket: "Address already in
  // use". (If two servers take over the same path at the same moment, the later
  // one may win.) The ListenSocket removes the path when it is destroyed, but
  // only in the process that called this function, and only if the path still
  // names the same file.
  //
  // Errors: kInvalidArgument for options that make no sense; otherwise the
  // errno of the call that failed. Each message has the call and `address`,
  // such as "bind 127.0.0.1:80: Permission denied". Nothing stays open or bound
  // then.
  static absl::StatusOr<ListenSocket> Listen(const SocketAddress& address,
                                             const Options& options);

  // Takes over a stream socket that listens already, such as one that systemd
  // passes (LISTEN_FDS). Its options stay as they are, but it is made
  // non-blocking and closed on exec(3). Its owner ends it: a Unix path is not
  // removed here, and StopListening() does nothing. Errors: kInvalidArgument if
  // `fd` is negative, is no stream socket or does not listen; otherwise the
  // errno of the call that failed. Each message names the descriptor, such as
  // "listen on fd 3: it is no stream socket". `fd` is closed then.
  static absl::StatusOr<ListenSocket> FromFd(UniqueFd fd);

  ListenSocket(ListenSocket&&) = default;
  ListenSocket& operator=(ListenSocket&& other) noexcept;

  // Accepts the connection that has waited the longest: non-blocking, closed on
  // exec(3), and with the options above. Makes exactly one system call,
  // accept4(2), and returns its errno as it is, so that a caller can bound the
  // number of calls:
  //
  //   EAGAIN         no connection waits
  //   ECONNABORTED   the first connection has died in the queue
  //   EINTR          a signal arrived
  //
  // After the last two, call it again: others may wait.
  Accepted Accept();

  // Ends listening, at once and in every process that has a copy of the socket:
  // new clients are refused. TCP clients that wait are reset; Unix clients that
  // wait can still be accepted. See shutdown(2). Does nothing for a socket of
  // FromFd(), and in any process but the one that called Listen(). Call it
  // before the socket is destroyed, if no other process is to go on accepting.
  // Any thread.
  void StopListening();

  // The same in any process that has a copy, for a child whose parent called
  // Listen() and has died. It also removes a Unix path. So the address can be
  // bound again although copies are still open, except for an abstract name and
  // for TCP without `reuse_address`. Any thread; takes no lock and allocates
  // nothing.
  void StopListeningForParent();

  int fd() const { return fd_.get(); }

  // Where it listens, with the real port.
  const SocketAddress& local_address() const { return local_address_; }

 private:
  // `owner` is the process that may end it; 0 for none.
  ListenSocket(UniqueFd fd, sock_internal::BoundPath path,
               const SocketAddress& local_address, pid_t owner);

  UniqueFd fd_;
  sock_internal::BoundPath path_;  // After fd_, so that it is destroyed first.
  SocketAddress local_address_;
  pid_t owner_;
  Socket::ShortRead short_read_ = Socket::ShortRead::kAsk;  // Of accepted ones.
};

// Listens on the first of `addresses` on which ListenSocket::Listen() succeeds.
// Errors: kInvalidArgument if `addresses` is empty; otherwise that of the last
// address.
absl::StatusOr<ListenSocket> ListenOnAny(
    absl::Span<const SocketAddress> addresses,
    const ListenSocketOptions& options);

}  // namespace fio

#endif  // FIO_SOCK_LISTEN_SOCKET_H_
