// A NatsSession is the protocol of one connection to a NATS server: it greets,
// goes over to TLS, tells who we are, and then carries subscriptions and
// messages both ways. It never stops reading.
//
//   INFO  ->  [handshake of TLS]  CONNECT, PING  ->  PONG: OnUp()
//
// Thread safety: none; that of the connection's loop.

#ifndef FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_SESSION_H_
#define FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/pubsub/nats/internal/nats_info.h"
#include "fio/core/pubsub/nats/internal/nats_reader.h"
#include "fio/core/timer/timer.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/core/transport_factory.h"
#include "fio/pubsub/message.h"

namespace fio::nats_internal {

class NatsSession final : public Protocol, private Timer {
 public:
  // Calls come from callbacks of the connection, and may call the session. The
  // views are valid during the call.
  class Listener {
   public:
    virtual ~Listener() = default;
    // Once: the server takes subscriptions and messages from here on.
    virtual void OnUp() = 0;
    // Each time that the server tells of itself.
    virtual void OnInfo(const NatsInfo& info) = 0;
    virtual void OnMessage(const NatsFrame& message) = 0;
    // The answer to Ping(mark), in the order of the calls.
    virtual void OnPong(uint64_t mark) = 0;
    // What the server has refused.
    virtual void OnServerError(std::string_view text) = 0;
    // All that was sent has left.
    virtual void OnSent() = 0;
    // The loop stops: the last chance to send something.
    virtual void OnStopping() = 0;
    // Once, the last call; kPermissionDenied if the server has refused us. Not
    // after Close().
    virtual void OnDown(const absl::Status& why) = 0;
  };

  struct Options {
    std::string address;     // "host:port", for errors and the certificate.
    bool needs_tls = false;  // Also if the server does not ask for it.
    absl::Duration timeout = absl::Seconds(10);  // To OnUp().
    absl::Duration ping_interval = absl::Minutes(2);
    int max_pings = 2;
    NatsReader::Limits limits = {};
    // Further members of CONNECT, ",..." or empty. `nonce` is what the server
    // wants to be signed, or empty.
    std::function<std::string(std::string_view nonce)> login;
    // Called when the server speaks TLS.
    std::function<absl::StatusOr<TransportFactory>()> tls;
  };

  // How much may wait for the kernel before HasRoom() is false.
  static constexpr uint64_t kRoomBytes = uint64_t{1} << 20;

  // `listener` outlives it, or calls Close().
  NatsSession(Options options, Listener& listener);

  // --- Once OnUp() was called ---

  void Subscribe(uint64_t sid, std::string_view subject);
  void Unsubscribe(uint64_t sid);
  // REQUIRES: the body is not longer than max_payload().
  void Publish(std::string_view subject, const Message& message);
  void Ping(uint64_t mark);

  // Whether it takes them.
  bool is_up() const {
    return state_ == State::kUp && connection_->can_write();
  }
  // Whether messages should be sent, and not wait elsewhere.
  bool HasRoom() const;
  // What one message may have; as the server says.
  uint64_t max_payload() const { return max_payload_; }
  const std::string& address() const { return options_.address; }

  // Ends the connection when all has left, and calls the listener no more.
  void Close();
  // The same with a last OnDown(why), at the end of the turn.
  void Leave(absl::Status why);

  // --- Protocol ---

  void OnOpen(Connection& connection) override;
  void OnData(Connection& connection) override;
  void OnReady(Connection& connection) override;
  void OnTimeout(Connection& /*connection*/) override {}
  void OnDeadline(Connection& connection) override;
  absl::Duration OnShutdown(Connection& connection) override;
  void OnClose(Connection& connection, const CloseReason& reason) override;

 private:
  enum class State : uint8_t {
    kGreeting,  // INFO is to come.
    kSecuring,  // TLS shakes hands.
    kEntering,  // CONNECT was sent.
    kUp,
  };

  void OnTimer(TimerWheel& wheel) override;
  bool OnFrame(const NatsFrame& frame);
  void OnInfo(std::string_view json);
  void OnPong();
  void OnError(std::string_view text);
  void Greet(const NatsInfo& info);
  void StartTls();
  void SendConnect();
  void Send(std::string_view bytes);
  void Fail(absl::Status why);
  absl::Status WhyClosed(const CloseReason& reason) const;

  const Options options_;
  Listener* listener_;                // Null after Close().
  Connection* connection_ = nullptr;  // Null before OnOpen().
  NatsReader reader_;
  State state_ = State::kGreeting;
  bool is_secure_ = false;
  std::string nonce_;  // Of the first INFO.
  uint64_t max_payload_ = UINT64_MAX;
  std::deque<uint64_t> marks_;  // Of pings that are not answered.
  int silent_pings_ = 0;        // Of OnTimer(), since something was answered.
  absl::Status why_;            // It ends for that.
  std::string last_error_;      // The server's last word, if it was one.
};

}  // namespace fio::nats_internal

#endif  // FIO_CORE_PUBSUB_NATS_INTERNAL_NATS_SESSION_H_
