// A server and its clients with TLS on one loop, whose clock stands still.

#ifndef FIO_CORE_TLS_TLS_TEST_LOOP_H_
#define FIO_CORE_TLS_TLS_TEST_LOOP_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/manual_clock.h"
#include "fio/tls/tls_test_util.h"
#include "gtest/gtest.h"

namespace fio::tls_testing {

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// What a client was told, and what it has agreed on.
struct Heard {
  std::string data;
  std::string alpn;
  std::vector<std::string> server_names;  // Of the server's certificate.
  bool resumed = false;
  bool ended = false;
  std::optional<CloseReason> closed;
  ConnectionId id;
};

// Keeps what it hears. `heard` must outlive it.
class Listens final : public Protocol {
 public:
  explicit Listens(Heard& heard) : heard_(heard) {}
  void OnOpen(Connection& connection) override;
  void OnData(Connection& connection) override {
    heard_.data += connection.Received();
  }
  void OnEnd(Connection& connection) override {
    heard_.ended = true;
    Protocol::OnEnd(connection);
  }
  void OnClose(Connection& /*connection*/, const CloseReason& why) override {
    heard_.closed = why;
  }

 private:
  Heard& heard_;
};

class TlsLoop : public ::testing::Test {
 protected:
  TlsLoop();
  // Failures are told until the loop has gone.
  ~TlsLoop() override;

  // Echoes; counts what is opened and keeps why handshakes have failed.
  ListenOptions Serving(Context context);
  // On TLS, with the context of the factory.
  void Listen(ListenOptions options,
              std::string_view url = "tls://127.0.0.1:0");

  // What the client hears is in `heard_`, from on_open on.
  ConnectorOptions Asking(Context context);
  Connector& Connect(ConnectorOptions options);
  Connector& Connect(ConnectorOptions options, std::string_view url);

  const SocketAddress& address() const { return listener_->local_address(); }
  // Of the listener: "tls://127.0.0.1:1234".
  std::string url(std::string_view query = "") const;

  // Turns, which wait a little for what is on its way, until it is so. False if
  // that takes very long.
  bool Until(absl::FunctionRef<bool()> so);
  // Turns the loop meanwhile.
  bool Shake(TestClient& client);
  std::string Ask(TestClient& client, std::string_view question);
  void Turn(int count = 1);
  void Advance(absl::Duration span);

  Heard heard_;
  testing::ManualClock clock_;
  Resolver resolver_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Connector>> connectors_;

  int opened_ = 0;                     // By the server.
  std::vector<absl::Status> refused_;  // By the server.
  std::vector<absl::Status> failed_;   // Of the connectors.
  int finished_ = 0;                   // Likewise.
};

}  // namespace fio::tls_testing

#endif  // FIO_CORE_TLS_TLS_TEST_LOOP_H_
