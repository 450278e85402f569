#include "fio/pubsub/internal/broker_core.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/move_only_function.h"
#include "fio/pubsub/broker_options.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/history_options.h"
#include "fio/pubsub/internal/engines.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/lane_entry.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/internal/subscriber.h"
#include "fio/pubsub/internal/topic_name.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/internal/uplink.h"
#include "fio/pubsub/lane.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/publish_options.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {
namespace {

absl::Status CheckChannel(std::string_view call, std::string_view channel) {
  if (channel.size() <= FrameLimits().channel_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s %s...: a channel of %d bytes, of %d at most", call,
      channel.substr(0, 20), channel.size(), FrameLimits().channel_bytes));
}

absl::Status CheckSubscribe(const SubscribeOptions& options,
                            const OnMessage& on_message) {
  if (absl::Status channel = CheckChannel("Subscribe", options.channel);
      !channel.ok()) {
    return channel;
  }
  std::string_view wrong;
  if (on_message == nullptr) {
    wrong = "no on_message";
  } else if (options.group.size() > FrameLimits().channel_bytes) {
    wrong = "the name of the group is too long";
  } else if (options.replay.has_value() &&
             (options.match != Match::kExact || options.filter != 0 ||
              !options.group.empty())) {
    wrong = "a replay is of one channel, without filter and group";
  } else {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("Subscribe ", options.channel, ": ", wrong));
}

FrameHeader HeaderOf(const PublishOptions& options) {
  FrameHeader header{.filter = options.filter};
  if (options.is_json) header.flags |= kFrameIsJson;
  if (options.total_order) header.flags |= kFrameTotalOrder;
  return header;
}

Message NewMessage(const FrameHeader& header, std::string_view channel,
                   std::string_view body, const PublishOptions& options) {
  Message message = MessageBlock::New(header, channel, body);
  MessageBlock::Of(message).set_from(options.from);
  return message;
}

absl::Status NoLink(std::string_view channel) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "Publish ", channel, ": the link to the root has too much to send"));
}

// Of a root, or of a single process, which has no remotes.
Route RouteOf(Reach reach) {
  switch (reach) {
    case Reach::kProcess:
    case Reach::kRoot:
      return {};
    case Reach::kSiblings:
      return {.lanes = false, .remotes = true};
    case Reach::kDefault:
    case Reach::kCluster:
      break;
  }
  return {.remotes = true};
}

// Another one in each process that makes a broker.
uint64_t NewEpoch(const Clock& clock) {
  const int64_t now = absl::ToUnixNanos(clock.WallNow());
  return now == 0 ? 1 : static_cast<uint64_t>(now);
}

}  // namespace

BrokerCore::BrokerCore(const BrokerOptions& options, Lane::Wake wake)
    : options_(options),
      topics_(std::make_shared<Topics>()),
      main_(NewLane(std::move(wake))),
      engines_(*topics_, *main_),
      history_(options.max_history_bytes, NewEpoch(*options.clock)) {}

BrokerCore::~BrokerCore() = default;

void BrokerCore::End() {
  engines_.DetachAll();
  main_->End();
}

std::shared_ptr<Lane> BrokerCore::NewLane(Lane::Wake wake) {
  return std::shared_ptr<Lane>(new Lane(topics_, std::move(wake)));
}

FrameLimits BrokerCore::frame_limits() const {
  return {.body_bytes = options_.max_body_bytes};
}

absl::StatusOr<std::shared_ptr<Subscriber>> BrokerCore::Subscribe(
    Lane& lane, SubscribeOptions options, OnMessage on_message) {
  absl::Status status = CheckSubscribe(options, on_message);
  if (Engines::InCallback()) {
    status = absl::FailedPreconditionError(absl::StrCat(
        "Subscribe ", options.channel, ": in a callback of an engine"));
  }
  const auto subscriber =
      std::make_shared<Subscriber>(lane, options, std::move(on_message),
                                   presetting_.load(std::memory_order_relaxed));
  if (status.ok()) {
    status = topics_->Join(subscriber, {.channel = options.channel,
                                        .match = options.match,
                                        .filter = options.filter});
  }
  if (!status.ok()) {
    subscriber->Finish();
    return status;
  }
  if (options.replay.has_value()) StartReplay(subscriber, *options.replay);
  return subscriber;
}

