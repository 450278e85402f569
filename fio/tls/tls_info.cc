#include "fio/tls/tls_info.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fio/sock/transport.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/library_error.h"
#include "fio/tls/internal/x509_text.h"
#include "fio/tls/tls_peer_certificate.h"
#include "fio/tls/tls_version.h"

namespace fio {
namespace {

std::string_view OrEmpty(const char* text) {
  return text == nullptr ? "" : text;
}

std::string SerialText(const X509* certificate) {
  const ASN1_INTEGER* const serial = X509_get0_serialNumber(certificate);
  return absl::BytesToHexString(
      {reinterpret_cast<const char*>(ASN1_STRING_get0_data(serial)),
       static_cast<size_t>(ASN1_STRING_length(serial))});
}

}  // namespace

const char TlsInfo::kKey = 0;

const TlsInfo* TlsInfo::Of(const Transport* transport) {
  if (transport == nullptr) return nullptr;
  return static_cast<const TlsInfo*>(transport->Info(&kKey));
}

TlsVersion TlsInfo::version() const {
  return SSL_version(ssl_) == TLS1_2_VERSION ? TlsVersion::kTls12
                                             : TlsVersion::kTls13;
}

std::string_view TlsInfo::cipher() const {
  const SSL_CIPHER* const cipher = SSL_get_current_cipher(ssl_);
  return cipher == nullptr ? "" : OrEmpty(SSL_CIPHER_standard_name(cipher));
}

std::string_view TlsInfo::group() const {
  return OrEmpty(SSL_get_curve_name(SSL_get_curve_id(ssl_)));
}

std::string_view TlsInfo::alpn() const {
  const uint8_t* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string_view TlsInfo::server_name() const {
  return OrEmpty(SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name));
}

bool TlsInfo::is_resumed() const { return SSL_session_reused(ssl_) == 1; }

bool TlsInfo::is_early() const { return SSL_in_early_data(ssl_) == 1; }

absl::Status TlsInfo::verification() const {
  if (SSL_get0_peer_certificates(ssl_) == nullptr) {
    return absl::NotFoundError("the peer has shown no certificate");
  }
  const auto result = SSL_get_verify_result(ssl_);
  if (result == X509_V_OK) return absl::OkStatus();
  return absl::UnauthenticatedError(
      absl::StrCat("the peer's certificate is not trusted: ",
                   tls_internal::VerifyReason(result)));
}

std::optional<TlsPeerCertificate> TlsInfo::peer_certificate() const {
  const bssl::UniquePtr<X509> own(SSL_get_peer_certificate(ssl_));
  if (own == nullptr) return std::nullopt;
  TlsPeerCertificate peer;
  peer.subject = tls_internal::NameText(X509_get_subject_name(own.get()));
  peer.issuer = tls_internal::NameText(X509_get_issuer_name(own.get()));
  peer.names = tls_internal::NamesOf(own.get());
  peer.not_before = tls_internal::TimeOf(X509_get0_notBefore(own.get()));
  peer.not_after = tls_internal::TimeOf(X509_get0_notAfter(own.get()));
  peer.serial = SerialText(own.get());
  peer.fingerprint = tls_internal::Fingerprint(own.get());
  const STACK_OF(CRYPTO_BUFFER)* const chain = SSL_get0_peer_certificates(ssl_);
  for (size_t i = 0; i < sk_CRYPTO_BUFFER_num(chain); ++i) {
    const CRYPTO_BUFFER* const one = sk_CRYPTO_BUFFER_value(chain, i);
    peer.chain_der.emplace_back(
        reinterpret_cast<const char*>(CRYPTO_BUFFER_data(one)),
        CRYPTO_BUFFER_len(one));
  }
  return peer;
}

absl::StatusOr<std::string> TlsInfo::ExportKeyingMaterial(
    std::string_view label, std::string_view context, size_t bytes) const {
  std::string out(bytes, '\0');
  tls_internal::ClearLibraryErrors();
  if (SSL_export_keying_material(
          ssl_, reinterpret_cast<uint8_t*>(out.data()), out.size(),
          label.data(), label.size(),
          reinterpret_cast<const uint8_t*>(context.data()), context.size(),
          1) != 1) {
    return absl::InternalError(
        absl::StrCat("ExportKeyingMaterial: ", tls_internal::LibraryReason()));
  }
  return out;
}

}  // namespace fio
