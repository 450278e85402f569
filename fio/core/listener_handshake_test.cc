// Handshakes of the connections that a Listener accepts.

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/handshake_test_util.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/connect.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::WordTransport;
using ::testing::ElementsAre;
using testing::FaultPlan;
using testing::ManualClock;
using testing::ReadAvailable;
using ::testing::SizeIs;

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

std::unique_ptr<Loop> NewLoop(ManualClock& clock) {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(
      {.clock = &clock, .poller = core_internal::PollerUnderTest()});
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

class ListenerHandshake : public ::testing::Test {
 protected:
  // Failures are told until the last loop has gone.
  ~ListenerHandshake() override {
    listener_ = nullptr;
    other_ = nullptr;
    loop_ = nullptr;
  }

  ListenOptions Options() {
    return {.on_open =
                [this](Connection& connection) {
                  ++opened_;
                  connection.Attach(std::make_unique<Echo>());
                },
            .transport =
                [this](const TransportRequest& request) {
                  return MakeTransport(request);
                },
            .on_handshake_failed =
                [this](const SocketAddress& peer, const absl::Status& why) {
                  EXPECT_EQ(peer.family(), AF_UNIX);
                  failed_.push_back(why);
                  if (then_failed_) then_failed_();
                }};
  }
  std::unique_ptr<Transport> MakeTransport(const TransportRequest& request) {
    EXPECT_EQ(request.role, TransportRequest::Role::kServer);
    EXPECT_NE(request.loop.Find(request.connection), nullptr);
    auto transport = std::make_unique<WordTransport>("", "hello;");
    transport->on_shake = on_shake_;
    return transport;
  }

  void Listen(ListenOptions options, std::vector<LoopHandle> targets = {}) {
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::Listen(*SocketAddress::Parse("unix:"), {});
    ASSERT_TRUE(socket.ok()) << socket.status();
    address_ = socket->local_address();
    absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
        *loop_, std::make_shared<ListenSocket>(*std::move(socket)),
        std::make_shared<const ListenOptions>(std::move(options)),
        std::move(targets));
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }
  Socket Connect() {
    absl::StatusOr<Socket> client = StartConnect(address_);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  std::vector<Socket> ConnectMany(int count) {
    std::vector<Socket> clients;
    for (int i = 0; i < count; ++i) clients.push_back(Connect());
    return clients;
  }
  static void Send(Socket& client, std::string_view bytes) {
    ASSERT_EQ(client.TryWrite(bytes).bytes, bytes.size());
  }
  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      for (Loop* const loop : {loop_.get(), other_.get()}) {
        if (loop == nullptr) continue;
        const absl::Status turn = loop->RunOnce(MonotonicTime::InfinitePast());
        ASSERT_TRUE(turn.ok()) << turn;
      }
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(2);
  }
  uint64_t under_way() const { return listener_->stats().handshakes_under_way; }

  ManualClock clock_;
  std::unique_ptr<Loop> loop_ = NewLoop(clock_), other_ = NewLoop(clock_);
  std::unique_ptr<Listener> listener_;
  SocketAddress address_;
  std::function<void(Socket&)> on_shake_;
  std::function<void()> then_failed_;
  int opened_ = 0;
  std::vector<absl::Status> failed_;
};

TEST_F(ListenerHandshake, OnOpenComesWhenItIsDone) {
  Listen(Options());
  Socket client = Connect();
  Turn(3);
  Send(client, "hel");
  Turn(3);
  EXPECT_EQ(opened_, 0);
  EXPECT_EQ(under_way(), 1u);
  Send(client, "lo;echo");
  Turn(3);
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(ReadAvailable(client), "echo");
  EXPECT_EQ(under_way(), 0u);
  EXPECT_EQ(listener_->stats().handshakes_failed, 0u);
  EXPECT_THAT(failed_, ElementsAre());
}

