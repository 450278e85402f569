// A Transport is what a Socket's bytes pass on their way to the kernel and
// back: TLS, compression, a proxy's header, a tap. A socket without one makes
// the system calls itself; each function here does the same by default, so that
// a transport overrides what it needs.
//
// A socket owns its transport and destroys it last of all when it closes, or
// when another takes its place; a transport that could not be set is destroyed,
// too. All calls come from the thread that uses the socket, one at a time; they
// may call the socket, even close it or replace the transport, which then lives
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

  // Takes bytes from the front of `pieces`, which hold at least one: all, a
  // part, or none and EAGAIN if it has no room. Moves on what it holds back
  // from earlier by itself: of Write() and Flush() one is called, not both.
  virtual IoResult Write(Socket& socket, absl::Span<const iovec> pieces);

  // Moves on what it has taken and holds back. `bytes` of the result is how
  // much of it is left, with EAGAIN or without; 0 without an error is none.
  // Called when nothing is queued for Write().
  virtual IoResult Flush(Socket& socket);

  // Called at most once, when everything written has left and the stream is
  // about to end by Socket::Close() or Socket::ShutdownWrite(), but not by
  // Abort() or an error: the place for a closing message. If it returns true
  // the end waits until Flush() has nothing left, or fails.
  virtual bool BeforeClose(Socket& socket);
};

}  // namespace fio

#endif  // FIO_SOCK_TRANSPORT_H_
