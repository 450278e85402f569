#include "fio/core/connector.h"

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/address_race.h"
#include "fio/core/internal/backoff.h"
#include "fio/core/internal/choose_transport.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

using core_internal::AddressRace;
using core_internal::Backoff;

// What is wrong; empty if nothing is.
std::string_view Objection(const ConnectorOptions& options) {
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
  return options.limits.Fault();
}

std::string Objection(const Url& url) {
  if (url.kind() == Url::Kind::kDatagram) {
    return "datagrams make no connections";
  }
  const std::string_view key = url.FindAny(Url::Keys::kOfListening);
  if (!key.empty()) {
    return absl::StrCat("'", key, "' is for listening; leave it out");
  }
  if (url.kind() == Url::Kind::kUnix) return "";
  if (url.port() == 0) return "port 0 is no server's; give its real port";
  return url.port().has_value() || url.default_port().has_value()
             ? ""
             : "the port is missing";
}

// The url, if it and the options make sense.
absl::StatusOr<Url> ParseChecked(std::string_view text,
                                 const ConnectorOptions& options) {
  absl::StatusOr<Url> url = Url::Parse(text);
  if (!url.ok()) return absl::InvalidArgumentError(Url::WhatIsWrong(text));
  std::string objection = Objection(*url);
  if (objection.empty()) objection = Objection(options);
  if (!objection.empty()) return absl::InvalidArgumentError(objection);
  return url;
}

absl::StatusOr<TransportFactory> ChooseTransport(
    const absl::StatusOr<Url>& url, const ConnectorOptions& options) {
  if (!url.ok()) return url.status();
  return core_internal::ChooseTransport(*url, TransportRequest::Role::kClient,
                                        options.transport, options.secure);
}

absl::Status ConnectError(std::string_view url, const absl::Status& cause) {
  return absl::Status(cause.code(),
                      absl::StrCat("connect ", url, ": ", cause.message()));
}

// Differs between processes, and between the connectors of one.
uint64_t DrawSeed(const void* connector, MonotonicTime now) {
  return absl::HashOf(connector, getpid(), now.nanoseconds());
}

ConnectorOptions WithDefaults(ConnectorOptions options) {
  if (options.timeout == absl::ZeroDuration()) {
    options.timeout = ConnectorOptions().timeout;
  }
  return options;
}

}  // namespace

// Lives as long as its Connector and, a little longer, as the callback that
// destroys that. Its timer and its race end with it; answers of the resolver
// and ends of connections may find it gone.
class Connector::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Loop& loop, Resolver& resolver, Url url, ConnectorOptions options)
      : loop_(loop),
        resolver_(resolver),
        url_(std::move(url)),
        options_(WithDefaults(std::move(options))),
        backoff_(options_.reconnect_delay, options_.max_reconnect_delay,
                 options_.jitter_seed != 0
                     ? options_.jitter_seed
                     : DrawSeed(this, loop.options().clock->Now())),
        race_(loop, url_, DrawSeed(this, loop.options().clock->Now()),
              RaceOptions()) {}

  void Begin();
  void Finish();

  State state() const { return state_; }
  ConnectionId connection() const { return connection_; }
  const Stats& stats() const { return stats_; }

 private:
  class Alarm;

  AddressRace::Options RaceOptions();

  void SetAlarm(absl::Duration delay, void (Impl::*then)());
  void ClearAlarm();
  void OnAlarmDropped();

  void EndAttempt();
  void OnResolved(const Resolver::Addresses& resolved);
  void OnTimeout();
  void Open(Connection& connection);
  void OnGone(bool released, bool refused);
  void Fail(const absl::Status& reason);
  void Again();

  Loop& loop_;
  Resolver& resolver_;
  const Url url_;
  ConnectorOptions options_;
  Backoff backoff_;
  MonotonicTime opened_;  // When the connection, or the last one, was opened.
  AddressRace race_;

  State state_ = State::kWaiting;
  Stats stats_;
  ConnectionId connection_;
  TimerId alarm_ = TimerId::kNone;  // Of the attempt, or of the wait for it.
  Resolver::QuestionId question_ = Resolver::QuestionId::kNone;
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

