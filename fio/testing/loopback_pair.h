// A LoopbackPair is a connection with both of its ends in the test: real
// sockets, non-blocking, on this machine.
//
//   LoopbackPair pair = LoopbackPair::Tcp();
//   loop->Adopt(std::move(pair.near), ...);
//   pair.far.TryWrite("hello");
//
// `far` allows half-open streams, so that it stays when `near` ends its stream.
// A failed system call is a failed check.

#ifndef FIO_TESTING_LOOPBACK_PAIR_H_
#define FIO_TESTING_LOOPBACK_PAIR_H_

#include <cstddef>
#include <string>

#include "fio/sock/socket.h"

namespace fio::testing {

struct LoopbackPair {
  // Over 127.0.0.1: resets, half-closes and buffers as on the wire. `near` was
  // accepted, `far` connected.
  static LoopbackPair Tcp();
  // By socketpair(2): what one end writes is at the other when Write() returns.
  static LoopbackPair Unix();

  Socket near;
  Socket far;
};

// What is there to be read now, without waiting.
std::string ReadAvailable(Socket& socket);

// Reads until there are `bytes`, or the peer ends its stream or resets; waits
// for as long as that takes.
std::string ReadUntil(Socket& socket, size_t bytes);

// Reads until the peer ends its stream or resets; waits for it.
std::string ReadToEnd(Socket& socket);

}  // namespace fio::testing

#endif  // FIO_TESTING_LOOPBACK_PAIR_H_
