// A TlsCertificate is what one side shows and proves: a chain of certificates
// and the private key of the first one. It is loaded once, and checked when it
// is loaded.
//
//   auto certificate = fio::TlsCertificate::FromFiles("cert.pem", "key.pem");
//   if (!certificate.ok()) return fio::ExitWith(certificate.status());
//
// The chain has the own certificate first, then those of the authorities that
// lead to a root, without the root. The key is RSA (2048 bits or more), ECDSA
// (P-256, P-384, P-521) or Ed25519. Not all clients take the last two, and with
// TLS 1.2 P-521 must be among the groups of both sides.
//
// Copies share the key. What was read of a key, or of a passphrase, is wiped
// from memory once it has been parsed.
//
// Thread safety: const, as an int.

#ifndef FIO_TLS_TLS_CERTIFICATE_H_
#define FIO_TLS_TLS_CERTIFICATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace fio {

namespace tls_internal {
struct Credential;
}

class TlsCertificate {
 public:
  enum class KeyType : uint8_t { kRsa, kEcdsa, kEd25519 };

  // Reads PEM files; both may be in one. `passphrase` is for a key that is
  // encrypted: by PKCS #8 with PBES2 (AES, 3DES), or by the older form of
  // OpenSSL; scrypt is not supported. Blocks while it reads.
  //
  // Errors name the file: the errno of the call that failed; kPermissionDenied
  // if everybody may read or write the file of the key; those of FromPem().
  static absl::StatusOr<TlsCertificate> FromFiles(
      const std::string& chain_file, const std::string& key_file,
      std::string_view passphrase = "");

  // The same from text. Errors: kInvalidArgument if there is no certificate or
  // no key, for one that cannot be read, a wrong passphrase, a key that is not
  // that of the first certificate, or is too weak.
  static absl::StatusOr<TlsCertificate> FromPem(
      std::string_view chain, std::string_view key,
      std::string_view passphrase = "");

  // Makes a new one (P-256, valid for a year from an hour ago) for names, such
  // as "localhost" or "*.example.org", and IP addresses. It is for tests and
  // for machines that know each other: nobody else trusts it, unless told to
  // (TlsTrust::FromPem(certificate.chain_pem())). Errors: kInvalidArgument
  // without a name, and for one that no certificate can have.
  static absl::StatusOr<TlsCertificate> SelfSigned(
      const std::vector<std::string>& names);

  TlsCertificate(const TlsCertificate&) = default;
  TlsCertificate& operator=(const TlsCertificate&) = default;

  // The names of hosts, in lower case, and the IP addresses that it is for.
  const std::vector<std::string>& names() const;
  // Until when it is valid.
  absl::Time not_after() const;
  KeyType key_type() const;
  // The chain as PEM, without the key.
  std::string chain_pem() const;
  // The private key as PEM (PKCS #8), not encrypted. Keep it secret: with it
  // another program can pretend to be this host.
  std::string key_pem() const;

  // For fio/tls itself.
  const tls_internal::Credential& credential() const { return *credential_; }

 private:
  explicit TlsCertificate(
      std::shared_ptr<const tls_internal::Credential> credential);

  std::shared_ptr<const tls_internal::Credential> credential_;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_CERTIFICATE_H_
