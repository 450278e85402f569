// A PubSub is the pub/sub of a Reactor: messages between its connections, on
// whatever loop and in whatever worker they are.
//
//   fio::Reactor reactor({.threads = 2, .workers = 2});
//   fio::PubSub pubsub(reactor);
//   reactor.Listen("tcp://0.0.0.0:3000", {.on_open = [&](auto& connection) {
//     pubsub.Subscribe(connection, "lobby");  // Sends it what is published.
//     connection.Attach(std::make_unique<Client>(pubsub));
//   }});
//   ...
//   pubsub.Publish("lobby", "somebody has come\n");  // From any process.
//
// Each process has its own broker (fio/pubsub/broker.h), and what is published
// goes to the other processes of the reactor if anybody listens there. Messages
// of one publisher to one channel keep their order everywhere; see
// PublishOptions::total_order. A message is delivered at most once: what is on
// its way to or from a worker that crashes is lost.
//
// Make it before Run(), after the reactor, and destroy it before the reactor.
// What is subscribed to before Run() is in all processes, and so is what is
// published then, once in each process. Later a subscription is its process's.
//
// Callbacks run on the loop where they were subscribed, never concurrently with
// themselves, and never inside of Publish().
//
// Thread safety: any thread may call Publish(), broker() and the Subscribe()
// without a connection. A method with a Connection or a Loop belongs to the
// thread of that loop (PublishFrom() reads the connection's id), the rest to
// the main loop's.

#ifndef FIO_CORE_PUBSUB_PUB_SUB_H_
#define FIO_CORE_PUBSUB_PUB_SUB_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/move_only_function.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/pub_sub_options.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio {

class PubSub {
 public:
  // What a subscription of a connection calls, on the connection's loop, while
  // it is open.
  using OnConnectionMessage =
      MoveOnlyFunction<void(Connection&, Delivery&), 32>;

  explicit PubSub(Reactor& reactor, const PubSubOptions& options = {});
  PubSub(const PubSub&) = delete;
  PubSub& operator=(const PubSub&) = delete;
  // REQUIRES: the reactor's Run() is not running.
  ~PubSub();

  // --- Subscriptions of a connection ---
  //
  // They end with the connection, before its Protocol::OnClose(), or by
  // Unsubscribe(). A connection has one for each channel (with `match` and
  // `filter`): subscribing again replaces it.

  // From now on the connection is sent the body of each message, as it is. The
  // bytes are shared by all that get it, and it is not told what was lost. With
  // `on_message` that is called instead, for a protocol that frames its
  // messages and writes them itself.
  //
  // Either way the connection is slow while more is queued to it than
  // `options.slow.max_bytes`: messages wait, and when again as many bytes or
  // `slow.max_messages` wait, `slow.policy` decides. They go on when half of
  // `slow.max_bytes` is left. SlowPolicy::kClose calls Connection::Close(), and
  // then on_slow: the connection still exists there, but takes no more. A
  // subscription that writes nothing and must not wait, for orders to the
  // connection for example, has a `slow.max_bytes` of SIZE_MAX.
  //
  // Errors, with which on_unsubscribe has been called: those of
  // Broker::Subscribe(); kFailedPrecondition if the connection is not open.
  absl::Status Subscribe(Connection& connection, SubscribeOptions options);
  absl::Status Subscribe(Connection& connection, std::string_view channel) {
    return Subscribe(connection, SubscribeOptions{.channel = channel});
  }
  absl::Status Subscribe(Connection& connection, SubscribeOptions options,
                         OnConnectionMessage on_message);

  // False if it has none.
  bool Unsubscribe(Connection& connection, std::string_view channel,
                   Match match = Match::kExact, int32_t filter = 0);

  // As Subscription::Resume(), for an `on_message` that has parked a message
  // (Delivery::Park()). False if it has none. A parked message may also come
  // again by itself, when the connection is slow no more.
  bool Resume(Connection& connection, std::string_view channel,
              Match match = Match::kExact, int32_t filter = 0);

  // How many the connection has.
  size_t subscriptions(Connection& connection) const;

  // Of one of them; zero if the connection does not have it.
  SubscriptionStats StatsOf(Connection& connection, std::string_view channel,
                            Match match = Match::kExact,
                            int32_t filter = 0) const;

  // --- Other subscriptions ---

  // On that loop. It ends with the handle, or with the loop.
  absl::StatusOr<Subscription> SubscribeOn(Loop& loop, SubscribeOptions options,
                                           OnMessage on_message);

  // On the main loop of this process. Before Run(): on that of the root, and of
  // each worker, which has a copy of the handle; a handle ends it in its own
  // process only. Any thread.
  absl::StatusOr<Subscription> Subscribe(SubscribeOptions options,
                                         OnMessage on_message);

  // --- Publishing ---

  // As Broker::Publish().
  absl::Status Publish(std::string_view channel, std::string_view body,
                       const PublishOptions& options = {}) {
    return broker().Publish(channel, body, options);
  }
  // The same, but subscriptions of `from` do not get it.
  absl::Status PublishFrom(const Connection& from, std::string_view channel,
                           std::string_view body, PublishOptions options = {}) {
    options.from = from.id().serial();
    return Publish(channel, body, options);
  }

  // --- The rest: engines, metadata, history ---

  Broker& broker();

  // Of the root; zero in other processes.
  ClusterStats cluster_stats() const;

 private:
  class Impl;

  absl::Status SubscribeOwned(Connection& connection, SubscribeOptions options,
                              OnMessage on_message);

  const std::shared_ptr<Impl> impl_;
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_PUB_SUB_H_
