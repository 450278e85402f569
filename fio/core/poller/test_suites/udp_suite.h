// What Poller promises of UDP sockets, as tests for every backend. Their names
// are those of the tests of mio that prove the same.

#ifndef FIO_CORE_POLLER_TEST_SUITES_UDP_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_UDP_SUITE_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/socket_fixture.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerUdpTest : public PollerUdpFixture<Backend> {
 protected:
  using typename PollerUdpFixture<Backend>::Message;
  using typename PollerUdpFixture<Backend>::Udp;

  // Two sockets that send each other a datagram at the same time.
  void ExpectExchange(const std::pair<Udp, Udp>& pair, bool connected) {
    const auto& [first, second] = pair;
    this->ExpectNonBlockingAndCloseOnExec(first.fd);
    this->ExpectNonBlockingAndCloseOnExec(second.fd);
    this->Add(first.fd, 1, kReadableAndWritable);
    this->Add(second.fd, 2, kReadableAndWritable);
    EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
    EXPECT_FALSE(this->WaitFor(2, &Readiness::writable).readable());
    char byte;
    EXPECT_EQ(recv(first.fd.get(), &byte, 1, MSG_PEEK), -1);
    this->ExpectReadWouldBlock(first.fd);

    this->Send(first.fd, "to 2", connected ? "" : second.address);
    this->Send(second.fd, "to 1", connected ? "" : first.address);
    this->WaitFor(1, &Readiness::readable);
    this->WaitFor(2, &Readiness::readable);
    for (const int flags : {int{MSG_PEEK}, 0}) {
      EXPECT_EQ(this->Receive(first.fd, flags),
                (Message{"to 1", second.address}));
      EXPECT_EQ(this->Receive(second.fd, flags),
                (Message{"to 2", first.address}));
    }
    this->ExpectNoErrors({&first, &second});
  }

  // Sends what is told to be writable, receives what is told to be readable.
  void ExpectTransfer(const Udp& tx, const Udp& rx, const SockaddrBytes& to) {
    this->ExpectReadWouldBlock(rx.fd);
    this->Add(tx.fd, 1, Interest::kWritable);
    this->Add(rx.fd, 2, Interest::kReadable);
    this->WaitFor(1, &Readiness::writable);
    this->Send(tx.fd, "hello", to);
    EXPECT_FALSE(this->WaitFor(2, &Readiness::readable).writable());
    EXPECT_EQ(this->Receive(rx.fd), (Message{"hello", tx.address}));
    this->ExpectReadWouldBlock(rx.fd);
  }

  // An edge, what it stands for, and another edge.
  void ExpectTwoEdges(const Udp& tx, const Udp& rx, const SockaddrBytes& to) {
    this->Add(tx.fd, 1, Interest::kWritable);
    this->Add(rx.fd, 2, kReadableAndWritable);
    this->WaitFor(1, &Readiness::writable);
    this->WaitFor(2, &Readiness::writable);
    for (int i = 0; i < 2; ++i) {
      this->Send(tx.fd, "edge", to);
      this->WaitFor(2, &Readiness::readable);
      EXPECT_EQ(this->Receive(rx.fd), (Message{"edge", tx.address}));
      this->ExpectReadWouldBlock(rx.fd);
    }
    this->ExpectNoErrors({&tx, &rx});
  }
};

TYPED_TEST_SUITE_P(PollerUdpTest);

TYPED_TEST_P(PollerUdpTest, AssertSize) {
  EXPECT_EQ(sizeof(UniqueFd), sizeof(int));
}

TYPED_TEST_P(PollerUdpTest, EmptyDatagram) {
  using Message = typename TestFixture::Message;
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->Add(tx.fd, 1, Interest::kWritable);
  this->Add(rx.fd, 2, Interest::kReadable);
  this->WaitFor(1, &Readiness::writable);
  this->Send(tx.fd, "", rx.address);
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Receive(rx.fd), (Message{"", tx.address}));
  this->ExpectReadWouldBlock(rx.fd);
}

// --- Datagrams, with and without connect(2) ---

TYPED_TEST_P(PollerUdpTest, UnconnectedUdpSocketIpv4) {
  this->ExpectExchange({this->Bind(), this->Bind()}, /*connected=*/false);
}

