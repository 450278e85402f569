// The options of a RedisEngine, and what it tells.

#ifndef FIO_CORE_PUBSUB_REDIS_REDIS_OPTIONS_H_
#define FIO_CORE_PUBSUB_REDIS_REDIS_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/transport_factory.h"

namespace fio {

// What has become of messages while the server was away. What others have
// published meanwhile is lost, too, and nobody has counted it.
struct RedisGap {
  // From the end of the last connection, or from the start, to now.
  absl::Duration span = absl::ZeroDuration();
  uint64_t dropped = 0;  // Of ours: for want of room while they waited.
  uint64_t unsure = 0;   // Of ours: sent, and not answered.
};

// Which message goes when as many wait as may.
enum class RedisQueuePolicy : uint8_t { kDropOldest, kDropNewest };

struct RedisOptions {
  // The server is away: the connection has ended, or could not be made. Once
  // until on_connected. An error of kPermissionDenied says that the server
  // refuses us. Both are called on the main loop, and must not destroy the
  // engine. LifecycleEvent::kOnPubSubError follows.
  std::function<void(const absl::Status& why)> on_lost = nullptr;

  // The server is there, and has confirmed all subscriptions. Each time.
  // LifecycleEvent::kOnPubSubConnect follows.
  std::function<void(const RedisGap& gap)> on_connected = nullptr;

  // What may wait to be sent, while the server is away or slow.
  size_t max_waiting = size_t{64} << 10;
  size_t max_waiting_bytes = size_t{16} << 20;
  RedisQueuePolicy policy = RedisQueuePolicy::kDropOldest;

  // How many commands may be on their way without an answer.
  size_t window = 1024;

  // How long one attempt may take, to the end of the handshake of TLS, and then
  // as long again for the server to answer to our greeting.
  absl::Duration connect_timeout = absl::Seconds(10);

  // A server that has said nothing for `ping_interval` is asked, and is lost if
  // it says nothing for `ping_timeout` more.
  absl::Duration ping_interval = absl::Seconds(15);
  absl::Duration ping_timeout = absl::Seconds(5);

  // As those of ConnectorOptions.
  absl::Duration reconnect_delay = absl::Milliseconds(50);
  absl::Duration max_reconnect_delay = absl::Seconds(30);
  uint64_t jitter_seed = 0;

  // The delay after the server has refused our name or password.
  absl::Duration refused_delay = absl::Seconds(30);

  // What the server may say at once: one string.
  size_t max_string_bytes = size_t{16} << 20;

  // As ConnectorOptions::transport, instead of what a rediss:// url says.
  TransportFactory transport = nullptr;
};

struct RedisStats {
  bool connected = false;  // And all subscriptions are confirmed.
  uint64_t attempts = 0;   // To connect.
  uint64_t connections = 0;
  uint64_t received = 0;   // Messages, each once.
  uint64_t published = 0;  // Messages that the server has taken.
  uint64_t refused = 0;    // Messages that it has answered with an error.
  uint64_t dropped = 0;    // As in RedisGap, of all gaps.
  uint64_t unsure = 0;     // Likewise.
  size_t waiting = 0;      // What waits to be sent.
  size_t waiting_bytes = 0;
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_REDIS_REDIS_OPTIONS_H_
