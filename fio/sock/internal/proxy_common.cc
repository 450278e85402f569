#include "fio/sock/internal/proxy_common.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

ProxyHeaderResult NeedsMore(size_t at_least) {
  ProxyHeaderResult result;
  result.bytes = at_least;
  return result;
}

ProxyHeaderResult Invalid(size_t offset, std::string_view what) {
  ProxyHeaderResult result;
  result.kind = ProxyHeaderResult::Kind::kInvalid;
  result.error = absl::InvalidArgumentError(
      absl::StrCat("PROXY header, byte ", offset, ": ", what));
  return result;
}

ProxyHeaderResult Found(size_t bytes, ProxyHeader::Version version) {
  ProxyHeaderResult result;
  result.kind = ProxyHeaderResult::Kind::kHeader;
  result.bytes = bytes;
  result.header.version = version;
  return result;
}

absl::Status CannotMake(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("PROXY header: ", what));
}

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + most, b.begin()).first -
         a.begin();
}

SocketAddress IpAddress(int family, const char* ip, uint16_t port) {
  if (family == AF_INET) {
    sockaddr_in ipv4 = {};
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(port);
    std::memcpy(&ipv4.sin_addr, ip, sizeof(ipv4.sin_addr));
    return *SocketAddress::FromSockaddr(
        reinterpret_cast<const sockaddr*>(&ipv4), sizeof(ipv4));
  }
  sockaddr_in6 ipv6 = {};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(port);
  std::memcpy(&ipv6.sin6_addr, ip, sizeof(ipv6.sin6_addr));
  return *SocketAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&ipv6),
                                      sizeof(ipv6));
}

std::string IpBytes(const SocketAddress& address, int family) {
  if (address.family() == AF_INET6) {
    sockaddr_in6 ipv6;
    std::memcpy(&ipv6, address.data(), sizeof(ipv6));
    return {reinterpret_cast<const char*>(&ipv6.sin6_addr), 16};
  }
  sockaddr_in ipv4;
  std::memcpy(&ipv4, address.data(), sizeof(ipv4));
  std::string bytes;
  if (family == AF_INET6) bytes.append(10, '\0').append(2, '\xff');
  return bytes.append(reinterpret_cast<const char*>(&ipv4.sin_addr), 4);
}

}  // namespace fio::sock_internal
