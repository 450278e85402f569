#include "fio/core/pubsub/redis/internal/redis_link.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/pubsub/redis/internal/redis_command.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/resolver.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/pubsub/message.h"

namespace fio::redis_internal {
namespace {

// What may wait in the connection, of publishing.
constexpr uint64_t kMaxPendingBytes = uint64_t{1} << 20;
// Shorter bodies are copied.
constexpr size_t kSharedBytes = size_t{4} << 10;
// Between the end of a server's time and the last look at what it has sent.
constexpr absl::Duration kLastLook = absl::Milliseconds(5);

bool IsConfirmation(std::string_view what) {
  return what == "subscribe" || what == "psubscribe" || what == "unsubscribe" ||
         what == "punsubscribe";
}

}  // namespace

// The connection's; the link may go before it.
class RedisLink::Wire final : public Protocol {
 public:
  explicit Wire(RedisLink& link) : link_(&link) {}

  void Forget() { link_ = nullptr; }

  void OnOpen(Connection& connection) override {
    if (link_ != nullptr) link_->Opened(connection);
  }
  void OnData(Connection& connection) override {
    if (link_ != nullptr) {
      link_->Received(connection);
    } else {
      connection.Received();
    }
  }
  void OnReady(Connection& /*connection*/) override {
    if (link_ != nullptr && !link_->down_) link_->owner_.OnLinkRoom(*link_);
  }
  // A server that takes nothing must not hold up the stop.
  absl::Duration OnShutdown(Connection& connection) override {
    connection.CloseNow();
    return absl::ZeroDuration();
  }
  void OnClose(Connection& /*connection*/, const CloseReason& why) override {
    if (link_ == nullptr) return;
    link_->Gone(why.detail.ok() ? absl::UnavailableError(why.ToString())
                                : why.detail);
  }

