#include "fio/sock/listen_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

absl::Status Failed(const char* call, const SocketAddress& address) {
  return absl::ErrnoToStatus(errno,
                             absl::StrCat(call, " ", address.ToString()));
}

bool Enable(const UniqueFd& fd, int level, int option) {
  const int on = 1;
  return setsockopt(fd.get(), level, option, &on, sizeof(on)) == 0;
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::Listen(const SocketAddress& address,
                                                  const Options& options) {
  UniqueFd fd(socket(address.family(),
                     SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!fd) return Failed("socket", address);
  // On Linux accepted sockets inherit TCP_NODELAY, which saves each of them a
  // system call.
  if (!Enable(fd, SOL_SOCKET, SO_REUSEADDR) ||
      !Enable(fd, IPPROTO_TCP, TCP_NODELAY)) {
    return Failed("setsockopt", address);
  }
  if (bind(fd.get(), address.data(), address.size()) != 0) {
    return Failed("bind", address);
  }
  if (listen(fd.get(), options.backlog) != 0) return Failed("listen", address);
  const int number = fd.get();
  ListenSocket result(std::move(fd), {});
  sockaddr_storage bound;
  socklen_t size = sizeof(bound);
  if (getsockname(number, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return Failed("getsockname", address);
  }
  absl::StatusOr<SocketAddress> local = SocketAddress::FromSockaddr(
      reinterpret_cast<const sockaddr*>(&bound), size);
  if (!local.ok()) return local.status();
  result.local_address_ = *local;
  return result;
}

ListenSocket::Accepted ListenSocket::Accept() {
  for (;;) {
    UniqueFd fd(
        accept4(this->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) return {.socket = Socket(std::move(fd))};
    if (errno != EINTR && errno != ECONNABORTED) return {.error = errno};
  }
}

}  // namespace fio
