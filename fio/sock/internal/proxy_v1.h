// Parses and makes the header of version 1.

#ifndef FIO_SOCK_INTERNAL_PROXY_V1_H_
#define FIO_SOCK_INTERNAL_PROXY_V1_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fio/sock/proxy_header.h"

namespace fio::sock_internal {

// What every header of version 1 begins with, and the size of the shortest.
inline constexpr std::string_view kV1Start = "PROXY ";
inline constexpr size_t kMinV1Bytes = 15;

// REQUIRES: `bytes` begins with kV1Start.
ProxyHeaderResult ParseV1(std::string_view bytes);

// `family` is that in which both addresses can be written.
absl::StatusOr<std::string> MakeV1(const ProxyHeader& header, int family);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_PROXY_V1_H_
