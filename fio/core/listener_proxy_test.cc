// The PROXY protocol at listeners: who may speak it, and what a connection
// tells of its client.

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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
#include "fio/sock/address_range.h"
#include "fio/sock/connect.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_header_test_util.h"
#include "fio/sock/proxy_options.h"
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
using testing::ReadAvailable;
using testing::ReadToEnd;
using ::testing::SizeIs;

constexpr std::string_view kTcp4 =
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

std::vector<AddressRange> Ranges(std::string_view text) {
  return {*AddressRange::Parse(text)};
}

// Keeps what it is told.
struct Seen {
  SocketAddress peer = {}, local = {}, raw_peer = {}, raw_local = {};
  std::optional<ProxyHeader> header = {};
  bool direct = false;
  std::string data = {};
  bool ended = false;
};

class Recorder final : public Protocol {
 public:
  explicit Recorder(Seen& seen) : seen_(seen) {}
  void OnData(Connection& connection) override {
    seen_.data += connection.Received();
    connection.Write("answer");
  }
  void OnEnd(Connection& connection) override {
    seen_.ended = true;
    connection.Close();
  }

 private:
  Seen& seen_;
};

class ListenerProxy : public ::testing::Test {
 protected:
  ListenerProxy() {
    absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(
        {.clock = &clock_, .poller = core_internal::PollerUnderTest()});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }
  // Failures are told until the loop has gone.
  ~ListenerProxy() override {
    listener_ = nullptr;
    loop_ = nullptr;
  }

