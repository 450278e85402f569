#include "fio/core/connector.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/address_order.h"
#include "fio/core/internal/backoff.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

using core_internal::Backoff;
using core_internal::InterleaveFamilies;

// How long to wait if a socket is reported as writable, but has no outcome yet.
constexpr absl::Duration kUndecidedPause = absl::Milliseconds(10);

// How long to wait for room in the queue of a Unix server.
constexpr absl::Duration kFirstQueueDelay = absl::Milliseconds(1);
constexpr absl::Duration kMaxQueueDelay = absl::Milliseconds(100);

// What is wrong with `options`, or null.
const char* Objection(const ConnectorOptions& options) {
  if (options.on_open == nullptr) return "on_open is missing";
  if (options.timeout < absl::ZeroDuration()) return "timeout is negative";
  if (options.attempt_delay < absl::ZeroDuration()) {
    return "attempt_delay is negative";
  }
  if (options.reconnect_delay <= absl::ZeroDuration()) {
    return "reconnect_delay is not positive";
  }
  if (options.max_reconnect_delay < options.reconnect_delay) {
    return "max_reconnect_delay is less than reconnect_delay";
  }
  return nullptr;
}

const char* Objection(const Url& url) {
  if (url.kind() == Url::Kind::kDatagram) {
    return "datagrams make no connections";
  }
  if (!url.query().empty()) return "its query is for listening; leave it out";
  if (url.kind() == Url::Kind::kUnix) return nullptr;
  if (url.port() == 0) return "port 0 is no server's; give its real port";
  return url.port().has_value() || url.default_port().has_value()
             ? nullptr
             : "the port is missing";
}

// The url, if it and the options make sense.
absl::StatusOr<Url> ParseChecked(std::string_view text,
                                 const ConnectorOptions& options) {
  absl::StatusOr<Url> url = Url::Parse(text);
  if (!url.ok()) return absl::InvalidArgumentError(Url::WhatIsWrong(text));
  const char* objection = Objection(*url);
  if (objection == nullptr) objection = Objection(options);
  if (objection != nullptr) return absl::InvalidArgumentError(objection);
  if (url->is_secure() && options.transport == nullptr) {
    return absl::UnimplementedError(
        "TLS is not built yet; give ConnectorOptions::transport, or use http");
  }
  return url;
}

absl::Status ConnectError(std::string_view url, const absl::Status& cause) {
  return absl::Status(cause.code(),
                      absl::StrCat("connect ", url, ": ", cause.message()));
}

std::string Trying(const SocketAddress& address) {
  return absl::StrCat("connect ", address.ToString());
}

// Differs between processes, and between the connectors of one.
uint64_t DrawSeed(const void* connector, MonotonicTime now) {
  return absl::HashOf(connector, getpid(), now.nanoseconds());
}

}  // namespace

// Lives as long as its Connector and, a little longer, as the callback that
// destroys that. Timers and watches end with it; answers of the resolver and
// ends of connections may find it gone.
class Connector::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Loop& loop, Resolver& resolver, Url url, ConnectorOptions options)
      : loop_(loop),
        resolver_(resolver),
        url_(std::move(url)),
        options_(std::move(options)),
        backoff_(options_.reconnect_delay, options_.max_reconnect_delay,
                 options_.jitter_seed != 0
                     ? options_.jitter_seed
                     : DrawSeed(this, loop.options().clock->Now())),
        queue_backoff_(kFirstQueueDelay, kMaxQueueDelay,
                       DrawSeed(this, loop.options().clock->Now())) {
    if (options_.timeout == absl::ZeroDuration()) {
      options_.timeout = ConnectorOptions().timeout;
    }
  }

  void Begin();
  void Finish();

  State state() const { return state_; }
  ConnectionId connection() const { return connection_; }
  const Stats& stats() const { return stats_; }

 private:
  // A socket on its way, or the connection that was made of it and does its
  // handshake.
  struct Trial {
    int fd;  // -1 once its handshake has failed.
    Socket socket;
    SocketAddress address;
    WatchId watch = WatchId::kNone;
    TimerId pause = TimerId::kNone;
    ConnectionId connection = {};
  };
  class Alarm;

  void SetAlarm(absl::Duration delay, void (Impl::*then)());
  void ClearAlarm();
  void OnAlarmDropped();

  void EndAttempt();
  void OnResolved(const Resolver::Addresses& resolved);
  void TryNext();
  void TryNextAfter(absl::Duration delay);
  absl::Status Try(const SocketAddress& address);
  absl::Status Watch(Trial& trial);
  void OnWritable(int fd);
  void OnEstablished(int fd);
  void StartHandshake(Connection& connection);
  void OnHandshakeDone(Connection& connection, const absl::Status& status);
  void OnTimeout();
  void OnGone(bool released);

  void OnFailure(std::vector<Trial>::iterator trial, const absl::Status& why);
  std::vector<Trial>::iterator Find(int fd);
  std::vector<Trial>::iterator Find(ConnectionId connection);
  Trial Take(std::vector<Trial>::iterator trial);
  void End(std::vector<Trial>::iterator trial);
  void EndTrials();
  void Open(Connection& connection);
  void FailWithErrors();
  void Fail(const absl::Status& reason);
  void Again();

  Loop& loop_;
  Resolver& resolver_;
  const Url url_;
  ConnectorOptions options_;
  Backoff backoff_;
  Backoff queue_backoff_;

  State state_ = State::kWaiting;
  Stats stats_;
  ConnectionId connection_;
  TimerId alarm_ = TimerId::kNone;  // Of the attempt, or of the wait for it.

  // Of this attempt.
  Resolver::QuestionId question_ = Resolver::QuestionId::kNone;
  std::vector<SocketAddress> addresses_;
  size_t next_ = 0;            // Of addresses_.
  std::vector<Trial> trials_;  // The newest last.
  TimerId stagger_ = TimerId::kNone;
  std::vector<absl::Status> errors_;  // Of a full queue, the latest only.
};

