#include "fio/sock/internal/proxy_v2.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "fio/sock/internal/proxy_common.h"
#include "fio/sock/internal/tlv_bytes.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_tlvs.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {
namespace {

// Behind the signature: version and command, family and transport, and the
// length of the block that follows.
constexpr size_t kCommandOffset = 12;
constexpr size_t kFamilyOffset = 13;
constexpr size_t kLengthOffset = 14;
constexpr size_t kMaxBlockBytes = 65535;

constexpr size_t kUnixBytes = 108;  // Of one Unix address.
static_assert(sizeof(sockaddr_un::sun_path) == kUnixBytes);
constexpr size_t kUnixNameOffset = offsetof(sockaddr_un, sun_path);

struct Family {
  int family;
  std::string_view name;
  size_t address_bytes;  // Of the two addresses, with their ports.
};
// By their numbers in version 2.
constexpr Family kFamilies[] = {
    {AF_UNSPEC, "", 0},
    {AF_INET, "IPv4", 2 * (4 + 2)},
    {AF_INET6, "IPv6", 2 * (16 + 2)},
    {AF_UNIX, "Unix", 2 * kUnixBytes},
};

// The checksum of a header whose checksum stands at `offset`, where zeros count
// instead.
uint32_t Checksum(std::string_view header, size_t offset) {
  absl::crc32c_t crc = absl::ComputeCrc32c(header.substr(0, offset));
  crc = absl::ExtendCrc32c(crc, std::string_view("\0\0\0\0", 4));
  return static_cast<uint32_t>(
      absl::ExtendCrc32c(crc, header.substr(offset + 4)));
}

// `bytes` is a sun_path, padded with zeros.
SocketAddress UnixAddress(std::string_view bytes) {
  sockaddr_un local = {};
  local.sun_family = AF_UNIX;
  // An abstract name begins with a zero byte, and its length is not told.
  bytes = bytes.substr(0, bytes.find_last_not_of('\0') + 1);
  bytes.copy(local.sun_path, bytes.size());
  return *SocketAddress::FromSockaddr(
      reinterpret_cast<const sockaddr*>(&local),
      static_cast<socklen_t>(kUnixNameOffset + bytes.size()));
}

// `block` begins with the two addresses.
void ReadAddresses(std::string_view block, int family, ProxyHeader& header) {
  if (family == AF_UNIX) {
    header.source = UnixAddress(block.substr(0, kUnixBytes));
    header.destination = UnixAddress(block.substr(kUnixBytes, kUnixBytes));
    return;
  }
  const size_t size = family == AF_INET ? 4 : 16;
  const auto port = [&](size_t offset) {
    return static_cast<uint16_t>(LoadBig<2>(block.substr(offset)));
  };
  header.source = IpAddress(family, block.data(), port(2 * size));
  header.destination =
      IpAddress(family, block.data() + size, port(2 * size + 2));
}

// Reads the TLVs of a whole header, from `offset` to its end, into
// `result.header`. Returns `result`, or what is wrong.
ProxyHeaderResult ReadTlvs(std::string_view bytes, size_t offset,
                           ProxyHeaderResult result) {
  std::optional<size_t> checksum_offset;
  std::string_view rest = bytes.substr(offset);
  while (!rest.empty()) {
    offset = bytes.size() - rest.size();
    uint8_t type = 0;
    std::string_view value;
    if (!TakeTlv(rest, type, value)) return Invalid(offset, WhyNoTlv(rest));
    if (type == ProxyTlvs::kNoop) continue;
    if (type != ProxyTlvs::kCrc32c) {
      ProxyTlvs& tlvs = result.header.tlvs;
      if (tlvs.empty()) tlvs.Reserve(bytes.size() - offset);
      const absl::Status added = tlvs.Add(type, value);
      if (!added.ok()) return Invalid(offset, added.message());
      continue;
    }
    if (checksum_offset.has_value()) {
      return Invalid(offset, "TLV 0x03 is there twice");
    }
    if (value.size() != 4) {
      return Invalid(offset, absl::StrCat("TLV 0x03 (CRC32c) has a value of ",
                                          value.size(), " bytes instead of 4"));
    }
    checksum_offset = offset + kTlvStartBytes;
  }
  if (!checksum_offset.has_value()) return result;
  const uint32_t told = LoadBig<4>(bytes.substr(*checksum_offset));
  const uint32_t computed = Checksum(bytes, *checksum_offset);
  if (told != computed) {
    return Invalid(*checksum_offset,
                   absl::StrFormat("the CRC32c says %08x, but that of the "
                                   "header is %08x",
                                   told, computed));
  }
  result.header.checksum = true;
  return result;
}

absl::Status AppendUnix(std::string& out, const SocketAddress& address) {
  const std::string_view name(
      reinterpret_cast<const char*>(address.data()) + kUnixNameOffset,
      address.size() - kUnixNameOffset);
  if (address.path().empty() && name.ends_with('\0')) {
    return CannotMake(absl::StrCat(
        address.ToString(), " ends in a zero byte, which would be padding"));
  }
  out.append(name).append(kUnixBytes - name.size(), '\0');
  return absl::OkStatus();
}

absl::Status AppendAddresses(std::string& out, const ProxyHeader& header,
                             int family) {
  if (family == AF_UNIX) {
    absl::Status status = AppendUnix(out, header.source);
    if (status.ok()) status = AppendUnix(out, header.destination);
    return status;
  }
  out.append(IpBytes(header.source, family));
  out.append(IpBytes(header.destination, family));
  AppendBig<2>(out, header.source.port());
  AppendBig<2>(out, header.destination.port());
  return absl::OkStatus();
}

}  // namespace

