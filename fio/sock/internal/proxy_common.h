// What proxy_v1.cc and proxy_v2.cc share.

#ifndef FIO_SOCK_INTERNAL_PROXY_COMMON_H_
#define FIO_SOCK_INTERNAL_PROXY_COMMON_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

// The three answers of ParseProxyHeader().
ProxyHeaderResult NeedsMore(size_t at_least);
ProxyHeaderResult Invalid(size_t offset, std::string_view what);
ProxyHeaderResult Found(size_t bytes, ProxyHeader::Version version);

// An error of MakeProxyHeader().
absl::Status CannotMake(std::string_view what);

// How many bytes both begin with.
size_t CommonPrefix(std::string_view a, std::string_view b);

// `ip` is 4 bytes for AF_INET, or 16 for AF_INET6.
SocketAddress IpAddress(int family, const char* ip, uint16_t port);

// The 4 or 16 bytes of an IP address as `family` has it: an IPv4 address among
// IPv6 ones is a mapped one. REQUIRES: no IPv6 address for AF_INET.
std::string IpBytes(const SocketAddress& address, int family);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_PROXY_COMMON_H_
