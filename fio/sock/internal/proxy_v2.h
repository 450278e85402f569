// Parses and makes the header of version 2.

#ifndef FIO_SOCK_INTERNAL_PROXY_V2_H_
#define FIO_SOCK_INTERNAL_PROXY_V2_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fio/sock/proxy_header.h"

namespace fio::sock_internal {

// The signature, and the size of the shortest header.
inline constexpr std::string_view kV2Start("\r\n\r\n\0\r\nQUIT\n", 12);
inline constexpr size_t kMinV2Bytes = 16;

// REQUIRES: `bytes` begins with kV2Start.
ProxyHeaderResult ParseV2(std::string_view bytes, size_t max_bytes);

// `family` is that in which both addresses can be written.
absl::StatusOr<std::string> MakeV2(const ProxyHeader& header, int family);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_PROXY_V2_H_
