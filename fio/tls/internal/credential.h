// What a TlsCertificate has.

#ifndef FIO_TLS_INTERNAL_CREDENTIAL_H_
#define FIO_TLS_INTERNAL_CREDENTIAL_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_certificate.h"

namespace fio::tls_internal {

struct Credential {
  std::vector<bssl::UniquePtr<X509>> chain;  // Our own first.
  bssl::UniquePtr<EVP_PKEY> key;
  std::vector<std::string> names;
  absl::Time not_after;
  TlsCertificate::KeyType type;
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_CREDENTIAL_H_