TYPED_TEST_P(PollerUdpTest, UnconnectedUdpSocketIpv6) {
  this->ExpectExchange({this->Bind(AF_INET6), this->Bind(AF_INET6)},
                       /*connected=*/false);
}

TYPED_TEST_P(PollerUdpTest, UnconnectedUdpSocketStd) {
  const auto foreign = TestFixture::Origin::kForeign;
  this->ExpectExchange(
      {this->Bind(AF_INET, foreign), this->Bind(AF_INET, foreign)},
      /*connected=*/false);
}

TYPED_TEST_P(PollerUdpTest, ConnectedUdpSocketIpv4) {
  this->ExpectExchange(this->ConnectedPair(), /*connected=*/true);
}

TYPED_TEST_P(PollerUdpTest, ConnectedUdpSocketIpv6) {
  this->ExpectExchange(this->ConnectedPair(AF_INET6), /*connected=*/true);
}

TYPED_TEST_P(PollerUdpTest, ConnectedUdpSocketStd) {
  this->ExpectExchange(
      this->ConnectedPair(AF_INET, TestFixture::Origin::kForeign),
      /*connected=*/true);
}

TYPED_TEST_P(PollerUdpTest, ReconnectUdpSocketSending) {
  const auto [tx, first] = this->ConnectedPair();
  const auto second = this->Bind();
  this->ConnectTo(second.fd, tx.address);
  this->Add(tx.fd, 1, kReadableAndWritable);
  this->Add(first.fd, 2, Interest::kReadable);
  this->Add(second.fd, 3, Interest::kReadable);
  this->WaitFor(1, &Readiness::writable);
  this->Send(tx.fd, "to the first");
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Receive(first.fd).bytes, "to the first");

  this->ConnectTo(tx.fd, second.address);
  this->Send(tx.fd, "to the second");
  this->WaitFor(3, &Readiness::readable);
  EXPECT_EQ(this->Receive(second.fd).bytes, "to the second");
  this->ExpectReadWouldBlock(first.fd);
  this->ExpectNoErrors({&tx, &first, &second});
}

TYPED_TEST_P(PollerUdpTest, ReconnectUdpSocketReceiving) {
  using Message = typename TestFixture::Message;
  const auto [rx, first] = this->ConnectedPair();
  const auto second = this->Bind();
  this->ConnectTo(second.fd, rx.address);
  this->Add(rx.fd, 1, Interest::kReadable);
  for (const auto* tx : {&first, &second, &first}) {
    this->ConnectTo(rx.fd, tx->address);
    this->Send(tx->fd, "hello");
    this->WaitFor(1, &Readiness::readable);
    EXPECT_EQ(this->Receive(rx.fd), (Message{"hello", tx->address}));
    this->ExpectReadWouldBlock(rx.fd);
  }
  this->ExpectNoErrors({&rx, &first, &second});
}

TYPED_TEST_P(PollerUdpTest, UnconnectedUdpSocketConnectedMethods) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->Add(tx.fd, 1, Interest::kWritable);
  this->Add(rx.fd, 2, Interest::kReadable);
  this->WaitFor(1, &Readiness::writable);
  EXPECT_EQ(this->TrySend(tx.fd, "to nobody"), EDESTADDRREQ);
  this->Send(tx.fd, "hello", rx.address);
  this->WaitFor(2, &Readiness::readable);
  char bytes[8];
  EXPECT_EQ(recv(rx.fd.get(), bytes, sizeof(bytes), MSG_PEEK), 5);
  EXPECT_EQ(this->Read(rx.fd), "hello");
  this->ExpectNoErrors({&tx, &rx});
}

TYPED_TEST_P(PollerUdpTest, ConnectedUdpSocketUnconnectedMethods) {
  using Message = typename TestFixture::Message;
  const auto first = this->Bind();
  const auto second = this->Bind();
  const auto third = this->Bind();
  this->ConnectTo(first.fd, third.address);
  this->ConnectTo(third.fd, second.address);
  this->Add(first.fd, 1, Interest::kWritable);
  this->Add(second.fd, 2, kReadableAndWritable);
  this->Add(third.fd, 3, Interest::kReadable);
  this->WaitFor(1, &Readiness::writable);
  this->WaitFor(2, &Readiness::writable);
#if defined(__linux__)
  this->Send(first.fd, "past the peer", second.address);
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Read(second.fd), "past the peer");
#else
  EXPECT_EQ(this->TrySend(first.fd, "past the peer", second.address), EISCONN);
