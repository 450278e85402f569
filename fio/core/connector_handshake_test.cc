// Handshakes of the connections that a Connector makes. The clock stands still;
// servers are sockets of the test, which never answer by themselves.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/handshake_test_util.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/resolver.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::WordTransport;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ManualClock;
using testing::ReadToEnd;
using testing::ReadUntil;
using ::testing::SizeIs;

using State = Connector::State;

// Longer than anything takes.
constexpr int kManyTurns = 1000;

class Server {
 public:
  Server() {
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::Listen(*SocketAddress::Parse("127.0.0.1:0"), {});
    EXPECT_TRUE(socket.ok()) << socket.status();
    socket_ = std::make_unique<ListenSocket>(*std::move(socket));
  }
  const SocketAddress& address() const { return socket_->local_address(); }
  std::string url() const {
    return absl::StrCat("tcp://", address().ToString());
  }
  // The next client, which has connected already.
  Socket Accept() {
    ListenSocket::Accepted accepted = socket_->Accept();
    EXPECT_EQ(accepted.error, 0);
    return std::move(accepted.socket);
  }

 private:
  std::unique_ptr<ListenSocket> socket_;
};

class Ignore final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    data += connection.Received();
  }
  std::string data;
};

class ConnectorHandshake : public ::testing::Test {
 protected:
  ConnectorHandshake() {
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock_});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }
  ~ConnectorHandshake() override {
    connector_ = nullptr;
    loop_ = nullptr;
  }

  ConnectorOptions Options() {
    return {.on_open =
                [this](Connection& connection) {
                  ++opened_;
                  peer_ = connection.peer_address();
                  connection.Attach(std::make_unique<Ignore>());
                },
            .on_failed =
                [this](const absl::Status& why) {
                  failed_.push_back(why);
                  if (then_failed_) then_failed_();
                },
            .on_finish = [this] { ++finished_; },
            .jitter_seed = 1,
            .transport =
                [this](const TransportRequest& request) {
                  if (then_made_) then_made_(request);
                  auto transport =
                      std::make_unique<WordTransport>("hello;", "welcome;");
                  transport->on_shake = on_shake_;
                  return transport;
                }};
  }
  void Connect(ConnectorOptions options) {
    Connect(server_.url(), std::move(options));
  }
  // A name is all of `addresses_`.
  void Connect(std::string_view url, ConnectorOptions options) {
    absl::StatusOr<std::unique_ptr<Connector>> connector =
        Connector::Create(*loop_, resolver_, url, std::move(options));
    ASSERT_TRUE(connector.ok()) << connector.status();
    connector_ = *std::move(connector);
  }
  bool Until(const std::function<bool()>& so) {
    for (int i = 0; i < kManyTurns && !so(); ++i) {
      const absl::Status turn =
          loop_->RunOnce(clock_.Now() + absl::Milliseconds(10));
      EXPECT_TRUE(turn.ok()) << turn;
    }
    return so();
  }
  // Until a client of the server has said hello.
  Socket UntilHello(Server& server) {
    EXPECT_TRUE(
        Until([&] { return connector_->state() == State::kConnecting; }));
    EXPECT_TRUE(Until([&] { return loop_->connection_count() > 0; }));
    Socket client = server.Accept();
    Turn(3);
    EXPECT_EQ(ReadUntil(client, 6), "hello;");
    return client;
  }
  void Turn(int count) {
    for (int i = 0; i < count; ++i) {
      const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
      ASSERT_TRUE(turn.ok()) << turn;
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(5);
  }
  static void Send(Socket& client, std::string_view bytes) {
    ASSERT_EQ(client.TryWrite(bytes).bytes, bytes.size());
  }

  ManualClock clock_;
  std::vector<SocketAddress> addresses_;
  Resolver resolver_{
      [this](const Url& url) -> absl::StatusOr<std::vector<SocketAddress>> {
        if (addresses_.empty()) return Resolve(url);
        return addresses_;
      }};
  std::unique_ptr<Loop> loop_;
  Server server_;
  std::unique_ptr<Connector> connector_;
  std::function<void(const TransportRequest&)> then_made_;
  std::function<void(Socket&)> on_shake_;
  std::function<void()> then_failed_;
  int opened_ = 0, finished_ = 0;
  SocketAddress peer_;
  std::vector<absl::Status> failed_;
};

TEST_F(ConnectorHandshake, SuccessIsItsEnd) {
  Connect(Options());
  Socket client = UntilHello(server_);
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(connector_->stats().opened, 0u);
  EXPECT_EQ(connector_->connection(), ConnectionId());
  EXPECT_EQ(connector_->state(), State::kConnecting);
  Send(client, "welcome;");
  ASSERT_TRUE(Until([&] { return opened_ == 1; }));
  EXPECT_EQ(connector_->stats().opened, 1u);
  EXPECT_EQ(peer_, server_.address());
  EXPECT_EQ(finished_, 1);
  EXPECT_THAT(failed_, ElementsAre());
  // The time of the attempt does not bound the connection.
  Advance(absl::Hours(1));
  EXPECT_EQ(loop_->connection_count(), 1u);
}

