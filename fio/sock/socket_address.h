// A SocketAddress is an IP address and a port, as bind(2), connect(2) and
// accept(2) take and give them.
//
// Thread safety: a value.

#ifndef FIO_SOCK_SOCKET_ADDRESS_H_
#define FIO_SOCK_SOCKET_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fio {

class SocketAddress {
 public:
  // No address: family() is AF_UNSPEC, ToString() empty.
  SocketAddress() = default;

  // `ip` is an IPv4 or IPv6 literal, never a name. Errors: kInvalidArgument.
  static absl::StatusOr<SocketAddress> FromIp(std::string_view ip,
                                              uint16_t port);

  // Copies `size` bytes of `address`. Errors: kInvalidArgument if the family is
  // neither AF_INET nor AF_INET6, or `size` too small for it.
  static absl::StatusOr<SocketAddress> FromSockaddr(const sockaddr* address,
                                                    socklen_t size);

  int family() const { return storage_.sin6_family; }
  // 0 if there is no address.
  uint16_t port() const;

  // "127.0.0.1", "::1". An IPv4 address that came as IPv6 (::ffff:1.2.3.4)
  // reads as IPv4.
  std::string ip() const;
  // "127.0.0.1:3000", "[::1]:3000".
  std::string ToString() const;

  // For system calls; valid as long as this object.
  const sockaddr* data() const {
    return reinterpret_cast<const sockaddr*>(&storage_);
  }
  socklen_t size() const;

  // Same family, address, scope and port.
  friend bool operator==(const SocketAddress& a, const SocketAddress& b);

 private:
  // Large enough for both families, which share the place of family and port.
  sockaddr_in6 storage_ = {};
};

}  // namespace fio

#endif  // FIO_SOCK_SOCKET_ADDRESS_H_