#endif
  this->Send(second.fd, "hello", third.address);
  this->WaitFor(3, &Readiness::readable);
  for (const int flags : {int{MSG_PEEK}, 0}) {
    EXPECT_EQ(this->Receive(third.fd, flags),
              (Message{"hello", second.address}));
  }
  this->ExpectNoErrors({&first, &second, &third});
}

TYPED_TEST_P(PollerUdpTest, UdpSocket) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->ExpectTransfer(tx, rx, rx.address);
}

TYPED_TEST_P(PollerUdpTest, UdpSocketSendRecv) {
  const auto [tx, rx] = this->ConnectedPair();
  this->ExpectTransfer(tx, rx, /*to=*/"");
}

// What comes from anyone but the peer is none of a connected socket's.
TYPED_TEST_P(PollerUdpTest, UdpSocketDiscard) {
  const auto [tx, rx] = this->ConnectedPair();
  const auto outside = this->Bind();
  this->ConnectTo(outside.fd, rx.address);
  this->Add(outside.fd, 1, Interest::kWritable);
  this->Add(tx.fd, 2, Interest::kWritable);
  this->Add(rx.fd, 3, Interest::kReadable);
  this->WaitFor(1, &Readiness::writable);
  this->WaitFor(2, &Readiness::writable);
  this->Send(outside.fd, "from outside");
  EXPECT_EQ(this->Told(3), Readiness());
  this->Send(tx.fd, "from the peer");
  this->WaitFor(3, &Readiness::readable);
  EXPECT_EQ(this->Read(rx.fd), "from the peer");
  this->ExpectReadWouldBlock(rx.fd);
}

TYPED_TEST_P(PollerUdpTest, Multicast) {
  const in_addr_t loopback = htonl(INADDR_LOOPBACK);
  const auto tx = this->Bind();
  this->SetOption(tx.fd, IPPROTO_IP, IP_MULTICAST_IF, loopback);
  const auto rx = this->BindAt(this->Ipv4(htonl(INADDR_ANY), 0), AF_INET);
  sockaddr_in bound;
  memcpy(&bound, rx.address.data(), sizeof(bound));
  const std::array<in_addr_t, 2> groups = {inet_addr("227.1.1.100"),
                                           inet_addr("227.1.1.101")};
  for (const in_addr_t group : groups) {
    const ip_mreq membership = {.imr_multiaddr = {group},
                                .imr_interface = {loopback}};
    this->SetOption(rx.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, membership);
  }
  this->Add(tx.fd, 1, Interest::kWritable);
  this->Add(rx.fd, 2, Interest::kReadable);
  this->WaitFor(1, &Readiness::writable);
  for (const in_addr_t group : groups) {
    this->Send(tx.fd, "to all", this->Ipv4(group, bound.sin_port));
    this->WaitFor(2, &Readiness::readable);
    EXPECT_EQ(this->Receive(rx.fd),
              (typename TestFixture::Message{"to all", tx.address}));
    this->ExpectReadWouldBlock(rx.fd);
  }
}

// --- Registrations and modes ---

TYPED_TEST_P(PollerUdpTest, UdpSocketRawFd) {
  auto udp = this->Bind();
  this->Add(udp.fd, 1, Interest::kReadable);
  const int number = udp.fd.get();
  const UniqueFd again(udp.fd.Release());
  EXPECT_EQ(again.get(), number);
  EXPECT_EQ(this->LocalAddress(again), udp.address);
  this->Send(again, "to itself", udp.address);
  this->WaitFor(1, &Readiness::readable);
}

TYPED_TEST_P(PollerUdpTest, UdpSocketRegister) {
  const auto udp = this->Bind();
  this->Add(udp.fd, 1, Interest::kReadable);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerUdpTest, UdpSocketReregister) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->Add(rx.fd, 1, Interest::kWritable);
  this->Send(tx.fd, "hello", rx.address);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
  this->Modify(rx.fd, 2, Interest::kReadable);
  EXPECT_FALSE(this->WaitFor(2, &Readiness::readable).writable());
  EXPECT_EQ(this->Told(1), Readiness());
  EXPECT_EQ(this->Read(rx.fd), "hello");
}