  ListenOptions Options() {
    return {.on_open =
                [this](Connection& connection) {
                  ++opened_;
                  seen_ = {.peer = connection.peer_address(),
                           .local = connection.local_address(),
                           .raw_peer = connection.raw_peer_address(),
                           .raw_local = connection.raw_local_address(),
                           .direct = connection.transport() == nullptr};
                  if (connection.proxy_header() != nullptr) {
                    seen_.header = *connection.proxy_header();
                  }
                  connection.Attach(std::make_unique<Recorder>(seen_));
                },
            .on_handshake_failed =
                [this](const SocketAddress& peer, const absl::Status& why) {
                  failed_peer_ = peer;
                  failed_.push_back(why);
                },
            .proxy = ProxyOptions{.trusted = Ranges("127.0.0.1")}};
  }
  void Listen(ListenOptions options,
              std::string_view url = "tcp://127.0.0.1:0") {
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        Listener::Create(*loop_, *Url::Parse(url), std::move(options));
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }
  Socket Connect() {
    absl::StatusOr<Socket> client = StartConnect(listener_->local_address());
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  static void Send(Socket& client, std::string_view bytes) {
    ASSERT_EQ(client.TryWrite(bytes).bytes, bytes.size());
  }
  void Turn(int count = 3) {
    for (int i = 0; i < count; ++i) {
      const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
      ASSERT_TRUE(turn.ok()) << turn;
    }
  }
  void ExpectRefused(Socket& client) {
    Turn();
    ASSERT_EQ(opened_, 0);
    EXPECT_EQ(ReadToEnd(client), "");
  }

  ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
  int opened_ = 0;
  Seen seen_;
  SocketAddress failed_peer_;
  std::vector<absl::Status> failed_;
};

TEST_F(ListenerProxy, TheClientIsWhoTheHeaderSays) {
  for (const std::string& header :
       {std::string(kTcp4), V2(0x21, 0x11, Ipv4Block()), FullHeader()}) {
    opened_ = 0;
    Listen(Options());
    Socket client = Connect();
    Turn();
    EXPECT_EQ(opened_, 0);
    Send(client, absl::StrCat(header, "GET /"));
    Turn();
    ASSERT_EQ(opened_, 1);
    EXPECT_EQ(seen_.peer.ToString(), "192.0.2.7:56324");
    EXPECT_EQ(seen_.local.ToString(), "198.51.100.1:443");
    EXPECT_EQ(seen_.raw_peer, client.local_address());
    EXPECT_EQ(seen_.raw_local, listener_->local_address());
    EXPECT_EQ(seen_.header, ParseProxyHeader(header).header);
    EXPECT_TRUE(seen_.direct);
    EXPECT_EQ(seen_.data, "GET /");
    EXPECT_EQ(ReadAvailable(client), "answer");
  }
}

TEST_F(ListenerProxy, AHeaderMayComeByteByByte) {
  const std::string header = FullHeader();
  Listen(Options());
  Socket client = Connect();
  for (const char byte : header) {
    EXPECT_EQ(opened_, 0);
    Send(client, {&byte, 1});
    Turn(2);
  }
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(seen_.peer.ToString(), "192.0.2.7:56324");
  EXPECT_EQ(*seen_.header->tlvs.authority(),
            *ParseProxyHeader(header).header.tlvs.authority());
}

// A proxy that asks for itself, and one that does not know.
TEST_F(ListenerProxy, WithoutAddressesTheSocketsOwnStay) {
  for (const std::string& header :
       {std::string("PROXY UNKNOWN\r\n"),
        std::string("PROXY UNKNOWN 192.0.2.7 192.0.2.1 1 2\r\n"),
        V2(0x20, 0x00, ""), V2(0x20, 0x11, Ipv4Block()), V2(0x21, 0x00, "")}) {
    opened_ = 0;
    Listen(Options());
    Socket client = Connect();
    Send(client, header);
    Turn();
    ASSERT_EQ(opened_, 1);
    EXPECT_EQ(seen_.peer, client.local_address());
    EXPECT_EQ(seen_.local, listener_->local_address());
    ASSERT_TRUE(seen_.header.has_value());
    EXPECT_FALSE(seen_.header->has_addresses());
  }
}

TEST_F(ListenerProxy, TheEndRightBehindTheHeaderIsTold) {
  Listen(Options());
  Socket client = Connect();
  Send(client, absl::StrCat(kTcp4, "last words"));
  EXPECT_TRUE(client.ShutdownWrite().ok());
  Turn(5);
  EXPECT_EQ(seen_.data, "last words");
  EXPECT_TRUE(seen_.ended);
  EXPECT_EQ(ReadToEnd(client), "answer");
}

// --- Who is trusted ---

TEST_F(ListenerProxy, AStrangerIsRefused) {
  ListenOptions options = Options();
  options.proxy->trusted = Ranges("10.0.0.0/8");
  Listen(std::move(options));
  Socket client = Connect();
  Send(client, absl::StrCat(kTcp4, "x"));
  ExpectRefused(client);
  EXPECT_EQ(listener_->stats().rejected, 1u);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_THAT(failed_, ElementsAre());
}

// What a stranger claims is data, whatever it looks like.
TEST_F(ListenerProxy, AStrangerMayBeAPlainClient) {
  ListenOptions options = Options();
  options.proxy->trusted = Ranges("10.0.0.0/8");
  options.proxy->others = ProxyOptions::Others::kPlain;
  Listen(std::move(options));
  Socket client = Connect();
  Send(client, kTcp4);
  Turn();
  ASSERT_EQ(opened_, 1);
  EXPECT_EQ(seen_.peer, client.local_address());
  EXPECT_FALSE(seen_.header.has_value());
  EXPECT_EQ(seen_.data, kTcp4);
}

// Never the other way round: a proxy that is trusted must say for whom.
TEST_F(ListenerProxy, AProxyWithoutAHeaderIsRefused) {
  for (const auto others :
       {ProxyOptions::Others::kRefused, ProxyOptions::Others::kPlain}) {
    failed_.clear();
    ListenOptions options = Options();
    options.proxy->others = others;
    Listen(std::move(options));
    Socket client = Connect();
    const SocketAddress address = client.local_address();
    Send(client, "GET / HTTP/1.1\r\n\r\n");
    ExpectRefused(client);
    ASSERT_THAT(failed_, SizeIs(1));
    EXPECT_TRUE(absl::IsInvalidArgument(failed_[0])) << failed_[0];
    EXPECT_EQ(failed_peer_, address);
    EXPECT_EQ(listener_->stats().handshakes_failed, 1u);
  }
}

TEST_F(ListenerProxy, NobodyIsTrustedWithoutBeingNamed) {
  ListenOptions options = Options();
  options.proxy->trusted.clear();
  EXPECT_THAT(
      Listener::Check(*Url::Parse("tcp://127.0.0.1:0"), options).message(),
      HasSubstr("no proxy is trusted"));
  options.proxy = std::nullopt;
  EXPECT_THAT(
      Listener::Check(*Url::Parse("tcp://127.0.0.1:0?proxy=v2"), options)
          .message(),
      HasSubstr("no proxy is trusted"));
}

TEST_F(ListenerProxy, UnixPeersAreNamedAsSuch) {
  ListenOptions options = Options();
  options.proxy->trusted = Ranges("unix:");
  Listen(std::move(options), "unix://@fio_listener_proxy_test");
  Socket client = Connect();
  Send(client, kTcp4);
  Turn();
  ASSERT_EQ(opened_, 1);
  EXPECT_EQ(seen_.peer.ToString(), "192.0.2.7:56324");
  EXPECT_EQ(seen_.raw_peer.family(), AF_UNIX);
}

TEST_F(ListenerProxy, TheUrlMaySayItAll) {
  ListenOptions options = Options();
  options.proxy = std::nullopt;
  Listen(options, "tcp://127.0.0.1:0?proxy=v2&proxy_trust=::1,127.0.0.0/8");
  Socket client = Connect();
  Send(client, V2(0x21, 0x11, Ipv4Block()));
  Turn();
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(seen_.peer.ToString(), "192.0.2.7:56324");
  opened_ = 0;
  Socket old = Connect();
  Send(old, kTcp4);
  ExpectRefused(old);
  EXPECT_EQ(Listener::Check(*Url::Parse("tcp://127.0.0.1:0?proxy=2"), options),
            absl::InvalidArgumentError("proxy=2 is none of v1, v2, any"));
}

// --- How it fails ---

TEST_F(ListenerProxy, ASlowHeaderIsNotAwaited) {
  ListenOptions options = Options();
  options.proxy->timeout = absl::Seconds(2);
  Listen(std::move(options));
  Socket client = Connect();
  Turn();
  for (int i = 0; i < 19; ++i) {
    Send(client, kTcp4.substr(static_cast<size_t>(i), 1));
    clock_.Advance(absl::Milliseconds(100));
    Turn();
  }
  EXPECT_THAT(failed_, ElementsAre());
  clock_.Advance(absl::Milliseconds(100));
  Turn();
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed_[0])) << failed_[0];
  ExpectRefused(client);
}

