// A RedisEngine carries messages between machines by way of a Redis server (5
// or later, or one that speaks its protocol).
//
//   fio::Reactor reactor({.threads = 2, .workers = 2});
//   fio::PubSub pubsub(reactor);
//   auto redis = fio::RedisEngine::Create(
//       reactor, pubsub.broker(), "redis://:secret@10.0.0.7:6379/");
//   if (!redis.ok()) return fio::ExitWith(redis.status());
//   pubsub.broker().Attach(**redis);
//   pubsub.broker().SetDefault(**redis);  // All is published through it.
//   return fio::ExitWith(reactor.Run());
//
// The root, or the single process, connects when it runs, as long as the engine
// is attached, and connects again when the server was away. It subscribes there
// to what anybody in the cluster is subscribed to. Each message of the server
// reaches each subscriber here once, whatever patterns match it, and messages
// of one publisher to one channel keep their order. Subscribers get what is
// published through the engine when the server sends it back.
//
// While the server is away messages of others are lost, ours wait within
// bounds, and everything else goes on: an engine that cannot connect delays
// neither start nor stop. A message is sent at most once: one that was on its
// way when the connection ended has arrived or not, and is counted
// (RedisGap::unsure). When the reactor stops the connection ends at once: what
// is published after that is not sent. Before another Run() detach the engine
// and attach it again.
//
// Thread safety: none. All belongs to the main loop's thread. Make it before
// Run(), after the reactor and the broker, and destroy it before them.

#ifndef FIO_CORE_PUBSUB_REDIS_REDIS_ENGINE_H_
#define FIO_CORE_PUBSUB_REDIS_REDIS_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/move_only_function.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio {

namespace redis_internal {
class RedisClient;
}  // namespace redis_internal

class RedisEngine final : public Engine {
 public:
  // Gets what the server has answered to a command, also if that is an error.
  using OnReply = MoveOnlyFunction<void(absl::StatusOr<RedisReply>)>;

  // `url` is one of
  //
  //   redis://user:password@host:6379/
  //   rediss://user:password@host:6379/?ca=FILE   TLS; keys as of TlsOfUrl()
  //   redis+unix://user:password@/path
  //
  // in which user, password and port may be left out, and '%' begins an escape
  // in user and password. A user without a name is "default".
  //
  // Does not connect yet. Errors: kInvalidArgument for a bad url or options;
  // those of TlsOfUrl(), which reads its files here. No message has the
  // password.
  static absl::StatusOr<std::unique_ptr<RedisEngine>> Create(
      Reactor& reactor, Broker& broker, std::string_view url,
      RedisOptions options = {});

  RedisEngine(const RedisEngine&) = delete;
  RedisEngine& operator=(const RedisEngine&) = delete;
  // Detaches it, closes the connection, and tells those who wait for a reply
  // (kCancelled). REQUIRES: not called from a callback of the engine.
  ~RedisEngine() override;

  // Sends a command of any kind but those that change what the connection is
  // for: subscribing, MONITOR, HELLO, AUTH, RESET, QUIT, SYNC, PSYNC and CLIENT
  // REPLY. One that blocks holds up what is published. Commands and messages
  // are sent in the order of these calls.
  //
  // `done` is called once, on the main loop, never inside of Send(). Instead of
  // a reply it gets kAborted if the connection has ended before that, in which
  // case nobody knows whether the server has run the command, and kCancelled
  // if the engine was detached. While the server is away the command waits.
  // `done` may call Send(), and must not destroy the engine.
  //
  // Errors: kInvalidArgument for a command that is empty or not allowed;
  // kFailedPrecondition while the engine is not attached or its process does
  // not run, and in workers, where it has no connection; kResourceExhausted if
  // as much waits as may. `done` is then not called.
  absl::Status Send(absl::Span<const std::string_view> command, OnReply done);
  absl::Status Send(std::initializer_list<std::string_view> command,
                    OnReply done);

  // Zero in workers.
  RedisStats stats() const;

  // For the broker.
  void OnAttach() override;
  void OnDetach() override;
  void Subscribe(std::string_view channel, Match match) override;
  void Unsubscribe(std::string_view channel, Match match) override;
  void Publish(const Message& message) override;
  std::string_view name() const override { return "redis"; }

 private:
  RedisEngine(Reactor& reactor, Broker& broker,
              std::shared_ptr<redis_internal::RedisClient> client);

  Reactor& reactor_;
  Broker& broker_;
  const std::shared_ptr<redis_internal::RedisClient> client_;
  // How often it was attached and detached. Of any thread.
  const std::shared_ptr<std::atomic<uint64_t>> changes_ =
      std::make_shared<std::atomic<uint64_t>>(0);
  std::atomic<bool> attached_ = false;
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_REDIS_REDIS_ENGINE_H_
