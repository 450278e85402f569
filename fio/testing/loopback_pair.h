// A LoopbackPair is a connection with both of its ends in the test: real
// sockets, non-blocking, on this machine.
//
//   LoopbackPair pair = LoopbackPair::Tcp();
//   loop->Adopt(std::move(pair.near), ...);
//   pair.far.TryWrite("hello");
//
// `far` allows half-open streams, so it stays open when `near` ends its stream.
// A failed system call is a failed check.

#ifndef FIO_TESTING_LOOPBACK_PAIR_H_
#define FIO_TESTING_LOOPBACK_PAIR_H_

#include <cstddef>
#include <string>

#include "fio/sock/socket.h"

namespace fio::testing {

struct LoopbackPair {
  // Over 127.0.0.1: with resets, half-closes and buffers as between machines.
  // `near` was accepted, `far` connected.
  static LoopbackPair Tcp();
  // By socketpair(2): bytes that one end sends are at the other end when the
  // call returns.
  static LoopbackPair Unix();

  Socket near;
  Socket far;
};

// Reads what is available now, without waiting.
std::string ReadAvailable(Socket& socket);

// Reads until there are `bytes` bytes, or the peer ends its stream or resets;
// waits without a time limit.
std::string ReadUntil(Socket& socket, size_t bytes);

// Reads until the peer ends its stream or resets; waits without a time limit.
std::string ReadToEnd(Socket& socket);

}  // namespace fio::testing

#endif  // FIO_TESTING_LOOPBACK_PAIR_H_
