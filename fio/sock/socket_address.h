// A SocketAddress is where a socket is bound or connected: an IP address and a
// port, or the name of a Unix socket. It is what bind(2), connect(2) and
// accept(2) take and give.
//
// Each address has one text form, which ToString() writes and Parse() reads:
//
//   127.0.0.1:80    [::1]:80    [fe80::1%2]:80 (2 is the interface's index)
//   /run/x.sock     unix:x.sock (a relative path)     @name (abstract)
//   unix:           a Unix socket without a name, as most clients are
//
// In Unix names, bytes that are not printable ASCII are escaped as in C ("\n",
// "\x00").
//
// An IPv4 address mapped into IPv6 (::ffff:1.2.3.4), as a dual-stack socket
// reports its IPv4 peers, is converted to the IPv4 address. So a peer has one
// address on both kinds of socket. Linux accepts it on both.
//
// Its size is 116 bytes; it allocates nothing.
//
// Thread safety: as an int.

#ifndef FIO_SOCK_SOCKET_ADDRESS_H_
#define FIO_SOCK_SOCKET_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace fio {

class SocketAddress {
 public:
  // No address: family() is AF_UNSPEC, ToString() empty.
  SocketAddress() = default;

  // Accepts exactly what ToString() returns for an address. Errors:
  // kInvalidArgument.
  static absl::StatusOr<SocketAddress> Parse(std::string_view text);

  // `ip` is an IPv4 or IPv6 literal, never a name; an IPv6 one may have a
  // scope: "%" and the interface's index. Errors: kInvalidArgument.
  static absl::StatusOr<SocketAddress> FromIp(std::string_view ip,
                                              uint16_t port);

  // `path` may be relative to the working directory of the process that uses
  // it. Errors: kInvalidArgument if it is empty, has a zero byte, or is longer
  // than the 108 bytes that sockaddr_un holds ("File name too long").
  static absl::StatusOr<SocketAddress> FromUnixPath(std::string_view path);

  // In Linux's abstract namespace: up to 107 bytes of any value. Errors:
  // kInvalidArgument if it is longer ("File name too long").
  static absl::StatusOr<SocketAddress> FromUnixAbstract(std::string_view name);

  // Copies `size` bytes of `address`. Errors: kInvalidArgument if the family is
  // not AF_INET, AF_INET6 or AF_UNIX, or the size is wrong for the family.
  static absl::StatusOr<SocketAddress> FromSockaddr(const sockaddr* address,
                                                    socklen_t size);

  int family() const { return storage_.base.sa_family; }

  // 0 if there is none.
  uint16_t port() const;
  // "127.0.0.1", "::1", "fe80::1%2"; empty for a Unix socket.
  std::string ip() const;
  // The path of a Unix socket; empty if it has none. Valid as long as this
  // object.
  std::string_view path() const;

  // The text form described above.
  std::string ToString() const;

  // As ToString(), for absl::StrCat(), absl::StrFormat("%v") and logging. It
  // has no scheme: an address is the same for TCP and UDP.
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const SocketAddress& address) {
    sink.Append(address.ToString());
  }

  // For system calls; valid as long as this object.
  const sockaddr* data() const { return &storage_.base; }
  socklen_t size() const { return size_; }

  // Whether family, address, port and scope are equal, or family and name.
  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.bytes() == b.bytes();
  }
  template <typename H>
  friend H AbslHashValue(H state, const SocketAddress& address) {
    return H::combine(std::move(state), address.bytes());
  }

 private:
  // Unused bytes are zero, so that equal addresses have equal bytes. The
  // largest member comes first, because {} initializes the first one.
  union Storage {
    sockaddr_un local;
    sockaddr_in6 ipv6;
    sockaddr_in ipv4;
    sockaddr base;
  };

  static SocketAddress FromIpv4(in_addr address, uint16_t port);
  static SocketAddress FromIpv6(const in6_addr& address, uint16_t port,
                                uint32_t scope);
  static SocketAddress FromUnixName(std::string_view name);

  std::string_view bytes() const {
    return {reinterpret_cast<const char*>(&storage_), size_};
  }
  // The bytes of sun_path that belong to the name.
  std::string_view unix_name() const;

  Storage storage_ = {};
  socklen_t size_ = 0;
};

}  // namespace fio

#endif  // FIO_SOCK_SOCKET_ADDRESS_H_
