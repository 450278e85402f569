// What fio/tls uses of the library, in one place. No other file of fio includes
// openssl/. Everything here is in BoringSSL and in AWS-LC.

#ifndef FIO_TLS_INTERNAL_BORINGSSL_H_
#define FIO_TLS_INTERNAL_BORINGSSL_H_

#include <openssl/base.h>        // IWYU pragma: export
#include <openssl/bio.h>         // IWYU pragma: export
#include <openssl/bytestring.h>  // IWYU pragma: export
#include <openssl/crypto.h>      // IWYU pragma: export
#include <openssl/ec.h>          // IWYU pragma: export
#include <openssl/ec_key.h>      // IWYU pragma: export
#include <openssl/err.h>         // IWYU pragma: export
#include <openssl/evp.h>         // IWYU pragma: export
#include <openssl/hkdf.h>        // IWYU pragma: export
#include <openssl/hmac.h>        // IWYU pragma: export
#include <openssl/mem.h>         // IWYU pragma: export
#include <openssl/nid.h>         // IWYU pragma: export
#include <openssl/pem.h>         // IWYU pragma: export
#include <openssl/pool.h>        // IWYU pragma: export
#include <openssl/rand.h>        // IWYU pragma: export
#include <openssl/sha.h>         // IWYU pragma: export
#include <openssl/ssl.h>         // IWYU pragma: export
#include <openssl/x509.h>        // IWYU pragma: export
#include <openssl/x509v3.h>      // IWYU pragma: export

#endif  // FIO_TLS_INTERNAL_BORINGSSL_H_
