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
// connected Unix socket, wait until fd() is writable. Do not do so on an
// unconnected Unix socket: there EAGAIN means that the queue of one receiver is
// full, but poll(2) still reports fd() as writable. Wait for the descriptor of
// WaitForRoomAt() instead.
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

// An option that has no meaning for the family must have its default value;
// otherwise it is an error.
struct DatagramOptions {
  // UDP: other sockets with this option may be bound to the same address. The
  // system chooses which of them receives a datagram that is not multicast, so
  // this is meant for multicast.
  bool reuse_address = false;
  // UDP: share the address with other sockets of this user that have this
  // option; the kernel distributes the peers among them.
  bool reuse_port = false;
  // IPv6: neither receive from nor send to IPv4 addresses. By default [::] does
  // both.
  bool v6_only = false;
  // IPv4: allow sending to broadcast addresses.
  bool broadcast = false;
  // Sizes of the kernel's buffers; 0 means its default. The kernel lowers them
  // to net.core.rmem_max and wmem_max; see socket(7).
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

// The bytes and addresses must live until SendBatch() has returned.
struct OutgoingDatagram {
  std::string_view bytes;
  const SocketAddress* to = nullptr;  // Null if the socket is connected.
  // UDP: the local IP address to send from, as of IncomingDatagram::to; its
  // port is ignored. Its family must be that of the destination: IPv4 to send
  // to an IPv4 address, also from an IPv6 socket. Null lets the system choose.
  const SocketAddress* from = nullptr;
};

struct IncomingDatagram {
  absl::Span<char> buffer;  // The caller's; the bytes are written here.

  SocketAddress from = {};  // No address if the sender has none.
  size_t bytes = 0;         // In the buffer.
  bool truncated = false;   // The buffer was too small; the rest is lost.

  // With DatagramOptions::receive_destination: the local address to which the
  // datagram was sent, without a port, and the index of the interface that
  // received it. Send an answer from `to`.
  SocketAddress to = {};
  unsigned interface_index = 0;
  Ecn ecn = Ecn::kNotEct;  // With DatagramOptions::receive_ecn.
};

// How many datagrams were moved, and, if none, the reason.
struct [[nodiscard]] BatchResult {
  size_t count = 0;
  int error = 0;  // An errno, or 0.

  bool ok() const { return error == 0; }
  // Nothing to receive, or no room to send. This is a state, not a failure.
  bool would_block() const { return error == EAGAIN || error == EWOULDBLOCK; }
};

class DatagramSocket {
 public:
  // The most datagrams that one SendBatch() or ReceiveBatch() moves.
  static constexpr size_t kMaxBatch = 64;

  // Binds to `address`. Port 0, Unix paths and errors are handled as by
  // ListenSocket::Listen().
  static absl::StatusOr<DatagramSocket> Bind(
      const SocketAddress& address, const DatagramOptions& options = {});

  // Opens a socket that is not bound. A UDP socket gets a local address when it
  // first sends or connects. `family` is AF_INET, AF_INET6 or AF_UNIX. Errors:
  // as Bind().
  static absl::StatusOr<DatagramSocket> Open(
      int family, const DatagramOptions& options = {});

  DatagramSocket(DatagramSocket&&) = default;
  DatagramSocket& operator=(DatagramSocket&& other) noexcept;

  // Makes `address` the only peer; a later call replaces it. Errors, with the
  // address in the message: kInvalidArgument if it has no port or name;
  // otherwise the errno of connect(2).
  absl::Status Connect(const SocketAddress& address);

  // Sends the first `count` of `datagrams`: all of them, unless there are more
  // than kMaxBatch, the kernel has no more room, or one fails. Call it again
  // with the rest; if the first of them fails, that call returns its error:
  // EDESTADDRREQ without a peer; EISCONN with `to` on a connected socket;
  // EINVAL if `from` is not an address of the destination's family; EMSGSIZE if
  // it is too large; or another errno of sendmsg(2).
  //
  // A connected socket also returns ECONNREFUSED, once, if no socket received
  // an earlier datagram. Only the first datagram of a call reports it: if a
  // later one meets it, the batch ends before that one, and the kernel forgets
  // the error. Send one datagram per call, or call ReceiveBatch(), to be told.
  BatchResult SendBatch(absl::Span<const OutgoingDatagram> datagrams);

