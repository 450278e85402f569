#include "fio/sock/internal/tcp_past.h"

// <netinet/tcp.h> has an older tcp_info, and does not go with this one.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

#include "fio/base/syscalls.h"

namespace fio::sock_internal {
namespace {

constexpr int kTcpClose = 7;  // TCP_CLOSE of <netinet/tcp.h>

}  // namespace

TcpPast TcpPastOf(int fd) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (Sys().getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
    return TcpPast::kUnknown;
  }
  // A kernel before 4.1 counts no bytes.
  constexpr size_t kNeeded =
      offsetof(tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked);
  if (size < kNeeded) return TcpPast::kUnknown;
  // The SYN counts as one byte, which was acknowledged if it was answered by
  // anything but a reset.
  if (info.tcpi_bytes_acked > 0) return TcpPast::kEstablished;
  return info.tcpi_state == kTcpClose ? TcpPast::kNotEstablished
                                      : TcpPast::kUnknown;
}

}  // namespace fio::sock_internal
