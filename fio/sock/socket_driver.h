// A SocketDriver moves the bytes of one Socket, where that is done by
// operations that begin now and are complete later. A Socket without one makes
// the system calls itself (recv(2), send(2) and the like), when its user has
// found that its descriptor is ready.
//
// The socket calls the driver, never the other way round. Whoever has made the
// driver tells the socket's owner when to ask again, in the way in which the
// owner waits, such as by events of a poller: "readable" when something has
// come, "writable" when something has left or sending has failed. Each change
// is told once. For the end or an error "readable" comes with "read closed".
//
// A driver owns its buffers, and what was given to Send() is its own, too,
// until that has left. It outlives its socket: End() is the last call that it
// gets, and it destroys itself once nothing uses its memory any more. In a
// forked child (ForkCount() has changed) End() only closes the child's copy of
// the descriptor; the other calls are not made.
//
// Thread safety: none. All calls come from the thread that uses the socket.

#ifndef FIO_SOCK_SOCKET_DRIVER_H_
#define FIO_SOCK_SOCKET_DRIVER_H_

#include <cstdint>

#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/watermarks.h"
#include "fio/sock/write_queue.h"

namespace fio {

class SocketDriver {
 public:
  // What follows the last byte that has come.
  struct Following {
    bool ended = false;  // Nothing more comes: it is the end of the stream,
    int error = 0;       // or the connection has failed; an errno.
  };

  // How the stream ends.
  enum class Ending : uint8_t {
    kClose,  // The peer sees the end, also if a forked child has a copy of the
             // descriptor.
    kReset,  // Likewise a reset.
    kDrop,   // Closes this copy of the descriptor, and does nothing else.
  };

  SocketDriver(const SocketDriver&) = delete;
  SocketDriver& operator=(const SocketDriver&) = delete;

  // --- Bytes that came ---

  // The first of the bytes that have come and were not taken: as many as lie
  // side by side in a buffer of the driver. Empty if there are none. The caller
  // may change them. Valid until Take() or End().
  //
  // The driver keeps what is not taken, and so bounds it: it stops receiving at
  // a number of bytes that it chooses, and goes on when some were taken.
  virtual absl::Span<char> Came() = 0;

  // Gives the first bytes of Came() back. REQUIRES: there are so many.
  virtual void Take(size_t bytes) = 0;

  virtual Following following() const = 0;

  // --- Bytes that leave ---

  // Sends `batch`, behind what was given before. Takes all of it; how much that
  // may be is for the socket to bound. After an error it is dropped. What the
  // batch owns is released inside a later Left() or, after End(), as soon as it
  // is not read any more. That may run code of the user's.
  virtual void Send(WriteQueue batch) = 0;

  // How many bytes have left since the last call. The error is 0 or an errno:
  // sending has failed for good, and what had not left is dropped. Errors that
  // pass, such as ENOBUFS, are the driver's to deal with.
  virtual IoResult Left() = 0;

  // What was given to Send() and is in no result of Left(). None after an
  // error.
  virtual PendingWrites pending() const = 0;

  // --- How it ends ---

  // Ends our stream; the peer's goes on. Returns 0 or an errno. REQUIRES:
  // nothing is pending. No Send() follows.
  virtual int ShutdownWrite() = 0;

  // What the peer sends from now on is dropped; the end of its stream follows
  // what has come. Returns 0 or an errno.
  virtual int ShutdownRead() = 0;

  // Drops what has come and what is pending, ends the stream, and closes `fd`:
  // not before all operations on it are complete, so that its number is not
  // another's meanwhile. What an operation reads or writes stays valid until it
  // is complete. `fd` is empty if somebody else has closed the descriptor.
  virtual void End(UniqueFd fd, Ending ending) = 0;

 protected:
  SocketDriver() = default;
  virtual ~SocketDriver() = default;
};

}  // namespace fio

#endif  // FIO_SOCK_SOCKET_DRIVER_H_