TEST_F(ListenerHandshake, AFailureIsToldInsteadOfOnOpen) {
  Listen(Options());
  Socket client = Connect();
  Send(client, "bye;");
  Turn(3);
  EXPECT_THAT(failed_, ElementsAre(absl::PermissionDeniedError("heard bye;")));
  EXPECT_EQ(listener_->stats().handshakes_failed, 1u);
  EXPECT_EQ(under_way(), 0u);
  client.Close();
  Turn(3);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(opened_, 0);
}

TEST_F(ListenerHandshake, ThePeersEndIsAFailure) {
  Listen(Options());
  for (const bool reset : {false, true}) {
    failed_.clear();
    Socket client = Connect();
    Send(client, "hel");
    Turn(2);
    reset ? client.Abort() : client.Close();
    Turn(3);
    ASSERT_THAT(failed_, SizeIs(1));
    EXPECT_TRUE(absl::IsUnavailable(failed_[0])) << failed_[0];
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
}

TEST_F(ListenerHandshake, TakesNoLongerThanItMay) {
  ListenOptions options = Options();
  options.handshake_timeout = absl::Seconds(3);
  Listen(std::move(options));
  Socket client = Connect();
  Turn(2);
  Send(client, "hel");
  Advance(absl::Seconds(3) - absl::Milliseconds(1));
  EXPECT_THAT(failed_, ElementsAre());
  Advance(absl::Milliseconds(1));
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed_[0])) << failed_[0];
}

TEST_F(ListenerHandshake, TheTimeIsTenSeconds) {
  Listen(Options());
  Socket client = Connect();
  Turn(2);
  Advance(absl::Seconds(10) - absl::Milliseconds(1));
  EXPECT_THAT(failed_, ElementsAre());
  Advance(absl::Milliseconds(1));
  EXPECT_THAT(failed_, SizeIs(1));
}

