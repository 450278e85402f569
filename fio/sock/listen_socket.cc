#include "fio/sock/listen_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/internal/call_failed.h"
#include "fio/sock/internal/fd_address.h"
#include "fio/sock/internal/socket_builder.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

using sock_internal::BadOption;
using sock_internal::BoundPath;
using sock_internal::CallFailed;
using sock_internal::SocketBuilder;

// What is wrong with `options`, or null.
const char* Objection(const SocketAddress& address,
                      const ListenSocketOptions& options) {
  const bool unix = address.family() == AF_UNIX;
  if (address.size() == 0) return "there is no address";
  if (options.backlog < 0) return "backlog is negative";
  if (options.defer_accept < absl::ZeroDuration()) {
    return "defer_accept is negative";
  }
  if (unix && options.reuse_port) return "reuse_port is for TCP";
  if (unix && options.exclusive) return "exclusive is for TCP";
  if (unix && options.keepalive.has_value()) return "keepalive is for TCP";
  if (unix && options.receive_buffer_bytes != 0) {
    return "receive_buffer_bytes is for TCP";
  }
  if (unix && options.send_buffer_bytes != 0) {
    return "send_buffer_bytes is for TCP";
  }
  if (unix && options.defer_accept > absl::ZeroDuration()) {
    return "defer_accept is for TCP";
  }
  if (options.v6_only && address.family() != AF_INET6) {
    return "v6_only is for IPv6";
  }
  if (options.unix_mode.has_value() && address.path().empty()) {
    return "unix_mode is for Unix paths";
  }
  if (options.unix_mode.value_or(0) > 07777) return "unix_mode is no mode";
  if (options.receive_buffer_bytes > sock_internal::kMaxBufferBytes ||
      options.send_buffer_bytes > sock_internal::kMaxBufferBytes) {
    return "a buffer has more than 2 GiB";
  }
  return nullptr;
}

void SetTcpOptions(SocketBuilder& builder, const SocketAddress& address,
                   const ListenSocketOptions& options) {
  builder.Set(sock_internal::kReuseAddress, options.reuse_address);
  if (options.reuse_port && !options.exclusive) {
    builder.Set(sock_internal::kReusePort, 1);
  }
  if (address.family() == AF_INET6) {
    builder.Set(sock_internal::kV6Only, options.v6_only);
  }
  if (options.nodelay) builder.Set(sock_internal::kNodelay, 1);
  if (options.keepalive.has_value()) builder.SetKeepAlive(*options.keepalive);
  if (options.defer_accept > absl::ZeroDuration()) {
    builder.Set(sock_internal::kDeferAccept,
                sock_internal::WholeSeconds(options.defer_accept));
  }
}

// What accepted sockets need not find out one by one: SO_PROTOCOL and SO_LINGER
// are inherited from the listening socket.
Socket::ShortRead ShortReadOf(int fd) {
  int protocol = 0;
  socklen_t size = sizeof(protocol);
  if (Sys().getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0) {
    return Socket::ShortRead::kAsk;
  }
  if (protocol != IPPROTO_TCP) return Socket::ShortRead::kSaysNothing;
  linger on_close = {};
  size = sizeof(on_close);
  if (Sys().getsockopt(fd, SOL_SOCKET, SO_LINGER, &on_close, &size) != 0 ||
      on_close.l_onoff != 0) {
    return Socket::ShortRead::kAsk;
  }
  return Socket::ShortRead::kEmpties;
}