  // Receives waiting datagrams into the first `count` of `datagrams`, at most
  // kMaxBatch. Errors: those of recvmsg(2). On a connected socket, ECONNREFUSED
  // means that no socket received an earlier datagram of ours.
  BatchResult ReceiveBatch(absl::Span<IncomingDatagram> datagrams);

  // Like ReceiveBatch() of one datagram, but the datagram stays in the kernel's
  // queue (MSG_PEEK).
  BatchResult Peek(IncomingDatagram& datagram);

  // For an unconnected Unix socket whose SendBatch() to `address` returned
  // EAGAIN: returns a descriptor that becomes writable (POLLOUT, EPOLLOUT) when
  // the receiver's queue has room again. Then close the descriptor and send
  // again. Use the descriptor for nothing else: it is connected to the
  // receiver. Errors: kInvalidArgument if `address` is not that of a Unix
  // socket with a name; otherwise the errno of socket(2) or connect(2), with
  // the address in the message.
  static absl::StatusOr<UniqueFd> WaitForRoomAt(const SocketAddress& address);

  // UDP: receives what is sent to the multicast group `group` (its port is
  // ignored) on the interface with that index (0: the system chooses). If
  // `source` is not null, receives from that source only. Leave with the same
  // arguments. Errors: the errno of setsockopt(2) (MCAST_JOIN_GROUP and others
  // of ip(7)).
  absl::Status JoinMulticast(const SocketAddress& group,
                             unsigned interface_index = 0,
                             const SocketAddress* source = nullptr);
  absl::Status LeaveMulticast(const SocketAddress& group,
                              unsigned interface_index = 0,
                              const SocketAddress* source = nullptr);

  // The next four set an option of UDP. An IPv6 socket that also sends to IPv4
  // addresses (no DatagramOptions::v6_only) has it set for both. Errors: the
  // errno of setsockopt(2); kInvalidArgument for hops out of range.

  // The index of the interface that sends multicast (0: the system chooses),
  // and whether this machine receives it, too (by default it does).
  absl::Status SetMulticastInterface(unsigned interface_index);
  absl::Status SetMulticastLoop(bool loop);
  // The TTL (IPv6: hop limit) of multicast datagrams: 0 (this machine only) to
  // 255, 1 by default; and that of all others: 1 to 255.
  absl::Status SetMulticastHops(int hops);
  absl::Status SetHops(int hops);

  int fd() const { return fd_.get(); }

  // By getsockname(2) and getpeername(2); an empty address if there is none.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;

 private:
  DatagramSocket(UniqueFd fd, sock_internal::BoundPath path, int family,
                 const DatagramOptions& options);

  BatchResult Receive(absl::Span<IncomingDatagram> datagrams, int flags);
  absl::Status SetMembership(int option, int source_option,
                             const SocketAddress& group,
                             unsigned interface_index,
                             const SocketAddress* source);
  int FamilyOfDestination(const OutgoingDatagram& datagram) const;
  int WhyNotSend(const OutgoingDatagram& datagram) const;
  bool sends_ipv4() const;
  absl::Status SetOption(int ipv4_option, int ipv6_option, int value,
                         std::string_view name);
  absl::Status SetHopsOption(int ipv4_option, int ipv6_option, int hops,
                             int least, std::string_view name);

  UniqueFd fd_;
  sock_internal::BoundPath path_;  // After fd_, so that it is destroyed first.
  int family_;
  bool v6_only_;
  bool receives_control_;
  int peer_family_ = 0;  // AF_UNSPEC if it is not connected.
};

}  // namespace fio

#endif  // FIO_SOCK_DATAGRAM_SOCKET_H_
