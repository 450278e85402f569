#include "fio/core/pubsub/internal/connection_subscriptions.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio::pubsub_internal {

ConnectionSubscriptions::ConnectionSubscriptions(Connection& connection,
                                                 OnEnd on_end)
    : on_end_(std::move(on_end)) {
  connection.AddEnd(*this);
}

absl::Status ConnectionSubscriptions::Subscribe(Broker& broker, Lane& lane,
                                                SubscribeOptions options,
                                                OnMessage on_message) {
  TopicKey topic{.channel = options.channel,
                 .match = options.match,
                 .filter = options.filter};
  const auto found = subscriptions_.find(topic);
  if (found != subscriptions_.end()) {
    if (broker.Replace(found->second, options, on_message)) {
      return absl::OkStatus();
    }
    subscriptions_.erase(found);
  }
  absl::StatusOr<Subscription> subscription =
      broker.Subscribe(lane, std::move(options), std::move(on_message));
  if (!subscription.ok()) return subscription.status();
  topic.channel = subscription->channel();
  subscriptions_.emplace(topic, *std::move(subscription));
  return absl::OkStatus();
}

bool ConnectionSubscriptions::Unsubscribe(const TopicKey& topic) {
  const auto found = subscriptions_.find(topic);
  if (found == subscriptions_.end()) return false;
  const bool was_active = found->second.active();
  subscriptions_.erase(found);
  return was_active;
}

size_t ConnectionSubscriptions::size() const {
  return static_cast<size_t>(
      std::count_if(subscriptions_.begin(), subscriptions_.end(),
                    [](const auto& entry) { return entry.second.active(); }));
}

SubscriptionStats ConnectionSubscriptions::StatsOf(
    const TopicKey& topic) const {
  const auto found = subscriptions_.find(topic);
  return found == subscriptions_.end() ? SubscriptionStats()
                                       : found->second.stats();
}

bool ConnectionSubscriptions::Resume(const TopicKey& topic) {
  const auto found = subscriptions_.find(topic);
  if (found == subscriptions_.end()) return false;
  found->second.Resume();
  return found->second.active();
}

void ConnectionSubscriptions::Resume() {
  for (auto& [topic, subscription] : subscriptions_) {
    if (subscription.stats().waiting > 0) subscription.Resume();
  }
}

void ConnectionSubscriptions::OnConnectionEnd(Connection& /*connection*/,
                                              const CloseReason& /*reason*/) {
  subscriptions_.clear();
  OnEnd on_end = std::move(on_end_);
  on_end();
}

}  // namespace fio::pubsub_internal
