#include "fio/tls/tls_trust.h"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/library_error.h"
#include "fio/tls/internal/secret_file.h"
#include "fio/tls/internal/trust_store.h"
#include "fio/tls/internal/x509_text.h"

namespace fio {
namespace {

constexpr const char* kSystemFiles[] = {
    "/etc/ssl/certs/ca-certificates.crt",  // Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",    // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",              // openSUSE
    "/etc/ssl/cert.pem",                   // Alpine, BSDs
};

// Too many names make the request longer than some clients take.
constexpr size_t kMostNamed = 64;

}  // namespace

absl::StatusOr<TlsTrust> TlsTrust::System() {
  const char* const named = std::getenv("SSL_CERT_FILE");
  if (named != nullptr && *named != '\0') return FromFile(named);
  for (const char* const file : kSystemFiles) {
    if (access(file, R_OK) == 0) return FromFile(file);
  }
  return absl::NotFoundError(absl::StrCat(
      "this machine has no file of trusted authorities, such as ",
      kSystemFiles[0],
      ": install it (package ca-certificates), or name one in $SSL_CERT_FILE"));
}

absl::StatusOr<TlsTrust> TlsTrust::FromFile(const std::string& file) {
  const absl::StatusOr<std::string> pem =
      tls_internal::ReadFile(file, tls_internal::Readers::kAnybody);
  if (!pem.ok()) return pem.status();
  absl::StatusOr<TlsTrust> trust = FromPem(*pem);
  if (trust.ok()) return trust;
  return absl::Status(trust.status().code(),
                      absl::StrCat(file, ": ", trust.status().message()));
}

absl::StatusOr<TlsTrust> TlsTrust::FromPem(std::string_view pem) {
  auto certificates = tls_internal::ParseCertificates(pem);
  if (!certificates.ok()) {
    return absl::Status(
        certificates.status().code(),
        absl::StrCat("trust: ", certificates.status().message()));
  }
  auto trust = std::make_shared<tls_internal::TrustStore>();
  trust->store.reset(X509_STORE_new());
  for (const auto& certificate : *certificates) {
    if (X509_STORE_add_cert(trust->store.get(), certificate.get()) != 1) {
      return absl::InternalError(
          absl::StrCat("trust: ", tls_internal::LibraryReason()));
    }
    trust->fingerprint += tls_internal::Fingerprint(certificate.get());
  }
  if (certificates->size() <= kMostNamed) {
    trust->authorities = *std::move(certificates);
  }
  // A certificate that is trusted by itself need not lead to a root.
  X509_STORE_set_flags(trust->store.get(), X509_V_FLAG_PARTIAL_CHAIN);
  return TlsTrust(std::move(trust));
}

TlsTrust TlsTrust::Insecure() { return TlsTrust(nullptr); }

}  // namespace fio
