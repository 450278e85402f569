// The options of a PubSub.

#ifndef FIO_CORE_PUBSUB_PUB_SUB_OPTIONS_H_
#define FIO_CORE_PUBSUB_PUB_SUB_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "fio/pubsub/broker_options.h"

namespace fio {

// The links between a root and its workers.
struct ClusterOptions {
  // What may wait for a worker that is slow. Beyond it the oldest messages are
  // dropped and counted, and kOnPubSubError is fired.
  size_t max_bytes_to_worker = size_t{64} << 20;

  // What may wait for the root. Beyond it Publish() fails.
  size_t max_bytes_to_root = size_t{8} << 20;

  // A worker that takes nothing for so long, while something waits for it, is
  // killed (SIGKILL) and replaced.
  absl::Duration max_stall = absl::Seconds(30);
};

// What the root knows of its links.
struct ClusterStats {
  size_t links = 0;            // To workers.
  uint64_t dropped = 0;        // Messages for workers that were too slow.
  uint64_t waiting_bytes = 0;  // For all of them.
};

struct PubSubOptions {
  BrokerOptions broker = {};
  ClusterOptions cluster = {};
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_PUB_SUB_OPTIONS_H_
