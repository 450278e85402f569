// A Broker carries messages from those who publish them to those who have
// subscribed to their channel, in one process. It needs no reactor. With one,
// use PubSub (fio/core/pubsub), which adds loops, connections and the other
// processes of the cluster.
//
//   fio::Broker broker;
//   fio::Subscription news = *broker.Subscribe(
//       {.channel = "news"}, [](fio::Delivery& delivery) {
//         std::cout << delivery.body() << "\n";
//       });
//   broker.Publish("news", "hello");
//   broker.main_lane().Run();
//
// What is published after Subscribe() has returned is delivered, once to each
// subscription whose channel is the message's or whose pattern matches it, in
// the order in which each thread has published it to a channel. Nothing is
// delivered inside of Publish().
//
// Thread safety: any thread may call everything but the constructor and the
// destructor.

#ifndef FIO_PUBSUB_BROKER_H_
#define FIO_PUBSUB_BROKER_H_

#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/pubsub/broker_options.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/metadata_builders.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio {

namespace pubsub_internal {
class BrokerCore;
}  // namespace pubsub_internal

class Broker {
 public:
  // `wake` is that of the main lane; null if that is run anyway.
  explicit Broker(BrokerOptions options = {}, Lane::Wake wake = nullptr);
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;
  // Detaches the engines, and ends what its main lane has; their last callbacks
  // may still use the broker. Call it on that lane's thread, outside of its
  // Run(). Other lanes may live on, and get nothing more.
  ~Broker();

  // --- Subscribing ---

  // Runs the callbacks of engines, and subscriptions that name no lane.
  Lane& main_lane();

  // A lane that belongs to the caller, and lives as long as any pointer to it.
  std::shared_ptr<Lane> NewLane(Lane::Wake wake);

  // Calls `on_message` with each message, on the lane's thread, never
  // concurrently with itself, and until the returned handle is destroyed.
  // Errors, with which on_unsubscribe has been called: kInvalidArgument if
  // `on_message` is null, the channel is too long, the pattern malformed or the
  // options do not go together; kFailedPrecondition in a callback of an engine,
  // and if the lane's broker is another or has gone, or the lane ends.
  absl::StatusOr<Subscription> Subscribe(Lane& lane, SubscribeOptions options,
                                         OnMessage on_message);
  absl::StatusOr<Subscription> Subscribe(SubscribeOptions options,
                                         OnMessage on_message) {
    return Subscribe(main_lane(), std::move(options), std::move(on_message));
  }

  // Gives an active subscription another callback: what it has not delivered
  // yet is for the new one. The former on_unsubscribe is called when its
  // callback runs no more. False, and nothing is moved from, if the
  // subscription has ended, or `options` has a group or a replay. REQUIRES: on
  // the thread of its lane; `on_message` is not null; the topic is the same.
  bool Replace(Subscription& subscription, SubscribeOptions& options,
               OnMessage& on_message);

  // --- Publishing ---

  // Copies both, and returns before anybody gets them. Never blocks. OK if the
  // message was accepted, whether anybody listens or not. Errors:
  // kInvalidArgument for a channel or body that is too long, and for a filter
  // with an engine; kNotFound for an engine that is not attached;
  // kResourceExhausted if the link to the root has too much to send.
  absl::Status Publish(std::string_view channel, std::string_view body,
                       const PublishOptions& options = {});

  // --- Engines ---

  // Adds `engine`, which outlives its Detach() and the broker. Errors:
  // kAlreadyExists; kResourceExhausted if there are 16;
  // kFailedPrecondition in a callback of an engine.
  absl::Status Attach(Engine& engine);

  // Calls OnDetach(), and once this returns no callback of the engine runs: it
  // waits for one that runs on the main lane's thread. If the engine was the
  // default, that is set back. Errors: kNotFound; kFailedPrecondition in a
  // callback of an engine.
  absl::Status Detach(Engine& engine);
  bool IsAttached(const Engine& engine) const;

  // Has the engine's Subscribe() called again for all that is subscribed to, as
  // after it has connected anew. In a task of the main lane. Errors: kNotFound.
  absl::Status Reattach(Engine& engine);

  // What Reach::kDefault means: a reach, or an attached engine. Errors:
  // kNotFound for an engine that is not attached.
  void SetDefault(Reach reach = Reach::kCluster);
  absl::Status SetDefault(Engine& engine);

  // --- Metadata ---

  // From now on `builder` is called for each message that has subscribers or is
  // kept in history.
  // kNone if there are four already.
  MetadataId AddMetadata(MetadataBuilder builder);
  // What it has made lives as long as its messages. False if there is none.
  bool RemoveMetadata(MetadataId id);

  // --- History ---

  // Keeps messages of the channels that match. Call it before anything is
  // published there; in a cluster, before the workers are forked. The first
  // call that matches a channel counts. Errors: those of Pattern::Compile();
  // kInvalidArgument for a channel that is too long, and for a limit that is
  // not positive.
  absl::Status KeepHistory(std::string_view channel, Match match,
                           const HistoryOptions& options);

  // For PubSub and its links.
  pubsub_internal::BrokerCore& core() { return *core_; }

 private:
  const std::unique_ptr<pubsub_internal::BrokerCore> core_;
};

}  // namespace fio

#endif  // FIO_PUBSUB_BROKER_H_
