#include "fio/core/listener.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

// Accepts in one turn, so that a flood of new connections does not starve the
// old ones.
constexpr int kBatch = 64;

absl::Status ListenError(std::string_view where, const absl::Status& cause) {
  return absl::Status(cause.code(),
                      absl::StrCat("listen ", where, ": ", cause.message()));
}

absl::Status CheckOptions(const ListenOptions& options) {
  if (options.on_open == nullptr) {
    return absl::InvalidArgumentError("on_open is missing");
  }
  if (options.back_off <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("back_off is not positive");
  }
  return absl::OkStatus();
}

absl::StatusOr<ListenSocket> OpenSocket(const Url& url,
                                        const ListenOptions& options) {
  absl::Status checked = CheckOptions(options);
  if (!checked.ok()) return checked;
  if (url.kind() == Url::Kind::kDatagram) {
    return absl::InvalidArgumentError("datagrams make no connections");
  }
  const absl::StatusOr<std::vector<SocketAddress>> addresses = Resolve(url);
  if (!addresses.ok()) return addresses.status();
  return ListenOnAny(*addresses, options.socket);
}

// Errors of the network that accept(2) passes on: they are of the connection
// that was next, which is gone with them, and of no other.
bool IsOfOneConnection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
#if defined(ENONET)
    case ENONET:
#endif
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPROTO:
      return true;
    default:
      return false;
  }
}

bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE;
}

bool IsOutOfMemory(int error) { return error == ENOMEM || error == ENOBUFS; }

