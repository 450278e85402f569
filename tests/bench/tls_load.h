// Clients of a TLS echo server on 127.0.0.1, on the caller's thread.
//
// Thread safety: none.

#ifndef FIO_TESTS_BENCH_TLS_LOAD_H_
#define FIO_TESTS_BENCH_TLS_LOAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/load.h"

namespace fio::bench {

// A closed loop: each connection has one message of `bytes` bytes under way.
// Errors: kUnavailable, with the library's reason.
absl::StatusOr<std::unique_ptr<Load>> ConnectTlsEcho(uint16_t port,
                                                     size_t connections,
                                                     size_t bytes);

// Connections that live for one message of 64 bytes: a handshake, the message,
// its echo, and close_notify both ways. kResumed: they show the ticket of the
// connection before.
enum class TlsLife : bool { kFull, kResumed };
std::unique_ptr<Load> NewTlsLives(uint16_t port, TlsLife life);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_TLS_LOAD_H_
