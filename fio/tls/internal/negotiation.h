// What the library's callbacks find of a connection. A server's is destroyed
// when the handshake is done.

#ifndef FIO_TLS_INTERNAL_NEGOTIATION_H_
#define FIO_TLS_INTERNAL_NEGOTIATION_H_

#include <functional>
#include <memory>
#include <string>

#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/choice_state.h"
#include "fio/tls/tls_context.h"

namespace fio::tls_internal {

struct Negotiation {
  std::shared_ptr<const TlsContext> context;
  // Of a server:
  std::function<void()> resume;
  std::shared_ptr<ChoiceState> choice;
  std::shared_ptr<const TlsContext> chosen;  // Instead of `context`.
  bool refuses_name = false;
  // Of a client:
  std::string server_name;
  std::string session_key;
  bssl::UniquePtr<SSL_SESSION> offered;  // Until the handshake is done.
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_NEGOTIATION_H_
