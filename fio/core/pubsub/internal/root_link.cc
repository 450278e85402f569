#include "fio/core/pubsub/internal/root_link.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "fio/core/pubsub/internal/interest_frames.h"
#include "fio/core/pubsub/internal/link.h"
#include "fio/core/pubsub/internal/replay_frames.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

RootLink::RootLink(UniqueFd fd, const Link::Options& options, BrokerCore& core,
                   OnLostCallback on_lost)
    : core_(core),
      on_lost_(std::move(on_lost)),
      link_(std::make_shared<Link>(std::move(fd), options,
                                   static_cast<Link::Handler&>(*this))) {
  core_.SetUplink(this);
}

RootLink::~RootLink() { End(); }

void RootLink::End() {
  core_.SetUplink(nullptr);
  link_->Close();
}

void RootLink::AskReplay(uint32_t request, std::string_view channel,
                         const ReplayFrom& from) {
  link_->SendControl({.type = FrameType::kReplay, .origin = request}, channel,
                     EncodeReplayFrom(from));
}

void RootLink::OnInterest(const Interest& interest) {
  link_->SendControl(HeaderOf(interest), interest.topic.channel,
                     interest.group);
}

void RootLink::OnFrame(const FrameHeader& header, Message message) {
  switch (header.type) {
    case FrameType::kMessage:
      return core_.OnFromRoot(message);
    case FrameType::kToGroup:
      return core_.OnGroupMessage(header.origin, message);
    case FrameType::kReplayItem:
      return core_.OnReplayItem(header.origin, message);
    case FrameType::kReplayEnd: {
      const std::optional<ReplayEnd> end = DecodeReplayEnd(message.body());
      if (end.has_value()) return core_.OnReplayEnd(header.origin, *end);
      return Refuse(absl::InvalidArgumentError("a malformed end of a replay"));
    }
    default:
      return Refuse(absl::InvalidArgumentError(absl::StrCat(
          "a frame of type ", static_cast<int>(header.type), " of the root")));
  }
}

void RootLink::Refuse(const absl::Status& why) {
  link_->Close();
  on_lost_(why);
}

}  // namespace fio::pubsub_internal