// A timer's task that learns it when the loop drops its timers.
class Connector::Impl::Alarm {
 public:
  Alarm(Impl& impl, void (Impl::*then)()) : impl_(&impl), then_(then) {}
  Alarm(Alarm&& other) noexcept
      : impl_(std::exchange(other.impl_, nullptr)), then_(other.then_) {}
  Alarm& operator=(Alarm&&) = delete;
  ~Alarm() {
    if (impl_ != nullptr) impl_->OnAlarmDropped();
  }

  void operator()() {
    const std::shared_ptr<Impl> impl =
        std::exchange(impl_, nullptr)->shared_from_this();
    impl->alarm_ = TimerId::kNone;
    ((*impl).*then_)();
  }

 private:
  Impl* impl_;
  void (Impl::*then_)();
};

void Connector::Impl::SetAlarm(absl::Duration delay, void (Impl::*then)()) {
  alarm_ = loop_.RunAfter(delay, Alarm(*this, then));
}

void Connector::Impl::ClearAlarm() {
  loop_.Cancel(std::exchange(alarm_, TimerId::kNone));
}

// Either by ClearAlarm() or since the loop's Run() has ended.
void Connector::Impl::OnAlarmDropped() {
  if (alarm_ == TimerId::kNone) return;
  alarm_ = TimerId::kNone;
  const std::shared_ptr<Impl> self = shared_from_this();
  Finish();
}

// --- An attempt ---

void Connector::Impl::Begin() {
  ++stats_.attempts;
  state_ = State::kResolving;
  errors_.clear();
  SetAlarm(options_.timeout, &Impl::OnTimeout);
  question_ = resolver_.Resolve(
      url_, loop_.handle(),
      [weak = weak_from_this()](const Resolver::Addresses& resolved) {
        const std::shared_ptr<Impl> self = weak.lock();
        if (self != nullptr) self->OnResolved(resolved);
      });
}

// Cancels the attempt's question, sockets and timers.
void Connector::Impl::EndAttempt() {
  resolver_.Cancel(std::exchange(question_, Resolver::QuestionId::kNone));
  EndTrials();
  ClearAlarm();
}

void Connector::Impl::OnResolved(const Resolver::Addresses& resolved) {
  question_ = Resolver::QuestionId::kNone;
  if (!resolved.ok()) {
    std::string_view why = resolved.status().message();
    // Fail() names the url.
    absl::ConsumePrefix(&why, absl::StrCat("resolve ", url_.ToString(), ": "));
    Fail(absl::Status(resolved.status().code(), why));
    return;
  }
  if (resolved->empty()) {
    Fail(absl::NotFoundError("the resolver has found no address"));
    return;
  }
  addresses_ = *resolved;
  const SocketAddress& local = options_.socket.local_address;
  if (local.size() != 0) {
    std::erase_if(addresses_, [&local](const SocketAddress& address) {
      return address.family() != local.family();
    });
  }
  if (addresses_.empty()) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("no address is of the family of ", local.ToString())));
    return;
  }
  addresses_ = InterleaveFamilies(addresses_);
  next_ = 0;
  queue_backoff_.Reset();
  state_ = State::kConnecting;
  TryNext();
}

// Begins with the next address that a socket can be made for.
void Connector::Impl::TryNext() {
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
    FailWithErrors();
  } else if (tried && next_ < addresses_.size()) {
    TryNextAfter(options_.attempt_delay);
  }
}

