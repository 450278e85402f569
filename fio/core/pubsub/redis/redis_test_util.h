// A server with a RedisEngine, on a thread of its own, and servers that are no
// Redis.

#ifndef FIO_CORE_PUBSUB_REDIS_REDIS_TEST_UTIL_H_
#define FIO_CORE_PUBSUB_REDIS_REDIS_TEST_UTIL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "fio/base/clock.h"
#include "fio/base/unique_fd.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/redis/redis_engine.h"
#include "fio/core/pubsub/redis/redis_options.h"
#include "fio/core/pubsub/redis/redis_reply.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::redis_testing {

// Tells what happens to it, a line each, in order:
//
//   lost CODE MESSAGE
//   connected
//   error                 LifecycleEvent::kOnPubSubError
//   TOPIC CHANNEL BODY    of each subscription that gets a message
class Node {
 public:
  struct Topic {
    std::string channel;
    Match match = Match::kExact;
  };

  // Subscribes to `topics`, connects, and publishes by the engine.
  explicit Node(std::string url, std::vector<Topic> topics = {},
                RedisOptions options = {},
                const Clock& clock = Clock::System());
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  // Stops at once.
  ~Node();

  // Stops, and leaves everybody the time that they take. Then only its lines
  // are left.
  void Stop();

  // Runs `task` on the main loop.
  void Post(std::function<void()> task);
  // The same, and waits for its end.
  void Do(const std::function<void()>& task);
  void Subscribe(const Topic& topic);
  // The last one, if there are several.
  void Unsubscribe(const Topic& topic);
  void Publish(std::string_view channel, std::string_view body);
  // RedisEngine::Send(), and waits for the reply.
  absl::StatusOr<RedisReply> Ask(
      std::initializer_list<std::string_view> command);

  // The next line; waits for it.
  std::string Next();
  // Next(), as often as it takes: up to and with a line that begins so.
  std::vector<std::string> Until(std::string_view beginning);

  RedisStats stats();
  // Of the last "connected".
  RedisGap gap();

  RedisEngine& engine() { return *engine_; }
  PubSub& pubsub() { return *pubsub_; }

 private:
  void Run(const std::string& url, const std::vector<Topic>& topics,
           RedisOptions options, const Clock& clock);
  void SubscribeNow(const Topic& topic);
  void Log(std::string line);

  struct Subscribed {
    Topic topic;
    fio::Subscription subscription;
  };

  // Of its thread, as long as that runs.
  Reactor* reactor_ = nullptr;
  PubSub* pubsub_ = nullptr;
  RedisEngine* engine_ = nullptr;
  std::vector<Subscribed> subscribed_;
  RedisGap gap_;

  absl::Mutex mutex_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mutex_);

  absl::Notification running_;
  absl::Notification stopped_;  // By another thread, which is done with it.
  std::thread thread_;
};

// A server on 127.0.0.1 that does what the test does. Its calls wait.
class FakeServer {
 public:
  FakeServer();

  std::string url() const;

  // The next client takes the place of the one before it.
  void Accept();
  // Until that has come.
  void Await(std::string_view text);
  void Send(std::string_view bytes);
  void Close() { client_.Reset(); }
  // Until the client ends the connection.
  void AwaitEnd();

 private:
  UniqueFd listener_;
  UniqueFd client_;
  std::string received_;
};

// What a server with RESP 3 answers to HELLO 3.
inline constexpr std::string_view kHello = "%1\r\n+proto\r\n:3\r\n";

}  // namespace fio::redis_testing

#endif  // FIO_CORE_PUBSUB_REDIS_REDIS_TEST_UTIL_H_
