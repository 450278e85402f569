// Which protocol opens a connection, by what the two sides have agreed on.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_test_client.h"
#include "fio/core/tls/tls_test_loop.h"
#include "fio/sock/connect.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using tls_testing::Client;
using tls_testing::Echo;
using tls_testing::Server;
using tls_testing::TestClient;
using tls_testing::TlsLoop;

class Tls : public TlsLoop {
 protected:
  // Notes its name, and echoes.
  AlpnProtocol Noting(std::string name) {
    return {.name = name, .on_open = [this, name](Connection& connection) {
              by_.push_back(name);
              connection.Attach(std::make_unique<Echo>());
            }};
  }
  ListenOptions ServingBoth() {
    ListenOptions options = Serving(Server({.alpn = {"h2", "http/1.1"}}));
    options.on_open = OpenByAlpn({Noting("h2"), Noting("http/1.1")});
    return options;
  }

  std::vector<std::string> by_;  // Who has opened, in order.
};

TEST_F(Tls, AlpnAbsentDefault) {
  Listen(ServingBoth());
  TestClient silent(address(), Client());
  ASSERT_TRUE(Shake(silent)) << silent.failure();
  EXPECT_EQ(Ask(silent, "x"), "x");
  EXPECT_EQ(silent.info().alpn(), "");
  EXPECT_THAT(by_, ElementsAre("h2"));
}

TEST_F(Tls, AlpnOpensWhatWasAgreedOn) {
  Listen(ServingBoth());
  const std::vector<std::string> both = {"http/1.1", "h2"};
  for (const std::string& name : both) {
    by_.clear();
    TestClient client(address(), Client({.alpn = {name, "else"}}));
    ASSERT_TRUE(Shake(client)) << client.failure();
    EXPECT_EQ(client.info().alpn(), name);
    EXPECT_EQ(Ask(client, "x"), "x");
    EXPECT_THAT(by_, ElementsAre(name));
  }
  by_.clear();
  TestClient client(address(), Client({.alpn = both}));
  ASSERT_TRUE(Shake(client)) << client.failure();
  EXPECT_EQ(client.info().alpn(), "h2") << "the server's order counts";
}

TEST_F(Tls, AlpnMismatchOpensNothing) {
  Listen(ServingBoth());
  TestClient client(address(), Client({.alpn = {"spdy/1"}}));
  EXPECT_FALSE(Shake(client));
  EXPECT_TRUE(absl::IsPermissionDenied(client.failure())) << client.failure();
  EXPECT_THAT(client.failure().message(), HasSubstr("protocol"));
  ASSERT_TRUE(Until([&] { return !refused_.empty(); }));
  EXPECT_THAT(by_, IsEmpty());
}

// The server has a protocol that nobody here opens.
TEST_F(Tls, AlpnWithoutAnOpenerAborts) {
  ListenOptions options = Serving(Server({.alpn = {"h3", "h2"}}));
  options.on_open = OpenByAlpn({Noting("h2")});
  Listen(std::move(options));
  TestClient client(address(), Client({.alpn = {"h3"}}));
  ASSERT_TRUE(Shake(client)) << client.failure();
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  EXPECT_THAT(by_, IsEmpty());
}

TEST_F(Tls, AlpnWithoutTlsIsTheDefault) {
  ListenOptions options = ServingBoth();
  options.transport = nullptr;
  Listen(std::move(options), "tcp://127.0.0.1:0");
  absl::StatusOr<Socket> client = StartConnect(address());
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE(Until([&] { return !by_.empty(); }));
  EXPECT_THAT(by_, ElementsAre("h2"));
}

TEST_F(Tls, AlpnIsForConnectorsToo) {
  Listen(ServingBoth());
  ConnectorOptions options = Asking(Client({.alpn = {"http/1.1"}}));
  options.on_open =
      OpenByAlpn({{.name = "h2", .on_open = [](Connection& c) { c.Abort(); }},
                  {.name = "http/1.1", .on_open = options.on_open}});
  Connect(std::move(options));
  ASSERT_TRUE(Until([&] { return finished_ == 1; }));
  EXPECT_THAT(failed_, IsEmpty());
  EXPECT_EQ(heard_.alpn, "http/1.1");
}

// However early it ends: no protocol is opened, the failure is told once, and
// what the callbacks hold is released once, with the listener.
TEST_F(Tls, AlpnClosedEarly) {
  int released = 0;
  {
    const std::shared_ptr<int> held(new int(0), [&released](int* value) {
      delete value;
      ++released;
    });
    const auto open = [this, held](Connection&) { ++opened_; };
    ListenOptions options = Serving(Server({.alpn = {"h2", "http/1.1"}}));
    options.on_open = OpenByAlpn({{.name = "h2", .on_open = open},
                                  {.name = "http/1.1", .on_open = open}});
    options.on_handshake_failed = [this, held](const SocketAddress&,
                                               const absl::Status& why) {
      refused_.push_back(why);
    };
    Listen(std::move(options));
  }
  // Nothing, a part of the first flight, all of it.
  for (const int sent : {0, 1, 2}) {
    for (const bool reset : {false, true}) {
      SCOPED_TRACE(::testing::Message() << sent << " " << reset);
      refused_.clear();
      auto client =
          std::make_unique<TestClient>(address(), Client({.alpn = {"h2"}}));
      ASSERT_TRUE(Until([&] { return loop_->connection_count() == 1; }));
      if (sent == 1) {
        Socket& socket = client->socket();
        ASSERT_TRUE(socket.SetTransport(nullptr).ok());
        socket.SetShaking(false);
        ASSERT_TRUE(
            socket.TryWrite(std::string_view("\x16\x03\x01\x02", 4)).ok());
      }
      if (sent == 2) {
        ASSERT_EQ(client->Shake(), Transport::Handshake::kMore);
      }
      if (reset) client->socket().Abort();
      client = nullptr;
      ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
      ASSERT_THAT(refused_, SizeIs(1));
      EXPECT_TRUE(absl::IsUnavailable(refused_[0])) << refused_[0];
    }
  }
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(released, 0);
  listener_ = nullptr;
  EXPECT_EQ(released, 1);
}

}  // namespace
}  // namespace fio