ProxyHeaderResult ParseV2(std::string_view bytes, size_t max_bytes) {
  if (bytes.size() <= kCommandOffset) return NeedsMore(kMinV2Bytes);
  const unsigned version = LoadBig<1>(bytes.substr(kCommandOffset)) >> 4;
  const unsigned command = LoadBig<1>(bytes.substr(kCommandOffset)) & 15;
  if (version != 2) {
    return Invalid(kCommandOffset,
                   absl::StrCat("version ", version, " instead of 2"));
  }
  if (command > 1) {
    return Invalid(kCommandOffset,
                   absl::StrCat("command ", command,
                                " is neither LOCAL (0) nor PROXY (1)"));
  }
  if (bytes.size() <= kFamilyOffset) return NeedsMore(kMinV2Bytes);
  const bool local = command == 0;
  const unsigned family = LoadBig<1>(bytes.substr(kFamilyOffset)) >> 4;
  const unsigned type = LoadBig<1>(bytes.substr(kFamilyOffset)) & 15;
  if (!local && family > 3) {
    return Invalid(kFamilyOffset, absl::StrCat("address family ", family,
                                               " is none of 0 to 3"));
  }
  if (!local && type > 2) {
    return Invalid(kFamilyOffset,
                   absl::StrCat("transport ", type, " is none of 0 to 2"));
  }
  if (bytes.size() < kMinV2Bytes) return NeedsMore(kMinV2Bytes);
  const size_t length = LoadBig<2>(bytes.substr(kLengthOffset));
  const bool has_addresses = !local && family != 0 && type != 0;
  const size_t address_bytes =
      has_addresses ? kFamilies[family].address_bytes : 0;
  if (length < address_bytes) {
    return Invalid(kLengthOffset,
                   absl::StrCat("the length is ", length, ", but two ",
                                kFamilies[family].name, " addresses have ",
                                address_bytes, " bytes"));
  }
  const size_t size = kMinV2Bytes + length;
  if (size > max_bytes) {
    return Invalid(kLengthOffset,
                   absl::StrCat("the header has ", size, " bytes, but ",
                                max_bytes, " are the most"));
  }
  if (bytes.size() < size) return NeedsMore(size);
  bytes = bytes.substr(0, size);
  ProxyHeaderResult result = Found(size, ProxyHeader::Version::kV2);
  if (local) result.header.command = ProxyHeader::Command::kLocal;
  // Nobody can say what is in the block if only one of the two is UNSPEC.
  if (local || (!has_addresses && family != type)) return result;
  if (has_addresses) {
    result.header.socket_type = static_cast<ProxyHeader::SocketType>(type);
    ReadAddresses(bytes.substr(kMinV2Bytes), kFamilies[family].family,
                  result.header);
  }
  return ReadTlvs(bytes, kMinV2Bytes + address_bytes, std::move(result));
}

absl::StatusOr<std::string> MakeV2(const ProxyHeader& header, int family) {
  const bool local = header.command == ProxyHeader::Command::kLocal;
  if (local &&
      (family != AF_UNSPEC || header.checksum || !header.tlvs.empty())) {
    return CannotMake("LOCAL has no addresses, checksum or TLVs");
  }
  const auto* found =
      std::find_if(std::begin(kFamilies), std::end(kFamilies),
                   [family](const Family& f) { return f.family == family; });
  const auto number = static_cast<uint32_t>(found - kFamilies);
  const size_t length = found->address_bytes +
                        (header.checksum ? kTlvStartBytes + 4 : 0) +
                        header.tlvs.bytes().size();
  if (length > kMaxBlockBytes) {
    return CannotMake(absl::StrCat("it would have ", kMinV2Bytes + length,
                                   " bytes, but 65551 are the most"));
  }
  std::string out;
  out.reserve(kMinV2Bytes + length);
  out.append(kV2Start);
  AppendBig<1>(out, 2 << 4 | static_cast<uint32_t>(header.command));
  AppendBig<1>(out, number == 0 ? 0
                                : number << 4 | static_cast<uint32_t>(
                                                    header.socket_type));
  AppendBig<2>(out, static_cast<uint32_t>(length));
  if (family != AF_UNSPEC) {
    absl::Status status = AppendAddresses(out, header, family);
    if (!status.ok()) return status;
  }
  const size_t checksum_offset = out.size() + kTlvStartBytes;
  if (header.checksum) {
    AppendTlv(out, ProxyTlvs::kCrc32c, std::string_view("\0\0\0\0", 4));
  }
  out.append(header.tlvs.bytes());
  if (header.checksum) {
    std::string checksum;
    AppendBig<4>(checksum, Checksum(out, checksum_offset));
    out.replace(checksum_offset, checksum.size(), checksum);
  }
  return out;
}

}  // namespace fio::sock_internal