void Connector::Impl::TryNextAfter(absl::Duration delay) {
  stagger_ = loop_.RunAfter(delay, [this] {
    const std::shared_ptr<Impl> self = shared_from_this();
    TryNext();
  });
}

absl::Status Connector::Impl::Try(const SocketAddress& address) {
  absl::StatusOr<Socket> socket = StartConnect(address, options_.socket);
  if (!socket.ok()) return socket.status();
  Trial trial = {
      .fd = socket->fd(), .socket = *std::move(socket), .address = address};
  absl::Status watched = Watch(trial);
  if (watched.ok()) trials_.push_back(std::move(trial));
  return watched;
}

absl::Status Connector::Impl::Watch(Trial& trial) {
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

std::vector<Connector::Impl::Trial>::iterator Connector::Impl::Find(int fd) {
  return absl::c_find_if(trials_,
                         [fd](const Trial& trial) { return trial.fd == fd; });
}

std::vector<Connector::Impl::Trial>::iterator Connector::Impl::Find(
    ConnectionId connection) {
  return absl::c_find_if(trials_, [connection](const Trial& trial) {
    return trial.connection == connection;
  });
}

Connector::Impl::Trial Connector::Impl::Take(
    std::vector<Trial>::iterator trial) {
  loop_.Unwatch(std::exchange(trial->watch, WatchId::kNone));
  loop_.Cancel(std::exchange(trial->pause, TimerId::kNone));
  Trial taken = std::move(*trial);
  trials_.erase(trial);
  return taken;
}

// Its handshake is then told of its end, and finds no trial.
void Connector::Impl::End(std::vector<Trial>::iterator trial) {
  const Trial taken = Take(trial);
  Connection* const connection = loop_.Find(taken.connection);
  if (connection != nullptr) connection->CloseNow();
}

void Connector::Impl::EndTrials() {
  while (!trials_.empty()) End(trials_.end() - 1);
  loop_.Cancel(std::exchange(stagger_, TimerId::kNone));
}

void Connector::Impl::OnWritable(int fd) {
  const std::shared_ptr<Impl> self = shared_from_this();
  Trial& trial = *Find(fd);
  // It keeps the descriptor until the watch has ended.
  trial.socket.HoldDescriptor(true);
  const IoResult outcome = trial.socket.FinishConnect();
  trial.socket.HoldDescriptor(false);
  if (outcome.would_block()) {
    // As a poller may say that is not quite sure. Asking it again would spin.
    loop_.Unwatch(std::exchange(trial.watch, WatchId::kNone));
    trial.pause = loop_.RunAfter(kUndecidedPause, [this, fd] {
      const std::shared_ptr<Impl> self = shared_from_this();
      const absl::Status watched = Watch(*Find(fd));
      if (!watched.ok()) OnFailure(Find(fd), watched);
    });
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

// If the newest address has failed, the next one is tried at once.
void Connector::Impl::OnFailure(std::vector<Trial>::iterator trial,
                                const absl::Status& why) {
  errors_.push_back(why);
  const bool newest = trial + 1 == trials_.end();
  End(trial);
  if (newest || trials_.empty()) TryNext();
}

void Connector::Impl::OnEstablished(int fd) {
  const bool shakes = options_.transport != nullptr;
  Trial& trial = *Find(fd);
  const WatchId watch = std::exchange(trial.watch, WatchId::kNone);
  Socket socket = std::move(trial.socket);
  if (!shakes) {
    Take(Find(fd));
    EndAttempt();
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
                     Open(connection);
                   }
                 })
          .status();
  if (adopted.ok()) return;
  shakes ? OnFailure(Find(fd), adopted) : Fail(adopted);
}

// Of the trial with that connection. Others go on meanwhile.
void Connector::Impl::StartHandshake(Connection& connection) {
  const ConnectionId id = connection.id();
  std::unique_ptr<Transport> transport =
      options_.transport({.role = TransportRequest::Role::kClient,
                          .url = &url_,
                          .peer_address = Find(id)->address,
                          .loop = loop_,
                          .connection = id});
  const auto done = [weak = weak_from_this()](Connection& shaken,
                                              const absl::Status& status) {
    const std::shared_ptr<Impl> self = weak.lock();
    if (self != nullptr) self->OnHandshakeDone(shaken, status);
  };
  if (transport == nullptr) {
    connection.Abort();
    done(connection, absl::InternalError("no transport was made"));
  } else if (!connection.StartHandshake(std::move(transport), options_.timeout,
                                        done)) {
    done(connection, absl::CancelledError("its factory has closed it"));
  }
}

void Connector::Impl::OnHandshakeDone(Connection& connection,
                                      const absl::Status& status) {
  const auto trial = Find(connection.id());
  if (trial == trials_.end()) return;  // It has been given up.
  if (status.ok()) {
    Take(trial);
    EndAttempt();
    Open(connection);
    return;
  }
  trial->fd = -1;  // Another one may soon have that number.
  // What follows is none of the burial's business.
  loop_.Defer([weak = weak_from_this(), id = connection.id(), status] {
    const std::shared_ptr<Impl> self = weak.lock();
    if (self == nullptr) return;
    const auto failed = self->Find(id);
    if (failed == self->trials_.end()) return;
    self->OnFailure(failed, absl::Status(status.code(),
                                         absl::StrCat(Trying(failed->address),
                                                      ": ", status.message())));
  });
}

void Connector::Impl::Open(Connection& connection) {
  ++stats_.opened;
  state_ = State::kConnected;
  connection_ = connection.id();
  backoff_.Reset();
  connection.NotifyGone(
      [weak = weak_from_this(), &loop = loop_](const CloseReason& reason) {
        const bool released = reason.origin == CloseReason::Origin::kReleased;
        // What follows is none of the burial's business.
        loop.Defer([weak, released] {
          const std::shared_ptr<Impl> self = weak.lock();
          if (self != nullptr) self->OnGone(released);
        });
      });
  options_.on_open(connection);
  if (!options_.reconnect) Finish();
}

// --- How it ends ---

void Connector::Impl::OnTimeout() {
  const std::string after =
      absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout));
  errors_.insert(errors_.begin(), absl::DeadlineExceededError(after));
  if (state_ == State::kResolving) {
    errors_.push_back(absl::DeadlineExceededError("resolving its name"));
  }
  for (const Trial& trial : trials_) {
    const bool shakes = trial.connection != ConnectionId();
    errors_.push_back(absl::DeadlineExceededError(
        absl::StrCat(Trying(trial.address), ": no ",
                     shakes ? "end of its handshake" : "answer")));
  }
  FailWithErrors();
}