TEST_F(ListenerHandshake, WithoutATransportItHasFailed) {
  ListenOptions options = Options();
  options.transport = [](const TransportRequest&) { return nullptr; };
  Listen(std::move(options));
  Socket client = Connect();
  Turn(2);
  ASSERT_THAT(failed_,
              ElementsAre(absl::InternalError("no transport was made")));
  EXPECT_EQ(listener_->stats().handshakes_failed, 1u);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

TEST_F(ListenerHandshake, AFactoryMayCloseTheConnection) {
  ListenOptions options = Options();
  options.transport = [](const TransportRequest& request) {
    request.loop.Find(request.connection)->Abort();
    return std::make_unique<Transport>();
  };
  Listen(std::move(options));
  Socket client = Connect();
  Turn(3);
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsCancelled(failed_[0])) << failed_[0];
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// A transport that needs none costs no turn, and is not in the share of each
// turn that handshakes have.
TEST_F(ListenerHandshake, NoneIsDoneInTheTurnOfTheAccept) {
  ListenOptions options = Options();
  options.transport = [](const TransportRequest&) {
    return std::make_unique<Transport>();
  };
  Listen(std::move(options));
  std::vector<Socket> clients = ConnectMany(40);
  for (Socket& client : clients) Send(client, "x");
  Turn();
  EXPECT_EQ(opened_, 40);
  Turn();
  EXPECT_EQ(ReadAvailable(clients.front()), "x");
  EXPECT_EQ(ReadAvailable(clients.back()), "x");
}

// --- As many as may be ---

TEST_F(ListenerHandshake, BeyondTheMostClientsWaitInTheKernel) {
  ListenOptions options = Options();
  options.max_handshakes = 2;
  Listen(std::move(options));
  std::vector<Socket> clients = ConnectMany(5);
  Turn(3);
  EXPECT_EQ(listener_->stats().accepted, 2u);
  EXPECT_EQ(under_way(), 2u);
  EXPECT_FALSE(listener_->paused());
  Send(clients[0], "hello;");
  Turn(3);
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(listener_->stats().accepted, 3u);
  Send(clients[1], "bye;");
  clients[2].Abort();
  Turn(4);
  EXPECT_THAT(failed_, SizeIs(2));
  EXPECT_EQ(listener_->stats().accepted, 5u);
  EXPECT_EQ(under_way(), 2u);
}

TEST_F(ListenerHandshake, APauseOutlastsTheRoom) {
  ListenOptions options = Options();
  options.max_handshakes = 1;
  Listen(std::move(options));
  std::vector<Socket> clients = ConnectMany(2);
  Turn(2);
  listener_->Pause();
  Send(clients[0], "hello;");
  Turn(3);
  EXPECT_EQ(listener_->stats().accepted, 1u);
  listener_->Resume();
  Turn(3);
  EXPECT_EQ(listener_->stats().accepted, 2u);
  // And the other way round.
  std::vector<Socket> more = ConnectMany(1);
  listener_->Pause();
  listener_->Resume();
  Turn(3);
  EXPECT_EQ(listener_->stats().accepted, 2u);
}

TEST_F(ListenerHandshake, NoMostIsNoBound) {
  ListenOptions options = Options();
  options.max_handshakes = 0;
  Listen(std::move(options));
  std::vector<Socket> clients = ConnectMany(100);
  Turn(4);
  EXPECT_EQ(under_way(), 100u);
}

TEST_F(ListenerHandshake, ThoseHandedOverCount) {
  ListenOptions options = Options();
  options.max_handshakes = 2;
  options.on_accept = [](const SocketAddress&) {
    return AcceptVerdict::ToLoop(0);
  };
  Listen(std::move(options), {other_->handle()});
  std::vector<Socket> clients = ConnectMany(3);
  Turn(3);
  EXPECT_EQ(listener_->stats().handed_over, 2u);
  EXPECT_EQ(other_->connection_count(), 2u);
  Send(clients[0], "hello;");
  Turn(4);
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(listener_->stats().handed_over, 3u);
  // A loop that has gone does not keep them.
  other_ = nullptr;
  EXPECT_THAT(failed_, SizeIs(2));
  EXPECT_EQ(under_way(), 0u);
}

TEST_F(ListenerHandshake, OnesThatNoLoopOpensCountNoMore) {
  ListenOptions options = Options();
  options.on_accept = [](const SocketAddress&) {
    return AcceptVerdict::ToLoop(0);
  };
  Listen(std::move(options), {other_->handle()});
  const Socket client = Connect();
  const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
  ASSERT_TRUE(turn.ok()) << turn;
  EXPECT_EQ(under_way(), 1u);
  other_ = nullptr;
  EXPECT_EQ(under_way(), 0u);
  EXPECT_THAT(failed_, ElementsAre());
}

// --- At the limit of descriptors ---

TEST_F(ListenerHandshake, IsShedBeforeAnIdleConnection) {
  FaultPlan plan;
  ListenOptions options = Options();
  options.at_limit = AtLimit::kShedUnproductive;
  Listen(std::move(options));
  Socket idle = Connect();
  Send(idle, "hello;");
  Turn(3);
  Advance(absl::Seconds(1));
  Socket silent = Connect();
  Turn(2);
  Advance(absl::Seconds(3));
  plan.FailNext(FaultPlan::Call::kAccept4, EMFILE);
  Socket last = Connect();
  Turn(3);
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsCancelled(failed_[0])) << failed_[0];
  EXPECT_EQ(listener_->stats().shed, 1u);
  EXPECT_EQ(listener_->stats().accepted, 3u);
  Send(idle, "x");
  Turn(3);
  EXPECT_EQ(ReadAvailable(idle), "x");
}

// --- Ends ---

TEST_F(ListenerHandshake, GoesOnWithoutTheListener) {
  for (const bool destroy : {false, true}) {
    opened_ = 0;
    failed_.clear();
    Listen(Options());
    Socket good = Connect(), bad = Connect();
    Turn(2);
    destroy ? listener_.reset() : listener_->Close();
    Send(good, "hello;echo");
    Send(bad, "bye;");
    Turn(4);
    EXPECT_EQ(opened_, 1);
    EXPECT_THAT(failed_, SizeIs(1));
    EXPECT_EQ(ReadAvailable(good), "echo");
  }
}

