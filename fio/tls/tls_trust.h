// A TlsTrust is whom one side believes: the certificates of the authorities
// that may vouch for a peer.
//
//   fio::TlsTrust::System()                  what this machine trusts
//   fio::TlsTrust::FromFile("our-ca.pem")    our own authorities, and no other
//   fio::TlsTrust::Insecure()                anybody: nothing is checked
//
// It is loaded once; a machine's new authorities need a new one. Copies share
// what was loaded.
//
// Thread safety: const, as an int.

#ifndef FIO_TLS_TLS_TRUST_H_
#define FIO_TLS_TLS_TRUST_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace fio {

namespace tls_internal {
struct TrustStore;
}

class TlsTrust {
 public:
  // The file that $SSL_CERT_FILE names, or else the first of those in which
  // Linux distributions keep them (/etc/ssl/certs/ca-certificates.crt and
  // others). Errors: kNotFound if there is none; those of FromFile().
  static absl::StatusOr<TlsTrust> System();

  // Certificates in PEM; what else is in the text is passed over. Errors: the
  // errno of the call that failed, with the file; kInvalidArgument if there is
  // no certificate, or one that cannot be read.
  static absl::StatusOr<TlsTrust> FromFile(const std::string& file);
  static absl::StatusOr<TlsTrust> FromPem(std::string_view pem);

  // Believes everybody: who sits between the two sides, can read and change all
  // bytes. For tests and for looking at servers.
  static TlsTrust Insecure();

  TlsTrust(const TlsTrust&) = default;
  TlsTrust& operator=(const TlsTrust&) = default;

  bool is_insecure() const { return store_ == nullptr; }

  // For fio/tls itself; null if insecure.
  const tls_internal::TrustStore* store() const { return store_.get(); }

 private:
  explicit TlsTrust(std::shared_ptr<const tls_internal::TrustStore> store)
      : store_(std::move(store)) {}

  std::shared_ptr<const tls_internal::TrustStore> store_;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_TRUST_H_