TYPED_TEST_P(PollerUdpTest, UdpSocketNoEventsAfterDeregister) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->Add(rx.fd, 1, Interest::kReadable, Trigger::kLevel);
  this->Send(tx.fd, "hello", rx.address);
  this->WaitFor(1, &Readiness::readable);
  this->Remove(rx.fd, 1);
  EXPECT_EQ(this->Told(1), Readiness());
  EXPECT_EQ(this->Read(rx.fd), "hello");
}

// What mio refuses: both pollers tell.
TYPED_TEST_P(PollerUdpTest, UdpRegisterMultipleEventLoops) {
  const std::unique_ptr<Poller> other = TypeParam::Create(this->clock_);
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->Add(rx.fd, 1, Interest::kReadable);
  ASSERT_TRUE(
      IsOk(other->Add(rx.fd.get(), 2, Interest::kReadable, Trigger::kEdge)));
  this->Send(tx.fd, "to both", rx.address);
  this->WaitFor(1, &Readiness::readable);
  std::array<Event, 8> events;
  {
    const absl::StatusOr<ReadyEvents> ready =
        other->Wait(absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    ASSERT_TRUE(IsOk(ready.status()));
    EXPECT_EQ((*ready->begin()).token(), 2u);
  }
  EXPECT_EQ(this->Read(rx.fd), "to both");
  this->ExpectReadWouldBlock(rx.fd);

  ASSERT_TRUE(IsOk(other->Remove(rx.fd.get(), 2)));
  this->Send(tx.fd, "to one", rx.address);
  this->WaitFor(1, &Readiness::readable);
  const absl::StatusOr<ReadyEvents> ready =
      other->Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
  ASSERT_TRUE(IsOk(ready.status()));
  EXPECT_TRUE(ready->empty());
}

TYPED_TEST_P(PollerUdpTest, EtBehaviorRecv) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->ConnectTo(tx.fd, rx.address);
  this->ExpectTwoEdges(tx, rx, /*to=*/"");
}

TYPED_TEST_P(PollerUdpTest, EtBehaviorRecvFrom) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->ExpectTwoEdges(tx, rx, rx.address);
}

TYPED_TEST_P(PollerUdpTest, TestUdpLevel) {
  const auto tx = this->Bind();
  const auto rx = this->Bind();
  this->Add(tx.fd, 1, kReadableAndWritable, Trigger::kLevel);
  this->Add(rx.fd, 2, kReadableAndWritable, Trigger::kLevel);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 2; ++i) {
      for (const Token token : {1, 2}) {
        const Readiness told = this->WaitFor(token, &Readiness::writable);
        EXPECT_FALSE(told.readable());
      }
    }
    this->Send(tx.fd, "hello", rx.address);
    for (int i = 0; i < 2; ++i) {
      // Being told of room does not wait for the datagram.
      EXPECT_TRUE(this->WaitFor(2, &Readiness::readable, 1'000'000).writable());
    }
    EXPECT_EQ(this->Read(rx.fd), "hello");
    this->ExpectReadWouldBlock(rx.fd);
  }
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerUdpTest, AssertSize, EmptyDatagram, UnconnectedUdpSocketIpv4,
    UnconnectedUdpSocketIpv6, UnconnectedUdpSocketStd, ConnectedUdpSocketIpv4,
    ConnectedUdpSocketIpv6, ConnectedUdpSocketStd, ReconnectUdpSocketSending,
    ReconnectUdpSocketReceiving, UnconnectedUdpSocketConnectedMethods,
    ConnectedUdpSocketUnconnectedMethods, UdpSocket, UdpSocketSendRecv,
    UdpSocketDiscard, Multicast,

    UdpSocketRawFd, UdpSocketRegister, UdpSocketReregister,
    UdpSocketNoEventsAfterDeregister, UdpRegisterMultipleEventLoops,
    EtBehaviorRecv, EtBehaviorRecvFrom, TestUdpLevel);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_UDP_SUITE_H_
