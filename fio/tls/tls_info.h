// A TlsInfo tells what a TLS connection has agreed on, and who the peer is:
//
//   const fio::TlsInfo* tls = fio::TlsInfo::Of(connection.transport());
//   if (tls == nullptr) return;  // It is not encrypted.
//   LOG(INFO) << tls->version() << " " << tls->cipher();
//
// What it returns is complete once the handshake is done, as in on_open.
//
// Thread safety: none; as its connection.

#ifndef FIO_TLS_TLS_INFO_H_
#define FIO_TLS_TLS_INFO_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/transport.h"
#include "fio/tls/tls_peer_certificate.h"
#include "fio/tls/tls_version.h"

struct ssl_st;

namespace fio {

class TlsInfo {
 public:
  // Null if `transport` is null or no TlsTransport. Valid as long as it.
  static const TlsInfo* Of(const Transport* transport);

  TlsVersion version() const;
  // The suite, by its standard name: "TLS_AES_128_GCM_SHA256".
  std::string_view cipher() const;
  // The group of the key exchange: "X25519". Empty if there was none.
  std::string_view group() const;
  // The application protocol; empty if the two sides have not talked of one.
  std::string_view alpn() const;
  // The name that the client has asked for; empty if it has said none. Valid as
  // long as the transport.
  std::string_view server_name() const;
  // Whether an earlier session was resumed.
  bool is_resumed() const;
  // Whether what is read now may have been sent again by somebody else, see
  // TlsServerOptions::early_data. It becomes false when the handshake is done.
  bool is_early() const;

  // OK: the peer's certificate is trusted, and for a client is that of the
  // host. kNotFound: it has shown none. kUnauthenticated: why not, in words;
  // only with TlsTrust::Insecure() a connection comes that far.
  absl::Status verification() const;
  // Absent if it has shown none. Parsed anew in each call.
  std::optional<TlsPeerCertificate> peer_certificate() const;

  // `bytes` bytes that only the two sides of this connection know (RFC 8446,
  // section 7.5). Errors: kInternal, with the library's reason.
  absl::StatusOr<std::string> ExportKeyingMaterial(std::string_view label,
                                                   std::string_view context,
                                                   size_t bytes) const;

  // For fio/tls itself.
  static const char kKey;
  void Set(ssl_st* ssl) { ssl_ = ssl; }

 private:
  ssl_st* ssl_ = nullptr;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_INFO_H_
