// What a TlsTrust has.

#ifndef FIO_TLS_INTERNAL_TRUST_STORE_H_
#define FIO_TLS_INTERNAL_TRUST_STORE_H_

#include <string>
#include <vector>

#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {

struct TrustStore {
  bssl::UniquePtr<X509_STORE> store;
  // What a server names to its clients; empty if they are too many.
  std::vector<bssl::UniquePtr<X509>> authorities;
  std::string fingerprint;  // Of all that is in it.
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_TRUST_STORE_H_