// Takes from options_ what the race alone needs.
AddressRace::Options Connector::Impl::RaceOptions() {
  return {.on_open = [this](Connection& connection) { Open(connection); },
          .on_failed = [this](const absl::Status& reason) { Fail(reason); },
          .attempt_delay = options_.attempt_delay,
          .handshake_timeout = options_.timeout,
          .transport = std::move(options_.transport),
          .limits = options_.limits,
          .socket = options_.socket};
}

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
  SetAlarm(options_.timeout, &Impl::OnTimeout);
  question_ = resolver_.Resolve(
      url_, loop_.handle(),
      [weak = weak_from_this()](const Resolver::Addresses& resolved) {
        const std::shared_ptr<Impl> self = weak.lock();
        if (self != nullptr) self->OnResolved(resolved);
      });
}

// Cancels the attempt's question, race and time limit.
void Connector::Impl::EndAttempt() {
  resolver_.Cancel(std::exchange(question_, Resolver::QuestionId::kNone));
  race_.Cancel();
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
  state_ = State::kConnecting;
  race_.Begin(*resolved, weak_from_this());
}

void Connector::Impl::Open(Connection& connection) {
  EndAttempt();
  ++stats_.opened;
  state_ = State::kConnected;
  connection_ = connection.id();
  opened_ = loop_.options().clock->Now();
  connection.NotifyGone(
      [weak = weak_from_this(), &loop = loop_](const CloseReason& reason) {
        const bool released = reason.origin == CloseReason::Origin::kReleased;
        const bool refused = absl::IsPermissionDenied(reason.detail);
        // What follows is none of the burial's business.
        loop.Defer([weak, released, refused] {
          const std::shared_ptr<Impl> self = weak.lock();
          if (self != nullptr) self->OnGone(released, refused);
        });
      });
  options_.on_open(connection);
  if (!options_.reconnect) Finish();
}

// --- How it ends ---

void Connector::Impl::OnTimeout() {
  const std::string after =
      absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout));
  Fail(state_ == State::kResolving ? absl::DeadlineExceededError(absl::StrCat(
                                         after, "; resolving its name"))
                                   : race_.GiveUp(after));
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

void Connector::Impl::OnGone(bool released, bool refused) {
  connection_ = ConnectionId();
  // With TLS 1.3 who is refused learns it after its own part of the handshake.
  const absl::Duration lasted = loop_.options().clock->Now() - opened_;
  if (!refused || lasted >= options_.max_reconnect_delay) backoff_.Reset();
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
  absl::StatusOr<TransportFactory> transport =
      ChooseTransport(checked, options);
  if (!transport.ok()) {
    if (options.on_finish != nullptr) options.on_finish();
    return ConnectError(url, transport.status());
  }
  options.transport = *std::move(transport);
  options.secure = nullptr;
  auto impl =
      std::make_shared<Impl>(loop, resolver, *checked, std::move(options));
  impl->Begin();
  return std::unique_ptr<Connector>(new Connector(std::move(impl)));
}

absl::Status Connector::Check(std::string_view url,
                              const ConnectorOptions& options) {
  ConnectorOptions copy = options;
  return Prepare(url, copy);
}

absl::Status Connector::Prepare(std::string_view url,
                                ConnectorOptions& options) {
  absl::StatusOr<TransportFactory> transport =
      ChooseTransport(ParseChecked(url, options), options);
  if (!transport.ok()) return ConnectError(url, transport.status());
  // Not as the transport, with which keys for TLS would be an error.
  if (options.transport == nullptr && *transport != nullptr) {
    options.secure = [made = *std::move(transport)](
                         const Url&, TransportRequest::Role) { return made; };
  }
  return absl::OkStatus();
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
