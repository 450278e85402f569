// Reads what a client has said of itself, before the library has chosen
// anything.

#ifndef FIO_TLS_INTERNAL_CLIENT_HELLO_H_
#define FIO_TLS_INTERNAL_CLIENT_HELLO_H_

#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_choice.h"

namespace fio::tls_internal {

// Valid as long as `hello`. An extension that cannot be read counts as missing;
// the library refuses it afterwards.
TlsClientHello ReadClientHello(const SSL_CLIENT_HELLO& hello);

// Calls for each name of a list as ALPN has it (RFC 7301, section 3.1), until
// `visit` returns true. False if it never does.
template <typename Visit>
bool FindProtocol(CBS list, Visit visit) {
  CBS name;
  while (CBS_get_u8_length_prefixed(&list, &name) == 1) {
    if (visit(std::string_view(reinterpret_cast<const char*>(CBS_data(&name)),
                               CBS_len(&name)))) {
      return true;
    }
  }
  return false;
}

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_CLIENT_HELLO_H_
