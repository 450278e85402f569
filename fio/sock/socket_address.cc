#include "fio/sock/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "fio/base/errno_status.h"

namespace fio {
namespace {

constexpr size_t kUnixNameOffset = offsetof(sockaddr_un, sun_path);
constexpr size_t kMaxUnixName = sizeof(sockaddr_un::sun_path);

std::string Quoted(std::string_view text) {
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, 300)), "'");
}

absl::Status TooLong(std::string_view what, std::string_view name) {
  return ErrnoToStatus(ENAMETOOLONG, absl::StrCat(what, " ", Quoted(name)));
}

absl::Status NoAddress(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text), " is no socket address"));
}

bool ParseDecimal(std::string_view digits, uint32_t& number) {
  return std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(digits, &number);
}

// Takes more spellings than ToString() has.
absl::StatusOr<SocketAddress> ParseAnySpelling(std::string_view text) {
  if (text == "unix:") {
    const sockaddr unnamed = {.sa_family = AF_UNIX, .sa_data = {}};
    return SocketAddress::FromSockaddr(&unnamed, kUnixNameOffset);
  }
  std::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:") || rest.starts_with('/')) {
    std::string path;
    if (!absl::CUnescape(rest, &path)) return NoAddress(text);
    return SocketAddress::FromUnixPath(path);
  }
  if (absl::ConsumePrefix(&rest, "@")) {
    std::string name;
    if (!absl::CUnescape(rest, &name)) return NoAddress(text);
    return SocketAddress::FromUnixAbstract(name);
  }
  const size_t colon = rest.rfind(':');
  uint32_t port = 0;
  if (colon == std::string_view::npos ||
      !ParseDecimal(rest.substr(colon + 1), port)) {
    return NoAddress(text);
  }
  std::string_view ip = rest.substr(0, colon);
  if (absl::ConsumePrefix(&ip, "[")) absl::ConsumeSuffix(&ip, "]");
  return SocketAddress::FromIp(ip, static_cast<uint16_t>(port));
}

}  // namespace

absl::StatusOr<SocketAddress> SocketAddress::Parse(std::string_view text) {
  absl::StatusOr<SocketAddress> address = ParseAnySpelling(text);
  if (address.ok() && address->ToString() != text) return NoAddress(text);
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::FromIp(std::string_view ip,
                                                    uint16_t port) {
  const size_t percent = std::min(ip.find('%'), ip.size());
  uint32_t scope = 0;
  const bool has_scope =
      percent < ip.size() && ParseDecimal(ip.substr(percent + 1), scope);
  const std::string address(ip.substr(0, has_scope ? percent : ip.size()));
  in_addr ipv4;
  in6_addr ipv6;
  // What follows a zero byte, inet_pton() would not see.
  if (!absl::StrContains(address, '\0')) {
    if (!has_scope && inet_pton(AF_INET, address.c_str(), &ipv4) == 1) {
      return FromIpv4(ipv4, port);
    }
    if (inet_pton(AF_INET6, address.c_str(), &ipv6) == 1) {
      return FromIpv6(ipv6, port, scope);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(ip), " is no IP address"));
}

absl::StatusOr<SocketAddress> SocketAddress::FromUnixPath(
    std::string_view path) {
  if (path.empty() || absl::StrContains(path, '\0')) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(path), " is no path of a Unix socket"));
  }
  if (path.size() > kMaxUnixName) return TooLong("unix path", path);
  return FromUnixName(path);
}

absl::StatusOr<SocketAddress> SocketAddress::FromUnixAbstract(
    std::string_view name) {
  if (name.size() >= kMaxUnixName) return TooLong("abstract unix name", name);
  return FromUnixName(absl::StrCat(std::string_view("\0", 1), name));
}

