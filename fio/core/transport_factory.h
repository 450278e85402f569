// A TransportFactory makes the Transport of each new connection, for example
// TLS. A null factory means no transport. A SecureTransport makes the factory
// for a url that needs TLS.
//
//   fio::ListenOptions options;
//   options.transport = [&keys](const fio::TransportRequest& request) {
//     return std::make_unique<Sealed>(keys.For(request.url->host()));
//   };
//
// The transport does its handshake (Transport::Shake()) before on_open is
// called. One that waits for something else than the peer, such as a key that a
// server has, resumes it when that has come, from any thread:
//
//   [loop = request.loop.handle(), id = request.connection] {
//     loop.ResumeHandshake(id);
//   }

#ifndef FIO_CORE_TRANSPORT_FACTORY_H_
#define FIO_CORE_TRANSPORT_FACTORY_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"

namespace fio {

// For whom a transport is made. Valid during the call.
struct TransportRequest {
  enum class Role : uint8_t {
    kServer,  // Of a Listener: the peer has connected to us.
    kClient,  // Of a Connector: we have connected to the peer.
  };

  Role role;
  // What is connected to, with the name of the host, or what is listened on.
  // Null for a Listener that was given a socket instead of a url.
  const Url* url = nullptr;
  // The peer; behind a trusted proxy the client that it speaks for.
  SocketAddress peer_address = {};
  // Our address on this connection, or the one that a trusted proxy tells. No
  // address if only the kernel knows it: Connection::local_address() asks.
  SocketAddress local_address = {};
  // Which loop has the connection, and its id there.
  Loop& loop;
  ConnectionId connection;
};

// Called once for each connection, on the thread of its loop, before on_open.
// It may close the connection. If it returns null, the connection is aborted,
// and that counts as a handshake that has failed (kInternal): its bytes must
// not be sent without the transport.
using TransportFactory =
    std::function<std::unique_ptr<Transport>(const TransportRequest&)>;

// Makes the factory for a url whose scheme needs TLS (tls, https, wss), from
// what the url says: `cert`, `key` and the other keys, see Url. This package
// knows no TLS. The package fio/core/tls has it:
//
//   reactor.Listen("tls://0.0.0.0:443?cert=cert.pem&key=key.pem",
//                  {.on_open = ..., .secure = fio::TlsOfUrl});
//
// Called once, when listening or connecting begins: inside of Listen(),
// Connect() or Create(), before a socket is opened, on the thread that calls
// them. So it may read files, which blocks. A Reactor with workers calls it in
// the root, with the root's rights; the workers, and their replacements, have
// copies of what it returned. It is not called again when a Connector connects
// again. The factory may be called on several threads at the same time.
//
// Not called if `transport` is set in the same options, or the scheme needs no
// TLS: so it may be set for a url that is not known beforehand. An error is the
// error of who begins to listen or connect. Null is an error, too, kInternal.
using SecureTransport = std::function<absl::StatusOr<TransportFactory>(
    const Url& url, TransportRequest::Role role)>;

}  // namespace fio

#endif  // FIO_CORE_TRANSPORT_FACTORY_H_
