// Which transports ListenOptions and ConnectorOptions ask for.
//
// Thread safety: any thread.

#ifndef FIO_CORE_INTERNAL_CHOOSE_TRANSPORT_H_
#define FIO_CORE_INTERNAL_CHOOSE_TRANSPORT_H_

#include "absl/status/statusor.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

// Returns `transport`, if it is set; otherwise, if the scheme needs TLS, what
// `secure` makes of the url; otherwise null, for plain bytes. Errors: those of
// `secure`; kInternal if it makes nothing; kInvalidArgument if both are null
// and the scheme needs TLS, or if the url has keys for TLS that `transport`
// does not read. The message does not name the url.
absl::StatusOr<TransportFactory> ChooseTransport(
    const Url& url, TransportRequest::Role role,
    const TransportFactory& transport, const SecureTransport& secure);

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_CHOOSE_TRANSPORT_H_
