// What the library asks during a handshake, and what it tells.
//
// Thread safety: thread-safe.

#ifndef FIO_TLS_INTERNAL_LIBRARY_CALLBACKS_H_
#define FIO_TLS_INTERNAL_LIBRARY_CALLBACKS_H_

#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {

class ContextCore;

// For connections whose SSL_get_app_data() is their Negotiation.
void SetServerCallbacks(SSL_CTX* library, const ContextCore& core);
void SetClientCallbacks(SSL_CTX* library, const ContextCore& core);

// Whether the peer must show a certificate, and whether it is checked. The
// library copies it into each connection.
int VerifyMode(const ContextCore& core);
using VerifyCallback = int (*)(int, X509_STORE_CTX*);
VerifyCallback VerifyCallbackOf(const ContextCore& core);

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_LIBRARY_CALLBACKS_H_
