#include "fio/pubsub/broker.h"

#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/pubsub/broker_options.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/internal/engines.h"
#include "fio/pubsub/internal/metadata_builders.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"

namespace fio {

using pubsub_internal::BrokerCore;
using pubsub_internal::Engines;
using pubsub_internal::Subscriber;

namespace {

absl::Status CheckNotInCallback(std::string_view call, const Engine& engine) {
  if (!Engines::InCallback()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(call, " ", engine.name(), ": in a callback of an engine"));
}

}  // namespace

Broker::Broker(BrokerOptions options, Lane::Wake wake)
    : core_(std::make_unique<BrokerCore>(options, std::move(wake))) {}

Broker::~Broker() { core_->End(); }

Lane& Broker::main_lane() { return core_->main_lane(); }

std::shared_ptr<Lane> Broker::NewLane(Lane::Wake wake) {
  return core_->NewLane(std::move(wake));
}

absl::StatusOr<Subscription> Broker::Subscribe(Lane& lane,
                                               SubscribeOptions options,
                                               OnMessage on_message) {
  absl::StatusOr<std::shared_ptr<Subscriber>> subscriber =
      core_->Subscribe(lane, std::move(options), std::move(on_message));
  if (!subscriber.ok()) return subscriber.status();
  return Subscription(*std::move(subscriber));
}

bool Broker::Replace(Subscription& subscription, SubscribeOptions& options,
                     OnMessage& on_message) {
  if (!subscription.active() || on_message == nullptr ||
      !options.group.empty() || options.replay.has_value() ||
      !subscription.subscriber_->group().empty()) {
    return false;
  }
  subscription.subscriber_->Replace(options, std::move(on_message));
  return true;
}

absl::Status Broker::Publish(std::string_view channel, std::string_view body,
                             const PublishOptions& options) {
  return core_->Publish(channel, body, options);
}

absl::Status Broker::Attach(Engine& engine) {
  if (absl::Status status = CheckNotInCallback("Attach", engine);
      !status.ok()) {
    return status;
  }
  return core_->engines().Attach(engine);
}

absl::Status Broker::Detach(Engine& engine) {
  if (absl::Status status = CheckNotInCallback("Detach", engine);
      !status.ok()) {
    return status;
  }
  return core_->engines().Detach(engine);
}

bool Broker::IsAttached(const Engine& engine) const {
  return core_->engines().IsAttached(engine);
}

absl::Status Broker::Reattach(Engine& engine) {
  return core_->engines().Reattach(engine);
}

void Broker::SetDefault(Reach reach) { core_->engines().SetDefault(reach); }

absl::Status Broker::SetDefault(Engine& engine) {
  return core_->engines().SetDefault(engine);
}

MetadataId Broker::AddMetadata(MetadataBuilder builder) {
  return core_->metadata().Add(std::move(builder));
}

bool Broker::RemoveMetadata(MetadataId id) {
  return core_->metadata().Remove(id);
}

absl::Status Broker::KeepHistory(std::string_view channel, Match match,
                                 const HistoryOptions& options) {
  return core_->KeepHistory(channel, match, options);
}

}  // namespace fio
