// ProxyTlvs is the list of what a proxy tells about a connection beside its
// addresses, in a PROXY header of version 2 (fio/sock/proxy_header.h). A TLV is
// a type, a length and a value. The registered types:
//
//   0x01  alpn()       the protocol that the client and the proxy agreed on
//   0x02  authority()  the host that the client asked for (SNI of TLS)
//   0x05  unique_id()  names the connection; up to 128 bytes
//   0x20  ssl()        the client's TLS connection to the proxy
//   0x30  netns()      the network namespace
//
// 0x03 (the checksum) and 0x04 (padding) are never in the list. A TLV of any
// other type is kept as it came: Find() gives the first of its type, and a loop
// gives all of them, in their order:
//
//   for (const fio::ProxyTlv& tlv : header.tlvs) Use(tlv.type, tlv.value);
//
// Every list is well formed, because Add() refuses the rest. A registered type
// is in it at most once; any other type may be repeated.
//
// Values are bytes that the proxy vouches for. The host comes from the client,
// and nobody has checked that it is a host, or UTF-8.
//
// All TLVs lie in one piece of memory, and an empty list needs none. Values
// point into it: they are valid until the list is changed, moved or destroyed.
//
// Thread safety: as a std::string.

#ifndef FIO_SOCK_PROXY_TLVS_H_
#define FIO_SOCK_PROXY_TLVS_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fio {

struct ProxyTlv {
  uint8_t type = 0;
  std::string_view value;
};

// The client's TLS connection. A name that the proxy does not tell is empty.
struct ProxySsl {
  // Bits of `client`.
  static constexpr uint8_t kUsesTls = 0x01;
  // The client has shown a certificate on this connection.
  static constexpr uint8_t kCertificateOnConnection = 0x02;
  // The client has shown one on this connection, or on an earlier one of the
  // same TLS session.
  static constexpr uint8_t kCertificateInSession = 0x04;

  // Whether the client has shown a certificate and the proxy has verified it.
  bool verified() const {
    return verify == 0 &&
           (client & (kCertificateOnConnection | kCertificateInSession)) != 0;
  }

  uint8_t client = 0;
  // 0 if the proxy has verified the client's certificate. Says nothing if there
  // is none: ask verified().
  uint32_t verify = 0;
  std::string_view version = {};              // "TLSv1.3"
  std::string_view common_name = {};          // Of the client's certificate.
  std::string_view cipher = {};               // "ECDHE-RSA-AES128-GCM-SHA256"
  std::string_view signature_algorithm = {};  // Of the proxy's certificate.
  std::string_view key_algorithm = {};        // Of the proxy's certificate.
};

class ProxyTlvs {
 public:
  static constexpr uint8_t kAlpn = 0x01;
  static constexpr uint8_t kAuthority = 0x02;
  static constexpr uint8_t kCrc32c = 0x03;
  static constexpr uint8_t kNoop = 0x04;
  static constexpr uint8_t kUniqueId = 0x05;
  static constexpr uint8_t kSsl = 0x20;
  static constexpr uint8_t kNetns = 0x30;

  // For a range-based for.
  class Iterator {
   public:
    using value_type = ProxyTlv;
    using difference_type = std::ptrdiff_t;

    const ProxyTlv& operator*() const { return tlv_; }
    const ProxyTlv* operator->() const { return &tlv_; }
    Iterator& operator++();
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t) {
      return iterator.at_end_;
    }

   private:
    friend class ProxyTlvs;
    explicit Iterator(std::string_view bytes) : rest_(bytes) { ++*this; }

    ProxyTlv tlv_;
    std::string_view rest_;  // Behind tlv_.
    bool at_end_ = false;
  };

  Iterator begin() const { return Iterator(bytes_); }
  std::default_sentinel_t end() const { return {}; }
  bool empty() const { return bytes_.empty(); }

  // The value of the first TLV of that type, if there is one.
  std::optional<std::string_view> Find(uint8_t type) const;

  std::optional<std::string_view> alpn() const { return Find(kAlpn); }
  std::optional<std::string_view> authority() const { return Find(kAuthority); }
  std::optional<std::string_view> unique_id() const { return Find(kUniqueId); }
  std::optional<std::string_view> netns() const { return Find(kNetns); }
  // Find(kSsl) has what this leaves out: TLVs of other types inside of it.
  std::optional<ProxySsl> ssl() const;

  // Appends a TLV. `value` is copied, and must not lie in this list. Errors,
  // all kInvalidArgument, and the list is unchanged: the value has more than
  // 65535 bytes; the type is kCrc32c or kNoop; a registered type is there
  // already; the unique id has more than 128 bytes; the value of kSsl is
  // malformed, or has one of its names twice.
  absl::Status Add(uint8_t type, std::string_view value);

  // Appends the TLV of kSsl. Errors: as Add().
  absl::Status AddSsl(const ProxySsl& ssl);

  // As they lie in a header, one after the other.
  const std::string& bytes() const { return bytes_; }

  // Makes room for so many bytes(), so that Add() need not.
  void Reserve(size_t bytes) { bytes_.reserve(bytes); }

  // Whether the same TLVs are in both, in the same order.
  friend bool operator==(const ProxyTlvs&, const ProxyTlvs&) = default;

 private:
  std::string bytes_;
};

}  // namespace fio

#endif  // FIO_SOCK_PROXY_TLVS_H_
