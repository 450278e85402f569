#include "fio/sock/proxy_header.h"

#include <sys/socket.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/internal/proxy_common.h"
#include "fio/sock/internal/proxy_v1.h"
#include "fio/sock/internal/proxy_v2.h"

namespace fio {
namespace {

using sock_internal::CannotMake;
using sock_internal::CommonPrefix;
using sock_internal::Invalid;
using sock_internal::kMinV1Bytes;
using sock_internal::kMinV2Bytes;
using sock_internal::kV1Start;
using sock_internal::kV2Start;
using sock_internal::MakeV1;
using sock_internal::MakeV2;
using sock_internal::NeedsMore;
using sock_internal::ParseV1;
using sock_internal::ParseV2;

using Versions = ProxyHeaderOptions::Versions;

bool IsIp(int family) { return family == AF_INET || family == AF_INET6; }

}  // namespace

ProxyHeaderResult ParseProxyHeader(std::string_view bytes,
                                   const ProxyHeaderOptions& options) {
  const bool v2 = bytes.empty() ? options.versions == Versions::kV2
                                : bytes.front() == kV2Start.front();
  const std::string_view start = v2 ? kV2Start : kV1Start;
  const size_t same = CommonPrefix(bytes, start);
  if (same < start.size()) {
    if (same == bytes.size()) {
      return NeedsMore(v2 ? kMinV2Bytes : kMinV1Bytes);
    }
    return Invalid(same, "no PROXY header begins like this");
  }
  if (options.versions == (v2 ? Versions::kV1 : Versions::kV2)) {
    return Invalid(0, v2 ? "version 2, but only version 1 is accepted"
                         : "version 1, but only version 2 is accepted");
  }
  return v2 ? ParseV2(bytes, options.max_v2_bytes) : ParseV1(bytes);
}

absl::StatusOr<std::string> MakeProxyHeader(const ProxyHeader& header) {
  const int source = header.source.family();
  const int destination = header.destination.family();
  if (source != destination && !(IsIp(source) && IsIp(destination))) {
    return CannotMake(absl::StrCat(
        "source '", header.source.ToString(), "' and destination '",
        header.destination.ToString(), "' are of different kinds"));
  }
  // IPv4 addresses can be written as IPv6 ones, not the other way.
  const int family = source == destination ? source : AF_INET6;
  return header.version == ProxyHeader::Version::kV1 ? MakeV1(header, family)
                                                     : MakeV2(header, family);
}

}  // namespace fio