absl::Status BrokerCore::CheckPublish(std::string_view channel,
                                      std::string_view body,
                                      const PublishOptions& options) const {
  if (absl::Status status = CheckChannel("Publish", channel); !status.ok()) {
    return status;
  }
  const size_t limit = std::min<size_t>(options_.max_body_bytes,
                                        std::numeric_limits<uint32_t>::max());
  if (body.size() > limit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("Publish %s: a body of %d bytes, of %d at most",
                        channel, body.size(), limit));
  }
  if (options.engine != nullptr && options.filter != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Publish ", channel, ": a filter is not for an engine"));
  }
  return absl::OkStatus();
}

absl::Status BrokerCore::Publish(std::string_view channel,
                                 std::string_view body,
                                 PublishOptions options) {
  if (absl::Status status = CheckPublish(channel, body, options);
      !status.ok()) {
    return status;
  }
  const absl::StatusOr<Engines::Info> engine = engines_.Find(options);
  if (!engine.ok()) return engine.status();
  const FrameHeader header = HeaderOf(options);
  if (options.engine != nullptr) {
    return PublishToEngine(*engine, header, channel, body, options);
  }
  if (Uplink* const uplink = uplink_.load(std::memory_order_acquire);
      uplink != nullptr && options.reach != Reach::kProcess) {
    return SendAsWorker(*uplink, header, channel, body, options);
  }
  SendAsRoot(NewMessage(header, channel, body, options),
             RouteOf(options.reach));
  return absl::OkStatus();
}

// The echo goes first: what belongs to the message is complete when the engine
// gets it.
absl::Status BrokerCore::PublishToEngine(const Engines::Info& engine,
                                         const FrameHeader& header,
                                         std::string_view channel,
                                         std::string_view body,
                                         const PublishOptions& options) {
  if (!engine.in_root) {
    const Message message = NewMessage(header, channel, body, options);
    if (engine.local_echo) SendAsRoot(message, RouteOf(Reach::kCluster));
    engines_.Publish(engine.number, message);
    return absl::OkStatus();
  }
  Uplink* const uplink = uplink_.load(std::memory_order_acquire);
  if (uplink == nullptr) return NoLink(channel);
  FrameHeader to_engine = header;
  to_engine.type = FrameType::kToEngine;
  to_engine.origin = engine.number;
  if (!uplink->Send(MessageBlock::New(to_engine, channel, body))) {
    return NoLink(channel);
  }
  if (!engine.local_echo) return absl::OkStatus();
  return SendAsWorker(*uplink, header, channel, body, options);
}

// What has an order that all agree on comes back from the root. The rest is for
// this process at once; which member of a group gets it the root decides.
absl::Status BrokerCore::SendAsWorker(Uplink& uplink, FrameHeader header,
                                      std::string_view channel,
                                      std::string_view body,
                                      const PublishOptions& options) {
  bool is_local = false;
  if (options.reach == Reach::kRoot) {
    header.flags |= kFrameRootOnly;
  } else if (options.reach == Reach::kSiblings) {
    header.flags |= kFrameSiblings;
  } else if (options.total_order || IsKept(channel, options.filter)) {
    header.flags |= kFrameTotalOrder;
  } else {
    is_local = true;
  }
  header.origin = origin_;
  header.from = options.from;
  const Message message = NewMessage(header, channel, body, options);
  if (is_local) BuildMetadata(message);
  if (!uplink.Send(message)) return NoLink(channel);
  if (is_local) topics_->Send(message, {.groups = false});
  return absl::OkStatus();
}

void BrokerCore::SendAsRoot(Message message, const Route& route) {
  const FrameHeader& header = MessageBlock::Of(message).header();
  const bool is_kept =
      route.remotes && route.lanes && IsKept(message.channel(), header.filter);
  if (is_kept) {
    metadata_.Build(message);
  } else if (route.lanes) {
    BuildMetadata(message);
  }
  if (!is_kept && (header.flags & kFrameTotalOrder) == 0) {
    topics_->Send(message, route);
    return;
  }
  const absl::MutexLock lock(&order_mutex_);
  if (is_kept) history_.Append(message, options_.clock->Now());
  topics_->Send(message, route);
}

void BrokerCore::OnFromWorker(const Remote& worker, Message message) {
  const FrameHeader header = MessageBlock::Of(message).header();
  if (header.type == FrameType::kToEngine) {
    engines_.Publish(header.origin, message);
    return;
  }
  Route route;
  if ((header.flags & kFrameRootOnly) == 0) {
    route.remotes = true;
    route.except_in_groups = (header.flags & kFrameSiblings) != 0;
    if ((header.flags & kFrameTotalOrder) == 0) route.except = &worker;
  }
  SendAsRoot(std::move(message), route);
}

