// The part of a RedisClient that says what is wanted, and what is published.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/redis/internal/redis_client.h"
#include "fio/core/pubsub/redis/internal/redis_command.h"
#include "fio/core/pubsub/redis/internal/redis_greeting.h"
#include "fio/core/pubsub/redis/internal/redis_link.h"
#include "fio/core/pubsub/redis/internal/redis_queue.h"
#include "fio/core/pubsub/redis/internal/redis_subscriptions.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::redis_internal {
namespace {

// Of one SUBSCRIBE, unless a name alone is longer.
constexpr size_t kMaxBatchBytes = size_t{60} << 10;
// What a name costs beside its bytes.
constexpr size_t kBytesPerName = 16;

std::string MakeSubscribe(TopicKind kind,
                          const std::vector<std::string>& names) {
  std::vector<std::string_view> words = {
      kind == TopicKind::kChannel ? "SUBSCRIBE" : "PSUBSCRIBE"};
  words.insert(words.end(), names.begin(), names.end());
  return MakeCommand(words);
}

}  // namespace

// --- Subscribing ---

void RedisClient::Subscribe(std::string_view channel, Match match) {
  if (state_ == State::kStopped) return;
  std::optional<RedisTopic> topic = subscriptions_.Want(channel, match);
  if (!topic.has_value() || !CanSubscribe()) return;
  SendSubscribe(topic->kind, {std::move(topic->name)});
}

void RedisClient::Unsubscribe(std::string_view channel, Match match) {
  if (state_ == State::kStopped) return;
  const std::optional<RedisTopic> topic = subscriptions_.Unwant(channel, match);
  if (!topic.has_value() || !CanSubscribe()) return;
  const std::string_view command =
      topic->kind == TopicKind::kChannel ? "UNSUBSCRIBE" : "PUNSUBSCRIBE";
  main_->Send(MakeCommand({command, topic->name}), nullptr, 1);
}

void RedisClient::SubscribeAll() {
  ++unconfirmed_;  // Until all are sent.
  for (const TopicKind kind : {TopicKind::kChannel, TopicKind::kPattern}) {
    std::vector<std::string> batch;
    size_t bytes = 0;
    for (const std::string_view name : subscriptions_.Wanted(kind)) {
      const size_t cost = name.size() + kBytesPerName;
      if (!batch.empty() && bytes + cost > kMaxBatchBytes) {
        SendSubscribe(kind, std::exchange(batch, {}));
        bytes = 0;
      }
      batch.emplace_back(name);
      bytes += cost;
    }
    if (!batch.empty()) SendSubscribe(kind, std::move(batch));
  }
  Confirmed();
}

void RedisClient::SendSubscribe(TopicKind kind,
                                std::vector<std::string> names) {
  const bool counts = state_ == State::kSubscribing;
  if (counts) ++unconfirmed_;
  const std::string command = MakeSubscribe(kind, names);
  const size_t count = names.size();
  main_->Send(
      command,
      [this, kind, counts,
       names = std::move(names)](const absl::StatusOr<RedisReply>& reply) {
        if (!reply.ok()) return;
        if (reply->is_error()) OnRefused(kind, names, *reply);
        if (counts) Confirmed();
      },
      count);
}

// A user may have rights to some of the channels: each is tried by itself.
void RedisClient::OnRefused(TopicKind kind,
                            const std::vector<std::string>& names,
                            const RedisReply& reply) {
  if (reply.IsError("NOAUTH")) return Lost(ErrorOf(reply));
  if (names.size() == 1) {
    return TellError(absl::StrCat("SUBSCRIBE: ", reply.text));
  }
  for (const std::string& name : names) SendSubscribe(kind, {name});
}

void RedisClient::Confirmed() {
  if (state_ != State::kSubscribing || --unconfirmed_ > 0) return;
  state_ = State::kUp;
  stats_.connected = true;
  ++stats_.connections;
  backoff_.Reset();
  told_lost_ = false;
  last_told_.clear();
  RedisGap gap = std::exchange(gap_, {});
  gap.span = loop_->now() - lost_at_;
  SendWaiting();
  if (options_.on_connected != nullptr) options_.on_connected(gap);
  reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubConnect);
}

// --- Publishing ---

void RedisClient::Publish(const Message& message) {
  if (state_ == State::kStopped) return;
  if (CanSendNow()) return SendMessage(message);
  Wait({.message = message});
}

absl::Status RedisClient::Send(std::string command, RedisLink::OnDone done) {
  if (state_ == State::kStopped || is_inherited()) {
    return absl::FailedPreconditionError(
        "Send: this process has no connection to the server");
  }
  if (CanSendNow()) {
    SendingLink().Send(command, std::move(done));
    return absl::OkStatus();
  }
  if (!queue_.Fits(command.size())) {
    return absl::ResourceExhaustedError("Send: too much waits for the server");
  }
  queue_.Push({.command = std::move(command), .done = std::move(done)});
  return absl::OkStatus();
}

RedisLink& RedisClient::SendingLink() {
  return publisher_ != nullptr ? *publisher_ : *main_;
}

// What waits is first.
bool RedisClient::CanSendNow() {
  return state_ == State::kUp && queue_.empty() && SendingLink().has_room();
}

void RedisClient::SendMessage(const Message& message) {
  SendingLink().Publish(
      message,
      [this](const absl::StatusOr<RedisReply>& reply) { OnPublished(reply); });
}

void RedisClient::OnPublished(const absl::StatusOr<RedisReply>& reply) {
  if (!reply.ok()) {
    ++gap_.unsure;
    ++stats_.unsure;
  } else if (reply->is_error()) {
    ++stats_.refused;
    TellError(absl::StrCat("PUBLISH: ", reply->text));
  } else {
    ++stats_.published;
  }
}

void RedisClient::Wait(RedisQueue::Item item) {
  if (!queue_.CanEverFit(item.bytes())) return Drop(std::move(item));
  while (!queue_.Fits(item.bytes())) {
    if (options_.policy == RedisQueuePolicy::kDropNewest) {
      return Drop(std::move(item));
    }
    Drop(queue_.Pop());
  }
  queue_.Push(std::move(item));
}

void RedisClient::Drop(RedisQueue::Item item) {
  if (item.message) {
    ++gap_.dropped;
    ++stats_.dropped;
  }
  if (item.done == nullptr) return;
  // Not in a callback of an engine.
  loop_->Defer([done = std::move(item.done)]() mutable {
    done(absl::ResourceExhaustedError("too much waits for the server"));
  });
}

void RedisClient::SendWaiting() {
  while (state_ == State::kUp && !queue_.empty() && SendingLink().has_room()) {
    RedisQueue::Item item = queue_.Pop();
    if (item.message) {
      SendMessage(item.message);
    } else {
      SendingLink().Send(item.command, std::move(item.done));
    }
  }
}

}  // namespace fio::redis_internal