void Connector::Impl::FailWithErrors() {
  std::string message;
  for (const absl::Status& error : errors_) {
    std::string_view what = error.message();
    absl::ConsumePrefix(&what, "connect ");  // Fail() says so once, for all.
    absl::StrAppend(&message, message.empty() ? "" : "; ", what);
  }
  Fail(absl::Status(errors_.front().code(), message));
}

void Connector::Impl::Fail(const absl::Status& reason) {
  ++stats_.failed;
  EndAttempt();
  state_ = State::kWaiting;
  if (options_.on_failed != nullptr) {
    options_.on_failed(ConnectError(url_.ToString(), reason));
  }
  Again();
}

void Connector::Impl::OnGone(bool released) {
  connection_ = ConnectionId();
  if (state_ == State::kFinished) return;
  state_ = State::kWaiting;
  // Who has taken the socket has it still.
  released ? Finish() : Again();
}

void Connector::Impl::Again() {
  if (state_ == State::kFinished) return;
  if (options_.reconnect && !loop_.stopping()) {
    SetAlarm(backoff_.Next(), &Impl::Begin);
  } else {
    Finish();
  }
}

void Connector::Impl::Finish() {
  if (state_ == State::kFinished) return;
  state_ = State::kFinished;
  EndAttempt();
  if (options_.on_finish != nullptr && !loop_.is_inherited()) {
    options_.on_finish();
  }
}

// --- Connector ---

absl::StatusOr<std::unique_ptr<Connector>> Connector::Create(
    Loop& loop, Resolver& resolver, std::string_view url,
    ConnectorOptions options) {
  const absl::StatusOr<Url> checked = ParseChecked(url, options);
  if (!checked.ok()) {
    if (options.on_finish != nullptr) options.on_finish();
    return ConnectError(url, checked.status());
  }
  auto impl =
      std::make_shared<Impl>(loop, resolver, *checked, std::move(options));
  impl->Begin();
  return std::unique_ptr<Connector>(new Connector(std::move(impl)));
}

absl::Status Connector::Check(std::string_view url,
                              const ConnectorOptions& options) {
  const absl::Status checked = ParseChecked(url, options).status();
  return checked.ok() ? checked : ConnectError(url, checked);
}

Connector::Connector(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Connector::~Connector() { Cancel(); }

void Connector::Cancel() {
  // This may not outlive on_finish.
  const std::shared_ptr<Impl> impl = impl_;
  impl->Finish();
}

Connector::State Connector::state() const { return impl_->state(); }

ConnectionId Connector::connection() const { return impl_->connection(); }

const Connector::Stats& Connector::stats() const { return impl_->stats(); }

}  // namespace fio
