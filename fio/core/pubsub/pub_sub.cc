#include "fio/core/pubsub/pub_sub.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/pubsub/internal/cluster.h"
#include "fio/core/pubsub/internal/connection_subscriptions.h"
#include "fio/core/pubsub/internal/loop_lane.h"
#include "fio/core/pubsub/pub_sub_options.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio {

using pubsub_internal::Cluster;
using pubsub_internal::ConnectionSubscriptions;
using pubsub_internal::LoopLane;
using pubsub_internal::LoopLanes;

namespace {

std::atomic<uint64_t> last_number = 0;

// Has messages wait while the connection has more queued than it may.
struct Brake {
  // Whether this one waits, or the connection is closing and gets no more.
  bool Holds(Delivery& delivery) const {
    if (!connection->is_open()) return true;
    if (connection->pending_bytes() <= max_bytes) return false;
    delivery.Park();
    lane->ResumeBelow(*connection, max_bytes / 2);
    return true;
  }

  Connection* connection;
  LoopLane* lane;
  size_t max_bytes;
};

// Sends each message on.
struct Forward {
  void operator()(Delivery& delivery) const {
    if (brake.Holds(delivery)) return;
    const Message& message = delivery.message();
    if (!message.body().empty()) {
      brake.connection->Write(message.frame(), message.body_offset());
    }
  }

  Brake brake;
};

// The connection that owns a subscription is closed if that is too slow.
void CloseIfSlow(Connection& connection, SubscribeOptions& options) {
  if (options.slow.policy != SlowPolicy::kClose) return;
  options.on_slow = [&connection, user = std::move(options.on_slow)]() mutable {
    connection.Close();
    if (user != nullptr) user();
  };
}

}  // namespace

class PubSub::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Reactor& reactor, const PubSubOptions& options)
      : reactor_(reactor), broker_(options.broker) {}

  void Begin(const ClusterOptions& options) {
    broker_.core().SetWake(MakeWake());
    cluster_.emplace(reactor_, broker_.core(), options, number_,
                     [this] { return MakeWake(); });
  }

  // Its lane is null if the connection is not open.
  Brake BrakeOf(Connection& connection, const SubscribeOptions& options) {
    return {.connection = &connection,
            .lane = connection.is_open() ? &LaneOf(connection.loop()) : nullptr,
            .max_bytes = options.slow.max_bytes};
  }

  Broker& broker() { return broker_; }
  const Cluster& cluster() const { return *cluster_; }

  LoopLane& LaneOf(Loop& loop) {
    std::unique_ptr<LoopLane>& lane = loop.Local<LoopLanes>().lanes[number_];
    if (lane == nullptr) {
      lane = &loop == &reactor_.loop()
                 ? std::make_unique<LoopLane>(loop, broker_.main_lane())
                 : std::make_unique<LoopLane>(loop, broker_);
    }
    return *lane;
  }

  absl::Status Subscribe(Connection& connection, SubscribeOptions options,
                         OnMessage on_message) {
    CloseIfSlow(connection, options);
    options.owner = connection.id().serial();
    LoopLane& lane = LaneOf(connection.loop());
    return lane.Need(connection)
        .Subscribe(broker_, lane.lane(), std::move(options),
                   std::move(on_message));
  }

 private:
  // Of the main lane, which the main loop of the process runs.
  Lane::Wake MakeWake() {
    return [this] { WakeMain(); };
  }
  void WakeMain() {
    reactor_.Post([weak = weak_from_this()] {
      const std::shared_ptr<Impl> self = weak.lock();
      if (self != nullptr) self->RunMain();
    });
  }
  void RunMain() {
    LoopLane::Run(broker_.main_lane(), reactor_.loop(), [this] { WakeMain(); });
  }

  Reactor& reactor_;
  const uint64_t number_ = last_number.fetch_add(1) + 1;
  Broker broker_;
  std::optional<Cluster> cluster_;
};

PubSub::PubSub(Reactor& reactor, const PubSubOptions& options)
    : impl_(std::make_shared<Impl>(reactor, options)) {
  impl_->Begin(options.cluster);
}

PubSub::~PubSub() = default;

absl::Status PubSub::Subscribe(Connection& connection,
                               SubscribeOptions options) {
  const Forward forward{.brake = impl_->BrakeOf(connection, options)};
  return SubscribeOwned(connection, std::move(options), forward);
}

absl::Status PubSub::Subscribe(Connection& connection, SubscribeOptions options,
                               OnConnectionMessage on_message) {
  if (on_message == nullptr) {
    return SubscribeOwned(connection, std::move(options), nullptr);
  }
  const Brake brake = impl_->BrakeOf(connection, options);
  return SubscribeOwned(
      connection, std::move(options),
      [brake, call = std::move(on_message)](Delivery& delivery) mutable {
        if (!brake.Holds(delivery)) call(*brake.connection, delivery);
      });
}

absl::Status PubSub::SubscribeOwned(Connection& connection,
                                    SubscribeOptions options,
                                    OnMessage on_message) {
  if (connection.is_open()) {
    return impl_->Subscribe(connection, std::move(options),
                            std::move(on_message));
  }
  if (options.on_unsubscribe != nullptr) options.on_unsubscribe();
  return absl::FailedPreconditionError(absl::StrCat(
      "Subscribe ", options.channel, ": ", connection.id(), " is not open"));
}

bool PubSub::Unsubscribe(Connection& connection, std::string_view channel,
                         Match match, int32_t filter) {
  ConnectionSubscriptions* const its =
      impl_->LaneOf(connection.loop()).Find(connection);
  return its != nullptr &&
         its->Unsubscribe(
             {.channel = channel, .match = match, .filter = filter});
}

bool PubSub::Resume(Connection& connection, std::string_view channel,
                    Match match, int32_t filter) {
  ConnectionSubscriptions* const its =
      impl_->LaneOf(connection.loop()).Find(connection);
  return its != nullptr &&
         its->Resume({.channel = channel, .match = match, .filter = filter});
}

size_t PubSub::subscriptions(Connection& connection) const {
  const ConnectionSubscriptions* const its =
      impl_->LaneOf(connection.loop()).Find(connection);
  return its == nullptr ? 0 : its->size();
}

SubscriptionStats PubSub::StatsOf(Connection& connection,
                                  std::string_view channel, Match match,
                                  int32_t filter) const {
  const ConnectionSubscriptions* const its =
      impl_->LaneOf(connection.loop()).Find(connection);
  if (its == nullptr) return {};
  return its->StatsOf({.channel = channel, .match = match, .filter = filter});
}

absl::StatusOr<Subscription> PubSub::SubscribeOn(Loop& loop,
                                                 SubscribeOptions options,
                                                 OnMessage on_message) {
  return broker().Subscribe(impl_->LaneOf(loop).lane(), std::move(options),
                            std::move(on_message));
}

absl::StatusOr<Subscription> PubSub::Subscribe(SubscribeOptions options,
                                               OnMessage on_message) {
  return broker().Subscribe(std::move(options), std::move(on_message));
}

Broker& PubSub::broker() { return impl_->broker(); }

ClusterStats PubSub::cluster_stats() const { return impl_->cluster().stats(); }

}  // namespace fio