TEST_F(ListenerProxy, ThePeerMayEndInTheMiddle) {
  for (const bool reset : {false, true}) {
    failed_.clear();
    Listen(Options());
    Socket client = Connect();
    Send(client, kTcp4.substr(0, 20));
    Turn();
    reset ? client.Abort() : client.Close();
    Turn();
    ASSERT_THAT(failed_, SizeIs(1));
    EXPECT_EQ(opened_, 0);
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
}

TEST_F(ListenerProxy, WhatIsTooLongIsRefused) {
  ListenOptions options = Options();
  options.proxy->header.max_v2_bytes = 64;
  Listen(std::move(options));
  Socket client = Connect();
  Send(client, FullHeader().substr(0, 16));
  ExpectRefused(client);
  EXPECT_THAT(failed_, SizeIs(1));
}

TEST_F(ListenerProxy, HeadersUnderWayAreHandshakesUnderWay) {
  ListenOptions options = Options();
  options.max_handshakes = 1;
  Listen(std::move(options));
  Socket first = Connect(), second = Connect();
  Send(second, kTcp4);
  Turn();
  EXPECT_EQ(listener_->stats().handshakes_under_way, 1u);
  EXPECT_EQ(listener_->stats().accepted, 1u);
  Send(first, kTcp4);
  Turn(5);
  EXPECT_EQ(opened_, 2);
  EXPECT_EQ(listener_->stats().handshakes_under_way, 0u);
}

TEST_F(ListenerProxy, GoesOnWithoutTheListener) {
  Listen(Options());
  Socket client = Connect();
  Turn();
  listener_ = nullptr;
  Send(client, absl::StrCat(kTcp4, "x"));
  Turn();
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(seen_.data, "x");
}

TEST_F(ListenerProxy, EndsWithTheLoop) {
  Listen(Options());
  Socket client = Connect();
  Send(client, kTcp4.substr(0, 20));
  Turn();
  listener_ = nullptr;
  loop_ = nullptr;
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsCancelled(failed_[0])) << failed_[0];
}

