#include "fio/core/pubsub/internal/worker_link.h"

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/base/fork_count.h"
#include "fio/base/unique_fd.h"
#include "fio/core/pubsub/internal/interest_frames.h"
#include "fio/core/pubsub/internal/link.h"
#include "fio/core/pubsub/internal/replay_frames.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

WorkerLink::WorkerLink(UniqueFd fd, pid_t worker, const Link::Options& options,
                       BrokerCore& core, Events events)
    : worker_(worker),
      fork_count_(ForkCount()),
      core_(core),
      events_(std::move(events)),
      link_(std::make_shared<Link>(std::move(fd), options,
                                   static_cast<Link::Handler&>(*this))) {}

WorkerLink::~WorkerLink() {
  if (fork_count_ == ForkCount()) core_.topics().RemoveAllOf(*this);
  link_->Close();
}

void WorkerLink::Send(const Message& message) { link_->Send(message); }

void WorkerLink::SendToGroup(uint32_t group, const Message& message) {
  FrameHeader header = MessageBlock::Of(message).header();
  header.type = FrameType::kToGroup;
  header.origin = group;
  link_->Send(message, header);
}

void WorkerLink::OnFrame(const FrameHeader& header, Message message) {
  switch (header.type) {
    case FrameType::kMessage:
    case FrameType::kToEngine:
      return core_.OnFromWorker(*this, std::move(message));
    case FrameType::kSubscribe:
    case FrameType::kUnsubscribe:
      return OnInterest(header, message);
    case FrameType::kReplay:
      return Replay(header, message);
    default:
      return Refuse(absl::InvalidArgumentError(absl::StrCat(
          "a frame of type ", static_cast<int>(header.type), " of a worker")));
  }
}

void WorkerLink::OnInterest(const FrameHeader& header, const Message& message) {
  const Interest interest = InterestOf(header, message);
  if (!interest.begins) return core_.topics().RemoveRemote(*this, interest);
  const absl::Status status = core_.topics().AddRemote(*this, interest);
  if (!status.ok()) Refuse(status);
}

// In the order of what is published: see BrokerCore::Replay().
void WorkerLink::Replay(const FrameHeader& header, const Message& message) {
  const std::optional<ReplayFrom> from = DecodeReplayFrom(message.body());
  if (!from.has_value()) {
    return Refuse(absl::InvalidArgumentError("a malformed request to replay"));
  }
  const FrameHeader end_header{.type = FrameType::kReplayEnd,
                               .origin = header.origin};
  core_.Replay(
      message.channel(), *from,
      [&](const Message& item) {
        FrameHeader item_header = MessageBlock::Of(item).header();
        item_header.type = FrameType::kReplayItem;
        item_header.origin = header.origin;
        link_->SendAlways(item, item_header);
      },
      [&](const ReplayEnd& end) {
        link_->SendControl(end_header, "", EncodeReplayEnd(end));
      });
}

void WorkerLink::Refuse(const absl::Status& why) {
  link_->Close();
  OnLost(why);
}

void WorkerLink::OnLost(const absl::Status& why) {
  core_.topics().RemoveAllOf(*this);
  events_.on_lost(why);
}

}  // namespace fio::pubsub_internal