absl::StatusOr<int> SocketOption(int fd, int option, std::string_view name) {
  int value = 0;
  socklen_t size = sizeof(value);
  if (Sys().getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0) {
    return value;
  }
  return ErrnoToStatus(
      errno, absl::StrCat("listen on fd ", fd, ": getsockopt ", name));
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::Listen(const SocketAddress& address,
                                                  const Options& options) {
  const char* objection = Objection(address, options);
  if (objection != nullptr) return BadOption("listen", address, objection);
  SocketBuilder builder(address, SOCK_STREAM);
  if (address.family() != AF_UNIX) SetTcpOptions(builder, address, options);
  builder.SetBuffers(options.receive_buffer_bytes, options.send_buffer_bytes);
  BoundPath path = builder.Bind(address, options.unix_mode);
  if (builder.status().ok() &&
      Sys().listen(builder.fd(), options.backlog) != 0) {
    builder.Check(CallFailed("listen", address));
  }
  // Set only now: bind(2) and listen(2) have shown that no other socket has the
  // address.
  if (options.reuse_port && options.exclusive) {
    builder.Set(sock_internal::kReusePort, 1);
  }
  if (!builder.status().ok()) return builder.status();
  const std::optional<SocketAddress> local =
      sock_internal::FindLocalAddress(builder.fd());
  if (!local.has_value()) return CallFailed("getsockname", address);
  ListenSocket socket(builder.Release(), std::move(path), *local, getpid());
  socket.short_read_ = address.family() == AF_UNIX
                           ? Socket::ShortRead::kSaysNothing
                           : Socket::ShortRead::kEmpties;
  return socket;
}

absl::StatusOr<ListenSocket> ListenSocket::FromFd(UniqueFd fd) {
  const int number = fd.get();
  if (number < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen on fd ", number, ": it is negative"));
  }
  const absl::StatusOr<int> type = SocketOption(number, SO_TYPE, "SO_TYPE");
  if (!type.ok()) return type.status();
  if (*type != SOCK_STREAM) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen on fd ", number, ": it is no stream socket"));
  }
  const absl::StatusOr<int> listens =
      SocketOption(number, SO_ACCEPTCONN, "SO_ACCEPTCONN");
  if (!listens.ok()) return listens.status();
  if (*listens == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen on fd ", number, ": it does not listen"));
  }
  const int flags = Sys().fcntl(number, F_GETFL);
  if (flags < 0 || Sys().fcntl(number, F_SETFL, flags | O_NONBLOCK) != 0 ||
      Sys().fcntl(number, F_SETFD, FD_CLOEXEC) != 0) {
    return ErrnoToStatus(errno,
                         absl::StrCat("listen on fd ", number, ": fcntl"));
  }
  const std::optional<SocketAddress> local =
      sock_internal::FindLocalAddress(number);
  if (!local.has_value()) {
    return ErrnoToStatus(
        errno, absl::StrCat("listen on fd ", number, ": getsockname"));
  }
  ListenSocket socket(std::move(fd), BoundPath(), *local, /*owner=*/0);
  socket.short_read_ = ShortReadOf(number);
  return socket;
}

ListenSocket::ListenSocket(UniqueFd fd, BoundPath path,
                           const SocketAddress& local_address, pid_t owner)
    : fd_(std::move(fd)),
      path_(std::move(path)),
      local_address_(local_address),
      owner_(owner) {}

ListenSocket& ListenSocket::operator=(ListenSocket&& other) noexcept {
  path_ = std::move(other.path_);  // Removes the old one before it closes.
  fd_ = std::move(other.fd_);
  local_address_ = other.local_address_;
  owner_ = other.owner_;
  short_read_ = other.short_read_;
  return *this;
}

ListenSocket::Accepted ListenSocket::Accept() {
  sockaddr_storage storage;
  socklen_t size = sizeof(storage);
  auto* peer = reinterpret_cast<sockaddr*>(&storage);
  UniqueFd fd = UniqueFd::Created(
      Sys().accept4(this->fd(), peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return {.error = errno};
  return {
      .socket = Socket(std::move(fd), short_read_),
      .peer_address =
          SocketAddress::FromSockaddr(peer, size).value_or(SocketAddress())};
}

// shutdown(2) fails only for what listens no more.
void ListenSocket::StopListening() {
  if (fd_ && owner_ == getpid()) Sys().shutdown(fd(), SHUT_RDWR);
}

void ListenSocket::StopListeningForParent() {
  if (!fd_ || owner_ == 0) return;
  Sys().shutdown(fd(), SHUT_RDWR);
  path_.RemoveForParent();
}

absl::StatusOr<ListenSocket> ListenOnAny(
    absl::Span<const SocketAddress> addresses,
    const ListenSocketOptions& options) {
  absl::Status last = absl::InvalidArgumentError("listen: there is no address");
  for (const SocketAddress& address : addresses) {
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::Listen(address, options);
    if (socket.ok()) return socket;
    last = socket.status();
  }
  return last;
}

}  // namespace fio
