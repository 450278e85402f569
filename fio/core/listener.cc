#include "fio/core/listener.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <functional>
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
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/internal/openings.h"
#include "fio/core/listen_options.h"
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
#include "fio/sock/url.h"

namespace fio {

using core_internal::Openings;

namespace {

// Calls of accept4() in one turn, whatever they return.
constexpr int kBatch = 64;

// How old a connection must be to count as unproductive.
constexpr absl::Duration kTimeToBegin = absl::Seconds(1);

absl::Status ListenError(std::string_view where, const absl::Status& cause) {
  return absl::Status(cause.code(),
                      absl::StrCat("listen ", where, ": ", cause.message()));
}

absl::StatusOr<ListenSocket> OpenSocket(const Url& url,
                                        const ListenOptions& options) {
  const absl::StatusOr<std::vector<SocketAddress>> addresses = Resolve(url);
  if (!addresses.ok()) return addresses.status();
  return ListenOnAny(*addresses, options.socket);
}

// Errors after which the next call may succeed: network errors that accept(2)
// passes on belong to the first connection in the queue, which is then removed.
bool MayAcceptNext(int error) {
  switch (error) {
    case EINTR:
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

absl::Status CheckOptionsOfSocket(const ListenOptions* options) {
  if (options == nullptr) {
    return absl::InvalidArgumentError("the options are null");
  }
  if (options->secure != nullptr) {  // Plain bytes are not what it asks for.
    return absl::InvalidArgumentError(
        "ListenOptions::secure needs a url; set ListenOptions::transport");
  }
  return CheckListenOptions(*options);
}

}  // namespace

absl::Status Listener::Check(const Url& url, const ListenOptions& options) {
  return CompleteListenOptions(url, options).status();
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Create(
    Loop& loop, const Url& url, ListenOptions options) {
  const std::function<void()> on_finish = options.on_finish;
  absl::StatusOr<ListenOptions> complete =
      CompleteListenOptions(url, std::move(options));
  absl::StatusOr<ListenSocket> socket =
      complete.ok() ? OpenSocket(url, *complete) : complete.status();
  absl::Status status = socket.status();
  if (socket.ok()) {
    auto listener = std::unique_ptr<Listener>(new Listener(
        loop, std::make_shared<ListenSocket>(*std::move(socket)),
        std::make_shared<const ListenOptions>(*std::move(complete)),
        /*targets=*/{}, /*owns_socket=*/true, AcceptWakes::kAll));
    status = listener->Start();
    if (status.ok()) return listener;
    // The destructor calls on_finish.
  } else if (on_finish != nullptr) {
    on_finish();
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
  absl::Status status = CheckOptionsOfSocket(options.get());
  if (!status.ok()) return ListenError(where, status);
  auto listener = std::unique_ptr<Listener>(
      new Listener(loop, std::move(socket), std::move(options),
                   std::move(targets), /*owns_socket=*/false, wakes));
  status = listener->Start();
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
      openings_(
          std::make_shared<Openings>(options_, local_address_, loop.handle())),
      targets_(std::move(targets)),
      owns_socket_(owns_socket),
      wakes_(wakes),
      socket_(std::move(socket)) {
  OpenReserve();
  openings_->SetOnRoom([this] { OnRoom(); });
}

Listener::~Listener() { Close(); }

void Listener::Close() {
  if (socket_ == nullptr) return;
  if (wakes_ == AcceptWakes::kOne && !accepting_ && !loop_.is_inherited()) {
    AcceptWaiting();
    if (socket_ == nullptr) return;  // A callback has closed it.
  }
  const std::shared_ptr<ListenSocket> socket =
      std::exchange(socket_, nullptr);  // Closes when the watch has ended.
  openings_->SetOnRoom(nullptr);
  loop_.Cancel(back_off_);
  loop_.Unwatch(std::exchange(watch_, WatchId::kNone));
  reserve_.Reset();
  if (!owns_socket_) return;
  socket->StopListening();
  if (options_->on_finish != nullptr && !loop_.is_inherited()) {
    options_->on_finish();
  }
}

void Listener::Pause() {
  paused_ = true;
  WatchOrBackOff();
}

void Listener::Resume() {
  paused_ = false;
  WatchOrBackOff();
}

ListenerStats& ListenerStats::operator+=(const ListenerStats& other) {
  accepted += other.accepted;
  rejected += other.rejected;
  handed_over += other.handed_over;
  shed += other.shed;
  handshakes_failed += other.handshakes_failed;
  handshakes_under_way += other.handshakes_under_way;
  return *this;
}

ListenerStats Listener::stats() const {
  return {.accepted = counters_.accepted.Get(),
          .rejected = counters_.rejected.Get(),
          .handed_over = counters_.handed_over.Get(),
          .shed = counters_.shed.Get(),
          .handshakes_failed = openings_->failed(),
          .handshakes_under_way = openings_->under_way()};
}

// If memory is short, this is no error: clients already wait at the socket, so
// it tries again later.
absl::Status Listener::Start() {
  absl::Status watched = UpdateWatch();
  if (!absl::IsResourceExhausted(watched)) return watched;
  BackOff(watched);
  return absl::OkStatus();
}

// Level-triggered: clients that a batch leaves are reported again in the next
// turn.
absl::Status Listener::UpdateWatch() {
  const bool accepts =
      socket_ != nullptr && !paused_ && !full_ && back_off_ == TimerId::kNone;
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
  const absl::Status watched = UpdateWatch();
  if (!watched.ok()) BackOff(watched);
}

// --- Accepting ---

void Listener::AcceptWaiting() {
  accepting_ = true;
  const absl::Cleanup done = [this] { accepting_ = false; };
  if (!reserve_) OpenReserve();
  bool any = false;
  for (int i = 0; i < kBatch && watch_ != WatchId::kNone && HasRoom(); ++i) {
    ListenSocket::Accepted accepted = socket_->Accept();
    if (accepted.error == EAGAIN) return;
    if (accepted.error == 0) {
      any = true;
      counters_.accepted.Add(1);
      Place(std::move(accepted.socket), accepted.peer_address);
    } else if (!MayAcceptNext(accepted.error)) {
      AcceptFailed(accepted.error);
      return;
    } else if (i + 1 == kBatch && !any) {
      // A whole batch failed: perhaps all calls will.
      BackOff(ErrnoToStatus(accepted.error, "accept4"));
    }
    if (loop_.turn_is_up()) return;
  }
}

void Listener::AcceptFailed(int error) {
  if (IsOutOfDescriptors(error) && !MakeRoom()) return;
  if (socket_ == nullptr) return;  // A callback has closed it.
  if (error == EINVAL) {  // It listens no more: our Close() is on its way.
    WaitAWhile();
  } else {
    BackOff(ErrnoToStatus(error, "accept4"));
  }
  if (!IsOutOfDescriptors(error) && !IsOutOfMemory(error)) return;
  if (options_->on_shed != nullptr) {
    options_->on_shed(error, counters_.shed.Get());
  }
}

// Whether one more handshake may begin. Otherwise OnRoom() is called later.
bool Listener::HasRoom() {
  full_ = openings_->IsFull();
  if (full_) UpdateWatch().IgnoreError();  // It ends one, which does not fail.
  return !full_;
}

void Listener::OnRoom() {
  full_ = false;
  WatchOrBackOff();
}

// --- At the limit of descriptors ---

// Frees the reserve descriptor to accept one client, and closes that client or
// another connection. False if no client waits: the kernel checks for a
// descriptor before it checks for a client.
bool Listener::MakeRoom() {
  if (!reserve_) {
    if (ClientWaits()) ShedUnproductive();
    return true;
  }
  reserve_.Reset();
  ListenSocket::Accepted accepted = socket_->Accept();
  if (accepted.error == 0) {
    if (ShedUnproductive()) {
      counters_.accepted.Add(1);
      Place(std::move(accepted.socket), accepted.peer_address);
    } else {
      counters_.shed.Add(1);
      accepted.socket = Socket();
    }
  }
  if (socket_ != nullptr) OpenReserve();
  return accepted.error != EAGAIN;
}

bool Listener::ClientWaits() const {
  pollfd polled = {.fd = socket_->fd(), .events = POLLIN, .revents = 0};
  return Sys().poll(&polled, 1, 0) == 1;
}

// False if the options do not ask for it, or there is nothing to shed. The
// descriptor is freed at the end of the turn.
bool Listener::ShedUnproductive() {
  Connection* const connection = FindUnproductive();
  if (connection == nullptr) return false;
  connection->Abort();
  counters_.shed.Add(1);
  return true;
}

// In the order of AtLimit::kShedUnproductive.
Connection* Listener::FindUnproductive() {
  Connection* found = nullptr;
  std::pair<int, MonotonicTime> first;
  for (const Served& served : served_) {
    Connection* const connection = loop_.Find(served.id);
    if (connection == nullptr || !connection->is_open()) continue;
    const bool owes = connection->is_handshaking() ||
                      connection->deadline() < MonotonicTime::InfiniteFuture();
    const bool is_new = loop_.now() - served.since < kTimeToBegin;
    const auto rank = owes ? std::pair(is_new ? 2 : 0, served.since)
                           : std::pair(1, connection->last_active());
    if (found != nullptr && first <= rank) continue;
    found = connection;
    first = rank;
  }
  return found;
}

void Listener::Remember(ConnectionId id) {
  if (options_->at_limit != AtLimit::kShedUnproductive) return;
  if (served_.size() == served_.capacity()) {
    std::erase_if(served_, [this](const Served& served) {
      return loop_.Find(served.id) == nullptr;
    });
    // So that the next clean-up is far away.
    served_.reserve(std::max(2 * served_.size(), size_t{16}));
  }
  served_.push_back({.id = id, .since = loop_.now()});
}

// Any descriptor does; this one is in the table of system calls.
void Listener::OpenReserve() {
  reserve_ =
      UniqueFd::Created(Sys().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

// --- Trying again later ---

void Listener::BackOff(const absl::Status& cause) {
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "listen " << local_address_.ToString() << ": " << cause.message()
      << "; trying again every " << options_->back_off << ", "
      << counters_.shed.Get() << " shed so far";
  WaitAWhile();
}

// If a back-off is under way already, it goes on: there is never more than one
// timer.
void Listener::WaitAWhile() {
  if (back_off_ != TimerId::kNone) return;
  // The back-off ends with the timer, also if the loop cancels all timers.
  back_off_ =
      loop_.RunAfter(options_->back_off,
                     [end = absl::MakeCleanup([this] { EndBackOff(); })] {});
  UpdateWatch().IgnoreError();  // It ends one, which does not fail.
}

void Listener::EndBackOff() {
  back_off_ = TimerId::kNone;
  if (socket_ != nullptr) WatchOrBackOff();
}

// --- Who serves it ---

void Listener::Place(Socket socket, const SocketAddress& peer) {
  const AcceptVerdict verdict = options_->on_accept == nullptr
                                    ? AcceptVerdict::Keep()
                                    : options_->on_accept(peer);
  if (verdict.rejects() || !openings_->Admits(peer)) {
    counters_.rejected.Add(1);
    return;
  }
  const LoopHandle* const target = Choose(verdict);
  if (target == nullptr) {
    counters_.rejected.Add(1);
    ABSL_LOG_EVERY_N_SEC(WARNING, 1) << "listen " << local_address_.ToString()
                                     << ": there is no loop to serve it";
  } else if (*target == loop_.handle()) {
    Serve(std::move(socket), peer);
  } else {
    HandOver(std::move(socket), peer, *target);
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

void Listener::Serve(Socket socket, const SocketAddress& peer) {
  OpenCallback begin = openings_->Begin(peer);
  const absl::StatusOr<ConnectionId> id =
      loop_.Adopt(std::move(socket),
                  [&begin](Connection& connection) { begin(connection); });
  if (id.ok()) {
    Remember(*id);
    return;
  }
  // The loop stops, or has no memory for it.
  (absl::IsFailedPrecondition(id.status()) ? counters_.rejected
                                           : counters_.shed)
      .Add(1);
  ABSL_LOG_EVERY_N_SEC(WARNING, 1)
      << "listen " << local_address_.ToString() << ": " << id.status();
}

void Listener::HandOver(Socket socket, const SocketAddress& peer,
                        const LoopHandle& target) {
  const bool handed_over =
      target.Adopt(std::move(socket), openings_->Begin(peer));
  (handed_over ? counters_.handed_over : counters_.rejected).Add(1);
}

}  // namespace fio
