#include "fio/sock/address_range.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

constexpr std::string_view kUnix = "unix:";

// The bytes of an IP address, the most significant first.
absl::Span<const uint8_t> BytesOf(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    const auto& ipv4 = *reinterpret_cast<const sockaddr_in*>(address.data());
    return {reinterpret_cast<const uint8_t*>(&ipv4.sin_addr),
            sizeof(ipv4.sin_addr)};
  }
  if (address.family() == AF_INET6) {
    const auto& ipv6 = *reinterpret_cast<const sockaddr_in6*>(address.data());
    return {reinterpret_cast<const uint8_t*>(&ipv6.sin6_addr),
            sizeof(ipv6.sin6_addr)};
  }
  return {};
}

int BitsOf(const SocketAddress& address) {
  return static_cast<int>(BytesOf(address).size() * 8);
}

uint8_t MaskOf(int bits) {
  return static_cast<uint8_t>(bits >= 8 ? 0xff : 0xff << (8 - bits));
}

// Whether nothing but the first `bits` bits is set.
bool IsFirst(const SocketAddress& address, int bits) {
  for (const uint8_t byte : BytesOf(address)) {
    const uint8_t mask = bits <= 0 ? 0 : MaskOf(bits);
    if ((byte & ~mask) != 0) return false;
    bits -= 8;
  }
  return true;
}

bool ParseBits(std::string_view text, int longest, int& bits) {
  return !text.empty() && text.size() <= 3 &&
         absl::ascii_isdigit(static_cast<unsigned char>(text.front())) &&
         absl::SimpleAtoi(text, &bits) && bits <= longest;
}

absl::Status NoRange(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", absl::CHexEscape(text.substr(0, 64)),
                   "' is no range of addresses: ", why));
}

}  // namespace

absl::StatusOr<AddressRange> AddressRange::Parse(std::string_view text) {
  AddressRange range;
  if (text == kUnix) {
    range.first_ = *SocketAddress::Parse(kUnix);
    return range;
  }
  const size_t slash = text.find('/');
  const std::string_view ip = text.substr(0, slash);
  const absl::StatusOr<SocketAddress> first = SocketAddress::FromIp(ip, 0);
  if (!first.ok() || absl::StrContains(ip, '%')) {
    return NoRange(text, "one looks like 10.0.0.0/8, fd00::/8 or unix:");
  }
  if (first->family() == AF_INET && absl::StrContains(ip, ':')) {
    return NoRange(text, "an IPv4 address is written as one");
  }
  range.first_ = *first;
  range.bits_ = BitsOf(*first);
  if (slash != std::string_view::npos &&
      !ParseBits(text.substr(slash + 1), BitsOf(*first), range.bits_)) {
    return NoRange(
        text, absl::StrCat("the length behind '/' is 0 to ", BitsOf(*first)));
  }
  if (!IsFirst(*first, range.bits_)) {
    return NoRange(text, "bits behind its length are set");
  }
  return range;
}

bool AddressRange::Contains(const SocketAddress& address) const {
  if (address.size() == 0 || address.family() != first_.family()) return false;
  const absl::Span<const uint8_t> bytes = BytesOf(address);
  const absl::Span<const uint8_t> first = BytesOf(first_);
  int bits = bits_;
  for (size_t i = 0; i < bytes.size() && bits > 0; ++i, bits -= 8) {
    if (((bytes[i] ^ first[i]) & MaskOf(bits)) != 0) return false;
  }
  return true;
}

std::string AddressRange::ToString() const {
  if (first_.family() == AF_UNIX) return std::string(kUnix);
  return bits_ == BitsOf(first_) ? first_.ip()
                                 : absl::StrCat(first_.ip(), "/", bits_);
}

}  // namespace fio
