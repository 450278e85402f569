#include "fio/sock/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace fio {
namespace {

socklen_t SizeOf(int family) {
  if (family == AF_INET) return sizeof(sockaddr_in);
  if (family == AF_INET6) return sizeof(sockaddr_in6);
  return 0;
}

sockaddr_in AsIpv4(const sockaddr_in6& storage) {
  sockaddr_in ipv4;
  std::memcpy(&ipv4, &storage, sizeof(ipv4));
  return ipv4;
}

}  // namespace

absl::StatusOr<SocketAddress> SocketAddress::FromIp(std::string_view ip,
                                                    uint16_t port) {
  const std::string text(ip);
  sockaddr_in ipv4 = {};
  if (inet_pton(AF_INET, text.c_str(), &ipv4.sin_addr) == 1) {
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(port);
    return FromSockaddr(reinterpret_cast<const sockaddr*>(&ipv4), sizeof(ipv4));
  }
  sockaddr_in6 ipv6 = {};
  if (inet_pton(AF_INET6, text.c_str(), &ipv6.sin6_addr) == 1) {
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = htons(port);
    return FromSockaddr(reinterpret_cast<const sockaddr*>(&ipv6), sizeof(ipv6));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", absl::CHexEscape(ip.substr(0, 100)), "' is no IP address"));
}

absl::StatusOr<SocketAddress> SocketAddress::FromSockaddr(
    const sockaddr* address, socklen_t size) {
  const int family =
      size >= sizeof(sa_family_t) ? address->sa_family : AF_UNSPEC;
  if (SizeOf(family) == 0 || size < SizeOf(family)) {
    return absl::InvalidArgumentError(absl::StrCat("an address of family ",
                                                   family, " and ", size,
                                                   " bytes is no IP address"));
  }
  SocketAddress result;
  std::memcpy(&result.storage_, address, SizeOf(family));
  return result;
}

uint16_t SocketAddress::port() const {
  return size() == 0 ? 0 : ntohs(storage_.sin6_port);
}

socklen_t SocketAddress::size() const { return SizeOf(family()); }

std::string SocketAddress::ip() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    const sockaddr_in ipv4 = AsIpv4(storage_);
    inet_ntop(AF_INET, &ipv4.sin_addr, text, sizeof(text));
  } else if (family() == AF_INET6) {
    const in6_addr& ipv6 = storage_.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&ipv6)) {
      inet_ntop(AF_INET, ipv6.s6_addr + 12, text, sizeof(text));
    } else {
      inet_ntop(AF_INET6, &ipv6, text, sizeof(text));
    }
  }
  return text;
}

std::string SocketAddress::ToString() const {
  if (size() == 0) return "";
  const std::string address = ip();
  if (!absl::StrContains(address, ':')) {
    return absl::StrCat(address, ":", port());
  }
  return absl::StrCat("[", address, "]:", port());
}

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  if (a.family() != b.family() || a.port() != b.port()) return false;
  if (a.family() == AF_INET) {
    return AsIpv4(a.storage_).sin_addr.s_addr ==
           AsIpv4(b.storage_).sin_addr.s_addr;
  }
  return a.storage_.sin6_scope_id == b.storage_.sin6_scope_id &&
         std::memcmp(&a.storage_.sin6_addr, &b.storage_.sin6_addr,
                     sizeof(in6_addr)) == 0;
}

}  // namespace fio
