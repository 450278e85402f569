// A Socket owns one connected, non-blocking stream socket. It moves bytes in
// and out and knows no event loop: whoever uses it waits for readiness in their
// own way, and a Socket is as large as the descriptor inside.
//
// Thread safety: none, but one thread may read while another writes.

#ifndef FIO_SOCK_SOCKET_H_
#define FIO_SOCK_SOCKET_H_

#include <sys/uio.h>

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_address.h"

namespace fio {

class Socket {
 public:
  // Holds no socket: every call below answers EBADF.
  Socket() = default;
  // Takes a connected stream socket that is non-blocking already.
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}

  // Negative if there is none.
  int fd() const { return fd_.get(); }
  // The caller owns the descriptor from here on.
  [[nodiscard]] UniqueFd Release() { return std::move(fd_); }

  // Reads what is there, up to `out.size()` bytes, by one recv(2). No error and
  // no bytes, with room in `out`, is the end of the peer's stream.
  IoResult Read(absl::Span<char> out);

  // Whether Read() would give bytes, the end or an error, without taking any:
  // `bytes` is then 1, 0 or, with the error, 0.
  IoResult Peek();

  // Gives the kernel as many bytes as it takes, by one send(2) or sendmsg(2).
  // Never raises SIGPIPE. At most IOV_MAX pieces (see writev(2)).
  IoResult Write(std::string_view bytes);
  IoResult Write(absl::Span<const iovec> pieces);

  // Ends our stream (FIN) and goes on reading. What was written still arrives.
  absl::Status ShutdownWrite();

  // Closes. The kernel goes on delivering what was written.
  void Close() { fd_.Reset(); }
  // Closes and drops what the kernel still holds: the peer sees a reset.
  void Abort();

  // By getsockname(2) and getpeername(2); no address if the call fails, as it
  // does for the peer of a socket whose connection is gone.
  SocketAddress local_address() const;
  SocketAddress peer_address() const;

 private:
  UniqueFd fd_;
};

}  // namespace fio

#endif  // FIO_SOCK_SOCKET_H_
