// PROXY headers as bytes, made without the code under test.

#ifndef FIO_SOCK_PROXY_HEADER_TEST_UTIL_H_
#define FIO_SOCK_PROXY_HEADER_TEST_UTIL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "fio/sock/proxy_header.h"

namespace fio {

// Parses a copy that ends where its memory ends, so that ASan tells of a read
// beyond it.
inline ProxyHeaderResult ParseCopy(std::string_view bytes,
                                   const ProxyHeaderOptions& options = {}) {
  const std::unique_ptr<char[]> copy(new char[bytes.size()]);
  bytes.copy(copy.get(), bytes.size());
  return ParseProxyHeader({copy.get(), bytes.size()}, options);
}

inline std::string Big16(size_t number) {
  return {static_cast<char>(number >> 8), static_cast<char>(number)};
}

inline std::string Tlv(uint8_t type, std::string_view value) {
  return absl::StrCat(std::string(1, static_cast<char>(type)),
                      Big16(value.size()), value);
}

// A header of version 2: the byte of version and command, that of family and
// transport, and what follows the length.
inline std::string V2(uint8_t command, uint8_t family, std::string_view block) {
  std::string bytes("\r\n\r\n\0\r\nQUIT\n", 12);
  bytes.push_back(static_cast<char>(command));
  bytes.push_back(static_cast<char>(family));
  return absl::StrCat(bytes, Big16(block.size()), block);
}

// From 192.0.2.7:56324 to 198.51.100.1:443.
inline std::string Ipv4Block() {
  return std::string("\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb", 12);
}

// From [2001:db8::7]:56324 to [2001:db8::1]:443.
inline std::string Ipv6Block() {
  const std::string start =
      std::string("\x20\x01\x0d\xb8") + std::string(11, '\0');
  return start + "\x07" + start + "\x01" + "\xdc\x04\x01\xbb";
}

// The names of two Unix sockets, as in sun_path.
inline std::string UnixBlock(std::string source, std::string destination) {
  source.resize(108);
  destination.resize(108);
  return source + destination;
}

inline uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffff;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int i = 0; i < 8; ++i) {
      crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
    }
  }
  return ~crc;
}

// Puts the checksum of the whole header at `offset`, where four zeros are.
inline std::string WithCrc32c(std::string header, size_t offset) {
  const uint32_t crc = Crc32c(header);
  return header.replace(offset, 4,
                        absl::StrCat(Big16(crc >> 16), Big16(crc & 0xffff)));
}

// An IPv4 header with each registered TLV and one that is not.
inline std::string FullHeader() {
  const std::string ssl =
      absl::StrCat(std::string("\x07\0\0\0\0", 5), Tlv(0x21, "TLSv1.3"),
                   Tlv(0x22, "client.example"), Tlv(0x23, "AES128-SHA256"),
                   Tlv(0x24, "SHA256"), Tlv(0x25, "RSA2048"));
  const std::string block = absl::StrCat(
      Ipv4Block(), Tlv(0x03, std::string(4, '\0')), Tlv(0x01, "h2"),
      Tlv(0x02, "www.example"), Tlv(0x05, "id-7"), Tlv(0x20, ssl),
      Tlv(0x30, "ns1"), Tlv(0xe0, std::string("a\0b", 3)));
  return WithCrc32c(V2(0x21, 0x11, block), 16 + 12 + 3);
}

}  // namespace fio

#endif  // FIO_SOCK_PROXY_HEADER_TEST_UTIL_H_
