#include "fio/sock/datagram_socket.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/internal/fd_address.h"
#include "fio/sock/internal/socket_builder.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

using sock_internal::BadOption;
using sock_internal::BoundPath;
using sock_internal::CallFailed;
using sock_internal::SocketBuilder;

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
  return DatagramSocket(builder->Release(), std::move(path));
}

absl::StatusOr<DatagramSocket> DatagramSocket::Open(
    int family, const DatagramOptions& options) {
  const absl::StatusOr<SocketAddress> address = Unbound(family);
  if (!address.ok()) return address.status();
  absl::StatusOr<SocketBuilder> builder = Build(*address, options);
  if (!builder.ok()) return builder.status();
  return DatagramSocket(builder->Release(), {});
}

DatagramSocket::DatagramSocket(UniqueFd fd, BoundPath path)
    : fd_(std::move(fd)), path_(std::move(path)) {}

DatagramSocket& DatagramSocket::operator=(DatagramSocket&& other) noexcept {
  path_ = std::move(other.path_);  // Removes the old one before it closes.
  fd_ = std::move(other.fd_);
  connected_ = other.connected_;
  return *this;
}

absl::Status DatagramSocket::Connect(const SocketAddress& address) {
  const char* objection = sock_internal::CannotConnectTo(address);
  if (objection != nullptr) return BadOption("connect", address, objection);
  if (Sys().connect(fd(), address.data(), address.size()) != 0) {
    return CallFailed("connect", address);
  }
  connected_ = true;
  return absl::OkStatus();
}

BatchResult DatagramSocket::SendBatch(
    absl::Span<const OutgoingDatagram> datagrams) {
  mmsghdr messages[kMaxBatch];
  iovec pieces[kMaxBatch];
  unsigned count = 0;
  for (const OutgoingDatagram& datagram :
       datagrams.first(std::min(datagrams.size(), kMaxBatch))) {
    if (connected_ && datagram.to != nullptr) break;
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
    ++count;
  }
  // Linux would send it all the same, past the peer.
  if (count == 0) return {.error = datagrams.empty() ? 0 : EISCONN};
  return Retry(
      [&] { return Sys().sendmmsg(fd(), messages, count, MSG_NOSIGNAL); });
}

BatchResult DatagramSocket::ReceiveBatch(
    absl::Span<IncomingDatagram> datagrams) {
  datagrams = datagrams.first(std::min(datagrams.size(), kMaxBatch));
  if (datagrams.empty()) return {};
  mmsghdr messages[kMaxBatch];
  iovec pieces[kMaxBatch];
  sockaddr_storage names[kMaxBatch];
  for (size_t i = 0; i < datagrams.size(); ++i) {
    pieces[i] = {datagrams[i].buffer.data(), datagrams[i].buffer.size()};
    msghdr& header = messages[i].msg_hdr;
    header = {};
    header.msg_iov = &pieces[i];
    header.msg_iovlen = 1;
    header.msg_name = &names[i];
    header.msg_namelen = sizeof(names[i]);
  }
  const BatchResult result = Retry([&] {
    return Sys().recvmmsg(fd(), messages,
                          static_cast<unsigned>(datagrams.size()), 0, nullptr);
  });
  for (size_t i = 0; i < result.count; ++i) {
    const msghdr& header = messages[i].msg_hdr;
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

SocketAddress DatagramSocket::local_address() const {
  return sock_internal::LocalAddress(fd());
}

SocketAddress DatagramSocket::peer_address() const {
  return sock_internal::PeerAddress(fd());
}

}  // namespace fio
