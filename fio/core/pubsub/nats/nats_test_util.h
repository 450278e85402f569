// A program with a NatsEngine, for tests: a reactor that runs on a thread of
// its own, and a list of what has happened.
//
// Thread safety: none; that of the test.

#ifndef FIO_CORE_PUBSUB_NATS_NATS_TEST_UTIL_H_
#define FIO_CORE_PUBSUB_NATS_NATS_TEST_UTIL_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "fio/core/pubsub/nats/nats_engine.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "tests/servers/nats_connection.h"

namespace fio::nats_internal {

class NatsNode {
 public:
  // Begins to run, and to connect.
  explicit NatsNode(std::string_view url, NatsOptions options = {});
  NatsNode(const NatsNode&) = delete;
  NatsNode& operator=(const NatsNode&) = delete;
  // Stops it.
  ~NatsNode();

  // The next thing that has happened; waits for it:
  //
  //   "connected DROPPED UNSURE"      "lost CODE", the name of a status' code
  //   "error TEXT"                    "connect", "disconnect": the lifecycle's
  //   "SUBSCRIBED: CHANNEL BODY"      of each message of Subscribe()
  std::string Await();
  // Drops what happens until something begins so, and returns that.
  std::string AwaitStart(std::string_view start);

  // Expects that to be a first connection.
  void AwaitConnected();

  // Each returns when the broker has it; see Sync().
  void Subscribe(const std::string& channel, Match match = Match::kExact);
  void Unsubscribe(const std::string& channel);
  void Publish(std::string_view channel, std::string_view body);

  // Returns when the server has had all of the above. `other` is a client of
  // the same server; messages that it gets meanwhile are lost.
  void Sync(testing::NatsConnection& other);

  NatsStats stats();
  // Returns when `task` has run on the main loop.
  void OnLoop(const std::function<void()>& task);
  PubSub& pubsub() { return pubsub_; }
  NatsEngine& engine() { return *engine_; }
  void Tell(std::string what);

 private:
  NatsOptions Noting(NatsOptions options);

  Reactor reactor_;
  PubSub pubsub_{reactor_};
  std::unique_ptr<NatsEngine> engine_;
  std::map<std::string, Subscription> subscriptions_;
  absl::Mutex mutex_;
  std::deque<std::string> told_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_NATS_TEST_UTIL_H_
