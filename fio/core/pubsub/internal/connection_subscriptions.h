// The subscriptions that one connection owns.
//
// Thread safety: none; that of the connection's loop.

#ifndef FIO_CORE_PUBSUB_INTERNAL_CONNECTION_SUBSCRIPTIONS_H_
#define FIO_CORE_PUBSUB_INTERNAL_CONNECTION_SUBSCRIPTIONS_H_

#include <cstddef>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "fio/base/move_only_function.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_end.h"
#include "fio/core/loop/protocol.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {

class ConnectionSubscriptions final : private ConnectionEnd {
 public:
  // `on_end` is called when the connection has ended, and may destroy this.
  using OnEnd = MoveOnlyFunction<void(), 32>;
  ConnectionSubscriptions(Connection& connection, OnEnd on_end);

  // Adds one, or gives the one that there is another callback.
  absl::Status Subscribe(Broker& broker, Lane& lane, SubscribeOptions options,
                         OnMessage on_message);
  bool Unsubscribe(const TopicKey& topic);
  size_t size() const;
  SubscriptionStats StatsOf(const TopicKey& topic) const;
  // As Subscription::Resume(). False if there is none.
  bool Resume(const TopicKey& topic);
  // Those that wait go on.
  void Resume();

 private:
  void OnConnectionEnd(Connection& connection,
                       const CloseReason& reason) override;

  OnEnd on_end_;
  absl::flat_hash_map<TopicKey, Subscription> subscriptions_;  // Of its name.
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_CONNECTION_SUBSCRIPTIONS_H_
