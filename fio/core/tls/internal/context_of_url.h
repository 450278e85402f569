// What TlsContextOfUrl() does, for contexts of a server that follow one
// another.

#ifndef FIO_CORE_TLS_INTERNAL_CONTEXT_OF_URL_H_
#define FIO_CORE_TLS_INTERNAL_CONTEXT_OF_URL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_ticket_keys.h"

namespace fio::core_internal {

// `ticket_keys` are as in TlsServerOptions; a client has none.
absl::StatusOr<std::shared_ptr<const TlsContext>> ContextOfUrl(
    const Url& url, TransportRequest::Role role,
    std::shared_ptr<TlsTicketKeys> ticket_keys);

}  // namespace fio::core_internal

#endif  // FIO_CORE_TLS_INTERNAL_CONTEXT_OF_URL_H_
