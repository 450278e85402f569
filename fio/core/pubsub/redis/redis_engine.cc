#include "fio/core/pubsub/redis/redis_engine.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/pubsub/redis/internal/redis_client.h"
#include "fio/core/pubsub/redis/internal/redis_command.h"
#include "fio/core/pubsub/redis/internal/redis_url.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/reactor.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/sock/watermarks.h"

namespace fio {

using redis_internal::MakeCommand;
using redis_internal::RedisClient;
using redis_internal::RedisUrl;

namespace {

// What is wrong; empty if nothing is.
std::string_view Objection(const RedisOptions& options) {
  if (options.window == 0) return "window is zero";
  if (options.max_string_bytes == 0) return "max_string_bytes is zero";
  if (options.connect_timeout <= absl::ZeroDuration()) {
    return "connect_timeout is not positive";
  }
  if (options.ping_interval <= absl::ZeroDuration()) {
    return "ping_interval is not positive";
  }
  if (options.ping_timeout <= absl::ZeroDuration()) {
    return "ping_timeout is not positive";
  }
  if (options.refused_delay <= absl::ZeroDuration()) {
    return "refused_delay is not positive";
  }
  return "";
}

// The queue has bounds of its own; above a high mark the connection would not
// be read, and the server would cut it off.
ConnectorOptions Connecting(const RedisOptions& options) {
  constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
  return {.on_open = [](Connection&) {},
          .timeout = options.connect_timeout,
          .reconnect_delay = options.reconnect_delay,
          .max_reconnect_delay = options.max_reconnect_delay,
          .transport = options.transport,
          .secure = TlsOfUrl,
          .limits = {.watermarks = Watermarks{.high_bytes = kNoLimit - 1,
                                              .limit_bytes = kNoLimit - 1}}};
}

// Whether it changes what the connection is for.
bool IsForbidden(absl::Span<const std::string_view> command) {
  constexpr std::string_view kForbidden[] = {
      "SUBSCRIBE",    "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE",
      "SUNSUBSCRIBE", "MONITOR",    "HELLO",      "AUTH",        "RESET",
      "QUIT",         "SYNC",       "PSYNC"};
  const auto is_it = [&](std::string_view word) {
    return absl::EqualsIgnoreCase(word, command[0]);
  };
  return std::ranges::any_of(kForbidden, is_it) ||
         (is_it("CLIENT") && command.size() > 1 &&
          absl::EqualsIgnoreCase(command[1], "REPLY"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RedisEngine>> RedisEngine::Create(
    Reactor& reactor, Broker& broker, std::string_view url,
    RedisOptions options) {
  absl::StatusOr<RedisUrl> parsed = RedisUrl::Parse(url);
  if (!parsed.ok()) return parsed.status();
  const std::string_view objection = Objection(options);
  if (!objection.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("RedisOptions: ", objection));
  }
  ConnectorOptions connecting = Connecting(options);
  const absl::Status prepared = Connector::Prepare(parsed->address, connecting);
  if (!prepared.ok()) return prepared;
  return std::unique_ptr<RedisEngine>(new RedisEngine(
      reactor, broker,
      std::make_shared<RedisClient>(reactor, broker, *std::move(parsed),
                                    std::move(options),
                                    std::move(connecting))));
}

RedisEngine::RedisEngine(Reactor& reactor, Broker& broker,
                         std::shared_ptr<RedisClient> client)
    : reactor_(reactor), broker_(broker), client_(std::move(client)) {}

RedisEngine::~RedisEngine() {
  // An error: it was detached by another thread meanwhile.
  if (attached_) broker_.Detach(*this).IgnoreError();
  client_->Stop();
}

absl::Status RedisEngine::Send(absl::Span<const std::string_view> command,
                               OnReply done) {
  if (command.empty() || command[0].empty()) {
    return absl::InvalidArgumentError("Send: no command");
  }
  if (IsForbidden(command)) {
    return absl::InvalidArgumentError(
        absl::StrCat("Send: not on this connection: ", command[0]));
  }
  return client_->Send(MakeCommand(command), std::move(done));
}

absl::Status RedisEngine::Send(std::initializer_list<std::string_view> command,
                               OnReply done) {
  return Send(absl::MakeConstSpan(command.begin(), command.size()),
              std::move(done));
}

RedisStats RedisEngine::stats() const { return client_->stats(); }

void RedisEngine::OnAttach() {
  attached_ = true;
  changes_->fetch_add(1);
  client_->Start();
}

void RedisEngine::OnDetach() {
  attached_ = false;
  client_->Mute();  // The connection ends later.
  // On any thread. If it is attached again before that, Start() has done it.
  const uint64_t change = changes_->fetch_add(1) + 1;
  reactor_.Post(
      [weak = std::weak_ptr<RedisClient>(client_), changes = changes_, change] {
        const std::shared_ptr<RedisClient> client = weak.lock();
        if (client != nullptr && changes->load() == change) client->Stop();
      });
}

void RedisEngine::Subscribe(std::string_view channel, Match match) {
  client_->Subscribe(channel, match);
}

void RedisEngine::Unsubscribe(std::string_view channel, Match match) {
  client_->Unsubscribe(channel, match);
}

void RedisEngine::Publish(const Message& message) { client_->Publish(message); }

}  // namespace fio
