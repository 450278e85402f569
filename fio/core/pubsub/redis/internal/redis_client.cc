#include "fio/core/pubsub/redis/internal/redis_client.h"

#include <cstddef>
#include <cstdint>
#include <memory>
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
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/redis/internal/redis_greeting.h"
#include "fio/core/pubsub/redis/internal/redis_link.h"
#include "fio/core/pubsub/redis/internal/redis_queue.h"
#include "fio/core/pubsub/redis/internal/redis_subscriptions.h"
#include "fio/core/pubsub/redis/internal/redis_url.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/reactor.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/publish_options.h"

namespace fio::redis_internal {
namespace {

// That are told of one connection.
constexpr size_t kMaxErrors = 100;

uint64_t Seed(const RedisOptions& options, const void* client) {
  return options.jitter_seed != 0 ? options.jitter_seed
                                  : absl::HashOf(client, ForkCount());
}

}  // namespace

RedisClient::RedisClient(Reactor& reactor, Broker& broker, RedisUrl url,
                         RedisOptions options, ConnectorOptions connecting)
    : reactor_(reactor),
      broker_(broker),
      url_(std::move(url)),
      options_(std::move(options)),
      connecting_(std::move(connecting)),
      backoff_(options_.reconnect_delay, options_.max_reconnect_delay,
               Seed(options_, this)),
      queue_(options_.max_waiting, options_.max_waiting_bytes) {}

RedisClient::~RedisClient() { Stop(); }

bool RedisClient::is_inherited() const { return fork_count_ != ForkCount(); }

void RedisClient::Start() {
  if (!reactor_.is_root()) return;
  Stop();
  muted_ = false;
  loop_ = &reactor_.loop();
  fork_count_ = ForkCount();
  lost_at_ = loop_->now();
  told_lost_ = false;
  backoff_.Reset();
  Connect();
}

void RedisClient::Stop() {
  if (state_ == State::kStopped) return;
  state_ = State::kStopped;
  if (is_inherited()) {
    // They are the parent's, as is their loop.
    main_.release();       // NOLINT(bugprone-unused-return-value)
    publisher_.release();  // NOLINT(bugprone-unused-return-value)
    return;
  }
  loop_->Cancel(std::exchange(timer_, TimerId::kNone));
  const absl::Status why = absl::CancelledError("the engine was detached");
  EndLinks(why);
  while (!queue_.empty()) {
    RedisQueue::Item item = queue_.Pop();
    if (item.done != nullptr) item.done(why);
  }
  subscriptions_.Clear();
  stats_.connected = false;
  loop_ = nullptr;
}

RedisStats RedisClient::stats() const {
  RedisStats stats = stats_;
  stats.waiting = queue_.size();
  stats.waiting_bytes = queue_.bytes();
  return stats;
}

// --- Connecting ---

void RedisClient::Connect() {
  timer_ = TimerId::kNone;
  ++stats_.attempts;
  state_ = State::kConnecting;
  greetings_ = 1;
  absl::Status status;
  main_ = NewLink(status);
  if (!status.ok()) Lost(status);
}

std::unique_ptr<RedisLink> RedisClient::NewLink(absl::Status& status) {
  RedisLink::Owner& owner = *this;
  auto link = std::make_unique<RedisLink>(
      *loop_, owner,
      RedisLinkOptions{
          .window = options_.window,
          .ping_interval = options_.ping_interval,
          .ping_timeout = options_.ping_timeout,
          .limits = {.bulk_bytes = options_.max_string_bytes,
                     .reply_bytes = 4 * options_.max_string_bytes}});
  status = link->Connect(reactor_.resolver(), url_.address, connecting_);
  return link;
}

void RedisClient::OnLinkOpen(RedisLink& link) {
  if (&link == main_.get()) {
    SetGreetingTimer();
    Greet(link);
  } else {
    Authenticate(link);
  }
}

// A server that takes connections and says nothing is none.
void RedisClient::SetGreetingTimer() {
  timer_ = loop_->RunAfter(options_.connect_timeout, [this] {
    timer_ = TimerId::kNone;
    Lost(absl::DeadlineExceededError("the server does not answer"));
  });
}

void RedisClient::Greet(RedisLink& link) {
  std::string hello = MakeHello(url_);
  link.Send(hello, [this](const absl::StatusOr<RedisReply>& reply) {
    if (reply.ok()) OnHello(*reply);
  });
  Wipe(hello);
}

void RedisClient::OnHello(const RedisReply& reply) {
  if (IsOldServer(reply)) return UseOldProtocol();
  if (reply.is_error()) return Lost(ErrorOf(reply));
  if (reply.type != RedisReply::Type::kMap) {
    return Lost(absl::InvalidArgumentError("RESP: HELLO is not answered"));
  }
  main_->AllowPushes();
  OnGreeted();
}

void RedisClient::UseOldProtocol() {
  main_->PushesAreArrays();
  main_->AllowPushes();
  greetings_ = 2;
  absl::Status status;
  publisher_ = NewLink(status);
  if (!status.ok()) return Lost(status);
  Authenticate(*main_);
}

void RedisClient::Authenticate(RedisLink& link) {
  if (url_.password.empty()) return OnGreeted();
  std::string auth = MakeAuth(url_);
  link.Send(auth, [this](const absl::StatusOr<RedisReply>& reply) {
    if (!reply.ok()) return;
    reply->is_error() ? Lost(ErrorOf(*reply)) : OnGreeted();
  });
  Wipe(auth);
}

void RedisClient::OnGreeted() {
  if (state_ != State::kConnecting || --greetings_ > 0) return;
  loop_->Cancel(std::exchange(timer_, TimerId::kNone));
  state_ = State::kSubscribing;
  SubscribeAll();
}

// --- What the server tells ---

void RedisClient::OnLinkPush(RedisLink& link, const RedisReply& push) {
  const std::string& what = push.items[0].text;
  const auto is_string = [&](size_t i) {
    return push.items[i].type == RedisReply::Type::kString;
  };
  if (what == "message" || what == "pmessage") {
    const size_t channel = what == "message" ? 1 : 2;
    if (push.items.size() != channel + 2 || !is_string(1) || !is_string(2) ||
        !is_string(channel + 1)) {
      return link.Fail(absl::InvalidArgumentError("RESP: no message"));
    }
    if (channel == 1 ||
        subscriptions_.IsFirst(push.items[1].text, push.items[2].text)) {
      OnMessage(push, channel);
    }
    return;
  }
  // Null: nothing was subscribed to.
  if (push.items.size() != 3 || !is_string(1)) return;
  const std::string& name = push.items[1].text;
  if (what == "subscribe" || what == "unsubscribe") {
    subscriptions_.Confirm(TopicKind::kChannel, name, what == "subscribe");
  } else if (what == "psubscribe" || what == "punsubscribe") {
    subscriptions_.Confirm(TopicKind::kPattern, name, what == "psubscribe");
  }
}

void RedisClient::OnMessage(const RedisReply& push, size_t channel) {
  if (muted_) return;
  const absl::Status published =
      broker_.Publish(push.items[channel].text, push.items[channel + 1].text,
                      {.reach = Reach::kCluster});
  if (published.ok()) {
    ++stats_.received;
  } else {
    TellError(published.message());
  }
}

void RedisClient::OnLinkRoom(RedisLink& /*link*/) { SendWaiting(); }

// --- How it ends ---

void RedisClient::OnLinkDown(RedisLink& /*link*/, const absl::Status& why) {
  Lost(why);
}

void RedisClient::Lost(const absl::Status& why) {
  if (state_ == State::kStopped || state_ == State::kEnding || is_inherited()) {
    return;
  }
  if (CanSubscribe()) lost_at_ = loop_->now();
  state_ = State::kEnding;
  stats_.connected = false;
  loop_->Cancel(std::exchange(timer_, TimerId::kNone));
  // Not under the feet of a link that is telling something.
  loop_->Defer([weak = weak_from_this(), why] {
    const std::shared_ptr<RedisClient> self = weak.lock();
    if (self == nullptr || self->state_ != State::kEnding) return;
    self->EndLinks(absl::AbortedError(absl::StrCat(
        "the connection ended before the answer: ", why.message())));
    if (self->state_ != State::kEnding || self->loop_->stopping()) return;
    self->RetryAfter(absl::IsPermissionDenied(why)
                         ? self->options_.refused_delay
                         : self->backoff_.Next());
    self->TellLost(why);
  });
}

void RedisClient::EndLinks(const absl::Status& why) {
  const std::unique_ptr<RedisLink> main = std::move(main_);
  const std::unique_ptr<RedisLink> publisher = std::move(publisher_);
  unconfirmed_ = 0;
  subscriptions_.ForgetConfirmed();
  if (main != nullptr) main->FailAll(why);
  if (publisher != nullptr) publisher->FailAll(why);
}

void RedisClient::RetryAfter(absl::Duration delay) {
  state_ = State::kWaiting;
  timer_ = loop_->RunAfter(delay, [this] { Connect(); });
}

// Once until it is up again, and when the server begins to refuse us.
void RedisClient::TellLost(const absl::Status& why) {
  const bool is_new = !told_lost_ || (absl::IsPermissionDenied(why) &&
                                      why.message() != last_told_);
  if (!is_new) return;
  told_lost_ = true;
  errors_told_ = 0;
  last_told_ = std::string(why.message());
  ABSL_LOG(ERROR) << "redis: " << url_.address << " is away: " << why.message();
  if (options_.on_lost != nullptr) options_.on_lost(why);
  reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubError);
}

// What is wrong while it is up: each once in a row, and not without end.
void RedisClient::TellError(std::string_view what) {
  if (what == last_told_ || errors_told_ == kMaxErrors) return;
  ++errors_told_;
  last_told_ = std::string(what);
  ABSL_LOG(ERROR) << "redis: " << url_.address << ": " << what;
  reactor_.lifecycle().Force(LifecycleEvent::kOnPubSubError);
}

}  // namespace fio::redis_internal