TEST_F(ConnectorHandshake, AFailureNamesUrlAddressAndWhy) {
  Connect(Options());
  Socket client = UntilHello(server_);
  Send(client, "bye;");
  ASSERT_TRUE(Until([&] { return finished_ == 1; }));
  EXPECT_THAT(failed_, ElementsAre(absl::PermissionDeniedError(absl::StrCat(
                           "connect ", server_.url(), ": ",
                           server_.address().ToString(), ": heard bye;"))));
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(connector_->stats().failed, 1u);
}

// A server that refuses by its handshake is not asked again at the first pace.
TEST_F(ConnectorHandshake, FailuresGrowTheBackOff) {
  ConnectorOptions options = Options();
  options.reconnect = true;
  Connect(std::move(options));
  absl::Duration waited = absl::ZeroDuration();
  for (size_t i = 1; i <= 4; ++i) {
    Socket client = UntilHello(server_);
    Send(client, "bye;");
    ASSERT_TRUE(Until([&] { return failed_.size() == i; }));
    client.Close();
    waited = absl::ZeroDuration();
    while (connector_->state() == State::kWaiting) {
      Advance(absl::Milliseconds(10));
      waited += absl::Milliseconds(10);
      ASSERT_LT(waited, absl::Seconds(5));
    }
  }
  EXPECT_GT(waited, absl::Milliseconds(800));  // 150 * 8, less a quarter.
  // A success resets it.
  Socket client = UntilHello(server_);
  Send(client, "welcome;");
  ASSERT_TRUE(Until([&] { return opened_ == 1; }));
  client.Close();
  ASSERT_TRUE(Until([&] { return connector_->state() == State::kWaiting; }));
  Advance(absl::Milliseconds(200));
  EXPECT_NE(connector_->state(), State::kWaiting);
}

TEST_F(ConnectorHandshake, TheTimeoutCoversIt) {
  ConnectorOptions options = Options();
  options.timeout = absl::Seconds(3);
  Connect(std::move(options));
  Socket client = UntilHello(server_);
  Advance(absl::Seconds(3) - absl::Milliseconds(2));
  EXPECT_THAT(failed_, ElementsAre());
  Advance(absl::Milliseconds(2));
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed_[0])) << failed_[0];
  EXPECT_THAT(failed_[0].message(), HasSubstr("no end of its handshake"));
  EXPECT_EQ(finished_, 1);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(ReadToEnd(client), "");
}

