// A TransportFactory makes what the bytes of each new connection pass: TLS, or
// nothing if it is null.

#ifndef FIO_CORE_TRANSPORT_FACTORY_H_
#define FIO_CORE_TRANSPORT_FACTORY_H_

#include <functional>
#include <memory>

#include "fio/sock/transport.h"

namespace fio {

// Called once for each connection, on the thread of its loop, before on_open.
// If it returns null the connection is aborted and on_open not called, for its
// bytes must not go without.
using TransportFactory = std::function<std::unique_ptr<Transport>()>;

}  // namespace fio

#endif  // FIO_CORE_TRANSPORT_FACTORY_H_
