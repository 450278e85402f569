// Makes self-signed certificates.

#ifndef FIO_TLS_INTERNAL_SELF_SIGNED_H_
#define FIO_TLS_INTERNAL_SELF_SIGNED_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {

struct SelfSigned {
  bssl::UniquePtr<X509> certificate;
  bssl::UniquePtr<EVP_PKEY> key;
};

// See TlsCertificate::SelfSigned().
absl::StatusOr<SelfSigned> MakeSelfSigned(
    const std::vector<std::string>& names);

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_SELF_SIGNED_H_