// What this process has published comes back if it has a total order.
void BrokerCore::OnFromRoot(const Message& message) {
  MessageBlock& block = MessageBlock::Of(message);
  if (block.header().origin == origin_) {
    block.set_from(block.header().from);
  }
  BuildMetadata(message);
  topics_->Send(message, {.groups = false});
}

void BrokerCore::OnGroupMessage(uint32_t group_number, const Message& message) {
  BuildMetadata(message);
  topics_->SendToGroup(group_number, message);
}

void BrokerCore::BuildMetadata(const Message& message) const {
  if (metadata_.empty() || message.filter() != 0) return;
  if (!topics_->HasListeners(message.channel(), 0)) return;
  metadata_.Build(message);
}

absl::Status BrokerCore::KeepHistory(std::string_view channel, Match match,
                                     const HistoryOptions& options) {
  const absl::MutexLock lock(&order_mutex_);
  absl::Status status = history_.Keep(channel, match, options);
  if (status.ok()) has_history_.store(true, std::memory_order_release);
  return status;
}

void BrokerCore::ExpireHistory() {
  const absl::MutexLock lock(&order_mutex_);
  history_.Expire(options_.clock->Now());
}

bool BrokerCore::IsKept(std::string_view channel, int32_t filter) const {
  if (!has_history_.load(std::memory_order_acquire) || filter != 0)
    return false;
  const absl::MutexLock lock(&order_mutex_);
  return history_.Keeps(channel);
}

void BrokerCore::Replay(std::string_view channel, const ReplayFrom& from,
                        absl::FunctionRef<void(const Message&)> on_message,
                        absl::FunctionRef<void(const ReplayEnd&)> on_end) {
  const absl::MutexLock lock(&order_mutex_);
  on_end(history_.Replay(channel, from, options_.clock->Now(), on_message));
}

void BrokerCore::StartReplay(const std::shared_ptr<Subscriber>& subscriber,
                             const ReplayFrom& from) {
  const std::string_view channel = subscriber->name()->channel;
  Uplink* const uplink = uplink_.load(std::memory_order_acquire);
  if (uplink != nullptr) {
    uint32_t request;
    {
      const absl::MutexLock lock(&requests_mutex_);
      request = ++last_request_;
      requests_.emplace(request, subscriber);
    }
    uplink->AskReplay(request, channel, from);
    return;
  }
  Replay(
      channel, from,
      [&](const Message& message) {
        topics_->PushTo(*subscriber, {.kind = LaneEntry::Kind::kReplayed,
                                      .message = message});
      },
      [&](const ReplayEnd& end) { PushReplayEnd(*subscriber, end); });
}

std::shared_ptr<Subscriber> BrokerCore::FindRequest(uint32_t request) {
  const absl::MutexLock lock(&requests_mutex_);
  const auto found = requests_.find(request);
  return found == requests_.end() ? nullptr : found->second;
}

void BrokerCore::OnReplayItem(uint32_t request, const Message& message) {
  const std::shared_ptr<Subscriber> subscriber = FindRequest(request);
  if (subscriber == nullptr) return;
  BuildMetadata(message);
  topics_->PushTo(*subscriber,
                  {.kind = LaneEntry::Kind::kReplayed, .message = message});
}

void BrokerCore::OnReplayEnd(uint32_t request, const ReplayEnd& end) {
  const std::shared_ptr<Subscriber> subscriber = FindRequest(request);
  if (subscriber == nullptr) return;
  PushReplayEnd(*subscriber, end);
  const absl::MutexLock lock(&requests_mutex_);
  requests_.erase(request);
}

void BrokerCore::PushReplayEnd(Subscriber& subscriber, const ReplayEnd& end) {
  auto task = std::make_unique<MoveOnlyFunction<void()>>(
      [&subscriber, end] { subscriber.EndReplay(end); });
  topics_->PushTo(subscriber,
                  {.kind = LaneEntry::Kind::kTask, .task = std::move(task)});
}

void BrokerCore::BeginPreset() {
  main_->has_run_ = false;
  presetting_.store(true, std::memory_order_relaxed);
}

void BrokerCore::EnterWorker(Lane::Wake wake) {
  origin_ = static_cast<uint32_t>(getpid());
  topics_->DropInChild(*main_);
  main_->SetWake(std::move(wake));
  engines_.StayInRoot();
}

void BrokerCore::SetUplink(Uplink* uplink) {
  uplink_.store(uplink, std::memory_order_release);
  topics_->SetLocalListener(uplink);
}

}  // namespace fio::pubsub_internal
