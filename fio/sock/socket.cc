#include "fio/sock/socket.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

// Runs `call` until no signal interrupts it. None of these calls blocks, so
// EINTR is rare; see signal(7).
template <typename Call>
IoResult Retry(Call call) {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return {.bytes = static_cast<size_t>(n)};
    if (errno != EINTR) return {.error = errno};
  }
}

template <typename GetName>
SocketAddress AddressBy(GetName get_name, int fd) {
  sockaddr_storage storage;
  socklen_t size = sizeof(storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (get_name(fd, address, &size) != 0) return {};
  return SocketAddress::FromSockaddr(address, size).value_or(SocketAddress());
}

}  // namespace

IoResult Socket::Read(absl::Span<char> out) {
  return Retry([&] { return recv(fd(), out.data(), out.size(), 0); });
}

IoResult Socket::Peek() {
  char byte;
  return Retry([&] { return recv(fd(), &byte, 1, MSG_PEEK); });
}

IoResult Socket::Write(std::string_view bytes) {
  return Retry(
      [&] { return send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL); });
}

IoResult Socket::Write(absl::Span<const iovec> pieces) {
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return Retry([&] { return sendmsg(fd(), &message, MSG_NOSIGNAL); });
}

absl::Status Socket::ShutdownWrite() {
  if (shutdown(fd(), SHUT_WR) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("shutdown fd ", fd()));
}

void Socket::Abort() {
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  Close();
}

SocketAddress Socket::local_address() const {
  return AddressBy(getsockname, fd());
}

SocketAddress Socket::peer_address() const {
  return AddressBy(getpeername, fd());
}

}  // namespace fio
