// A worker's way to the root of its cluster.

#ifndef FIO_PUBSUB_INTERNAL_UPLINK_H_
#define FIO_PUBSUB_INTERNAL_UPLINK_H_

#include <cstdint>
#include <string_view>

#include "fio/pubsub/internal/topics.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {

// Thread safety: any thread may call all of it.
class Uplink : public InterestListener {
 public:
  // Sends it as its header says. False, and nothing is sent, if too much waits.
  virtual bool Send(const Message& message) = 0;
  // Asks for messages of the past. They come as BrokerCore::OnReplayItem(), and
  // OnReplayEnd() with the same number.
  virtual void AskReplay(uint32_t request, std::string_view channel,
                         const ReplayFrom& from) = 0;
};

}  // namespace fio::pubsub_internal

#endif  // FIO_PUBSUB_INTERNAL_UPLINK_H_
