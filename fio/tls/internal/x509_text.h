// What is written in certificates, as text.

#ifndef FIO_TLS_INTERNAL_X509_TEXT_H_
#define FIO_TLS_INTERNAL_X509_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {

// All certificates of a PEM text, in order; what else is in it is passed over.
// Errors: kInvalidArgument if there is none, or one that cannot be read.
absl::StatusOr<std::vector<bssl::UniquePtr<X509>>> ParseCertificates(
    std::string_view pem);

std::string CertificatePem(X509* certificate);
std::string CertificateDer(X509* certificate);

// SHA-256 of the whole: 64 hexadecimal digits.
std::string Fingerprint(const X509* certificate);

// The names of hosts, in lower case, and the IP addresses that it is for
// (subjectAltName, RFC 5280, section 4.2.1.6).
std::vector<std::string> NamesOf(X509* certificate);

// As RFC 2253 writes it.
std::string NameText(const X509_NAME* name);

absl::Time TimeOf(const ASN1_TIME* time);

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_X509_TEXT_H_
