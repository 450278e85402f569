// Transports and PROXY headers of a Reactor's listeners and connectors.

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/connector.h"
#include "fio/core/handshake_test_util.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"
#include "fio/sock/socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::Threads;
using core_internal::WordTransport;
using ::testing::HasSubstr;

class Ignore final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
};

// Both ends are connections of the same Reactor.
TEST(ReactorTransport, BothEndsShakeHands) {
  Reactor reactor(Threads(2));
  std::string listened, connected;
  const absl::StatusOr<ListenerId> listener = reactor.Listen(
      "tcp://127.0.0.1:0",
      {.on_open = [](Connection& c) { c.Attach(std::make_unique<Ignore>()); },
       .transport =
           [&](const TransportRequest& request) {
             listened = request.url->ToString();
             return std::make_unique<WordTransport>("welcome;", "hello;");
           }});
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string url =
      absl::StrCat("tcp://", reactor.ListenAddress(*listener)->ToString());
  const absl::StatusOr<ConnectorId> connector = reactor.Connect(
      url, {.on_open = [&](Connection&) { reactor.Stop(); },
            .transport =
                [&](const TransportRequest& request) {
                  connected = request.url->ToString();
                  return std::make_unique<WordTransport>("hello;", "welcome;");
                }});
  ASSERT_TRUE(connector.ok()) << connector.status();
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(listened, "tcp://127.0.0.1:0");
  EXPECT_EQ(connected, url);
}

// Handshakes end on other threads than that of the listener, which waits for
// them. A wake-up that is lost would hang.
TEST(ReactorTransport, AllAreServedThoughFewMayShakeAtOnce) {
  constexpr int kClients = 100;
  Reactor reactor(Threads(3));
  const absl::StatusOr<ListenerId> listener = reactor.Listen(
      "tcp://127.0.0.1:0",
      {.on_open = [](Connection& c) { c.Attach(std::make_unique<Ignore>()); },
       .transport =
           [](const TransportRequest&) {
             return std::make_unique<WordTransport>("welcome;", "hello;");
           },
       .max_handshakes = 1,
       .balance = AcceptBalance::kLeastConnections});
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string url =
      absl::StrCat("tcp://", reactor.ListenAddress(*listener)->ToString());
  int opened = 0;
  for (int i = 0; i < kClients; ++i) {
    const absl::StatusOr<ConnectorId> connector =
        reactor.Connect(url, {.on_open =
                                  [&](Connection&) {
                                    if (++opened == kClients) reactor.Stop();
                                  },
                              .transport =
                                  [](const TransportRequest&) {
                                    return std::make_unique<WordTransport>(
                                        "hello;", "welcome;");
                                  }});
    ASSERT_TRUE(connector.ok()) << connector.status();
  }
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, kClients);
}

TEST(ReactorTransport, TheUrlMayAskForAHeader) {
  Reactor reactor(Threads(1));
  std::string peer;
  const absl::StatusOr<ListenerId> listener =
      reactor.Listen("tcp://127.0.0.1:0?proxy=any&proxy_trust=127.0.0.1",
                     {.on_open = [&](Connection& connection) {
                       peer = connection.peer_address().ToString();
                       reactor.Stop();
                     }});
  ASSERT_TRUE(listener.ok()) << listener.status();
  absl::StatusOr<Socket> client =
      StartConnect(*reactor.ListenAddress(*listener));
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(
      client->Write("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n").ok());
  reactor.Defer([&] { static_cast<void>(client->Flush()); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(peer, "192.0.2.7:56324");
}

TEST(ReactorTransport, AUrlThatTrustsNobodyIsAnError) {
  Reactor reactor(Threads(1));
  const absl::Status status = reactor
                                  .Listen("tcp://127.0.0.1:0?proxy=any",
                                          {.on_open = [](Connection&) {}})
                                  .status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(),
              HasSubstr("listen tcp://127.0.0.1:0?proxy=any: no proxy"));
}

}  // namespace
}  // namespace fio
