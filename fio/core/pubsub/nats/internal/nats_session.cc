#include "fio/core/pubsub/nats/internal/nats_session.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/pubsub/nats/internal/nats_info.h"
#include "fio/core/pubsub/nats/internal/nats_reader.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/pubsub/message.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"
#include "fio/sock/watermarks.h"

namespace fio::nats_internal {
namespace {

using Kind = NatsFrame::Kind;

// Of a body from there on it is cheaper to share the bytes than to copy them.
constexpr size_t kSharedBytes = 2048;

// A mark that asks for no OnPong().
constexpr uint64_t kNoMark = std::numeric_limits<uint64_t>::max();

// Whether the server means that it will never take us as we are.
bool IsRefusal(std::string_view error) {
  return absl::StartsWithIgnoreCase(error, "authorization") ||
         absl::StrContainsIgnoreCase(error, "authentication");
}

}  // namespace

NatsSession::NatsSession(Options options, Listener& listener)
    : options_(std::move(options)),
      listener_(&listener),
      reader_(options_.limits) {}

// --- To the server ---

void NatsSession::Send(std::string_view bytes) { connection_->Write(bytes); }

void NatsSession::Subscribe(uint64_t sid, std::string_view subject) {
  Send(absl::StrCat("SUB ", subject, " ", sid, "\r\n"));
}

void NatsSession::Unsubscribe(uint64_t sid) {
  Send(absl::StrCat("UNSUB ", sid, "\r\n"));
}

void NatsSession::Publish(std::string_view subject, const Message& message) {
  const std::string_view body = message.body();
  if (body.size() < kSharedBytes) {
    Send(absl::StrCat("PUB ", subject, " ", body.size(), "\r\n", body, "\r\n"));
    return;
  }
  Send(absl::StrCat("PUB ", subject, " ", body.size(), "\r\n"));
  connection_->Write(message.frame(), message.body_offset());
  Send("\r\n");
}

void NatsSession::Ping(uint64_t mark) {
  marks_.push_back(mark);
  Send("PING\r\n");
}

bool NatsSession::HasRoom() const {
  return connection_->pending_bytes() < kRoomBytes;
}

void NatsSession::Close() {
  listener_ = nullptr;
  if (connection_ != nullptr) connection_->Close();
}

void NatsSession::Leave(absl::Status why) {
  why_ = std::move(why);
  connection_->Close();
}

void NatsSession::Fail(absl::Status why) {
  if (!why_.ok()) return;
  why_ = std::move(why);
  connection_->Abort();
}

// --- The beginning ---

void NatsSession::OnOpen(Connection& connection) {
  connection_ = &connection;
  // A server cuts who reads slowly, so reading never pauses; the listener
  // bounds what is sent (HasRoom()).
  constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max() - 1;
  connection.SetWatermarks({.high_bytes = kNone, .limit_bytes = kNone});
  // A server that can't answer to a ping drops what it has not read.
  connection.LingerAtClose();
  connection.SetDeadline(options_.timeout);
}

void NatsSession::Greet(const NatsInfo& info) {
  nonce_ = info.nonce;
  const bool offers_tls = info.tls_required || info.tls_available;
  if (options_.needs_tls && !offers_tls) {
    return Fail(absl::FailedPreconditionError(
        absl::StrCat(options_.address, ": the server does not speak TLS")));
  }
  if (info.tls_required || options_.needs_tls) return StartTls();
  SendConnect();
}

void NatsSession::StartTls() {
  absl::StatusOr<TransportFactory> factory = options_.tls();
  if (!factory.ok()) return Fail(factory.status());
  const absl::StatusOr<Url> url =
      Url::Parse(absl::StrCat("tls://", options_.address));
  if (!url.ok()) return Fail(url.status());
  state_ = State::kSecuring;
  std::unique_ptr<Transport> transport =
      (*factory)({.role = TransportRequest::Role::kClient,
                  .url = &*url,
                  .peer_address = connection_->peer_address(),
                  .loop = connection_->loop(),
                  .connection = connection_->id()});
  if (transport == nullptr) {
    return Fail(absl::InternalError("there is no transport for TLS"));
  }
  connection_->StartHandshake(std::move(transport), options_.timeout,
                              [this](Connection&, const absl::Status& status) {
                                if (!status.ok()) {
                                  if (why_.ok()) why_ = status;
                                  return;
                                }
                                is_secure_ = true;
                                SendConnect();
                              });
}

void NatsSession::SendConnect() {
  state_ = State::kEntering;
  Send(absl::StrCat("CONNECT {\"verbose\":false,\"pedantic\":false,",
                    "\"protocol\":1,\"headers\":true,\"no_responders\":false,",
                    "\"lang\":\"fio\",\"version\":\"1\",\"tls_required\":",
                    is_secure_ ? "true" : "false", options_.login(nonce_),
                    "}\r\n"));
  Ping(kNoMark);
}

// --- From the server ---

void NatsSession::OnData(Connection& connection) {
  const std::string_view bytes = connection.Received();
  const size_t taken = reader_.Feed(
      bytes, [this](const NatsFrame& frame) { return OnFrame(frame); });
  if (!reader_.status().ok()) {
    return Fail(absl::Status(
        reader_.status().code(),
        absl::StrCat(options_.address, ": ", reader_.status().message())));
  }
  // Nobody has vouched for them.
  if (state_ == State::kSecuring && taken != bytes.size()) {
    Fail(absl::InvalidArgumentError(absl::StrCat(
        options_.address, ": bytes between INFO and the handshake of TLS")));
  }
}

// False: nothing more is to be read.
bool NatsSession::OnFrame(const NatsFrame& frame) {
  if (frame.kind != Kind::kError) last_error_.clear();
  switch (frame.kind) {
    case Kind::kInfo:
      OnInfo(frame.text);
      break;
    case Kind::kPing:
      Send("PONG\r\n");
      break;
    case Kind::kPong:
      OnPong();
      break;
    case Kind::kError:
      OnError(frame.text);
      break;
    case Kind::kMessage:
      if (listener_ != nullptr && state_ == State::kUp) {
        listener_->OnMessage(frame);
      }
      break;
    case Kind::kOk:
      break;
  }
  return why_.ok() && listener_ != nullptr && state_ != State::kSecuring;
}

void NatsSession::OnInfo(std::string_view json) {
  const absl::StatusOr<NatsInfo> info = NatsInfo::Parse(json);
  if (!info.ok()) return Fail(info.status());
  if (info->max_payload != 0) max_payload_ = info->max_payload;
  if (state_ == State::kGreeting) Greet(*info);
  if (why_.ok() && listener_ != nullptr) listener_->OnInfo(*info);
}

void NatsSession::OnPong() {
  silent_pings_ = 0;
  if (marks_.empty()) return;
  const uint64_t mark = marks_.front();
  marks_.pop_front();
  if (state_ == State::kEntering) {
    state_ = State::kUp;
    connection_->SetDeadline(absl::InfiniteDuration());
    connection_->loop().Arm(*this, options_.ping_interval);
    if (listener_ != nullptr) listener_->OnUp();
  } else if (mark != kNoMark && listener_ != nullptr) {
    listener_->OnPong(mark);
  }
}

void NatsSession::OnError(std::string_view text) {
  last_error_ = std::string(text.substr(0, 256));
  if (IsRefusal(text)) {
    Fail(absl::PermissionDeniedError(
        absl::StrCat(options_.address, ": ", last_error_)));
  } else if (state_ == State::kUp && listener_ != nullptr) {
    listener_->OnServerError(last_error_);
  }
}

void NatsSession::OnReady(Connection&) {
  if (is_up() && listener_ != nullptr) listener_->OnSent();
}

// --- The end ---

void NatsSession::OnTimer(TimerWheel&) {
  if (silent_pings_ >= options_.max_pings) {
    return Fail(absl::UnavailableError(
        absl::StrCat(options_.address, ": the server does not answer")));
  }
  ++silent_pings_;
  Ping(kNoMark);
  connection_->loop().Arm(*this, options_.ping_interval);
}

void NatsSession::OnDeadline(Connection&) {
  Fail(absl::DeadlineExceededError(
      absl::StrCat(options_.address, ": the server has not taken us within ",
                   absl::FormatDuration(options_.timeout))));
}

absl::Duration NatsSession::OnShutdown(Connection&) {
  if (is_up() && listener_ != nullptr) listener_->OnStopping();
  return absl::ZeroDuration();
}

absl::Status NatsSession::WhyClosed(const CloseReason& reason) const {
  if (!why_.ok()) return why_;
  if (!last_error_.empty()) {
    return absl::UnavailableError(
        absl::StrCat(options_.address, ": ", last_error_));
  }
  const absl::StatusCode code = absl::IsPermissionDenied(reason.detail)
                                    ? absl::StatusCode::kPermissionDenied
                                    : absl::StatusCode::kUnavailable;
  return absl::Status(code,
                      absl::StrCat(options_.address, ": ", reason.ToString()));
}

void NatsSession::OnClose(Connection& connection, const CloseReason& reason) {
  connection.loop().Cancel(*this);
  if (listener_ == nullptr) return;
  // A copy in a child of fork(2) is nobody's loss.
  if (connection.loop().is_inherited()) return;
  std::exchange(listener_, nullptr)->OnDown(WhyClosed(reason));
}

}  // namespace fio::nats_internal
