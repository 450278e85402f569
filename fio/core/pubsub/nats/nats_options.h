// The options of a NatsEngine, and what it tells.

#ifndef FIO_CORE_PUBSUB_NATS_NATS_OPTIONS_H_
#define FIO_CORE_PUBSUB_NATS_NATS_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/transport_factory.h"

namespace fio {

// What has become of messages while no server was there. What others have
// published meanwhile is lost, too, and nobody has counted it.
struct NatsGap {
  // From the end of the last connection, or from the start, to now.
  absl::Duration span = absl::ZeroDuration();
  uint64_t dropped = 0;  // Of ours: for want of room while they waited.
  uint64_t unsure = 0;   // Of ours: sent, and not known to have arrived.
};

// Which message goes when as many wait as may.
enum class NatsQueuePolicy : uint8_t { kDropOldest, kDropNewest };

// The callbacks are called on the main loop, and must not destroy the engine.
struct NatsOptions {
  // No server is there: the connection has ended, or none could be made. Once
  // until on_connected. An error of kPermissionDenied says that the server
  // refuses us. LifecycleEvent::kOnPubSubError follows.
  std::function<void(const absl::Status& why)> on_lost = nullptr;

  // A server is there, and knows all subscriptions. Each time.
  // LifecycleEvent::kOnPubSubConnect follows.
  std::function<void(const NatsGap& gap)> on_connected = nullptr;

  // The server has refused something, or will not get it from us: a channel
  // that we may not use, a message that is too long for it. The connection
  // lives on. May be called for each message.
  std::function<void(std::string_view what)> on_error = nullptr;

  // Instead of those of the url.
  std::string user = {};
  std::string password = {};
  std::string token = {};

  // Not empty: we prove who we are with this key, and with nothing else. The
  // seed of a user's, "SU...", as the tools of NATS make it.
  std::string nkey_seed = {};

  // How the server's reports call us.
  std::string client_name = "fio";

  // Whether our own subscribers get what is published through the engine at
  // once, also while the server is away; then the server does not send it back.
  // Otherwise they get it when it comes back from there.
  bool local_echo = true;

  // What may wait to be sent, while the server is away or slow.
  size_t max_waiting = size_t{64} << 10;
  size_t max_waiting_bytes = size_t{16} << 20;
  NatsQueuePolicy policy = NatsQueuePolicy::kDropOldest;

  // How long an attempt may take to connect, and then as long again for the
  // server to take us, and for the handshake of TLS.
  absl::Duration connect_timeout = absl::Seconds(10);

  // How often the server is asked whether it is there. It is lost if it has not
  // answered to so many of these.
  absl::Duration ping_interval = absl::Minutes(2);
  int max_pings = 2;

  // How long to wait before the servers, of which each was tried, are tried
  // again. As those of ConnectorOptions.
  absl::Duration reconnect_delay = absl::Milliseconds(100);
  absl::Duration max_reconnect_delay = absl::Seconds(2);
  uint64_t jitter_seed = 0;

  // The delay if one of them has refused our name or password.
  absl::Duration refused_delay = absl::Seconds(30);

  // What the server may send at once: headers and body of one message.
  size_t max_payload_bytes = size_t{64} << 20;

  // As ConnectorOptions::transport, instead of what a tls:// url says. It is
  // asked for a transport when the server has told that it speaks TLS.
  TransportFactory transport = nullptr;
};

struct NatsStats {
  bool connected = false;  // And the server knows all subscriptions.
  uint64_t attempts = 0;   // To connect.
  uint64_t connections = 0;
  uint64_t received = 0;   // Messages, each once.
  uint64_t published = 0;  // Messages that were sent.
  uint64_t refused = 0;    // Messages that no server would take from us.
  uint64_t dropped = 0;    // As in NatsGap, of all gaps.
  uint64_t unsure = 0;     // Likewise.
  uint64_t errors = 0;     // What the server has refused.
  size_t waiting = 0;      // What waits to be sent.
  size_t waiting_bytes = 0;
  size_t servers = 0;  // That are known.
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_NATS_NATS_OPTIONS_H_
