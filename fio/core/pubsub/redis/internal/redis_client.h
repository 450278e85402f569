// A RedisClient does the work of a RedisEngine: it connects, and connects
// again, keeps the server's subscriptions as they are wanted, and passes
// messages on.
//
// A server with RESP 3 has one connection for all. One without, to which HELLO
// is unknown, has two: what subscribes there can do nothing else.
//
// Thread safety: none. It belongs to the main loop.

#ifndef FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_CLIENT_H_
#define FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_CLIENT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/internal/backoff.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/redis/internal/redis_link.h"
#include "fio/core/pubsub/redis/internal/redis_queue.h"
#include "fio/core/pubsub/redis/internal/redis_subscriptions.h"
#include "fio/core/pubsub/redis/internal/redis_url.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/reactor.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::redis_internal {

class RedisClient final : public std::enable_shared_from_this<RedisClient>,
                          private RedisLink::Owner {
 public:
  // `connecting` has passed Connector::Prepare().
  RedisClient(Reactor& reactor, Broker& broker, RedisUrl url,
              RedisOptions options, ConnectorOptions connecting);
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;
  // As Stop().
  ~RedisClient();

  // Begins anew, in a root or a single process; elsewhere it does nothing.
  void Start();
  // Closes the connections and forgets all subscriptions. What waits, or waits
  // for an answer, fails (kCancelled). In a child of the process that has
  // started it nothing is told.
  void Stop();
  // What arrives from now on until Start() is dropped. Any thread.
  void Mute() { muted_ = true; }

  void Subscribe(std::string_view channel, Match match);
  void Unsubscribe(std::string_view channel, Match match);
  void Publish(const Message& message);

  // As RedisEngine::Send().
  absl::Status Send(std::string command, RedisLink::OnDone done);

  RedisStats stats() const;

 private:
  enum class State : uint8_t {
    kStopped,
    kConnecting,   // Until the server has answered to our greeting.
    kSubscribing,  // Until all is confirmed.
    kUp,
    kEnding,   // It is lost; what belongs to it ends in a task.
    kWaiting,  // For the next attempt.
  };

  void OnLinkOpen(RedisLink& link) override;
  void OnLinkPush(RedisLink& link, const RedisReply& push) override;
  void OnLinkRoom(RedisLink& link) override;
  void OnLinkDown(RedisLink& link, const absl::Status& why) override;

  bool is_inherited() const;

  // Connecting.
  void Connect();
  std::unique_ptr<RedisLink> NewLink(absl::Status& status);
  void Greet(RedisLink& link);
  void OnHello(const RedisReply& reply);
  void UseOldProtocol();
  void Authenticate(RedisLink& link);
  void OnGreeted();
  void SetGreetingTimer();

  // Subscribing.
  void SubscribeAll();
  void SendSubscribe(TopicKind kind, std::vector<std::string> names);
  void OnRefused(TopicKind kind, const std::vector<std::string>& names,
                 const RedisReply& reply);
  void Confirmed();
  bool CanSubscribe() const {
    return state_ == State::kSubscribing || state_ == State::kUp;
  }

  // Messages.
  RedisLink& SendingLink();
  bool CanSendNow();
  void OnMessage(const RedisReply& push, size_t channel);
  void SendMessage(const Message& message);
  void OnPublished(const absl::StatusOr<RedisReply>& reply);
  void Wait(RedisQueue::Item item);
  void Drop(RedisQueue::Item item);
  void SendWaiting();

  // Ending.
  void Lost(const absl::Status& why);
  void EndLinks(const absl::Status& why);
  void TellLost(const absl::Status& why);
  void TellError(std::string_view what);
  void RetryAfter(absl::Duration delay);

  Reactor& reactor_;
  Broker& broker_;
  const RedisUrl url_;
  const RedisOptions options_;
  const ConnectorOptions connecting_;
  core_internal::Backoff backoff_;

  State state_ = State::kStopped;
  std::atomic<bool> muted_ = false;
  Loop* loop_ = nullptr;                  // From Start() to Stop().
  int fork_count_ = 0;                    // Of Start().
  std::unique_ptr<RedisLink> main_;       // Subscribes.
  std::unique_ptr<RedisLink> publisher_;  // Null: main_ does all.
  size_t greetings_ = 0;                  // That are not answered.
  size_t unconfirmed_ = 0;                // Commands, while kSubscribing.
  TimerId timer_ = TimerId::kNone;        // Of the greeting or the wait.

  RedisSubscriptions subscriptions_;
  RedisQueue queue_;

  MonotonicTime lost_at_;
  RedisGap gap_;  // Without its span.
  bool told_lost_ = false;
  std::string last_told_;   // What was wrong.
  size_t errors_told_ = 0;  // Since it was lost.
  RedisStats stats_;
};

}  // namespace fio::redis_internal

#endif  // FIO_CORE_PUBSUB_REDIS_INTERNAL_REDIS_CLIENT_H_
