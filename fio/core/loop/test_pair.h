// Pairs for tests of connections that hold over any transport. Such a test is a
// transport_tests() of tools/poller_tests.bzl, which runs it over nothing, over
// a transport that passes everything on, and over one with records of its own,
// whose handshake is over when the pair is made; and in fio/core/tls over TLS.
// A test is linked with what makes the pairs.

#ifndef FIO_CORE_LOOP_TEST_PAIR_H_
#define FIO_CORE_LOOP_TEST_PAIR_H_

#include <cstdint>

#include "fio/testing/loopback_pair.h"

namespace fio::loop_internal {

enum class TransportKind : uint8_t { kNone, kPassThrough, kHandshake, kTls };
TransportKind TransportUnderTest();

// For cases that cannot hold over one: with a line that says why.
inline bool IsOverTransport() {
  return TransportUnderTest() != TransportKind::kNone;
}
// With records of its own: also over TLS.
inline bool IsOverHandshake() {
  return TransportUnderTest() >= TransportKind::kHandshake;
}
// Whose handshakes take time.
inline bool IsOverTls() { return TransportUnderTest() == TransportKind::kTls; }

// As LoopbackPair::Unix() and Tcp().
testing::LoopbackPair UnixPair();
testing::LoopbackPair TcpPair();

}  // namespace fio::loop_internal

#endif  // FIO_CORE_LOOP_TEST_PAIR_H_
