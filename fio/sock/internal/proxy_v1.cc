#include "fio/sock/internal/proxy_v1.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "fio/sock/internal/proxy_common.h"
#include "fio/sock/internal/tlv_bytes.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {
namespace {

constexpr size_t kMaxV1Bytes = ProxyHeaderOptions::kMaxV1Bytes;
constexpr std::string_view kV1Words[] = {"TCP4", "TCP6", "UNKNOWN"};

// `ip` receives 4 or 16 bytes.
bool ParseIp(std::string_view text, int family, char* ip) {
  char copy[INET6_ADDRSTRLEN];
  // What follows a zero byte, inet_pton() would not see.
  if (text.size() >= sizeof(copy) || absl::StrContains(text, '\0')) {
    return false;
  }
  copy[text.copy(copy, text.size())] = '\0';
  return inet_pton(family, copy, ip) == 1;
}

bool ParsePort(std::string_view text, uint16_t& port) {
  uint32_t number;
  if (text.size() > 5 || (text.size() > 1 && text.front() == '0') ||
      !std::all_of(text.begin(), text.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &number) || number > 65535) {
    return false;
  }
  port = static_cast<uint16_t>(number);
  return true;
}

// Reads the four fields of `line`, which has no CRLF; the first one begins
// behind the space at `offset`.
ProxyHeaderResult ParseV1Fields(std::string_view line, size_t offset,
                                int family) {
  constexpr std::string_view kNames[] = {"source address",
                                         "destination address", "source port",
                                         "destination port"};
  char ip[2][sizeof(in6_addr)] = {};
  uint16_t port[2] = {};
  for (size_t i = 0; i < 4; ++i) {
    if (offset < line.size()) ++offset;  // The space.
    const std::string_view field =
        line.substr(offset, line.find(' ', offset) - offset);
    const auto wrong = [&](std::string_view what) {
      return Invalid(
          offset, absl::StrCat("the ", kNames[i], " '", absl::CHexEscape(field),
                               "' is no ", what));
    };
    if (field.empty()) {
      return Invalid(offset, absl::StrCat("the ", kNames[i], " is missing"));
    }
    if (i < 2 && !ParseIp(field, family, ip[i])) {
      return wrong(family == AF_INET ? "IPv4 address" : "IPv6 address");
    }
    if (i >= 2 && !ParsePort(field, port[i - 2])) {
      return wrong("number from 0 to 65535 without leading zeros");
    }
    offset += field.size();
  }
  if (offset < line.size()) {
    return Invalid(offset, "the line goes on behind the destination port");
  }
  ProxyHeaderResult result = Found(line.size() + 2, ProxyHeader::Version::kV1);
  result.header.source = IpAddress(family, ip[0], port[0]);
  result.header.destination = IpAddress(family, ip[1], port[1]);
  return result;
}

// As the specification has them: four hexadecimal digits between two colons,
// and not the dots that inet_ntop() writes for ::ffff:192.0.2.7.
std::string V1Ip(const SocketAddress& address, int family) {
  const std::string ip = IpBytes(address, family);
  char text[INET6_ADDRSTRLEN];
  inet_ntop(family, ip.data(), text, sizeof(text));
  std::string result = text;
  if (family == AF_INET6 && absl::StrContains(result, '.')) {
    const std::string_view last = std::string_view{ip}.substr(12);
    result.resize(result.rfind(':') + 1);
    absl::StrAppendFormat(&result, "%x:%x", LoadBig<2>(last),
                          LoadBig<2>(last.substr(2)));
  }
  return result;
}

}  // namespace

ProxyHeaderResult ParseV1(std::string_view bytes) {
  const std::string_view text = bytes.substr(kV1Start.size());
  std::string_view word;
  size_t fits = 0;
  for (const std::string_view candidate : kV1Words) {
    const size_t same = CommonPrefix(text, candidate);
    fits = std::max(fits, same);
    if (same == candidate.size()) word = candidate;
  }
  const size_t word_end = kV1Start.size() + fits;
  if (word_end < bytes.size() &&
      (word.empty() || (bytes[word_end] != ' ' && bytes[word_end] != '\r'))) {
    return Invalid(word_end, "the protocol is none of TCP4, TCP6, UNKNOWN");
  }
  // As far as the CR can be.
  const std::string_view line = bytes.substr(0, kMaxV1Bytes - 1);
  const size_t end = line.find_first_of("\r\n", word_end);
  if (end == std::string_view::npos) {
    if (line.size() == kMaxV1Bytes - 1) {
      return Invalid(line.size(), "the line has no CRLF in its 107 bytes");
    }
    return NeedsMore(std::max(kMinV1Bytes, bytes.size() + 2));
  }
  if (line[end] == '\n') return Invalid(end, "LF without CR before it");
  if (end + 1 == bytes.size()) return NeedsMore(end + 2);
  if (bytes[end + 1] != '\n') return Invalid(end, "CR without LF behind it");
  if (word == "UNKNOWN") return Found(end + 2, ProxyHeader::Version::kV1);
  return ParseV1Fields(line.substr(0, end), word_end,
                       word == "TCP4" ? AF_INET : AF_INET6);
}

absl::StatusOr<std::string> MakeV1(const ProxyHeader& header, int family) {
  std::string_view what;
  if (header.command == ProxyHeader::Command::kLocal) what = "LOCAL";
  if (family == AF_UNIX) what = "Unix addresses";
  if (header.checksum) what = "a checksum";
  if (!header.tlvs.empty()) what = "TLVs";
  if (family != AF_UNSPEC &&
      header.socket_type != ProxyHeader::SocketType::kStream) {
    what = "a datagram";
  }
  if (!what.empty()) {
    return CannotMake(absl::StrCat("version 1 cannot say ", what));
  }
  if (family == AF_UNSPEC) return "PROXY UNKNOWN\r\n";
  return absl::StrCat(
      kV1Start, family == AF_INET ? "TCP4 " : "TCP6 ",
      V1Ip(header.source, family), " ", V1Ip(header.destination, family), " ",
      header.source.port(), " ", header.destination.port(), "\r\n");
}

}  // namespace fio::sock_internal