absl::StatusOr<SocketAddress> SocketAddress::FromSockaddr(
    const sockaddr* address, socklen_t size) {
  Storage copy = {};
  if (size >= sizeof(sa_family_t)) {
    std::memcpy(&copy, address, std::min(size_t{size}, sizeof(copy)));
  }
  const sa_family_t family = copy.base.sa_family;
  if (family == AF_INET && size >= sizeof(sockaddr_in)) {
    return FromIpv4(copy.ipv4.sin_addr, ntohs(copy.ipv4.sin_port));
  }
  if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    return FromIpv6(copy.ipv6.sin6_addr, ntohs(copy.ipv6.sin6_port),
                    copy.ipv6.sin6_scope_id);
  }
  // Linux counts a zero byte after a path that fills sun_path; see unix(7).
  if (family == AF_UNIX && size >= kUnixNameOffset &&
      size <= sizeof(sockaddr_un) + 1) {
    const size_t name_size = std::min(size - kUnixNameOffset, kMaxUnixName);
    const std::string_view name(copy.local.sun_path, name_size);
    const bool abstract = name.starts_with('\0');
    return FromUnixName(abstract ? name : name.substr(0, name.find('\0')));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("an address of family ", family, " and ", size,
                   " bytes is neither of IP nor of Unix"));
}

SocketAddress SocketAddress::FromIpv4(in_addr address, uint16_t port) {
  SocketAddress result;
  result.storage_.ipv4.sin_family = AF_INET;
  result.storage_.ipv4.sin_addr = address;
  result.storage_.ipv4.sin_port = htons(port);
  result.size_ = sizeof(sockaddr_in);
  return result;
}

SocketAddress SocketAddress::FromIpv6(const in6_addr& address, uint16_t port,
                                      uint32_t scope) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    in_addr ipv4;
    std::memcpy(&ipv4, &address.s6_addr[12], sizeof(ipv4));
    return FromIpv4(ipv4, port);
  }
  SocketAddress result;
  result.storage_.ipv6.sin6_family = AF_INET6;
  result.storage_.ipv6.sin6_addr = address;
  result.storage_.ipv6.sin6_port = htons(port);
  result.storage_.ipv6.sin6_scope_id = scope;
  result.size_ = sizeof(sockaddr_in6);
  return result;
}

SocketAddress SocketAddress::FromUnixName(std::string_view name) {
  SocketAddress result;
  sockaddr_un& local = result.storage_.local;
  local.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), local.sun_path);
  // A path has a zero byte behind it if there is room.
  const bool path = !name.empty() && name.front() != '\0';
  result.size_ = static_cast<socklen_t>(
      std::min(kUnixNameOffset + name.size() + (path ? 1 : 0), sizeof(local)));
  return result;
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(storage_.ipv4.sin_port);
  if (family() == AF_INET6) return ntohs(storage_.ipv6.sin6_port);
  return 0;
}

std::string SocketAddress::ip() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    inet_ntop(AF_INET, &storage_.ipv4.sin_addr, text, sizeof(text));
  } else if (family() == AF_INET6) {
    inet_ntop(AF_INET6, &storage_.ipv6.sin6_addr, text, sizeof(text));
    if (storage_.ipv6.sin6_scope_id != 0) {
      return absl::StrCat(text, "%", storage_.ipv6.sin6_scope_id);
    }
  }
  return text;
}

std::string_view SocketAddress::unix_name() const {
  if (family() != AF_UNIX) return {};
  return {storage_.local.sun_path, size_ - kUnixNameOffset};
}

std::string_view SocketAddress::path() const {
  const std::string_view name = unix_name();
  return name.substr(0, name.find('\0'));
}

std::string SocketAddress::ToString() const {
  switch (family()) {
    case AF_INET:
      return absl::StrCat(ip(), ":", port());
    case AF_INET6:
      return absl::StrCat("[", ip(), "]:", port());
    case AF_UNIX:
      break;
    default:
      return "";
  }
  const std::string_view name = unix_name();
  if (name.starts_with('\0')) {
    return absl::StrCat("@", absl::CHexEscape(name.substr(1)));
  }
  return absl::StrCat(name.starts_with('/') ? "" : "unix:",
                      absl::CHexEscape(path()));
}

}  // namespace fio
