// A DatagramSocket owns one non-blocking datagram socket, UDP or Unix. It moves
// datagrams in batches, each batch by one system call and without allocation.
// It does not use an event loop.
//
// At first it is unconnected: it receives from every sender, and each outgoing
// datagram names its destination. After Connect() it has one peer: it sends to
// that peer only and receives from that peer only. A datagram that arrives is
// complete and unaltered. It may not arrive, unless it is a Unix socket's. An
// empty datagram is an ordinary datagram.
//
// Waiting for room. After EAGAIN of SendBatch() on a UDP socket, or on a
// connected Unix socket, wait until fd() is writable. On an unconnected Unix
// socket do not: EAGAIN says that the queue of one receiver is full, while
// poll(2) goes on to say that the sender is writable, so that waiting for it
// never waits. Wait for a socket of WaitForRoomAt() instead.
//
// Thread safety: none, but one thread may receive while another sends.

#ifndef FIO_SOCK_DATAGRAM_SOCKET_H_
#define FIO_SOCK_DATAGRAM_SOCKET_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>
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
  // UDP: fill IncomingDatagram::to and interface_index (IP_PKTINFO of ip(7),
  // IPV6_RECVPKTINFO of ipv6(7)).
  bool receive_destination = false;
  // UDP: fill IncomingDatagram::ecn (IP_RECVTOS, IPV6_RECVTCLASS).
  bool receive_ecn = false;
};

// Explicit congestion notification; RFC 3168, section 5.
enum class Ecn : uint8_t { kNotEct = 0, kEct1 = 1, kEct0 = 2, kCe = 3 };

// All of it is only read during the call.
struct OutgoingDatagram {
  std::string_view bytes;
  const SocketAddress* to = nullptr;  // Null if the socket is connected.
  // UDP: the local IP address to send from, as of IncomingDatagram::to; its
  // port is ignored. Null lets the system choose.
  const SocketAddress* from = nullptr;
};

struct IncomingDatagram {
  absl::Span<char> buffer;  // The caller's, for the bytes.

  SocketAddress from = {};  // No address if the sender has none.
  size_t bytes = 0;         // In the buffer.
  bool truncated = false;   // The buffer was too small; the rest is lost.

  // With DatagramOptions::receive_destination: the local address that the
  // sender asked, without a port, and the index of the interface that received
  // it. An answer is sent from `to`.
  SocketAddress to = {};
  unsigned interface_index = 0;
  Ecn ecn = Ecn::kNotEct;  // With DatagramOptions::receive_ecn.
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

  // As ReceiveBatch() of one datagram, which stays where it is (MSG_PEEK).
  BatchResult Peek(IncomingDatagram& datagram);

  // For an unconnected Unix socket whose SendBatch() to `address` gave EAGAIN:
  // a descriptor that becomes writable (POLLOUT, EPOLLOUT) when the receiver's
  // queue has room again. Send again then, and close the descriptor. It is
  // connected to the receiver and not to be used for anything else. Errors:
  // kInvalidArgument if `address` is no Unix socket with a name; otherwise the
  // errno of socket(2) or connect(2), with the address in the message.
  static absl::StatusOr<UniqueFd> WaitForRoomAt(const SocketAddress& address);

  // UDP: receives what is sent to the multicast group `group` (its port is
  // ignored), at the interface of that index (0: the system chooses); only from
  // `source`, unless it is null. Leave with the same arguments. Errors: the
  // errno of setsockopt(2) (MCAST_JOIN_GROUP and others of ip(7)).
  absl::Status JoinMulticast(const SocketAddress& group,
                             unsigned interface_index = 0,
                             const SocketAddress* source = nullptr);
  absl::Status LeaveMulticast(const SocketAddress& group,
                              unsigned interface_index = 0,
                              const SocketAddress* source = nullptr);

  // UDP: the interface by which multicast leaves, by its index; 0: the system
  // chooses. Whether this machine receives it, too; the default is that it
  // does. Errors of these and the next: the errno of setsockopt(2).
  absl::Status SetMulticastInterface(unsigned interface_index);
  absl::Status SetMulticastLoop(bool loop);
  // How many routers a datagram may pass: multicast, whose default is 1, and
  // all others (TTL; hop limit in IPv6). 1 to 255.
  absl::Status SetMulticastHops(int hops);
  absl::Status SetHops(int hops);

  int fd() const { return fd_.get(); }

  // By getsockname(2) and getpeername(2); no address if there is none.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;

 private:
  DatagramSocket(UniqueFd fd, sock_internal::BoundPath path, int family,
                 bool receives_control);

  BatchResult Receive(absl::Span<IncomingDatagram> datagrams, int flags);
  absl::Status SetMembership(int option, int source_option,
                             const SocketAddress& group,
                             unsigned interface_index,
                             const SocketAddress* source);
  absl::Status SetOption(int ipv4_option, int ipv6_option, int value,
                         std::string_view name);

  UniqueFd fd_;
  sock_internal::BoundPath path_;  // After fd_, so that it dies first.
  int family_;
  bool receives_control_;
  bool connected_ = false;
};

}  // namespace fio

#endif  // FIO_SOCK_DATAGRAM_SOCKET_H_
