// The versions of TLS that fio speaks.

#ifndef FIO_TLS_TLS_VERSION_H_
#define FIO_TLS_TLS_VERSION_H_

#include <cstdint>
#include <string_view>

namespace fio {

enum class TlsVersion : uint8_t {
  kTls12,  // RFC 5246
  kTls13,  // RFC 8446
};

// "TLS 1.2"
constexpr std::string_view TlsVersionName(TlsVersion version) {
  return version == TlsVersion::kTls12 ? "TLS 1.2" : "TLS 1.3";
}

}  // namespace fio

#endif  // FIO_TLS_TLS_VERSION_H_
