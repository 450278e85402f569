// All bytes between a Socket and the kernel pass through its Transport, in both
// directions: for TLS, compression, a proxy's header or logging. A socket
// without one makes the system calls itself. By default each function here
// makes the same calls, so a transport overrides only what it needs.
//
// A socket owns its transport. It destroys it when it closes, or when another
// transport replaces it. A transport that could not be set is destroyed, too.
// All calls come from the thread that uses the socket, one at a time. They may
// call the socket, even close it or replace the transport, which then lives
// until the call has returned. They must not destroy the socket.
//
// Thread safety: none. One transport serves one socket.

#ifndef FIO_SOCK_TRANSPORT_H_
#define FIO_SOCK_TRANSPORT_H_

#include <sys/uio.h>

#include "absl/types/span.h"
#include "fio/sock/io_result.h"

namespace fio {

class Socket;

class Transport {
 public:
  virtual ~Transport() = default;

  // Reads up to `out.size()` bytes, which is not 0. No error and no bytes is
  // the end of the peer's stream; EAGAIN if nothing is there. May write.
  virtual IoResult Read(Socket& socket, absl::Span<char> out);

  // Takes bytes from the front of `pieces`, which have at least one byte: all,
  // a part, or none and EAGAIN if it has no room. First sends the bytes that it
  // took earlier and still holds: a flush of the socket calls either Write() or
  // Flush(), not both.
  virtual IoResult Write(Socket& socket, absl::Span<const iovec> pieces);

  // Sends the bytes that it took earlier and still holds. `bytes` of the result
  // is how many of them are left, with EAGAIN or without an error. Called when
  // nothing is queued for Write().
  virtual IoResult Flush(Socket& socket);

  // Called at most once, when everything written has been sent and
  // Socket::Close() or Socket::ShutdownWrite() is about to end the stream; not
  // at an Abort() or an error. Write a closing message here. If it returns
  // true, the end waits until Flush() has nothing left or fails.
  virtual bool BeforeClose(Socket& socket);
};

}  // namespace fio

#endif  // FIO_SOCK_TRANSPORT_H_