// --- With a transport ---

TEST_F(ListenerProxy, TheTransportComesBehindTheHeader) {
  for (const bool at_once : {false, true}) {
    opened_ = 0;
    ListenOptions options = Options();
    SocketAddress peer, local;
    options.transport = [&](const TransportRequest& request) {
      peer = request.peer_address;
      local = request.local_address;
      return std::make_unique<WordTransport>("welcome;", "hello;");
    };
    Listen(std::move(options));
    Socket client = Connect();
    const std::vector<std::string> flights =
        at_once ? std::vector<std::string>{absl::StrCat(kTcp4, "hello;data")}
                : std::vector<std::string>{std::string(kTcp4), "hel", "lo;da",
                                           "ta"};
    for (const std::string& flight : flights) {
      Send(client, flight);
      Turn(4);
    }
    ASSERT_EQ(opened_, 1);
    EXPECT_EQ(peer.ToString(), "192.0.2.7:56324");
    EXPECT_EQ(local.ToString(), "198.51.100.1:443");
    EXPECT_EQ(seen_.peer, peer);
    EXPECT_EQ(seen_.data, "data");
    EXPECT_THAT(ReadAvailable(client), ::testing::StartsWith("welcome;answer"));
  }
}

TEST_F(ListenerProxy, AFailureBehindTheHeaderNamesTheClient) {
  ListenOptions options = Options();
  options.handshake_timeout = absl::Seconds(1);
  options.transport = [&](const TransportRequest&) {
    return std::make_unique<WordTransport>("", "hello;");
  };
  Listen(std::move(options));
  Socket client = Connect();
  Turn();
  clock_.Advance(absl::Seconds(4));  // Of the five that a header may take.
  Send(client, kTcp4);
  Turn();
  EXPECT_THAT(failed_, ElementsAre());
  clock_.Advance(absl::Seconds(1));
  Turn();
  ASSERT_THAT(failed_, SizeIs(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed_[0])) << failed_[0];
  EXPECT_EQ(failed_peer_.ToString(), "192.0.2.7:56324");
}

// --- On another loop ---

TEST_F(ListenerProxy, HandedOverConnectionsHaveAHeaderToo) {
  absl::StatusOr<std::unique_ptr<Loop>> other =
      Loop::Create({.clock = &clock_});
  ASSERT_TRUE(other.ok());
  ListenOptions options = Options();
  options.on_accept = [](const SocketAddress&) {
    return AcceptVerdict::ToLoop(0);
  };
  absl::StatusOr<ListenSocket> socket =
      ListenSocket::Listen(*SocketAddress::Parse("127.0.0.1:0"), {});
  ASSERT_TRUE(socket.ok());
  absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
      *loop_, std::make_shared<ListenSocket>(*std::move(socket)),
      std::make_shared<const ListenOptions>(std::move(options)),
      {(*other)->handle()});
  ASSERT_TRUE(listener.ok()) << listener.status();
  listener_ = *std::move(listener);
  Socket client = Connect();
  Send(client, absl::StrCat(kTcp4, "x"));
  for (int i = 0; i < 5; ++i) {
    Turn(1);
    ASSERT_TRUE((*other)->RunOnce(MonotonicTime::InfinitePast()).ok());
  }
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(seen_.peer.ToString(), "192.0.2.7:56324");
  EXPECT_EQ(seen_.data, "x");
}

}  // namespace
}  // namespace fio
