#include "fio/testing/loopback_pair.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio::testing {
namespace {

void WaitReadable(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  while (poll(&ready, 1, -1) < 0) ABSL_CHECK_EQ(errno, EINTR);
}

LoopbackPair Pair(Socket near, Socket far) {
  far.AllowHalfOpen();
  return {.near = std::move(near), .far = std::move(far)};
}

}  // namespace

LoopbackPair LoopbackPair::Tcp() {
  absl::StatusOr<ListenSocket> listener =
      ListenSocket::Listen(*SocketAddress::FromIp("127.0.0.1", 0), {});
  ABSL_CHECK_OK(listener.status());
  UniqueFd far =
      UniqueFd::Created(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ABSL_CHECK_EQ(
      setsockopt(far.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
  const SocketAddress& address = listener->local_address();
  ABSL_CHECK_EQ(connect(far.get(), address.data(), address.size()), 0);
  ABSL_CHECK_EQ(fcntl(far.get(), F_SETFL, O_NONBLOCK), 0);
  WaitReadable(listener->fd());
  ListenSocket::Accepted near = listener->Accept();
  ABSL_CHECK_EQ(near.error, 0);
  return Pair(std::move(near.socket), Socket(std::move(far)));
}

LoopbackPair LoopbackPair::Unix() {
  int fds[2];
  ABSL_CHECK_EQ(
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
      0);
  return Pair(Socket(UniqueFd::Created(fds[0])),
              Socket(UniqueFd::Created(fds[1])));
}

std::string ReadAvailable(Socket& socket) {
  std::string received;
  char buffer[1 << 16];
  for (;;) {
    const IoResult read = socket.Read(absl::MakeSpan(buffer));
    if (!read.ok() || read.bytes == 0) return received;
    received.append(buffer, read.bytes);
  }
}

std::string ReadUntil(Socket& socket, size_t bytes) {
  std::string received;
  char buffer[1 << 16];
  while (received.size() < bytes) {
    const size_t room = std::min(sizeof(buffer), bytes - received.size());
    const IoResult read = socket.Read(absl::MakeSpan(buffer, room));
    received.append(buffer, read.bytes);
    if (read.would_block()) {
      WaitReadable(socket.fd());
    } else if (read.bytes == 0) {
      break;
    }
  }
  return received;
}

std::string ReadToEnd(Socket& socket) { return ReadUntil(socket, SIZE_MAX); }

}  // namespace fio::testing
