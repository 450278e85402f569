// The frames that tell what a process listens to.
//
// Thread safety: functions of their arguments.

#ifndef FIO_CORE_PUBSUB_INTERNAL_INTEREST_FRAMES_H_
#define FIO_CORE_PUBSUB_INTERNAL_INTEREST_FRAMES_H_

#include "fio/pubsub/internal/frame_header.h"
#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

// The channel of the frame is the topic's, the body is the group.
inline FrameHeader HeaderOf(const Interest& interest) {
  FrameHeader header{
      .type = interest.begins ? FrameType::kSubscribe : FrameType::kUnsubscribe,
      .filter = interest.topic.filter,
      .origin = interest.group_number};
  if (interest.topic.match == Match::kRedis) {
    header.flags = kFrameRedisPattern;
  } else if (interest.topic.match == Match::kNats) {
    header.flags = kFrameNatsPattern;
  }
  return header;
}

// Its views are those of `message`.
inline Interest InterestOf(const FrameHeader& header, const Message& message) {
  const Match match = (header.flags & kFrameRedisPattern) != 0  ? Match::kRedis
                      : (header.flags & kFrameNatsPattern) != 0 ? Match::kNats
                                                                : Match::kExact;
  return {.topic = {.channel = message.channel(),
                    .match = match,
                    .filter = header.filter},
          .group = message.body(),
          .group_number = header.origin,
          .begins = header.type == FrameType::kSubscribe};
}

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_INTEREST_FRAMES_H_