// On the thread of the loop that serves the connection.
void Open(const ListenOptions& options, Connection& connection) {
  if (options.transport != nullptr) {
    std::unique_ptr<Transport> transport = options.transport();
    if (transport == nullptr ||
        !connection.SetTransport(std::move(transport)).ok()) {
      ABSL_LOG_EVERY_N_SEC(WARNING, 1)
          << "a connection is aborted: there is no transport for it";
      connection.Abort();
      return;
    }
  }
  options.on_open(connection);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Create(
    Loop& loop, const Url& url, ListenOptions options) {
  const auto shared = std::make_shared<const ListenOptions>(std::move(options));
  absl::StatusOr<ListenSocket> socket = OpenSocket(url, *shared);
  absl::Status status = socket.status();
  if (socket.ok()) {
    auto listener = std::unique_ptr<Listener>(new Listener(
        loop, std::make_shared<ListenSocket>(*std::move(socket)), shared,
        /*targets=*/{}, /*owns_socket=*/true, AcceptWakes::kAll));
    status = listener->UpdateWatch();
    if (status.ok()) return listener;
    // Its end calls on_finish.
  } else if (shared->on_finish != nullptr) {
    shared->on_finish();
  }
  return ListenError(url.ToString(), status);
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Create(
    Loop& loop, std::shared_ptr<ListenSocket> socket,
    std::shared_ptr<const ListenOptions> options,
    std::vector<LoopHandle> targets, AcceptWakes wakes) {
  if (socket == nullptr) {
    return absl::InvalidArgumentError("listen: the socket is null");
  }
  const std::string where = socket->local_address().ToString();
  absl::Status status = options == nullptr
                            ? absl::InvalidArgumentError("the options are null")
                            : CheckOptions(*options);
  if (!status.ok()) return ListenError(where, status);
  auto listener = std::unique_ptr<Listener>(
      new Listener(loop, std::move(socket), std::move(options),
                   std::move(targets), /*owns_socket=*/false, wakes));
  status = listener->UpdateWatch();
  if (!status.ok()) return ListenError(where, status);
  return listener;
}

Listener::Listener(Loop& loop, std::shared_ptr<ListenSocket> socket,
                   std::shared_ptr<const ListenOptions> options,
                   std::vector<LoopHandle> targets, bool owns_socket,
                   AcceptWakes wakes)
    : loop_(loop),
      local_address_(socket->local_address()),
      options_(std::move(options)),
      targets_(std::move(targets)),
      owns_socket_(owns_socket),
      wakes_(wakes),
      socket_(std::move(socket)) {
  OpenReserve();
}

Listener::~Listener() { Close(); }

void Listener::Close() {
  if (socket_ == nullptr) return;
  if (wakes_ == AcceptWakes::kOne && !accepting_ && !loop_.is_inherited()) {
    AcceptWaiting();
  }
  const std::shared_ptr<ListenSocket> socket =
      std::exchange(socket_, nullptr);  // Closes when the watch has ended.
  loop_.Cancel(back_off_);
  loop_.Unwatch(std::exchange(watch_, WatchId::kNone));
  reserve_.Reset();
  if (owns_socket_ && options_->on_finish != nullptr) options_->on_finish();
}

void Listener::Pause() {
  paused_ = true;
  WatchOrBackOff();
}

void Listener::Resume() {
  paused_ = false;
  WatchOrBackOff();
}

ListenerStats Listener::stats() const {
  return {.accepted = counters_.accepted.Get(),
          .rejected = counters_.rejected.Get(),
          .handed_over = counters_.handed_over.Get(),
          .shed = counters_.shed.Get()};
}

// Level-triggered: what a batch leaves is told again in the next turn.
absl::Status Listener::UpdateWatch() {
  const bool accepts =
      socket_ != nullptr && !paused_ && back_off_ == TimerId::kNone;
  if (accepts == (watch_ != WatchId::kNone)) return absl::OkStatus();
  if (!accepts) {
    loop_.Unwatch(std::exchange(watch_, WatchId::kNone));
    return absl::OkStatus();
  }
  const absl::StatusOr<WatchId> watch = loop_.Watch(
      socket_->fd(), Interest::kReadable,
      wakes_ == AcceptWakes::kAll ? Trigger::kLevel : Trigger::kLevelExclusive,
      [this](Readiness) { AcceptWaiting(); });
  if (watch.ok()) watch_ = *watch;
  return watch.status();
}

void Listener::WatchOrBackOff() {
  if (!UpdateWatch().ok()) BackOff(ENOMEM);
}

// --- Accepting ---

void Listener::AcceptWaiting() {
  accepting_ = true;
  const absl::Cleanup done = [this] { accepting_ = false; };
  bool any = false;
  for (int i = 0; i < kBatch && watch_ != WatchId::kNone; ++i) {
    ListenSocket::Accepted accepted = socket_->Accept();
    if (accepted.error == EAGAIN) return;
    if (accepted.error == 0) {
      any = true;
      counters_.accepted.Add(1);
      Place(std::move(accepted.socket), accepted.peer_address);
    } else if (!IsOfOneConnection(accepted.error)) {
      AcceptFailed(accepted.error);
      return;
    } else if (i + 1 == kBatch && !any) {
      BackOff(accepted.error);  // It may be of all of them after all.
    }
    if (loop_.turn_is_up()) return;
  }
}

void Listener::AcceptFailed(int error) {
  if (IsOutOfDescriptors(error) && !ShedOne()) return;
  BackOff(error);
  if (!IsOutOfDescriptors(error) && !IsOutOfMemory(error)) return;
  if (options_->on_shed != nullptr) {
    options_->on_shed(error, counters_.shed.Get());
  }
}

// Closes one who waits, by the descriptor that is kept for this. False if
// nobody waits: the kernel looks for a descriptor first.
bool Listener::ShedOne() {
  if (!reserve_) return true;
  reserve_.Reset();
  ListenSocket::Accepted accepted = socket_->Accept();
  if (accepted.error == 0) {
    counters_.shed.Add(1);
    accepted.socket = Socket();
  }
  OpenReserve();
  return accepted.error != EAGAIN;
}

// Any descriptor does; this one is in the table of system calls.
void Listener::OpenReserve() {
  reserve_ = UniqueFd(Sys().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

void Listener::BackOff(int error) {
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "accept on " << local_address_.ToString() << ": "
      << std::strerror(error) << "; trying again every " << options_->back_off
      << ", " << counters_.shed.Get() << " shed so far";
  // It ends with the timer, also where the loop cancels all of them.
  back_off_ =
      loop_.RunAfter(options_->back_off,
                     [end = absl::MakeCleanup([this] { EndBackOff(); })] {});
  UpdateWatch().IgnoreError();  // It ends one, which does not fail.
}

void Listener::EndBackOff() {
  back_off_ = TimerId::kNone;
  if (socket_ == nullptr) return;
  if (!reserve_) OpenReserve();
  WatchOrBackOff();
}

// --- Who serves it ---

void Listener::Place(Socket socket, const SocketAddress& peer) {
  const AcceptVerdict verdict = options_->on_accept == nullptr
                                    ? AcceptVerdict::Keep()
                                    : options_->on_accept(peer);
  if (verdict.rejects()) {
    counters_.rejected.Add(1);
    return;
  }
  const LoopHandle* const target = Choose(verdict);
  if (target == nullptr) {
    counters_.rejected.Add(1);
    ABSL_LOG_EVERY_N_SEC(WARNING, 1)
        << "accept on " << local_address_.ToString()
        << ": there is no loop to serve it";
  } else if (*target == loop_.handle()) {
    Serve(std::move(socket));
  } else {
    HandOver(std::move(socket), *target);
  }
}

// Null if there is none.
const LoopHandle* Listener::Choose(AcceptVerdict verdict) {
  if (!verdict.keeps()) {
    return verdict.loop() < targets_.size() ? &targets_[verdict.loop()]
                                            : nullptr;
  }
  const bool balances = options_->balance == AcceptBalance::kLeastConnections &&
                        !targets_.empty();
  return balances ? LeastLoaded() : &loop_.handle();
}

const LoopHandle* Listener::LeastLoaded() {
  const LoopHandle* least = nullptr;
  size_t fewest = 0;
  const size_t first = next_target_;
  for (size_t i = 0; i < targets_.size(); ++i) {
    const size_t index = (first + i) % targets_.size();
    if (targets_[index].expired()) continue;
    const size_t count = targets_[index].connection_count();
    if (least != nullptr && count >= fewest) continue;
    least = &targets_[index];
    fewest = count;
    next_target_ = index + 1;
  }
  return least;
}

void Listener::Serve(Socket socket) {
  const absl::StatusOr<ConnectionId> id = loop_.Adopt(
      std::move(socket),
      [this](Connection& connection) { Open(*options_, connection); });
  if (id.ok()) return;
  // The loop stops, or has no memory for it.
  (absl::IsFailedPrecondition(id.status()) ? counters_.rejected
                                           : counters_.shed)
      .Add(1);
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "accept on " << local_address_.ToString() << ": " << id.status();
}

void Listener::HandOver(Socket socket, const LoopHandle& target) {
  const bool handed_over = target.Adopt(
      std::move(socket),
      [options = options_](Connection& opened) { Open(*options, opened); });
  (handed_over ? counters_.handed_over : counters_.rejected).Add(1);
}

}  // namespace fio