 private:
  RedisLink* link_;
};

RedisLink::~RedisLink() {
  loop_.Cancel(timer_);
  connector_.reset();
  if (wire_ != nullptr) wire_->Forget();
  if (connection_ != nullptr) connection_->CloseNow();
}

absl::Status RedisLink::Connect(Resolver& resolver, std::string_view url,
                                ConnectorOptions options) {
  options.on_open = [this](Connection& connection) {
    auto wire = std::make_unique<Wire>(*this);
    wire_ = wire.get();
    connection.Attach(std::move(wire));
  };
  options.on_failed = [this](const absl::Status& why) { Gone(why); };
  absl::StatusOr<std::unique_ptr<Connector>> connector =
      Connector::Create(loop_, resolver, url, std::move(options));
  down_ = !connector.ok();
  if (connector.ok()) connector_ = *std::move(connector);
  return connector.status();
}

void RedisLink::Opened(Connection& connection) {
  connection_ = &connection;
  last_heard_ = loop_.now();
  SetTimer(options_.ping_interval);
  owner_.OnLinkOpen(*this);
}

// --- Sending ---

bool RedisLink::has_room() const {
  return connection_ != nullptr && !down_ &&
         expected_.size() < options_.window &&
         connection_->pending_bytes() < kMaxPendingBytes;
}

void RedisLink::Send(std::string_view bytes, OnDone done,
                     size_t confirmations) {
  expected_.push_back(
      {.done = std::move(done), .confirmations = confirmations});
  if (connection_ != nullptr) connection_->Write(bytes);
}

void RedisLink::Publish(const Message& message, OnDone done) {
  const std::string_view channel = message.channel();
  const std::string_view body = message.body();
  std::string head =
      absl::StrCat("*3\r\n$7\r\nPUBLISH\r\n$", channel.size(), "\r\n", channel,
                   "\r\n$", body.size(), "\r\n");
  if (body.size() < kSharedBytes) {
    absl::StrAppend(&head, body, "\r\n");
    return Send(head, std::move(done));
  }
  Send(head, std::move(done));
  if (connection_ == nullptr) return;
  connection_->Write(message.frame(), message.body_offset());
  connection_->Write("\r\n");
}

// --- Receiving ---

void RedisLink::Received(Connection& connection) {
  last_heard_ = loop_.now();
  asked_ = last_chance_ = false;
  while (!down_) {
    const std::string_view bytes = connection.Received();
    if (bytes.empty()) break;
    const absl::Status read = reader_.Feed(
        bytes, [this](RedisReply reply) { return OnReply(std::move(reply)); });
    if (!read.ok()) Fail(read);
  }
  if (!down_) owner_.OnLinkRoom(*this);
}

bool RedisLink::IsPush(const RedisReply& reply) const {
  if (reply.type == RedisReply::Type::kPush) return true;
  if (!array_pushes_ || reply.type != RedisReply::Type::kArray ||
      reply.items.empty()) {
    return false;
  }
  const std::string& what = reply.items[0].text;
  return IsConfirmation(what) || what == "message" || what == "pmessage";
}

bool RedisLink::OnReply(RedisReply reply) {
  if (IsPush(reply)) return OnPush(reply);
  if (expected_.empty()) {
    Fail(absl::InvalidArgumentError("RESP: an answer to nothing"));
    return false;
  }
  if (expected_.front().confirmations > 0 && !reply.is_error()) {
    Fail(absl::InvalidArgumentError("RESP: no confirmation"));
    return false;
  }
  AnswerFirst(std::move(reply));
  return !down_;
}

bool RedisLink::OnPush(const RedisReply& push) {
  if (!pushes_allowed_ || push.items.empty() ||
      push.items[0].type != RedisReply::Type::kString) {
    Fail(absl::InvalidArgumentError("RESP: an unexpected push"));
    return false;
  }
  owner_.OnLinkPush(*this, push);
  if (down_) return false;
  if (!IsConfirmation(push.items[0].text) || expected_.empty() ||
      expected_.front().confirmations == 0) {
    return true;
  }
  if (--expected_.front().confirmations == 0) AnswerFirst(RedisReply());
  return !down_;
}

void RedisLink::AnswerFirst(absl::StatusOr<RedisReply> reply) {
  OnDone done = std::move(expected_.front().done);
  expected_.pop_front();
  if (done != nullptr) done(std::move(reply));
}

// --- Keeping it alive ---

void RedisLink::SetTimer(absl::Duration delay) {
  timer_ = loop_.RunAfter(delay, [this] { OnTimer(); });
}

void RedisLink::OnTimer() {
  timer_ = TimerId::kNone;
  const MonotonicTime due =
      last_heard_ + options_.ping_interval +
      (asked_ ? options_.ping_timeout : absl::ZeroDuration());
  if (loop_.now() < due) return SetTimer(due - loop_.now());
  if (!asked_) {
    Ping();
    return SetTimer(options_.ping_timeout);
  }
  if (!last_chance_) {
    // If it was this loop that had no time, the answer is there to be read.
    last_chance_ = true;
    return SetTimer(kLastLook);
  }
  Fail(absl::DeadlineExceededError(absl::StrCat(
      "the server has said nothing for ",
      absl::FormatDuration(options_.ping_interval + options_.ping_timeout))));
}

void RedisLink::Ping() {
  asked_ = true;
  Send(MakeCommand({"PING"}), [this](absl::StatusOr<RedisReply> reply) {
    if (reply.ok() && reply->is_error()) {
      Fail(absl::UnavailableError(absl::StrCat("PING: ", reply->text)));
    }
  });
}

// --- Ending ---

void RedisLink::Fail(const absl::Status& why) {
  if (down_) return;
  if (connection_ != nullptr) connection_->Abort();
  Gone(why);
}

void RedisLink::Gone(const absl::Status& why) {
  if (std::exchange(down_, true)) return;
  loop_.Cancel(std::exchange(timer_, TimerId::kNone));
  if (wire_ != nullptr) wire_->Forget();
  wire_ = nullptr;
  connection_ = nullptr;
  owner_.OnLinkDown(*this, why);
}

void RedisLink::FailAll(const absl::Status& why) {
  while (!expected_.empty()) AnswerFirst(why);
}

}  // namespace fio::redis_internal
