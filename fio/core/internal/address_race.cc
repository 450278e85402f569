#include "fio/core/internal/address_race.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "fio/base/errno_status.h"
#include "fio/core/internal/address_order.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/poller/event.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"

namespace fio::core_internal {
namespace {

// How long to wait if a socket is reported as writable, but has no outcome yet.
constexpr absl::Duration kUndecidedPause = absl::Milliseconds(10);

// How long to wait for room in the queue of a Unix server.
constexpr absl::Duration kFirstQueueDelay = absl::Milliseconds(1);
constexpr absl::Duration kMaxQueueDelay = absl::Milliseconds(100);

std::string Trying(const SocketAddress& address) {
  return absl::StrCat("connect ", address.ToString());
}

// All errors in one. The Connector says "connect" once, before its url.
absl::Status Join(const std::vector<absl::Status>& errors) {
  std::string message;
  for (const absl::Status& error : errors) {
    std::string_view what = error.message();
    absl::ConsumePrefix(&what, "connect ");
    absl::StrAppend(&message, message.empty() ? "" : "; ", what);
  }
  return absl::Status(errors.front().code(), message);
}

}  // namespace

AddressRace::AddressRace(Loop& loop, const Url& url, uint64_t seed,
                         Options options)
    : loop_(loop),
      url_(url),
      options_(std::move(options)),
      queue_backoff_(kFirstQueueDelay, kMaxQueueDelay, seed) {}

void AddressRace::Begin(const std::vector<SocketAddress>& addresses,
                        std::weak_ptr<const void> owner) {
  owner_ = std::move(owner);
  errors_.clear();
  addresses_ = addresses;
  const SocketAddress& local = options_.socket.local_address;
  if (local.size() != 0) {
    std::erase_if(addresses_, [&local](const SocketAddress& address) {
      return address.family() != local.family();
    });
  }
  if (addresses_.empty()) {
    options_.on_failed(absl::InvalidArgumentError(
        absl::StrCat("no address is of the family of ", local.ToString())));
    return;
  }
  addresses_ = InterleaveFamilies(addresses_);
  next_ = 0;
  queue_backoff_.Reset();
  TryNext();
}

absl::Status AddressRace::GiveUp(std::string_view why) {
  errors_.insert(errors_.begin(), absl::DeadlineExceededError(why));
  for (const Trial& trial : trials_) {
    const bool shakes = trial.connection != ConnectionId();
    errors_.push_back(absl::DeadlineExceededError(
        absl::StrCat(Trying(trial.address), ": no ",
                     shakes ? "end of its handshake" : "answer")));
  }
  Cancel();
  return Join(errors_);
}

// Without a race it leaves the loop alone, which may be gone.
void AddressRace::Cancel() {
  while (!trials_.empty()) End(trials_.end() - 1);
  if (stagger_ != TimerId::kNone) {
    loop_.Cancel(std::exchange(stagger_, TimerId::kNone));
  }
}

// --- Beginning with an address ---

// Begins with the next address that a socket can be made for.
void AddressRace::TryNext() {
  loop_.Cancel(std::exchange(stagger_, TimerId::kNone));
  bool tried = false;
  while (!tried && next_ < addresses_.size()) {
    absl::Status status = Try(addresses_[next_]);
    if (absl::IsAborted(status)) {
      // The queue of a Unix server is full. It is the only address.
      errors_ = {std::move(status)};
      TryNextAfter(queue_backoff_.Next());
      return;
    }
    ++next_;
    tried = status.ok();
    if (!tried) errors_.push_back(std::move(status));
  }
  if (trials_.empty()) {
    options_.on_failed(Join(errors_));
  } else if (tried && next_ < addresses_.size()) {
    TryNextAfter(options_.attempt_delay);
  }
}

void AddressRace::TryNextAfter(absl::Duration delay) {
  stagger_ = loop_.RunAfter(delay, [this] {
    const std::shared_ptr<const void> owner = owner_.lock();
    TryNext();
  });
}

absl::Status AddressRace::Try(const SocketAddress& address) {
  absl::StatusOr<Socket> socket = StartConnect(address, options_.socket);
  if (!socket.ok()) return socket.status();
  Trial trial = {
      .fd = socket->fd(), .socket = *std::move(socket), .address = address};
  absl::Status watched = Watch(trial);
  if (watched.ok()) trials_.push_back(std::move(trial));
  return watched;
}

absl::Status AddressRace::Watch(Trial& trial) {
  const int fd = trial.fd;
  const absl::StatusOr<WatchId> watch =
      loop_.Watch(fd, Interest::kWritable, Trigger::kLevel,
                  [this, fd](Readiness) { OnWritable(fd); });
  if (!watch.ok()) {
    return absl::Status(
        watch.status().code(),
        absl::StrCat(Trying(trial.address), ": ", watch.status().message()));
  }
  trial.watch = *watch;
  return absl::OkStatus();
}

// --- An address on its way ---

void AddressRace::OnWritable(int fd) {
  const std::shared_ptr<const void> owner = owner_.lock();
  Trial& trial = *Find(fd);
  // It keeps the descriptor until the watch has ended.
  trial.socket.HoldDescriptor(true);
  const IoResult outcome = trial.socket.FinishConnect();
  trial.socket.HoldDescriptor(false);
  if (outcome.would_block()) {
    AskLater(trial);
    return;
  }
  if (!outcome.ok()) {
    OnFailure(Find(fd), outcome.status(Trying(trial.address)));
    return;
  }
  // TCP connects two ends that call each other, even if they are one.
  if (trial.address.family() != AF_UNIX &&
      trial.socket.local_address() == trial.socket.peer_address()) {
    OnFailure(Find(fd),
              ErrnoToStatus(ECONNREFUSED, absl::StrCat(Trying(trial.address),
                                                       ", which is itself")));
    return;
  }
  OnEstablished(fd);
}

// The poller was not quite sure. Asking it again at once would spin.
void AddressRace::AskLater(Trial& trial) {
  loop_.Unwatch(std::exchange(trial.watch, WatchId::kNone));
  trial.pause = loop_.RunAfter(kUndecidedPause, [this, fd = trial.fd] {
    const std::shared_ptr<const void> owner = owner_.lock();
    const absl::Status watched = Watch(*Find(fd));
    if (!watched.ok()) OnFailure(Find(fd), watched);
  });
}

void AddressRace::OnEstablished(int fd) {
  const bool shakes = options_.transport != nullptr;
  Trial& trial = *Find(fd);
  const WatchId watch = std::exchange(trial.watch, WatchId::kNone);
  Socket socket = std::move(trial.socket);
  if (!shakes) {
    Take(Find(fd));
    Cancel();
  }
  const absl::Status adopted =
      loop_
          .Adopt(watch, std::move(socket),
                 [this, fd, shakes](Connection& connection) {
                   options_.limits.ApplyTo(connection);
                   if (shakes) {
                     Find(fd)->connection = connection.id();
                     StartHandshake(connection);
                   } else {
                     options_.on_open(connection);
                   }
                 })
          .status();
  if (adopted.ok()) return;
  shakes ? OnFailure(Find(fd), adopted) : options_.on_failed(adopted);
}

// Of the trial with that connection. Others go on meanwhile.
void AddressRace::StartHandshake(Connection& connection) {
  const ConnectionId id = connection.id();
  std::unique_ptr<Transport> transport =
      options_.transport({.role = TransportRequest::Role::kClient,
                          .url = &url_,
                          .peer_address = Find(id)->address,
                          .loop = loop_,
                          .connection = id});
  const auto done = [this, weak = owner_](Connection& shaken,
                                          const absl::Status& status) {
    const std::shared_ptr<const void> owner = weak.lock();
    if (owner != nullptr) OnHandshakeDone(shaken, status);
  };
  if (transport == nullptr) {
    connection.Abort();
    done(connection, absl::InternalError("no transport was made"));
  } else if (!connection.StartHandshake(std::move(transport),
                                        options_.handshake_timeout, done)) {
    done(connection, absl::CancelledError("its factory has closed it"));
  }
}

void AddressRace::OnHandshakeDone(Connection& connection,
                                  const absl::Status& status) {
  const TrialIterator trial = Find(connection.id());
  if (trial == trials_.end()) return;  // It has been given up.
  if (status.ok()) {
    Take(trial);
    Cancel();
    options_.on_open(connection);
    return;
  }
  trial->fd = -1;  // Another one may soon have that number.
  // What follows is none of the burial's business.
  loop_.Defer([this, weak = owner_, id = connection.id(), status] {
    const std::shared_ptr<const void> owner = weak.lock();
    if (owner == nullptr) return;
    const TrialIterator failed = Find(id);
    if (failed == trials_.end()) return;
    OnFailure(failed, absl::Status(status.code(),
                                   absl::StrCat(Trying(failed->address), ": ",
                                                status.message())));
  });
}

// If the newest address has failed, the next one is tried at once.
void AddressRace::OnFailure(TrialIterator trial, const absl::Status& why) {
  errors_.push_back(why);
  const bool newest = trial + 1 == trials_.end();
  End(trial);
  if (newest || trials_.empty()) TryNext();
}

// --- The trials ---

AddressRace::TrialIterator AddressRace::Find(int fd) {
  return absl::c_find_if(trials_,
                         [fd](const Trial& trial) { return trial.fd == fd; });
}

AddressRace::TrialIterator AddressRace::Find(ConnectionId connection) {
  return absl::c_find_if(trials_, [connection](const Trial& trial) {
    return trial.connection == connection;
  });
}

AddressRace::Trial AddressRace::Take(TrialIterator trial) {
  loop_.Unwatch(std::exchange(trial->watch, WatchId::kNone));
  loop_.Cancel(std::exchange(trial->pause, TimerId::kNone));
  Trial taken = std::move(*trial);
  trials_.erase(trial);
  return taken;
}

// Its handshake is then told of its end, and finds no trial.
void AddressRace::End(TrialIterator trial) {
  const Trial taken = Take(trial);
  Connection* const connection = loop_.Find(taken.connection);
  if (connection != nullptr) connection->CloseNow();
}

}  // namespace fio::core_internal
