#include "fio/sock/connect.h"

#include <sys/socket.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/syscalls.h"
#include "fio/sock/internal/call_failed.h"
#include "fio/sock/internal/socket_builder.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"

namespace fio {
namespace {

using sock_internal::BadOption;
using sock_internal::CallFailed;
using sock_internal::SocketBuilder;

// What is wrong with `options`, or null.
const char* Objection(const SocketAddress& address,
                      const ConnectOptions& options) {
  const SocketAddress& local = options.local_address;
  const char* objection = sock_internal::CannotConnectTo(address);
  if (objection != nullptr) return objection;
  if (address.family() == AF_UNIX && options.keepalive.has_value()) {
    return "keepalive is for TCP";
  }
  if (!local.path().empty()) return "local_address is a path";
  if (local.size() != 0 && local.family() != address.family()) {
    return "local_address is of another family";
  }
  if (options.receive_buffer_bytes > sock_internal::kMaxBufferBytes ||
      options.send_buffer_bytes > sock_internal::kMaxBufferBytes) {
    return "a buffer has more than 2 GiB";
  }
  return nullptr;
}

// errno as a Status.
absl::Status ConnectFailed(const SocketAddress& address) {
  const bool is_full = address.family() == AF_UNIX && errno == EAGAIN;
  const absl::Status failed = CallFailed("connect", address);
  if (!is_full) return failed;
  return absl::AbortedError(
      absl::StrCat(failed.message(), ": the server's queue is full"));
}

void BindLocal(SocketBuilder& builder, const SocketAddress& local) {
  if (local.size() == 0) return;
  // connect(2) picks the port then, and may share one between peers.
  if (local.family() != AF_UNIX && local.port() == 0) {
    builder.Set(sock_internal::kBindNoPort, 1);
  }
  // Objection() has seen to it that this makes no file.
  builder.Bind(local);
}

}  // namespace

absl::StatusOr<Socket> StartConnect(const SocketAddress& address,
                                    const ConnectOptions& options) {
  const char* objection = Objection(address, options);
  if (objection != nullptr) return BadOption("connect", address, objection);
  SocketBuilder builder(address, SOCK_STREAM);
  if (address.family() != AF_UNIX && options.nodelay) {
    builder.Set(sock_internal::kNodelay, 1);
  }
  if (options.keepalive.has_value()) builder.SetKeepAlive(*options.keepalive);
  builder.SetBuffers(options.receive_buffer_bytes, options.send_buffer_bytes);
  BindLocal(builder, options.local_address);
  if (builder.status().ok() &&
      Sys().connect(builder.fd(), address.data(), address.size()) != 0 &&
      errno != EINPROGRESS && errno != EINTR) {
    builder.Check(ConnectFailed(address));
  }
  if (!builder.status().ok()) return builder.status();
  return Socket(builder.Release(), address.family() == AF_UNIX
                                       ? Socket::ShortRead::kSaysNothing
                                       : Socket::ShortRead::kEmpties);
}

}  // namespace fio
