// TLS for a Listener or a Connector.
//
//   fio::ListenOptions options;
//   options.on_open = Serve;
//   options.transport = fio::TlsFactory(context);  // A TlsContext.
//   reactor.Listen("tls://0.0.0.0:443", std::move(options));
//
// Or by the url alone, which then names the files:
//
//   reactor.Listen("tls://0.0.0.0:443?cert=cert.pem&key=key.pem",
//                  {.on_open = Serve, .secure = fio::TlsOfUrl});
//   reactor.Connect("tls://example.org:443",
//                   {.on_open = Ask, .secure = fio::TlsOfUrl});
//
// on_open is called when the handshake is done; TlsInfo tells what came of it.
// A handshake that fails reaches on_handshake_failed or on_failed with the
// reason in words (TlsTransport::status()). Of a client whose certificate the
// server refuses, the handshake is done before that with TLS 1.3: on_open was
// called, and CloseReason::detail has the reason.
//
// Thread safety: thread-safe; the factories may be called on several threads at
// the same time.

#ifndef FIO_CORE_TLS_TLS_FACTORY_H_
#define FIO_CORE_TLS_TLS_FACTORY_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/core/loop/connection.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"
#include "fio/tls/tls_context.h"

namespace fio {

// A server's context for a Listener, a client's for a Connector: if it is of
// the other side, or null, no transport is made, and the connection fails
// (kInternal). A client checks the certificate for the host of the url, unless
// the context has a server_name; a url without a host needs one.
TransportFactory TlsFactory(std::shared_ptr<const TlsContext> context);

// Each new connection has the context that the slot has then.
TransportFactory TlsFactory(std::shared_ptr<const TlsSlot> slot);

// For ListenOptions::secure and ConnectorOptions::secure. What the keys of the
// url mean:
//
//   cert=FILE, key=FILE   our certificate and its key; without `key` it is in
//                         the file of `cert`
//   self_signed=NAME,...  a server's: a new certificate for these names
//   ca=FILE               whom we trust: a server then requires a certificate
//                         of each client; a client trusts nobody else
//   server_name=NAME      a client's: what the server must be called
//   alpn=NAME,...         see TlsServerOptions
//
// A server needs `cert` or `self_signed`. Errors: those of TlsCertificate,
// TlsTrust and TlsContext, with the key in front; kInvalidArgument for keys
// that make no sense together.
absl::StatusOr<TransportFactory> TlsOfUrl(const Url& url,
                                          TransportRequest::Role role);

// The same as a context, for a TlsSlot. Each context of a server has ticket
// keys of its own; ReloadedTls() makes contexts that share them.
absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContextOfUrl(
    const Url& url, TransportRequest::Role role);

// An application protocol (RFC 7301), and what opens its connections.
struct AlpnProtocol {
  std::string name;
  std::function<void(Connection&)> on_open;
};

// An on_open that calls the one for the protocol that the two sides have agreed
// on. A peer that has talked of none gets the first, as does a connection
// without TLS. Give the names to TlsServerOptions::alpn, in this order; a
// protocol that is agreed on and is not here aborts the connection. REQUIRES:
// there is one, and none has a null on_open.
std::function<void(Connection&)> OpenByAlpn(
    std::vector<AlpnProtocol> protocols);

}  // namespace fio

#endif  // FIO_CORE_TLS_TLS_FACTORY_H_
