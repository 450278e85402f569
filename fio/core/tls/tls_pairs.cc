// The pairs of fio/core/loop/test_pair.h over TLS.

#include <memory>
#include <utility>

#include "absl/log/absl_check.h"
#include "fio/core/loop/test_pair.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"

namespace fio::loop_internal {

using testing::LoopbackPair;
using tls_testing::Context;

namespace {

void SetTls(Socket& socket, const Context& context) {
  ABSL_CHECK_OK(socket.SetTransport(std::make_unique<TlsTransport>(
      context, TlsTransportOptions{.server_name = "localhost",
                                   .truncation_is_end = true})));
}

// Nothing is on the way when the handshake is over, as tickets would be.
const Context& ServerWithoutTickets() {
  static const Context* const context = [] {
    TlsServerOptions options;
    options.tickets = false;
    return new Context(tls_testing::Server(std::move(options)));
  }();
  return *context;
}

LoopbackPair Dress(LoopbackPair pair) {
  static const Context* const client = new Context(tls_testing::Client());
  SetTls(pair.near, ServerWithoutTickets());
  SetTls(pair.far, *client);
  int done = 0;
  while (done < 2) {
    done = (pair.far.Shake() == Transport::Handshake::kDone ? 1 : 0) +
           (pair.near.Shake() == Transport::Handshake::kDone ? 1 : 0);
  }
  return pair;
}

}  // namespace

TransportKind TransportUnderTest() { return TransportKind::kTls; }

LoopbackPair UnixPair() { return Dress(LoopbackPair::Unix()); }

LoopbackPair TcpPair() { return Dress(LoopbackPair::Tcp()); }

}  // namespace fio::loop_internal
