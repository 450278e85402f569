// What the frames of a replay say beside their headers.
//
// Thread safety: functions of their arguments.

#ifndef FIO_CORE_PUBSUB_INTERNAL_REPLAY_FRAMES_H_
#define FIO_CORE_PUBSUB_INTERNAL_REPLAY_FRAMES_H_

#include <optional>
#include <string>
#include <string_view>

#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

std::string EncodeReplayFrom(const ReplayFrom& from);
std::string EncodeReplayEnd(const ReplayEnd& end);

// Nothing if that is none.
std::optional<ReplayFrom> DecodeReplayFrom(std::string_view bytes);
std::optional<ReplayEnd> DecodeReplayEnd(std::string_view bytes);

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_REPLAY_FRAMES_H_
