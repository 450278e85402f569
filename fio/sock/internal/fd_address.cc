#include "fio/sock/internal/fd_address.h"

#include <sys/socket.h>

#include <optional>

#include "fio/base/syscalls.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {
namespace {

template <typename GetName>
std::optional<SocketAddress> AddressBy(GetName get_name, int fd) {
  sockaddr_storage storage;
  socklen_t size = sizeof(storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (get_name(fd, address, &size) != 0) return std::nullopt;
  return SocketAddress::FromSockaddr(address, size).value_or(SocketAddress());
}

}  // namespace

std::optional<SocketAddress> FindLocalAddress(int fd) {
  return AddressBy(Sys().getsockname, fd);
}

SocketAddress LocalAddress(int fd) {
  return FindLocalAddress(fd).value_or(SocketAddress());
}

SocketAddress PeerAddress(int fd) {
  return AddressBy(Sys().getpeername, fd).value_or(SocketAddress());
}

}  // namespace fio::sock_internal
