// A NatsLink is the inside of a NatsEngine: it connects, again and again, tells
// each server what is subscribed to, and keeps what waits to be sent.
//
// Thread safety: none; that of the reactor's main loop.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_LINK_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_LINK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/pubsub/nats/internal/nats_info.h"
#include "fio/core/pubsub/nats/internal/nats_interests.h"
#include "fio/core/pubsub/nats/internal/nats_reader.h"
#include "fio/core/pubsub/nats/internal/nats_session.h"
#include "fio/core/pubsub/nats/internal/nats_urls.h"
#include "fio/core/pubsub/nats/internal/nkey.h"
#include "fio/core/pubsub/nats/internal/outbox.h"
#include "fio/core/pubsub/nats/internal/server_pool.h"
#include "fio/core/pubsub/nats/nats_options.h"
#include "fio/core/reactor.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::nats_internal {

class NatsLink final : private NatsSession::Listener {
 public:
  // Both outlive it.
  NatsLink(Reactor& reactor, Broker& broker, const NatsUrls& urls,
           std::optional<NKey> nkey, NatsOptions options);
  ~NatsLink() override;

  // Connects from now on, and whenever Run() runs, until End().
  void Begin();
  void End();

  void Subscribe(std::string_view channel, Match match);
  void Unsubscribe(std::string_view channel, Match match);
  void Publish(const Message& message);

  NatsStats stats() const;

 private:
  // --- The session's ---
  void OnUp() override;
  void OnInfo(const NatsInfo& info) override;
  void OnMessage(const NatsFrame& frame) override;
  void OnPong(uint64_t mark) override;
  void OnServerError(std::string_view text) override;
  void OnSent() override;
  void OnStopping() override;
  void OnDown(const absl::Status& why) override;

  void Attempt();
  void Open(Connection& connection, const std::string& address);
  void Retry(const absl::Status& why);
  absl::Duration NextDelay();
  absl::StatusOr<TransportFactory> Tls();
  std::string Login(std::string_view nonce) const;

  bool is_up() const { return session_ != nullptr && session_->is_up(); }
  void Send(const Message& message);
  void SendWaiting(bool all);
  void TellConnected();
  void TellLost(const absl::Status& why);
  void TellError(std::string_view what);

  Reactor& reactor_;
  Broker& broker_;
  NatsOptions options_;
  const std::optional<NKey> nkey_;
  const bool secure_;  // Never without TLS.
  std::minstd_rand random_;

  // What is wanted.
  bool begun_ = false;
  int fork_count_ = 0;  // Of the process that has begun.
  NatsInterests interests_;
  Outbox outbox_;
  Lifecycle::CallbackId on_start_ = Lifecycle::CallbackId::kNone;

  // What there is: one of these, or none while the loop stops.
  ServerPool pool_;
  std::unique_ptr<Connector> connector_;
  NatsSession* session_ = nullptr;  // The connection owns it.
  TimerId retry_ = TimerId::kNone;

  // How attempts went.
  absl::Duration delay_;
  bool refused_ = false;  // By one of this round.
  int hops_ = 0;          // From server to server without a pause.

  // How it goes.
  bool lost_told_ = false;
  MonotonicTime lost_at_;
  NatsGap gap_;             // So far.
  uint64_t sent_ = 0;       // Of this session.
  uint64_t confirmed_ = 0;  // Of these, those that have arrived.
  bool asked_ = false;      // How many have.
  NatsStats stats_;
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_LINK_H_
