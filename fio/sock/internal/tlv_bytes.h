// How a PROXY header of version 2 lays out its TLVs: one byte of type, two
// bytes of length (the high one first), and the value.

#ifndef FIO_SOCK_INTERNAL_TLV_BYTES_H_
#define FIO_SOCK_INTERNAL_TLV_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fio::sock_internal {

// Of the type and the length.
inline constexpr size_t kTlvStartBytes = 3;
inline constexpr size_t kMaxTlvValueBytes = 65535;

// The unsigned number of the first `Bytes` bytes, the high one first. REQUIRES:
// `bytes` has so many.
template <size_t Bytes>
uint32_t LoadBig(std::string_view bytes) {
  uint32_t number = 0;
  for (size_t i = 0; i < Bytes; ++i) {
    number = number << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return number;
}

// Appends the low `Bytes` bytes of `number`, the high one first.
template <size_t Bytes>
void AppendBig(std::string& out, uint32_t number) {
  for (size_t i = Bytes; i > 0; --i) {
    out.push_back(static_cast<char>(number >> (i - 1) * 8));
  }
}

// Takes the first TLV off `rest`. False, and `rest` unchanged, if `rest` ends
// before that TLV does.
inline bool TakeTlv(std::string_view& rest, uint8_t& type,
                    std::string_view& value) {
  if (rest.size() < kTlvStartBytes) return false;
  const size_t size = LoadBig<2>(rest.substr(1));
  if (rest.size() - kTlvStartBytes < size) return false;
  type = static_cast<uint8_t>(rest.front());
  value = rest.substr(kTlvStartBytes, size);
  rest.remove_prefix(kTlvStartBytes + size);
  return true;
}

// REQUIRES: `value` has at most kMaxTlvValueBytes.
inline void AppendTlv(std::string& out, uint8_t type, std::string_view value) {
  out.push_back(static_cast<char>(type));
  AppendBig<2>(out, static_cast<uint32_t>(value.size()));
  out.append(value);
}

// What is wrong where TakeTlv() returned false: "TLV 0x01 has a value of 20
// bytes, but 5 is all that is left". REQUIRES: `rest` is not empty.
std::string WhyNoTlv(std::string_view rest);

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_TLV_BYTES_H_
