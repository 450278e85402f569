#include "fio/sock/datagram_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/internal/datagram_control.h"
#include "fio/sock/internal/fd_address.h"
#include "fio/sock/internal/socket_builder.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

using sock_internal::BadOption;
using sock_internal::BoundPath;
using sock_internal::CallFailed;
using sock_internal::Control;
using sock_internal::ReadControl;
using sock_internal::SocketBuilder;
using sock_internal::WriteSource;

constexpr sock_internal::SocketOption kReceiveDestination = {
    IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO"};
constexpr sock_internal::SocketOption kReceiveDestination6 = {
    IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"};
constexpr sock_internal::SocketOption kReceiveTos = {IPPROTO_IP, IP_RECVTOS,
                                                     "IP_RECVTOS"};
constexpr sock_internal::SocketOption kReceiveTrafficClass = {
    IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS"};

bool IsIp(const SocketAddress& address) {
  return address.family() == AF_INET || address.family() == AF_INET6;
}

template <typename Value>
absl::Status Set(int fd, int level, int option, const Value& value,
                 std::string_view prefix, std::string_view name) {
  if (Sys().setsockopt(fd, level, option, &value, sizeof(value)) == 0) {
    return absl::OkStatus();
  }
  return ErrnoToStatus(errno,
                       absl::StrCat("setsockopt ", prefix, name, " fd ", fd));
}

// What is wrong with `options`, or null.
const char* Objection(const SocketAddress& address,
                      const DatagramOptions& options) {
  constexpr size_t kMaxBuffer = std::numeric_limits<int>::max();
  const int family = address.family();
  if (address.size() == 0) return "there is no address";
  if (family == AF_UNIX && (options.reuse_address || options.reuse_port)) {
    return "reuse_address and reuse_port are for UDP";
  }
  if (options.v6_only && family != AF_INET6) return "v6_only is for IPv6";
  if (options.broadcast && family != AF_INET) return "broadcast is for IPv4";
  if (family == AF_UNIX && options.receive_destination) {
    return "receive_destination is for UDP";
  }
  if (family == AF_UNIX && options.receive_ecn) return "receive_ecn is for UDP";
  if (options.receive_buffer_bytes > kMaxBuffer ||
      options.send_buffer_bytes > kMaxBuffer) {
    return "a buffer has more than 2 GiB";
  }
  return nullptr;
}

void SetOptions(SocketBuilder& builder, int family,
                const DatagramOptions& options) {
  if (options.reuse_address) builder.Set(sock_internal::kReuseAddress, 1);
  if (options.reuse_port) builder.Set(sock_internal::kReusePort, 1);
  if (family == AF_INET6) builder.Set(sock_internal::kV6Only, options.v6_only);
  if (options.broadcast) builder.Set(sock_internal::kBroadcast, 1);
  // An IPv6 socket that also receives IPv4 datagrams needs both options.
  const bool takes_ipv4 = family == AF_INET || !options.v6_only;
  if (options.receive_destination) {
    builder.Set(family == AF_INET6 ? kReceiveDestination6 : kReceiveDestination,
                1);
  }
  if (options.receive_ecn && family == AF_INET6) {
    builder.Set(kReceiveTrafficClass, 1);
  }
  if (options.receive_ecn && takes_ipv4) builder.Set(kReceiveTos, 1);
  if (options.receive_buffer_bytes != 0) {
    builder.Set(sock_internal::kReceiveBuffer,
                static_cast<int>(options.receive_buffer_bytes));
  }
  if (options.send_buffer_bytes != 0) {
    builder.Set(sock_internal::kSendBuffer,
                static_cast<int>(options.send_buffer_bytes));
  }
}

// Runs `call`, which returns how many messages it moved, until no signal
// interrupts it.
template <typename Call>
BatchResult Retry(Call call) {
  for (;;) {
    const int count = call();
    if (count >= 0) return {.count = static_cast<size_t>(count)};
    if (errno != EINTR) return {.error = errno};
  }
}

// What a family's sockets are called before they are bound.
absl::StatusOr<SocketAddress> Unbound(int family) {
  switch (family) {
    case AF_INET:
      return SocketAddress::Parse("0.0.0.0:0");
    case AF_INET6:
      return SocketAddress::Parse("[::]:0");
    case AF_UNIX:
      return SocketAddress::Parse("unix:");
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("datagram socket: family ", family, " is unknown"));
  }
}

absl::StatusOr<SocketBuilder> Build(const SocketAddress& address,
                                    const DatagramOptions& options) {
  const char* objection = Objection(address, options);
  if (objection != nullptr) {
    return BadOption("datagram socket", address, objection);
  }
  SocketBuilder builder(address, SOCK_DGRAM);
  SetOptions(builder, address.family(), options);
  if (!builder.status().ok()) return builder.status();
  return builder;
}

}  // namespace

absl::StatusOr<DatagramSocket> DatagramSocket::Bind(
    const SocketAddress& address, const DatagramOptions& options) {
  absl::StatusOr<SocketBuilder> builder = Build(address, options);
  if (!builder.ok()) return builder.status();
  BoundPath path = builder->Bind(address);
  if (!builder->status().ok()) return builder->status();
  return DatagramSocket(builder->Release(), std::move(path), address.family(),
                        options);
}

absl::StatusOr<DatagramSocket> DatagramSocket::Open(
    int family, const DatagramOptions& options) {
  const absl::StatusOr<SocketAddress> address = Unbound(family);
  if (!address.ok()) return address.status();
  absl::StatusOr<SocketBuilder> builder = Build(*address, options);
  if (!builder.ok()) return builder.status();
  return DatagramSocket(builder->Release(), {}, family, options);
}

DatagramSocket::DatagramSocket(UniqueFd fd, BoundPath path, int family,
                               const DatagramOptions& options)
    : fd_(std::move(fd)),
      path_(std::move(path)),
      family_(family),
      v6_only_(options.v6_only),
      receives_control_(options.receive_destination || options.receive_ecn) {}

DatagramSocket& DatagramSocket::operator=(DatagramSocket&& other) noexcept {
  path_ = std::move(other.path_);  // Removes the old one before it closes.
  fd_ = std::move(other.fd_);
  family_ = other.family_;
  v6_only_ = other.v6_only_;
  receives_control_ = other.receives_control_;
  peer_family_ = other.peer_family_;
  return *this;
}

absl::Status DatagramSocket::Connect(const SocketAddress& address) {
  const char* objection = sock_internal::CannotConnectTo(address);
  if (objection != nullptr) return BadOption("connect", address, objection);
  if (Sys().connect(fd(), address.data(), address.size()) != 0) {
    return CallFailed("connect", address);
  }
  peer_family_ = address.family();
  return absl::OkStatus();
}

// AF_UNSPEC if there is none.
int DatagramSocket::FamilyOfDestination(
    const OutgoingDatagram& datagram) const {
  return datagram.to != nullptr ? datagram.to->family() : peer_family_;
}

// What the kernel would not refuse: an errno, or 0. It would send past the
// peer, and from another address than `from`.
int DatagramSocket::WhyNotSend(const OutgoingDatagram& datagram) const {
  if (peer_family_ != AF_UNSPEC && datagram.to != nullptr) return EISCONN;
  if (datagram.from == nullptr) return 0;
  if (!IsIp(*datagram.from)) return EINVAL;
  const int family = FamilyOfDestination(datagram);
  if (family == AF_UNSPEC) return 0;  // The kernel refuses it.
  return datagram.from->family() == family ? 0 : EINVAL;
}

BatchResult DatagramSocket::SendBatch(
    absl::Span<const OutgoingDatagram> datagrams) {
  mmsghdr messages[kMaxBatch];
  iovec pieces[kMaxBatch];
  Control controls[kMaxBatch];
  unsigned count = 0;
  int error = 0;
  for (const OutgoingDatagram& datagram :
       datagrams.first(std::min(datagrams.size(), kMaxBatch))) {
    error = WhyNotSend(datagram);
    if (error != 0) break;
    pieces[count] = {const_cast<char*>(datagram.bytes.data()),
                     datagram.bytes.size()};
    msghdr& header = messages[count].msg_hdr;
    header = {};
    header.msg_iov = &pieces[count];
    header.msg_iovlen = 1;
    if (datagram.to != nullptr) {
      header.msg_name = const_cast<sockaddr*>(datagram.to->data());
      header.msg_namelen = datagram.to->size();
    }
    if (datagram.from != nullptr) {
      WriteSource(header, controls[count], *datagram.from);
    }
    ++count;
  }
  if (count == 0) return {.error = error};
  return Retry([&] {
    return Sys().sendmmsg(fd(), messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
  });
}

BatchResult DatagramSocket::ReceiveBatch(
    absl::Span<IncomingDatagram> datagrams) {
  return Receive(datagrams, 0);
}

BatchResult DatagramSocket::Peek(IncomingDatagram& datagram) {
  return Receive({&datagram, 1}, MSG_PEEK);
}

BatchResult DatagramSocket::Receive(absl::Span<IncomingDatagram> datagrams,
                                    int flags) {
  datagrams = datagrams.first(std::min(datagrams.size(), kMaxBatch));
  if (datagrams.empty()) return {};
  mmsghdr messages[kMaxBatch];
  iovec pieces[kMaxBatch];
  sockaddr_storage names[kMaxBatch];
  Control controls[kMaxBatch];
  for (size_t i = 0; i < datagrams.size(); ++i) {
    pieces[i] = {datagrams[i].buffer.data(), datagrams[i].buffer.size()};
    msghdr& header = messages[i].msg_hdr;
    header = {};
    header.msg_iov = &pieces[i];
    header.msg_iovlen = 1;
    header.msg_name = &names[i];
    header.msg_namelen = sizeof(names[i]);
    if (!receives_control_) continue;
    header.msg_control = controls[i].bytes;
    header.msg_controllen = sizeof(controls[i].bytes);
  }
  const BatchResult result = Retry([&] {
    return Sys().recvmmsg(fd(), messages,
                          static_cast<unsigned>(datagrams.size()),
                          flags | MSG_DONTWAIT, nullptr);
  });
  for (size_t i = 0; i < result.count; ++i) {
    msghdr& header = messages[i].msg_hdr;
    if (receives_control_) ReadControl(header, datagrams[i]);
    datagrams[i].bytes = messages[i].msg_len;
    datagrams[i].truncated = (header.msg_flags & MSG_TRUNC) != 0;
    datagrams[i].from = header.msg_namelen == 0
                            ? SocketAddress()
                            : SocketAddress::FromSockaddr(
                                  static_cast<const sockaddr*>(header.msg_name),
                                  header.msg_namelen)
                                  .value_or(SocketAddress());
  }
  return result;
}

absl::StatusOr<UniqueFd> DatagramSocket::WaitForRoomAt(
    const SocketAddress& address) {
  const char* objection = address.family() != AF_UNIX
                              ? "it is no Unix socket"
                              : sock_internal::CannotConnectTo(address);
  if (objection != nullptr) return BadOption("connect", address, objection);
  SocketBuilder builder(address, SOCK_DGRAM);
  if (builder.status().ok() &&
      Sys().connect(builder.fd(), address.data(), address.size()) != 0) {
    builder.Check(CallFailed("connect", address));
  }
  if (!builder.status().ok()) return builder.status();
  return builder.Release();
}

// --- Options ---

absl::Status DatagramSocket::SetMembership(int option, int source_option,
                                           const SocketAddress& group,
                                           unsigned interface_index,
                                           const SocketAddress* source) {
  const int level = group.family() == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  group_source_req request = {};
  group_req request_of_any = {};
  request.gsr_interface = request_of_any.gr_interface = interface_index;
  std::memcpy(&request.gsr_group, group.data(), group.size());
  std::memcpy(&request_of_any.gr_group, group.data(), group.size());
  int result;
  if (source == nullptr) {
    result = Sys().setsockopt(fd(), level, option, &request_of_any,
                              sizeof(request_of_any));
  } else {
    std::memcpy(&request.gsr_source, source->data(), source->size());
    result =
        Sys().setsockopt(fd(), level, source_option, &request, sizeof(request));
  }
  return result == 0 ? absl::OkStatus()
                     : CallFailed("setsockopt of multicast group", group);
}

absl::Status DatagramSocket::JoinMulticast(const SocketAddress& group,
                                           unsigned interface_index,
                                           const SocketAddress* source) {
  return SetMembership(MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, group,
                       interface_index, source);
}

absl::Status DatagramSocket::LeaveMulticast(const SocketAddress& group,
                                            unsigned interface_index,
                                            const SocketAddress* source) {
  return SetMembership(MCAST_LEAVE_GROUP, MCAST_LEAVE_SOURCE_GROUP, group,
                       interface_index, source);
}

bool DatagramSocket::sends_ipv4() const {
  return family_ != AF_INET6 || !v6_only_;
}

// Of both families, if the socket sends to both.
absl::Status DatagramSocket::SetOption(int ipv4_option, int ipv6_option,
                                       int value, std::string_view name) {
  absl::Status status;
  if (family_ == AF_INET6) {
    status = Set(fd(), IPPROTO_IPV6, ipv6_option, value, "IPV6_", name);
  }
  if (status.ok() && sends_ipv4()) {
    status = Set(fd(), IPPROTO_IP, ipv4_option, value, "IP_", name);
  }
  return status;
}

absl::Status DatagramSocket::SetMulticastInterface(unsigned interface_index) {
  const int index = static_cast<int>(interface_index);
  absl::Status status;
  if (family_ == AF_INET6) {
    status = Set(fd(), IPPROTO_IPV6, IPV6_MULTICAST_IF, index, "IPV6_",
                 "MULTICAST_IF");
  }
  if (status.ok() && sends_ipv4()) {
    ip_mreqn request = {};
    request.imr_ifindex = index;
    status =
        Set(fd(), IPPROTO_IP, IP_MULTICAST_IF, request, "IP_", "MULTICAST_IF");
  }
  return status;
}

absl::Status DatagramSocket::SetMulticastLoop(bool loop) {
  return SetOption(IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, loop ? 1 : 0,
                   "MULTICAST_LOOP");
}

// Checks the range here: the families have different ones, and -1 is the
// default of both.
absl::Status DatagramSocket::SetHopsOption(int ipv4_option, int ipv6_option,
                                           int hops, int least,
                                           std::string_view name) {
  if (hops < least || hops > 255) {
    return absl::InvalidArgumentError(
        absl::StrCat("setsockopt ", name, " fd ", fd(), ": ", hops,
                     " is not from ", least, " to 255"));
  }
  return SetOption(ipv4_option, ipv6_option, hops, name);
}

absl::Status DatagramSocket::SetMulticastHops(int hops) {
  return SetHopsOption(IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, hops, 0,
                       "MULTICAST_HOPS");
}

absl::Status DatagramSocket::SetHops(int hops) {
  return SetHopsOption(IP_TTL, IPV6_UNICAST_HOPS, hops, 1, "HOPS");
}

SocketAddress DatagramSocket::local_address() const {
  return sock_internal::LocalAddress(fd());
}

SocketAddress DatagramSocket::peer_address() const {
  return sock_internal::PeerAddress(fd());
}

}  // namespace fio
