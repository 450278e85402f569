// A SocketBuilder creates one socket by a sequence of calls. After the first
// call that fails, further calls do nothing, so only the final status must be
// checked:
//
//   SocketBuilder builder(address, SOCK_STREAM);
//   builder.Set(kReuseAddress, 1);
//   BoundPath path = builder.Bind(address);
//   if (!builder.status().ok()) return builder.status();
//   return Socket(builder.Release());
//
// Thread safety: none.

#ifndef FIO_SOCK_INTERNAL_SOCKET_BUILDER_H_
#define FIO_SOCK_INTERNAL_SOCKET_BUILDER_H_

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/internal/call_failed.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {

inline constexpr size_t kMaxBufferBytes = std::numeric_limits<int>::max();

// An option of setsockopt(2) whose value is an int.
struct SocketOption {
  int level;
  int option;
  std::string_view name;
};

inline constexpr SocketOption kReuseAddress = {SOL_SOCKET, SO_REUSEADDR,
                                               "SO_REUSEADDR"};
inline constexpr SocketOption kReusePort = {SOL_SOCKET, SO_REUSEPORT,
                                            "SO_REUSEPORT"};
inline constexpr SocketOption kBroadcast = {SOL_SOCKET, SO_BROADCAST,
                                            "SO_BROADCAST"};
inline constexpr SocketOption kReceiveBuffer = {SOL_SOCKET, SO_RCVBUF,
                                                "SO_RCVBUF"};
inline constexpr SocketOption kSendBuffer = {SOL_SOCKET, SO_SNDBUF,
                                             "SO_SNDBUF"};
inline constexpr SocketOption kV6Only = {IPPROTO_IPV6, IPV6_V6ONLY,
                                         "IPV6_V6ONLY"};
inline constexpr SocketOption kBindNoPort = {
    IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"};
inline constexpr SocketOption kNodelay = {IPPROTO_TCP, TCP_NODELAY,
                                          "TCP_NODELAY"};
inline constexpr SocketOption kDeferAccept = {IPPROTO_TCP, TCP_DEFER_ACCEPT,
                                              "TCP_DEFER_ACCEPT"};

// kInvalidArgument: "listen /run/x: v6_only is for IPv6".
absl::Status BadOption(std::string_view call, const SocketAddress& address,
                       std::string_view why);

// The reason why no socket can connect to `address`, or null.
const char* CannotConnectTo(const SocketAddress& address);

// Rounded up, and at most what an int holds.
int WholeSeconds(absl::Duration span);

class SocketBuilder {
 public:
  // A new socket of `address`'s family and of `type`, non-blocking and closed
  // on exec(3). Messages name `address`.
  SocketBuilder(const SocketAddress& address, int type);

  void Set(const SocketOption& option, int value);
  // Of the kernel; 0 leaves it as it is. REQUIRES: at most kMaxBufferBytes.
  void SetBuffers(size_t receive_bytes, size_t send_bytes);
  void SetKeepAlive(const KeepAlive& keepalive);
  // Returns the file that this created, if any: see BoundPath::Bind().
  BoundPath Bind(const SocketAddress& address,
                 std::optional<mode_t> unix_mode = std::nullopt);

  // Records the result of a call on fd() that was made outside of this class.
  void Check(const absl::Status& status) { status_.Update(status); }

  const absl::Status& status() const { return status_; }
  int fd() const { return fd_.get(); }
  // The caller then owns the socket.
  [[nodiscard]] UniqueFd Release() { return std::move(fd_); }

 private:
  SocketAddress address_;
  UniqueFd fd_;
  absl::Status status_;
};

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_SOCKET_BUILDER_H_
