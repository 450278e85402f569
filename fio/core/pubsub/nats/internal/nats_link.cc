#include "fio/core/pubsub/nats/internal/nats_link.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/fork_count.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/nats/internal/nats_info.h"
#include "fio/core/pubsub/nats/internal/nats_interests.h"
#include "fio/core/pubsub/nats/internal/nats_reader.h"
#include "fio/core/pubsub/nats/internal/nats_session.h"
#include "fio/core/pubsub/nats/internal/nats_subject.h"
#include "fio/core/pubsub/nats/internal/nats_urls.h"
#include "fio/core/pubsub/nats/internal/nkey.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/reactor.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/transport_factory.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/sock/url.h"

namespace fio::nats_internal {
namespace {

// The ping behind the last subscription. The other marks count messages, and
// so are never that many.
constexpr uint64_t kSubscribed = uint64_t{1} << 63;

constexpr double kJitter = 0.25;

// Servers that tell of ever more servers are not followed without a pause.
constexpr int kMaxHops = 16;

uint64_t DrawSeed(const NatsOptions& options, const void* object) {
  return options.jitter_seed != 0 ? options.jitter_seed
                                  : absl::HashOf(object, getpid());
}

}  // namespace

NatsLink::NatsLink(Reactor& reactor, Broker& broker, const NatsUrls& urls,
                   std::optional<NKey> nkey, NatsOptions options)
    : reactor_(reactor),
      broker_(broker),
      options_(std::move(options)),
      nkey_(std::move(nkey)),
      secure_(urls.secure),
      random_(static_cast<uint32_t>(DrawSeed(options_, this))),
      outbox_(options_.max_waiting, options_.max_waiting_bytes,
              options_.policy),
      pool_(urls.addresses, DrawSeed(options_, this)),
      delay_(options_.reconnect_delay) {}

NatsLink::~NatsLink() { End(); }

void NatsLink::Begin() {
  begun_ = true;
  fork_count_ = ForkCount();
  // A second Run() tells no engine.
  on_start_ = reactor_.lifecycle().Add(LifecycleEvent::kPreStart, [this] {
    connector_ = nullptr;
    if (session_ == nullptr) Attempt();
  });
  lost_at_ = reactor_.loop().now();
  Attempt();
}

void NatsLink::End() {
  // A copy in a child of fork(2) ends nothing.
  if (!std::exchange(begun_, false) || fork_count_ != ForkCount()) return;
  reactor_.lifecycle().Remove(on_start_);
  reactor_.loop().Cancel(retry_);
  connector_ = nullptr;
  if (is_up()) SendWaiting(/*all=*/true);
  if (session_ != nullptr) std::exchange(session_, nullptr)->Close();
  interests_.Clear();
  stats_.connected = false;
  lost_told_ = false;
}

// --- Attempts ---

void NatsLink::Attempt() {
  retry_ = TimerId::kNone;
  ++stats_.attempts;
  if (pool_.IsRoundOver()) refused_ = false;
  const std::string address = pool_.Next();
  absl::StatusOr<std::unique_ptr<Connector>> connector = reactor_.ConnectOn(
      reactor_.loop(), absl::StrCat("tcp://", address),
      {.on_open = [this, address](
                      Connection& connection) { Open(connection, address); },
       .on_failed = [this](const absl::Status& reason) { Retry(reason); },
       .timeout = options_.connect_timeout});
  if (!connector.ok()) return Retry(connector.status());
  connector_ = *std::move(connector);
}

void NatsLink::Open(Connection& connection, const std::string& address) {
  NatsSession::Options options = {
      .address = address,
      .needs_tls = secure_,
      .timeout = options_.connect_timeout,
      .ping_interval = options_.ping_interval,
      .max_pings = options_.max_pings,
      .limits = {.max_payload_bytes = options_.max_payload_bytes},
      .login = [this](std::string_view nonce) { return Login(nonce); },
      .tls = [this] { return Tls(); }};
  NatsSession::Listener& self = *this;
  auto session = std::make_unique<NatsSession>(std::move(options), self);
  session_ = session.get();
  connection.Attach(std::move(session));
}

absl::StatusOr<TransportFactory> NatsLink::Tls() {
  if (options_.transport == nullptr) {
    // The host does not matter: the factory asks for that of each connection.
    const absl::StatusOr<Url> url = Url::Parse("tls://localhost:4222");
    if (!url.ok()) return url.status();
    absl::StatusOr<TransportFactory> factory =
        TlsOfUrl(*url, TransportRequest::Role::kClient);
    if (!factory.ok()) return factory.status();
    options_.transport = *std::move(factory);
  }
  return options_.transport;
}

std::string NatsLink::Login(std::string_view nonce) const {
  std::string login =
      absl::StrCat(",\"echo\":", options_.local_echo ? "false" : "true",
                   ",\"name\":", JsonString(options_.client_name));
  if (nkey_.has_value()) {
    absl::StrAppend(&login, ",\"nkey\":", JsonString(nkey_->public_key()),
                    ",\"sig\":", JsonString(nkey_->Sign(nonce)));
  } else if (!options_.token.empty()) {
    absl::StrAppend(&login, ",\"auth_token\":", JsonString(options_.token));
  } else if (!options_.user.empty()) {
    absl::StrAppend(&login, ",\"user\":", JsonString(options_.user),
                    ",\"pass\":", JsonString(options_.password));
  }
  return login;
}

void NatsLink::Retry(const absl::Status& why) {
  if (absl::IsPermissionDenied(why)) refused_ = true;
  TellLost(why);
  // The callback may have detached us.
  if (!begun_ || reactor_.loop().stopping()) return;
  retry_ = reactor_.loop().RunAfter(NextDelay(), [this] { Attempt(); });
}

absl::Duration NatsLink::NextDelay() {
  // The others may be there.
  if (!pool_.IsRoundOver() && ++hops_ < kMaxHops) return absl::ZeroDuration();
  hops_ = 0;
  absl::Duration delay = options_.refused_delay;
  if (!refused_) {
    delay = delay_;
    delay_ = std::min(2 * delay_, options_.max_reconnect_delay);
  }
  std::uniform_real_distribution<double> factor(1 - kJitter, 1 + kJitter);
  return delay * factor(random_);
}

// --- The session ---

void NatsLink::OnUp() {
  ++stats_.connections;
  sent_ = confirmed_ = 0;
  asked_ = false;
  interests_.ForEach([this](uint64_t sid, std::string_view subject) {
    session_->Subscribe(sid, subject);
  });
  session_->Ping(kSubscribed);
  SendWaiting(/*all=*/false);
}

void NatsLink::OnInfo(const NatsInfo& info) {
  pool_.Update(info.connect_urls, session_->address());
  if (!info.lame_duck || !pool_.HasOther(session_->address())) return;
  session_->Leave(absl::UnavailableError(
      absl::StrCat(session_->address(), ": the server is about to end")));
}

void NatsLink::OnMessage(const NatsFrame& frame) {
  const std::optional<std::string> channel = ChannelOf(frame.subject);
  if (!channel.has_value() || !interests_.Counts(frame.sid, *channel)) return;
  ++stats_.received;
  // Too long for us, at worst.
  broker_.Publish(*channel, frame.body, {.reach = Reach::kCluster})
      .IgnoreError();
}

void NatsLink::OnPong(uint64_t mark) {
  if (mark == kSubscribed) return TellConnected();
  confirmed_ = mark;
  asked_ = false;
  OnSent();
}

// What was sent is known to have arrived when a ping behind it is answered.
void NatsLink::OnSent() {
  SendWaiting(/*all=*/false);
  if (asked_ || sent_ == confirmed_ || !is_up()) return;
  asked_ = true;
  session_->Ping(sent_);
}

void NatsLink::OnStopping() { SendWaiting(/*all=*/true); }

void NatsLink::OnServerError(std::string_view text) { TellError(text); }

void NatsLink::OnDown(const absl::Status& why) {
  session_ = nullptr;
  const uint64_t unsure = sent_ - confirmed_;
  gap_.unsure += unsure;
  stats_.unsure += unsure;
  sent_ = confirmed_ = 0;
  Retry(why);
}

// --- Subscriptions ---

void NatsLink::Subscribe(std::string_view channel, Match match) {
  uint64_t sid = 0;
  switch (interests_.Add(channel, match, sid)) {
    case NatsInterests::Added::kNew:
      if (is_up()) session_->Subscribe(sid, interests_.subject(sid));
      break;
    case NatsInterests::Added::kNoSubject:
      TellError(absl::StrCat("subscribe: no subject stands for a channel of ",
                             channel.size(), " bytes"));
      break;
    case NatsInterests::Added::kKnown:
      break;
  }
}

void NatsLink::Unsubscribe(std::string_view channel, Match match) {
  const std::optional<uint64_t> sid = interests_.Remove(channel, match);
  if (sid.has_value() && is_up()) session_->Unsubscribe(*sid);
}

// --- Messages ---

void NatsLink::Publish(const Message& message) {
  if (is_up() && outbox_.empty() && session_->HasRoom()) return Send(message);
  const uint64_t dropped = outbox_.Push(message);
  gap_.dropped += dropped;
  stats_.dropped += dropped;
}

void NatsLink::SendWaiting(bool all) {
  // Send() may tell of an error, and so end it all.
  while (is_up() && !outbox_.empty() && (all || session_->HasRoom())) {
    Send(outbox_.Pop());
  }
}

void NatsLink::Send(const Message& message) {
  const std::string_view channel = message.channel();
  const std::optional<std::string> escaped =
      IsSubject(channel) ? std::nullopt : SubjectOf(channel);
  const std::string_view subject = escaped.has_value() ? *escaped : channel;
  const bool fits = escaped.has_value() || IsSubject(channel);
  if (!fits || subject.size() > kMaxSubjectBytes) {
    ++stats_.refused;
    return TellError(
        absl::StrCat("publish: no subject stands for a channel of ",
                     channel.size(), " bytes"));
  }
  if (message.body().size() > session_->max_payload()) {
    ++stats_.refused;
    return TellError(absl::StrCat("publish: ", message.body().size(),
                                  " bytes, and the server takes ",
                                  session_->max_payload()));
  }
  session_->Publish(subject, message);
  ++sent_;
  ++stats_.published;
}

// --- What is told ---

void NatsLink::TellConnected() {
  lost_told_ = false;
  hops_ = 0;
  stats_.connected = true;
  delay_ = options_.reconnect_delay;
  NatsGap gap = std::exchange(gap_, {});
  gap.span = reactor_.loop().now() - lost_at_;
  if (options_.on_connected != nullptr) options_.on_connected(gap);
  reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubConnect);
}

void NatsLink::TellLost(const absl::Status& why) {
  if (std::exchange(stats_.connected, false)) {
    lost_at_ = reactor_.loop().now();
  }
  if (reactor_.loop().stopping() || std::exchange(lost_told_, true)) return;
  ABSL_LOG(WARNING) << "nats: " << why.message();
  if (options_.on_lost != nullptr) options_.on_lost(why);
  reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubError);
}

void NatsLink::TellError(std::string_view what) {
  ++stats_.errors;
  ABSL_LOG_EVERY_N_SEC(WARNING, 10) << "nats: " << what;
  if (options_.on_error != nullptr) options_.on_error(what);
}

NatsStats NatsLink::stats() const {
  NatsStats stats = stats_;
  stats.waiting = outbox_.size();
  stats.waiting_bytes = outbox_.bytes();
  stats.servers = pool_.size();
  return stats;
}

}  // namespace fio::nats_internal
