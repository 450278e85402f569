// Renews certificates in all processes of a Reactor.

#ifndef FIO_CORE_TLS_RELOAD_TLS_H_
#define FIO_CORE_TLS_RELOAD_TLS_H_

#include <memory>

#include "fio/core/reactor.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/transport_factory.h"

namespace fio {

// From now on the reactor's reloads (SIGHUP, unless SignalOptions::reload says
// otherwise, and Reactor::Reload()) are reloads of the slot, in each process.
// What fails is logged, and the old context stays. The files are read on the
// main loop, which takes some milliseconds, and with the rights that the
// process has then. Call it before Run().
void ReloadTls(Reactor& reactor, std::shared_ptr<TlsSlot> slot);

// As TlsOfUrl, for a reactor whose reloads read the files of the urls again.
// The keys of tickets stay, the same in all processes:
//
//   reactor.Listen("tls://0.0.0.0:443?cert=cert.pem&key=key.pem",
//                  {.on_open = Serve, .secure = fio::ReloadedTls(reactor)});
//
// `reactor` must outlive what it returns.
SecureTransport ReloadedTls(Reactor& reactor);

}  // namespace fio

#endif  // FIO_CORE_TLS_RELOAD_TLS_H_
