#include "fio/sock/internal/socket_builder.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/internal/bound_path.h"
#include "fio/sock/internal/call_failed.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/socket_address.h"

namespace fio::sock_internal {
namespace {

constexpr SocketOption kKeepAlive = {SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"};
constexpr SocketOption kKeepIdle = {IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE"};
constexpr SocketOption kKeepInterval = {IPPROTO_TCP, TCP_KEEPINTVL,
                                        "TCP_KEEPINTVL"};
constexpr SocketOption kKeepCount = {IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT"};

}  // namespace

absl::Status BadOption(std::string_view call, const SocketAddress& address,
                       std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(call, " ", address.ToString(), ": ", why));
}

const char* CannotConnectTo(const SocketAddress& address) {
  if (address.size() == 0) return "there is no address";
  if (address.family() != AF_UNIX) {
    return address.port() == 0 ? "the port is 0" : nullptr;
  }
  return address.size() == sizeof(sa_family_t) ? "the name is missing"
                                               : nullptr;
}

int WholeSeconds(absl::Duration span) {
  const int64_t seconds =
      absl::ToInt64Seconds(absl::Ceil(span, absl::Seconds(1)));
  return static_cast<int>(std::clamp<int64_t>(seconds,
                                              std::numeric_limits<int>::min(),
                                              std::numeric_limits<int>::max()));
}

SocketBuilder::SocketBuilder(const SocketAddress& address, int type)
    : address_(address),
      fd_(UniqueFd::Created(Sys().socket(
          address.family(), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))) {
  if (!fd_) status_ = CallFailed("socket", address_);
}

void SocketBuilder::Set(const SocketOption& option, int value) {
  if (status_.ok() && Sys().setsockopt(fd(), option.level, option.option,
                                       &value, sizeof(value)) != 0) {
    status_ = CallFailed(absl::StrCat("setsockopt ", option.name), address_);
  }
}

void SocketBuilder::SetBuffers(size_t receive_bytes, size_t send_bytes) {
  if (receive_bytes != 0) Set(kReceiveBuffer, static_cast<int>(receive_bytes));
  if (send_bytes != 0) Set(kSendBuffer, static_cast<int>(send_bytes));
}

void SocketBuilder::SetKeepAlive(const KeepAlive& keepalive) {
  Set(kKeepIdle, WholeSeconds(keepalive.idle));
  Set(kKeepInterval, WholeSeconds(keepalive.interval));
  Set(kKeepCount, keepalive.count);
  Set(kKeepAlive, 1);
}

BoundPath SocketBuilder::Bind(const SocketAddress& address,
                              std::optional<mode_t> unix_mode) {
  if (!status_.ok()) return {};
  if (!address.path().empty()) {
    absl::StatusOr<BoundPath> path = BoundPath::Bind(fd(), address, unix_mode);
    if (path.ok()) return *std::move(path);
    status_ = path.status();
  } else if (Sys().bind(fd(), address.data(), address.size()) != 0) {
    status_ = CallFailed("bind", address);
  }
  return {};
}

}  // namespace fio::sock_internal
