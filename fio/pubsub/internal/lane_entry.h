// One thing that a lane does in its turn.
//
// Thread safety: a value.

#ifndef FIO_PUBSUB_INTERNAL_LANE_ENTRY_H_
#define FIO_PUBSUB_INTERNAL_LANE_ENTRY_H_

#include <cstdint>
#include <memory>

#include "fio/base/move_only_function.h"
#include "fio/pubsub/message.h"

namespace fio::pubsub_internal {

class Share;
class Subscriber;

struct LaneEntry {
  enum class Kind : uint8_t {
    kToShare,   // `message` to all of `share`.
    kToOne,     // `message` to `subscriber`.
    kReplayed,  // The same, from history.
    kJoin,      // `subscriber` to `share`, or to a group if that is null.
    kLeave,     // Likewise. If it is the share's last, `share` is destroyed.
    kResume,    // `subscriber` goes on.
    kTask,      // `task`.
  };

  Kind kind = Kind::kTask;
  bool is_last = false;  // Of kLeave.
  Share* share = nullptr;
  Message message = {};
  std::shared_ptr<Subscriber> subscriber = nullptr;
  std::unique_ptr<MoveOnlyFunction<void()>> task = nullptr;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_LANE_ENTRY_H_
