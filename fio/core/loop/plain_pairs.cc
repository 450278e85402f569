#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "absl/log/absl_check.h"
#include "fio/core/loop/test_pair.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/handshake_side.h"
#include "fio/testing/handshake_transport.h"
#include "fio/testing/loopback_pair.h"

namespace fio::loop_internal {

using testing::HandshakeSide;
using testing::HandshakeTransport;
using testing::LoopbackPair;

namespace {

void SetHandshake(Socket& socket, HandshakeSide::Role role) {
  ABSL_CHECK_OK(socket.SetTransport(std::make_unique<HandshakeTransport>(
      role, HandshakeTransport::Options())));
}

LoopbackPair Dress(LoopbackPair pair) {
  switch (TransportUnderTest()) {
    case TransportKind::kNone:
      break;
    case TransportKind::kPassThrough:
      ABSL_CHECK_OK(pair.near.SetTransport(std::make_unique<Transport>()));
      break;
    case TransportKind::kHandshake: {
      SetHandshake(pair.near, HandshakeSide::Role::kServer);
      SetHandshake(pair.far, HandshakeSide::Role::kClient);
      int done = 0;
      while (done < 2) {
        done = (pair.far.Shake() == Transport::Handshake::kDone ? 1 : 0) +
               (pair.near.Shake() == Transport::Handshake::kDone ? 1 : 0);
      }
      break;
    }
    case TransportKind::kTls:
      ABSL_CHECK(false) << "fio/core/tls makes those";
  }
  return pair;
}

}  // namespace

TransportKind TransportUnderTest() {
  static const TransportKind kind = [] {
    const char* const name = std::getenv("FIO_TEST_TRANSPORT");
    if (name == nullptr) return TransportKind::kNone;
    if (std::string_view(name) == "pass_through") {
      return TransportKind::kPassThrough;
    }
    ABSL_CHECK_EQ(std::string_view(name), "handshake");
    return TransportKind::kHandshake;
  }();
  return kind;
}

LoopbackPair UnixPair() { return Dress(LoopbackPair::Unix()); }

LoopbackPair TcpPair() { return Dress(LoopbackPair::Tcp()); }

}  // namespace fio::loop_internal
