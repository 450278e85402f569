// A TransportFactory makes the Transport of each new connection, for example
// TLS. A null factory means no transport.

#ifndef FIO_CORE_TRANSPORT_FACTORY_H_
#define FIO_CORE_TRANSPORT_FACTORY_H_

#include <functional>
#include <memory>

#include "fio/sock/transport.h"

namespace fio {

// Called once for each connection, on the thread of its loop, before on_open.
// If it returns null, the connection is aborted and on_open is not called: its
// bytes must not be sent without the transport.
using TransportFactory = std::function<std::unique_ptr<Transport>()>;

}  // namespace fio

#endif  // FIO_CORE_TRANSPORT_FACTORY_H_