TEST_F(ListenerHandshake, TheListenerMayBeClosedInAnyOfItsCallbacks) {
  for (const std::string_view place : {"factory", "shake", "failed", "open"}) {
    SCOPED_TRACE(place);
    opened_ = 0;
    failed_.clear();
    ListenOptions options = Options();
    options.max_handshakes = 1;
    options.transport = [this, place](const TransportRequest& request) {
      if (place == "factory") listener_->Close();
      return MakeTransport(request);
    };
    options.on_open = [this, place](Connection&) {
      ++opened_;
      if (place == "open") listener_->Close();
    };
    on_shake_ = [this, place](Socket&) {
      if (place == "shake") listener_->Close();
    };
    then_failed_ = [this, place] {
      if (place == "failed") listener_->Close();
    };
    Listen(std::move(options));
    Socket client = Connect();
    Turn(2);
    Send(client, place == "failed" ? "bye;" : "hello;");
    Turn(3);
    EXPECT_EQ(opened_, place == "failed" ? 0 : 1);
    EXPECT_THAT(failed_, SizeIs(place == "failed" ? 1 : 0));
    listener_ = nullptr;
  }
}

TEST_F(ListenerHandshake, ATransportMayEndItsSocket) {
  for (const bool abort : {false, true}) {
    failed_.clear();
    on_shake_ = [abort](Socket& socket) {
      abort ? socket.Abort() : socket.Close();
    };
    Listen(Options());
    Socket client = Connect();
    Send(client, "hello;");
    Turn(2);
    client.Close();
    Turn(3);
    EXPECT_EQ(loop_->connection_count(), 0u);
    EXPECT_EQ(opened_ + static_cast<int>(failed_.size()), 1);
    opened_ = 0;
  }
}

TEST_F(ListenerHandshake, EndsWithTheLoop) {
  Listen(Options());
  std::vector<Socket> clients = ConnectMany(3);
  Turn(2);
  listener_ = nullptr;
  loop_ = nullptr;
  ASSERT_THAT(failed_, SizeIs(3));
  EXPECT_TRUE(absl::IsCancelled(failed_[0])) << failed_[0];
  EXPECT_EQ(opened_, 0);
}

TEST_F(ListenerHandshake, EndsWhenTheLoopStops) {
  Listen(Options());
  Socket client = Connect();
  Turn(2);
  listener_ = nullptr;
  loop_->Stop();
  client.Close();
  EXPECT_TRUE(loop_->Run().ok());
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsCancelled(failed_[0])) << failed_[0];
}

// --- What the factory is told ---

TEST_F(ListenerHandshake, TheFactoryIsToldForWhom) {
  for (const bool any : {false, true}) {
    const Url url = *Url::Parse(any ? "tcp://0.0.0.0:0" : "tcp://127.0.0.1:0");
    int told = 0;
    ListenOptions options = Options();
    options.on_handshake_failed = nullptr;
    SocketAddress peer, local;
    options.transport = [&](const TransportRequest& request) {
      ++told;
      EXPECT_EQ(*request.url, url);
      EXPECT_EQ(&request.loop, loop_.get());
      peer = request.peer_address;
      local = request.local_address;
      return MakeTransport(request);
    };
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        Listener::Create(*loop_, url, std::move(options));
    ASSERT_TRUE(listener.ok()) << listener.status();
    const SocketAddress address = *SocketAddress::FromIp(
        "127.0.0.1", (*listener)->local_address().port());
    absl::StatusOr<Socket> client = StartConnect(address);
    ASSERT_TRUE(client.ok()) << client.status();
    Turn(3);
    EXPECT_EQ(told, 1);
    EXPECT_EQ(peer, client->local_address());
    EXPECT_EQ(local, any ? SocketAddress() : address);
  }
}

TEST_F(ListenerHandshake, OptionsAreCheckedByName) {
  ListenOptions options = Options();
  options.handshake_timeout = absl::ZeroDuration();
  const absl::Status checked =
      Listener::Check(*Url::Parse("tcp://127.0.0.1:0"), options);
  EXPECT_EQ(checked,
            absl::InvalidArgumentError("handshake_timeout is not positive"));
}

}  // namespace
}  // namespace fio