TEST_F(ConnectorHandshake, ThePeersEndIsAFailure) {
  for (const bool reset : {false, true}) {
    failed_.clear();
    finished_ = 0;
    Connect(Options());
    Socket client = UntilHello(server_);
    reset ? client.Abort() : client.Close();
    ASSERT_TRUE(Until([&] { return finished_ == 1; }));
    ASSERT_THAT(failed_, SizeIs(1));
    EXPECT_TRUE(absl::IsUnavailable(failed_[0])) << failed_[0];
    Turn(2);
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
}

// --- Several addresses ---

TEST_F(ConnectorHandshake, TheNextAddressIsTriedAfterAFailure) {
  Server second;
  addresses_ = {server_.address(), second.address()};
  Connect("tcp://name.test:1", Options());
  Socket client = UntilHello(server_);
  Send(client, "bye;");
  client.Close();
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  Socket other = UntilHello(second);
  EXPECT_THAT(failed_, ElementsAre());
  Send(other, "welcome;");
  ASSERT_TRUE(Until([&] { return opened_ == 1; }));
  EXPECT_EQ(peer_, second.address());
  EXPECT_THAT(failed_, ElementsAre());
}

TEST_F(ConnectorHandshake, AllFailuresAreTold) {
  Server second;
  addresses_ = {server_.address(), second.address()};
  Connect("tcp://name.test:1", Options());
  Socket client = UntilHello(server_);
  Send(client, "bye;");
  client.Close();
  ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  Socket other = UntilHello(second);
  Send(other, "no;");
  ASSERT_TRUE(Until([&] { return finished_ == 1; }));
  EXPECT_THAT(
      failed_,
      ElementsAre(absl::PermissionDeniedError(absl::StrCat(
          "connect tcp://name.test:1: ", server_.address().ToString(),
          ": heard bye;; ", second.address().ToString(), ": heard no;"))));
}

// One that does not answer has its head start, no more; the first that is done
// wins, and the other one is closed.
TEST_F(ConnectorHandshake, TheFirstThatIsDoneWins) {
  for (const bool first_wins : {false, true}) {
    opened_ = 0;
    Server second;
    addresses_ = {server_.address(), second.address()};
    Connect("tcp://name.test:1", Options());
    Socket first = UntilHello(server_);
    Advance(absl::Milliseconds(250));
    ASSERT_TRUE(Until([&] { return loop_->connection_count() == 2; }));
    Socket other = UntilHello(second);
    Send(first_wins ? first : other, "welcome;");
    ASSERT_TRUE(Until([&] { return opened_ == 1; }));
    EXPECT_EQ(peer_, (first_wins ? server_ : second).address());
    Turn(2);
    EXPECT_EQ(ReadToEnd(first_wins ? other : first), "");
    EXPECT_EQ(loop_->connection_count(), 1u);
    EXPECT_THAT(failed_, ElementsAre());
    connector_ = nullptr;
    EXPECT_EQ(loop_->connection_count(), 1u);  // The connection stays.
    (first_wins ? first : other).Close();
    ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
  }
}

// --- Cancelled ---

TEST_F(ConnectorHandshake, CancelEndsIt) {
  for (const bool destroy : {false, true}) {
    finished_ = 0;
    Connect(Options());
    Socket client = UntilHello(server_);
    destroy ? connector_.reset() : connector_->Cancel();
    EXPECT_EQ(finished_, 1);
    Turn(2);
    EXPECT_EQ(loop_->connection_count(), 0u);
    EXPECT_EQ(ReadToEnd(client), "");
    EXPECT_EQ(opened_, 0);
    EXPECT_THAT(failed_, ElementsAre());
  }
}

TEST_F(ConnectorHandshake, MayBeCancelledInAnyCallback) {
  for (const bool destroy : {false, true}) {
    const auto end = [this, destroy] {
      if (connector_ == nullptr) return;
      destroy ? connector_.reset() : connector_->Cancel();
    };
    for (const std::string_view place : {"factory", "shake", "failed"}) {
      SCOPED_TRACE(place);
      finished_ = 0;
      failed_.clear();
      then_made_ = nullptr;
      on_shake_ = nullptr;
      then_failed_ = nullptr;
      if (place == "factory") {
        then_made_ = [&](const TransportRequest& request) {
          end();
          EXPECT_EQ(request.url->host(), "127.0.0.1");
        };
      } else if (place == "shake") {
        on_shake_ = [&](Socket&) { end(); };
      } else {
        then_failed_ = end;
      }
      ConnectorOptions options = Options();
      options.reconnect = true;
      Connect(std::move(options));
      if (place == "failed") {
        Socket client = UntilHello(server_);
        Send(client, "bye;");
        ASSERT_TRUE(Until([&] { return finished_ == 1; }));
      } else {
        ASSERT_TRUE(Until([&] { return finished_ == 1; }));
        Turn(2);
        static_cast<void>(server_.Accept());
      }
      EXPECT_EQ(finished_, 1);
      EXPECT_THAT(failed_, SizeIs(place == "failed" ? 1 : 0));
      ASSERT_TRUE(Until([&] { return loop_->connection_count() == 0; }));
      Advance(absl::Hours(1));
      EXPECT_EQ(opened_, 0);
      EXPECT_EQ(loop_->connection_count(), 0u);
    }
  }
}

TEST_F(ConnectorHandshake, EndsWithTheLoop) {
  Connect(Options());
  Socket client = UntilHello(server_);
  loop_ = nullptr;
  EXPECT_EQ(finished_, 1);
  EXPECT_EQ(opened_, 0);
}

TEST_F(ConnectorHandshake, EndsWhenTheLoopStops) {
  ConnectorOptions options = Options();
  options.reconnect = true;
  Connect(std::move(options));
  Socket client = UntilHello(server_);
  loop_->Stop();
  client.Close();
  EXPECT_TRUE(loop_->Run().ok());
  EXPECT_EQ(finished_, 1);
  EXPECT_EQ(opened_, 0);
}

TEST_F(ConnectorHandshake, TheFactoryIsToldForWhom) {
  addresses_ = {server_.address()};
  int told = 0;
  then_made_ = [&](const TransportRequest& request) {
    ++told;
    EXPECT_EQ(request.role, TransportRequest::Role::kClient);
    EXPECT_EQ(request.url->host(), "name.test");
    EXPECT_EQ(request.peer_address, server_.address());
    EXPECT_EQ(&request.loop, loop_.get());
    EXPECT_NE(request.loop.Find(request.connection), nullptr);
  };
  Connect("tcp://name.test:1", Options());
  Socket client = UntilHello(server_);
  EXPECT_EQ(told, 1);
}

TEST_F(ConnectorHandshake, SomeKeysOfAQueryAreForListening) {
  EXPECT_THAT(
      Connector::Check("tcp://127.0.0.1:1?proxy=v1", Options()).message(),
      HasSubstr("'proxy' is for listening"));
  EXPECT_THAT(
      Connector::Check("tls://127.0.0.1:1?ca=c&self_signed=1", Options())
          .message(),
      HasSubstr("'self_signed' is for listening"));
  ConnectorOptions options = Options();
  options.secure = [make = std::exchange(options.transport, nullptr)](
                       const Url&, TransportRequest::Role) { return make; };
  EXPECT_TRUE(Connector::Check("tls://127.0.0.1:1?cert=c&key=k&ca=c&"
                               "server_name=name.test&alpn=h2",
                               options)
                  .ok());
}

}  // namespace
}  // namespace fio
