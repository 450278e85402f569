#include "fio/core/listener.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

// Accepts in one turn, so that a flood of new connections does not starve the
// old ones.
constexpr int kBatch = 64;

// Without descriptors or memory, accepting again at once would fail again.
constexpr absl::Duration kPause = absl::Milliseconds(100);

absl::Status ListenError(const Url& url, const absl::Status& cause) {
  return absl::Status(cause.code(), absl::StrCat("listen ", url.ToString(),
                                                 ": ", cause.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Create(
    Loop& loop, const Url& url, ListenOptions options) {
  if (options.on_open == nullptr) {
    return ListenError(url, absl::InvalidArgumentError("on_open is missing"));
  }
  if (url.kind() == Url::Kind::kDatagram) {
    return ListenError(
        url, absl::InvalidArgumentError("datagrams make no connections"));
  }
  const absl::StatusOr<std::vector<SocketAddress>> addresses = Resolve(url);
  if (!addresses.ok()) return ListenError(url, addresses.status());
  absl::StatusOr<ListenSocket> socket = ListenOnAny(*addresses, options.socket);
  if (!socket.ok()) return ListenError(url, socket.status());
  auto listener = std::unique_ptr<Listener>(
      new Listener(loop, *std::move(socket), std::move(options)));
  absl::Status watched = listener->Watch();
  if (!watched.ok()) return ListenError(url, watched);
  return listener;
}

Listener::~Listener() { Close(); }

void Listener::Close() {
  loop_.Cancel(pause_);
  loop_.Unwatch(watch_);
  socket_ = nullptr;
}

absl::Status Listener::Watch() {
  // Level-triggered: what a batch leaves is told again in the next turn.
  absl::StatusOr<WatchId> watch =
      loop_.Watch(socket_->fd(), Interest::kReadable, Trigger::kLevel,
                  [this](Readiness) { AcceptWaiting(); });
  if (!watch.ok()) return watch.status();
  watch_ = *watch;
  return absl::OkStatus();
}

void Listener::AcceptWaiting() {
  for (int i = 0; i < kBatch && socket_ != nullptr; ++i) {
    ListenSocket::Accepted accepted = socket_->Accept();
    if (accepted.error == EAGAIN) return;
    if (accepted.error != 0) {
      Pause(accepted.error);
      return;
    }
    const absl::StatusOr<ConnectionId> id =
        loop_.Adopt(std::move(accepted.socket),
                    [this](Connection& connection) { on_open_(connection); });
    if (!id.ok()) {
      ABSL_LOG_EVERY_N_SEC(WARNING, 1)
          << "accept on " << local_address_.ToString() << ": " << id.status();
    }
  }
}

void Listener::Pause(int error) {
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "accept on " << local_address_.ToString() << ": "
      << std::strerror(error) << "; trying again every " << kPause;
  loop_.Unwatch(watch_);
  pause_ = loop_.RunAfter(kPause, [this] {
    const absl::Status watched = Watch();
    if (!watched.ok()) Pause(ENOMEM);
  });
}

}  // namespace fio
