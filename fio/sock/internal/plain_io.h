// One attempt to read or write by a system call, repeated if a signal
// interrupts it. None of these calls blocks, even if another holder of the
// file description has cleared O_NONBLOCK, so EINTR is rare; see signal(7).

#ifndef FIO_SOCK_INTERNAL_PLAIN_IO_H_
#define FIO_SOCK_INTERNAL_PLAIN_IO_H_

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "absl/base/attributes.h"
#include "absl/types/span.h"
#include "fio/base/syscalls.h"
#include "fio/sock/io_result.h"

namespace fio::sock_internal {

template <typename Call>
ABSL_ATTRIBUTE_ALWAYS_INLINE inline IoResult Retry(Call call) {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return {.bytes = static_cast<size_t>(n)};
    if (errno != EINTR) return {.error = errno};
  }
}

inline IoResult PlainRead(int fd, absl::Span<char> out, int flags = 0) {
  flags |= MSG_DONTWAIT;
  return Retry([&] { return Sys().recv(fd, out.data(), out.size(), flags); });
}

// Never raises SIGPIPE.
inline IoResult PlainWrite(int fd, std::string_view bytes, int flags = 0) {
  flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
  return Retry(
      [&] { return Sys().send(fd, bytes.data(), bytes.size(), flags); });
}
inline IoResult PlainWrite(int fd, absl::Span<const iovec> pieces,
                           int flags = 0) {
  if (pieces.size() == 1) {
    return PlainWrite(
        fd, {static_cast<const char*>(pieces[0].iov_base), pieces[0].iov_len},
        flags);
  }
  flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return Retry([&] { return Sys().sendmsg(fd, &message, flags); });
}

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_PLAIN_IO_H_
