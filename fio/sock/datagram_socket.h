// A DatagramSocket owns one non-blocking datagram socket, UDP or Unix. It moves
// datagrams in batches, each by a single system call and without allocating,
// and knows no event loop.
//
// It is unconnected at first: it receives from everybody, and each datagram
// names where it goes. After Connect() it has one peer, sends to that alone and
// receives from that alone. A datagram that arrives is whole and unaltered, if
// it does arrive; an empty one is a datagram like the others.
//
// Thread safety: none, but one thread may receive while another sends.

#ifndef FIO_SOCK_DATAGRAM_SOCKET_H_
#define FIO_SOCK_DATAGRAM_SOCKET_H_

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/socket_address.h"

namespace fio {

// An option that means nothing for the family is an error, unless it has its
// default.
struct DatagramOptions {
  // UDP: bind though others with this option are bound there. Who receives then
  // is the system's choice, so this is for multicast.
  bool reuse_address = false;
  // UDP: share the address with other sockets of this user that have this
  // option; the kernel deals out the peers.
  bool reuse_port = false;
  // IPv6: neither receive from nor send to IPv4 addresses, as [::] otherwise
  // does.
  bool v6_only = false;
  // IPv4: may send to broadcast addresses.
  bool broadcast = false;
  // What the kernel may hold in each direction; 0 is its default. It lowers
  // these to net.core.rmem_max and wmem_max; see socket(7).
  size_t receive_buffer_bytes = 0;
  size_t send_buffer_bytes = 0;
};

// Both are only looked at during the call.
struct OutgoingDatagram {
  std::string_view bytes;
  const SocketAddress* to = nullptr;  // Null if the socket is connected.
};

struct IncomingDatagram {
  absl::Span<char> buffer;  // The caller's, for the bytes.

  SocketAddress from = {};  // No address if the sender has none.
  size_t bytes = 0;         // In the buffer.
  bool truncated = false;   // The buffer was too small; the rest is lost.
};

// How many datagrams went, and if none, why.
struct [[nodiscard]] BatchResult {
  size_t count = 0;
  int error = 0;  // An errno, or 0.

  bool ok() const { return error == 0; }
  // Nothing there to receive, or no room to send. A state, not a failure.
  bool would_block() const { return error == EAGAIN || error == EWOULDBLOCK; }
};

class DatagramSocket {
 public:
  // What one call of SendBatch() or ReceiveBatch() moves at most.
  static constexpr size_t kMaxBatch = 64;

  // Receives at `address`. Port 0 picks a free one, a Unix path is taken and
  // removed, and errors are told, as by ListenSocket::Listen().
  static absl::StatusOr<DatagramSocket> Bind(
      const SocketAddress& address, const DatagramOptions& options = {});

  // Without an address of its own; UDP gets one when it sends or connects.
  // `family` is AF_INET, AF_INET6 or AF_UNIX. Errors: as Bind().
  static absl::StatusOr<DatagramSocket> Open(
      int family, const DatagramOptions& options = {});

  DatagramSocket(DatagramSocket&&) = default;
  DatagramSocket& operator=(DatagramSocket&& other) noexcept;

  // Makes `address` the only peer, or another one the only peer. Errors:
  // kInvalidArgument without a port or name; otherwise connect(2)'s errno. With
  // the address in the message.
  absl::Status Connect(const SocketAddress& address);

  // Sends the first `count` of `datagrams`: all of them, unless there are more
  // than kMaxBatch, the kernel has no more room, or one of them fails. That one
  // is then the next, and sending it tells the error: EDESTADDRREQ without a
  // peer; EISCONN with `to` on a connected socket; EMSGSIZE if it is too large;
  // ECONNREFUSED if an earlier one found nobody there; or another of
  // sendmsg(2).
  BatchResult SendBatch(absl::Span<const OutgoingDatagram> datagrams);

  // Fills the first `count` of `datagrams` with those that wait, up to
  // kMaxBatch. Errors: as recvmsg(2); ECONNREFUSED on a connected socket means
  // that what was sent found nobody there.
  BatchResult ReceiveBatch(absl::Span<IncomingDatagram> datagrams);

  int fd() const { return fd_.get(); }

  // By getsockname(2) and getpeername(2); no address if there is none.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;

 private:
  DatagramSocket(UniqueFd fd, sock_internal::BoundPath path);

  UniqueFd fd_;
  sock_internal::BoundPath path_;  // After fd_, so that it dies first.
  bool connected_ = false;
};

}  // namespace fio

#endif  // FIO_SOCK_DATAGRAM_SOCKET_H_
