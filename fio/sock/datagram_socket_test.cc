#include "fio/sock/datagram_socket.h"

#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::Address;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IntOption;
using ::testing::IsEmpty;
using testing::OpenDescriptors;
using testing::ScopedSyscalls;
using testing::SyscallCounter;
using testing::TempFolder;

DatagramSocket BindTo(const SocketAddress& address,
                      const DatagramOptions& options = {}) {
  absl::StatusOr<DatagramSocket> socket =
      DatagramSocket::Bind(address, options);
  EXPECT_TRUE(socket.ok()) << socket.status();
  return *std::move(socket);
}

DatagramSocket BindTo(const char* address,
                      const DatagramOptions& options = {}) {
  return BindTo(Address(address), options);
}

DatagramSocket OpenOf(int family) {
  absl::StatusOr<DatagramSocket> socket = DatagramSocket::Open(family);
  EXPECT_TRUE(socket.ok()) << socket.status();
  return *std::move(socket);
}

BatchResult Send(DatagramSocket& socket, std::string_view bytes,
                 const SocketAddress* to = nullptr) {
  const OutgoingDatagram datagram = {.bytes = bytes, .to = to};
  return socket.SendBatch({&datagram, 1});
}

struct Received {
  std::string bytes;
  SocketAddress from;
  bool truncated;
};

// The next datagram, of which it takes up to `room` bytes.
Received Receive(DatagramSocket& socket, size_t room = 100) {
  testing::WaitReadable(socket.fd());
  std::string buffer(room, '\0');
  IncomingDatagram datagram = {.buffer = absl::MakeSpan(buffer)};
  EXPECT_EQ(socket.ReceiveBatch({&datagram, 1}).count, 1u);
  return {buffer.substr(0, datagram.bytes), datagram.from, datagram.truncated};
}

// --- Addresses and markings ---

// Bound to all addresses; asked 127.0.0.2, it answers from 127.0.0.2.
TEST(DatagramSocket, AnswersFromTheAskedAddress) {
  for (const char* all : {"0.0.0.0:0", "[::]:0"}) {
    SCOPED_TRACE(all);
    DatagramSocket server =
        BindTo(all, {.receive_destination = true, .receive_ecn = true});
    const SocketAddress asked =
        Address(absl::StrCat("127.0.0.2:", server.local_address().port()));
    DatagramSocket client = BindTo("127.0.0.1:0");
    const int ect0 = 2;
    ASSERT_EQ(setsockopt(client.fd(), IPPROTO_IP, IP_TOS, &ect0, sizeof(ect0)),
              0);
    EXPECT_EQ(Send(client, "who?", &asked).count, 1u);
    testing::WaitReadable(server.fd());
    std::string buffer(100, '\0');
    IncomingDatagram question = {.buffer = absl::MakeSpan(buffer)};
    EXPECT_EQ(server.Peek(question).count, 1u);
    EXPECT_EQ(question.bytes, 4u);
    question.bytes = 0;
    ASSERT_EQ(server.ReceiveBatch({&question, 1}).count, 1u);
    EXPECT_EQ(question.bytes, 4u);
    EXPECT_EQ(question.to, Address("127.0.0.2:0"));
    EXPECT_GT(question.interface_index, 0u);
    EXPECT_EQ(question.ecn, Ecn::kEct0);
    const OutgoingDatagram answer = {
        .bytes = "I", .to = &question.from, .from = &question.to};
    EXPECT_EQ(server.SendBatch({&answer, 1}).count, 1u);
    EXPECT_EQ(Receive(client).from, asked);
    EXPECT_TRUE(server.ReceiveBatch({&question, 1}).would_block());
  }
}

TEST(DatagramSocket, AnswersFromTheAskedIpv6Address) {
  DatagramSocket server = BindTo("[::]:0", {.receive_destination = true});
  const SocketAddress asked =
      Address(absl::StrCat("[::1]:", server.local_address().port()));
  DatagramSocket client = BindTo("[::1]:0");
  EXPECT_EQ(Send(client, "who?", &asked).count, 1u);
  testing::WaitReadable(server.fd());
  std::string buffer(100, '\0');
  IncomingDatagram question = {.buffer = absl::MakeSpan(buffer)};
  ASSERT_EQ(server.ReceiveBatch({&question, 1}).count, 1u);
  EXPECT_EQ(question.to, Address("[::1]:0"));
  const OutgoingDatagram answer = {
      .bytes = "I", .to = &question.from, .from = &question.to};
  EXPECT_EQ(server.SendBatch({&answer, 1}).count, 1u);
  EXPECT_EQ(Receive(client).from, asked);
}

TEST(DatagramSocket, ASourceIsAnIpAddress) {
  DatagramSocket socket = BindTo("127.0.0.1:0");
  const SocketAddress to = socket.local_address();
  const SocketAddress none;
  const OutgoingDatagram datagram = {.bytes = "x", .to = &to, .from = &none};
  EXPECT_EQ(socket.SendBatch({&datagram, 1}).error, EINVAL);
}

// The kernel would ignore such a source and choose another one.
TEST(DatagramSocket, ASourceIsOfTheFamilyOfTheDestination) {
  DatagramSocket receiver = BindTo("127.0.0.1:0");
  DatagramSocket receiver6 = BindTo("[::1]:0");
  const SocketAddress ipv4 = receiver.local_address();
  const SocketAddress ipv6 = receiver6.local_address();
  const auto send = [](DatagramSocket& socket, const SocketAddress* to,
                       const SocketAddress& from) {
    const OutgoingDatagram datagram = {.bytes = "x", .to = to, .from = &from};
    return socket.SendBatch({&datagram, 1}).error;
  };
  DatagramSocket socket = OpenOf(AF_INET);
  EXPECT_EQ(send(socket, &ipv4, ipv6), EINVAL);
  EXPECT_EQ(send(socket, &ipv4, ipv4), 0);
  EXPECT_EQ(send(socket, nullptr, ipv4), EDESTADDRREQ);
  ASSERT_TRUE(socket.Connect(ipv4).ok());
  EXPECT_EQ(send(socket, nullptr, ipv6), EINVAL);
  EXPECT_EQ(send(socket, nullptr, ipv4), 0);
  DatagramSocket dual = OpenOf(AF_INET6);
  EXPECT_EQ(send(dual, &ipv6, ipv4), EINVAL);
  EXPECT_EQ(send(dual, &ipv4, ipv6), EINVAL);
  EXPECT_EQ(send(dual, &ipv4, ipv4), 0);
  EXPECT_EQ(send(dual, &ipv6, ipv6), 0);
  ASSERT_TRUE(dual.Connect(ipv6).ok());
  EXPECT_EQ(send(dual, nullptr, ipv4), EINVAL);
  DatagramSocket dual_to_ipv4 = OpenOf(AF_INET6);
  ASSERT_TRUE(dual_to_ipv4.Connect(ipv4).ok());
  EXPECT_EQ(send(dual_to_ipv4, nullptr, ipv6), EINVAL);
  EXPECT_EQ(send(dual_to_ipv4, nullptr, ipv4), 0);
  DatagramSocket path = BindTo("unix:");
  const SocketAddress name = path.local_address();
  EXPECT_EQ(send(path, &name, ipv4), EINVAL);
  // Those that were sent, and no others.
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Receive(receiver).bytes, "x");
  EXPECT_EQ(Receive(receiver6).bytes, "x");
  for (DatagramSocket* const all : {&receiver, &receiver6}) {
    IncomingDatagram none;
    EXPECT_TRUE(all->ReceiveBatch({&none, 1}).would_block());
  }
}

// An IPv6 socket that sends to IPv4 addresses as well.
TEST(DatagramSocket, OptionsAreThoseOfBothFamilies) {
  const unsigned loopback = if_nametoindex("lo");
  for (const bool v6_only : {false, true}) {
    SCOPED_TRACE(v6_only);
    DatagramSocket socket = BindTo("[::]:0", {.v6_only = v6_only});
    const int fd = socket.fd();
    EXPECT_TRUE(socket.SetHops(5).ok());
    EXPECT_EQ(IntOption(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 5);
    EXPECT_EQ(IntOption(fd, IPPROTO_IP, IP_TTL) == 5, !v6_only);
    EXPECT_TRUE(socket.SetMulticastHops(7).ok());
    EXPECT_EQ(IntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 7);
    EXPECT_EQ(IntOption(fd, IPPROTO_IP, IP_MULTICAST_TTL), v6_only ? 1 : 7);
    EXPECT_TRUE(socket.SetMulticastLoop(false).ok());
    EXPECT_EQ(IntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 0);
    EXPECT_EQ(IntOption(fd, IPPROTO_IP, IP_MULTICAST_LOOP), v6_only ? 1 : 0);
    EXPECT_TRUE(socket.SetMulticastInterface(loopback).ok());
    EXPECT_EQ(IntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF),
              static_cast<int>(loopback));
  }
}

TEST(DatagramSocket, ADualStackSocketSendsIpv4MulticastToTheInterface) {
  DatagramSocket socket = BindTo("[::]:0");
  const unsigned loopback = if_nametoindex("lo");
  const SocketAddress group =
      Address(absl::StrCat("239.1.2.4:", socket.local_address().port()));
  ASSERT_TRUE(socket.JoinMulticast(group, loopback).ok());
  ASSERT_TRUE(socket.SetMulticastInterface(loopback).ok());
  EXPECT_EQ(Send(socket, "to all", &group).count, 1u);
  EXPECT_EQ(Receive(socket).bytes, "to all");
}

TEST(DatagramSocket, HopsHaveOneRangeForBothFamilies) {
  for (const int family : {AF_INET, AF_INET6}) {
    DatagramSocket socket = OpenOf(family);
    for (const int hops : {-1, 0, 256}) {
      const absl::Status status = socket.SetHops(hops);
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
      EXPECT_THAT(status.message(),
                  HasSubstr(absl::StrCat(": ", hops, " is not from 1 to 255")));
    }
    for (const int hops : {1, 255}) {
      EXPECT_TRUE(socket.SetHops(hops).ok());
      EXPECT_TRUE(socket.SetMulticastHops(hops).ok());
    }
    EXPECT_TRUE(socket.SetMulticastHops(0).ok());
    for (const int hops : {-1, 256}) {
      EXPECT_TRUE(absl::IsInvalidArgument(socket.SetMulticastHops(hops)));
    }
  }
}

TEST(DatagramSocket, JoinsAndLeavesMulticast) {
  DatagramSocket receiver = BindTo("0.0.0.0:0");
  const unsigned loopback = if_nametoindex("lo");
  const SocketAddress group =
      Address(absl::StrCat("239.1.2.3:", receiver.local_address().port()));
  ASSERT_TRUE(receiver.JoinMulticast(group, loopback).ok());
  EXPECT_FALSE(receiver.JoinMulticast(group, loopback).ok());
  DatagramSocket sender = BindTo("127.0.0.1:0");
  EXPECT_TRUE(sender.SetMulticastInterface(loopback).ok());
  EXPECT_TRUE(sender.SetMulticastLoop(true).ok());
  EXPECT_TRUE(sender.SetMulticastHops(3).ok());
  EXPECT_TRUE(sender.SetHops(7).ok());
  EXPECT_EQ(IntOption(sender.fd(), IPPROTO_IP, IP_TTL), 7);
  EXPECT_EQ(IntOption(sender.fd(), IPPROTO_IP, IP_MULTICAST_TTL), 3);
  EXPECT_FALSE(sender.SetHops(1000).ok());
  EXPECT_EQ(Send(sender, "to all", &group).count, 1u);
  EXPECT_EQ(Receive(receiver).bytes, "to all");
  EXPECT_TRUE(receiver.LeaveMulticast(group, loopback).ok());
  EXPECT_FALSE(receiver.LeaveMulticast(group, loopback).ok());
}

// --- A full receiver ---

TEST(DatagramSocket, FullUnixQueueDoesNotSpin) {
  DatagramSocket receiver = BindTo("unix:");
  const SocketAddress to = receiver.local_address();
  DatagramSocket sender = OpenOf(AF_UNIX);
  while (Send(sender, "x", &to).ok()) continue;
  EXPECT_TRUE(Send(sender, "x", &to).would_block());
  const absl::StatusOr<UniqueFd> room = DatagramSocket::WaitForRoomAt(to);
  ASSERT_TRUE(room.ok()) << room.status();
  pollfd writable = {.fd = room->get(), .events = POLLOUT, .revents = 0};
  EXPECT_EQ(poll(&writable, 1, 0), 0) << "it would spin";
  // Until there is room, by however many are taken.
  do {
    EXPECT_EQ(Receive(receiver).bytes, "x");
  } while (poll(&writable, 1, 0) == 0);
  EXPECT_TRUE(Send(sender, "x", &to).ok());
  // A connected socket waits by itself.
  ASSERT_TRUE(sender.Connect(to).ok());
  while (Send(sender, "x").ok()) continue;
  writable.fd = sender.fd();
  EXPECT_EQ(poll(&writable, 1, 0), 0);
}

TEST(DatagramSocket, WaitForRoomIsForUnixSockets) {
  for (const SocketAddress& address :
       {Address("127.0.0.1:1"), Address("unix:"), SocketAddress()}) {
    EXPECT_EQ(DatagramSocket::WaitForRoomAt(address).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(
      DatagramSocket::WaitForRoomAt(Address("@fio_nobody")).status().code(),
      absl::StatusCode::kUnavailable);
}

// --- Sending and receiving ---

TEST(DatagramSocket, TellsWhoSentWhat) {
  const TempFolder folder;
  for (const SocketAddress& address :
       {Address("127.0.0.1:0"), Address("[::1]:0"), Address("unix:")}) {
    DatagramSocket server = BindTo(address);
    DatagramSocket client = BindTo(address);
    const SocketAddress to = server.local_address();
    EXPECT_EQ(Send(client, "hello", &to).count, 1u);
    const Received received = Receive(server);
    EXPECT_EQ(received.bytes, "hello");
    EXPECT_EQ(received.from, client.local_address());
    EXPECT_FALSE(received.truncated);
    EXPECT_EQ(Send(server, "back", &received.from).count, 1u);
    EXPECT_EQ(Receive(client).bytes, "back");
  }
}

TEST(DatagramSocket, AnUnboundSenderGetsAPortButNoUnixName) {
  DatagramSocket udp = BindTo("127.0.0.1:0");
  const SocketAddress udp_address = udp.local_address();
  DatagramSocket udp_client = OpenOf(AF_INET);
  EXPECT_EQ(Send(udp_client, "x", &udp_address).count, 1u);
  const SocketAddress from = Receive(udp).from;
  EXPECT_EQ(from.ip(), "127.0.0.1");
  EXPECT_EQ(from.port(), udp_client.local_address().port());

  DatagramSocket local = BindTo("unix:");
  const SocketAddress local_address = local.local_address();
  DatagramSocket local_client = OpenOf(AF_UNIX);
  EXPECT_EQ(Send(local_client, "x", &local_address).count, 1u);
  EXPECT_EQ(Receive(local).from, SocketAddress());
}

TEST(DatagramSocket, ABatchIsOneSystemCallEachWay) {
  constexpr size_t kMany = DatagramSocket::kMaxBatch;
  DatagramSocket server = BindTo("127.0.0.1:0");
  DatagramSocket client = BindTo("127.0.0.1:0");
  const SocketAddress to = server.local_address();
  std::vector<std::string> texts;
  std::vector<OutgoingDatagram> outgoing;
  for (size_t i = 0; i < kMany; ++i) texts.push_back(absl::StrCat("text ", i));
  for (const std::string& text : texts) {
    outgoing.push_back({.bytes = text, .to = &to});
  }
  std::vector<char> memory(kMany * 100);
  std::vector<IncomingDatagram> incoming(kMany);
  for (size_t i = 0; i < kMany; ++i) {
    incoming[i].buffer = absl::MakeSpan(memory).subspan(i * 100, 100);
  }
  const SyscallCounter counter;
  EXPECT_EQ(client.SendBatch(outgoing).count, kMany);
  EXPECT_EQ(counter.count(), 1);
  EXPECT_EQ(server.ReceiveBatch(absl::MakeSpan(incoming)).count, kMany);
  EXPECT_EQ(counter.count(), 2);
  const SocketAddress from = client.local_address();
  for (size_t i = 0; i < kMany; ++i) {
    EXPECT_EQ(std::string_view(incoming[i].buffer.data(), incoming[i].bytes),
              texts[i]);
    EXPECT_EQ(incoming[i].from, from);
  }
}

TEST(DatagramSocket, MoreThanABatchTakesAnother) {
  constexpr size_t kMany = DatagramSocket::kMaxBatch + 1;
  DatagramSocket server = BindTo("127.0.0.1:0");
  DatagramSocket client = OpenOf(AF_INET);
  const SocketAddress to = server.local_address();
  const std::vector<OutgoingDatagram> outgoing(kMany,
                                               {.bytes = "x", .to = &to});
  EXPECT_EQ(client.SendBatch(outgoing).count, kMany - 1);
  EXPECT_EQ(Send(client, "x", &to).count, 1u);
  std::vector<IncomingDatagram> incoming(kMany);
  EXPECT_EQ(server.ReceiveBatch(absl::MakeSpan(incoming)).count, kMany - 1);
  EXPECT_EQ(server.ReceiveBatch(absl::MakeSpan(incoming)).count, 1u);
}

TEST(DatagramSocket, ReceivesFewerIfFewerWait) {
  DatagramSocket server = BindTo("127.0.0.1:0");
  DatagramSocket client = OpenOf(AF_INET);
  const SocketAddress to = server.local_address();
  EXPECT_EQ(Send(client, "one", &to).count, 1u);
  EXPECT_EQ(Send(client, "two", &to).count, 1u);
  std::vector<IncomingDatagram> incoming(5);
  EXPECT_EQ(server.ReceiveBatch(absl::MakeSpan(incoming)).count, 2u);
  const BatchResult nothing = server.ReceiveBatch(absl::MakeSpan(incoming));
  EXPECT_TRUE(nothing.would_block());
  EXPECT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.count, 0u);
}

TEST(DatagramSocket, AnEmptyBatchIsNoSystemCall) {
  DatagramSocket socket = OpenOf(AF_INET);
  const SyscallCounter counter;
  EXPECT_TRUE(socket.SendBatch({}).ok());
  EXPECT_TRUE(socket.ReceiveBatch({}).ok());
  EXPECT_EQ(counter.count(), 0);
}

TEST(DatagramSocket, AnEmptyDatagramIsADatagram) {
  for (const char* address : {"127.0.0.1:0", "unix:"}) {
    DatagramSocket server = BindTo(address);
    DatagramSocket client = BindTo(address);
    const SocketAddress to = server.local_address();
    EXPECT_EQ(Send(client, "", &to).count, 1u);
    const Received received = Receive(server);
    EXPECT_EQ(received.bytes, "");
    EXPECT_EQ(received.from, client.local_address());
    EXPECT_FALSE(received.truncated);
  }
}

TEST(DatagramSocket, ASmallBufferTruncatesAndSaysSo) {
  DatagramSocket server = BindTo("127.0.0.1:0");
  DatagramSocket client = OpenOf(AF_INET);
  const SocketAddress to = server.local_address();
  for (const size_t room : {4, 5, 0}) {
    EXPECT_EQ(Send(client, "hello", &to).count, 1u);
    const Received received = Receive(server, room);
    EXPECT_EQ(received.bytes, std::string("hello").substr(0, room));
    EXPECT_EQ(received.truncated, room < 5);
  }
}

TEST(DatagramSocket, ABatchEndsBeforeTheOneThatFails) {
  DatagramSocket server = BindTo("127.0.0.1:0");
  DatagramSocket client = OpenOf(AF_INET);
  const SocketAddress to = server.local_address();
  const std::string too_large(70'000, 'x');
  const OutgoingDatagram outgoing[] = {{.bytes = "one", .to = &to},
                                       {.bytes = "two", .to = &to},
                                       {.bytes = too_large, .to = &to},
                                       {.bytes = "four", .to = &to}};
  const BatchResult sent = client.SendBatch(outgoing);
  EXPECT_TRUE(sent.ok());
  EXPECT_EQ(sent.count, 2u);
  const BatchResult failed =
      client.SendBatch(absl::MakeConstSpan(outgoing).subspan(2));
  EXPECT_EQ(failed.error, EMSGSIZE);
  EXPECT_EQ(failed.count, 0u);
  EXPECT_EQ(Receive(server).bytes, "one");
  EXPECT_EQ(Receive(server).bytes, "two");
}

TEST(DatagramSocket, NoRoomWouldBlock) {
  DatagramSocket server = BindTo("unix:");
  DatagramSocket client = OpenOf(AF_UNIX);
  ASSERT_TRUE(client.Connect(server.local_address()).ok());
  BatchResult sent;
  do {
    sent = Send(client, "x");
  } while (sent.ok());
  EXPECT_TRUE(sent.would_block());
}

TEST(DatagramSocket, InterruptedCallsAreTriedAgain) {
  static int interruptions;
  interruptions = 0;
  DatagramSocket server = BindTo("127.0.0.1:0");
  DatagramSocket client = OpenOf(AF_INET);
  const SocketAddress to = server.local_address();
  Syscalls table;
  table.sendmmsg = [](int fd, mmsghdr* messages, unsigned count, int flags) {
    errno = EINTR;
    return interruptions++ % 2 == 0 ? -1 : sendmmsg(fd, messages, count, flags);
  };
  table.recvmmsg = [](int fd, mmsghdr* messages, unsigned count, int flags,
                      timespec* timeout) {
    errno = EINTR;
    return interruptions++ % 2 == 0
               ? -1
               : recvmmsg(fd, messages, count, flags, timeout);
  };
  const ScopedSyscalls scope(&table);
  EXPECT_EQ(Send(client, "hello", &to).count, 1u);
  EXPECT_EQ(Receive(server).bytes, "hello");
  EXPECT_EQ(interruptions, 4);
}

TEST(DatagramSocket, ADualStackSocketAnswersIpv4Peers) {
  DatagramSocket server = BindTo("[::]:0");
  const SocketAddress to =
      *SocketAddress::FromIp("127.0.0.1", server.local_address().port());
  DatagramSocket client = BindTo("127.0.0.1:0");
  EXPECT_EQ(Send(client, "hello", &to).count, 1u);
  const Received received = Receive(server);
  EXPECT_EQ(received.from, client.local_address());
  EXPECT_EQ(Send(server, "back", &received.from).count, 1u);
  EXPECT_EQ(Receive(client).bytes, "back");
  EXPECT_TRUE(server.Connect(received.from).ok());
  EXPECT_EQ(Send(server, "again").count, 1u);
  EXPECT_EQ(Receive(client).bytes, "again");
}

// --- Connected ---

TEST(DatagramSocket, AConnectedOneHasOnePeer) {
  for (const char* address : {"127.0.0.1:0", "[::1]:0", "unix:"}) {
    DatagramSocket peer = BindTo(address);
    DatagramSocket socket = BindTo(address);
    ASSERT_TRUE(socket.Connect(peer.local_address()).ok());
    EXPECT_EQ(socket.peer_address(), peer.local_address());
    EXPECT_EQ(Send(socket, "hello").count, 1u);
    const Received received = Receive(peer);
    EXPECT_EQ(received.bytes, "hello");
    EXPECT_EQ(received.from, socket.local_address());
    EXPECT_EQ(Send(peer, "back", &received.from).count, 1u);
    EXPECT_EQ(Receive(socket).bytes, "back");
  }
}

TEST(DatagramSocket, AConnectedOneHearsNobodyElse) {
  DatagramSocket peer = BindTo("127.0.0.1:0");
  DatagramSocket stranger = BindTo("127.0.0.1:0");
  DatagramSocket socket = BindTo("127.0.0.1:0");
  ASSERT_TRUE(socket.Connect(peer.local_address()).ok());
  const SocketAddress to = socket.local_address();
  // On loopback, what was sent has arrived or been dropped.
  EXPECT_EQ(Send(stranger, "spam", &to).count, 1u);
  EXPECT_EQ(Send(peer, "hello", &to).count, 1u);
  EXPECT_EQ(Receive(socket).bytes, "hello");
  // Another peer instead of the first.
  ASSERT_TRUE(socket.Connect(stranger.local_address()).ok());
  EXPECT_EQ(Send(peer, "late", &to).count, 1u);
  EXPECT_EQ(Send(stranger, "hello", &to).count, 1u);
  EXPECT_EQ(Receive(socket).bytes, "hello");
}

TEST(DatagramSocket, MixesOfConnectedAndUnconnectedAreErrors) {
  for (const char* address : {"127.0.0.1:0", "unix:"}) {
    DatagramSocket peer = BindTo(address);
    const SocketAddress to = peer.local_address();
    DatagramSocket socket = BindTo(address);
    const int without_peer = Send(socket, "x").error;
    EXPECT_EQ(without_peer, to.family() == AF_UNIX ? ENOTCONN : EDESTADDRREQ);
    ASSERT_TRUE(socket.Connect(to).ok());
    EXPECT_EQ(Send(socket, "x", &to).error, EISCONN);
    const OutgoingDatagram outgoing[] = {{.bytes = "one"},
                                         {.bytes = "two", .to = &to}};
    EXPECT_EQ(socket.SendBatch(outgoing).count, 1u);
    EXPECT_EQ(Receive(peer).bytes, "one");
  }
}

TEST(DatagramSocket, ConnectedItHearsThatNobodyIsThere) {
  const SocketAddress nobody = BindTo("127.0.0.1:0").local_address();
  DatagramSocket socket = OpenOf(AF_INET);
  ASSERT_TRUE(socket.Connect(nobody).ok());
  EXPECT_EQ(Send(socket, "x").count, 1u);
  EXPECT_EQ(Send(socket, "x").error, ECONNREFUSED);
}

// sendmmsg(2) forgets the error of any but the first datagram.
TEST(DatagramSocket, InABatchOnlyTheFirstHearsThatNobodyIsThere) {
  const SocketAddress nobody = BindTo("127.0.0.1:0").local_address();
  DatagramSocket socket = OpenOf(AF_INET);
  ASSERT_TRUE(socket.Connect(nobody).ok());
  const OutgoingDatagram outgoing[] = {{.bytes = "one"}, {.bytes = "two"}};
  const BatchResult sent = socket.SendBatch(outgoing);
  EXPECT_TRUE(sent.ok());
  EXPECT_EQ(sent.count, 1u);
  // The second one met the error, and is sent now.
  EXPECT_EQ(Send(socket, "two").count, 1u);
  EXPECT_EQ(Send(socket, "three").error, ECONNREFUSED);
  EXPECT_EQ(Send(socket, "three").count, 1u);
  IncomingDatagram none;
  EXPECT_EQ(socket.ReceiveBatch({&none, 1}).error, ECONNREFUSED);
}

TEST(DatagramSocket, ConnectErrorsNameTheAddress) {
  DatagramSocket socket = OpenOf(AF_INET);
  for (const char* text : {"127.0.0.1:0", "[::1]:0", "unix:"}) {
    const absl::Status status = socket.Connect(Address(text));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(absl::StrCat("connect ", text)));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(socket.Connect({})));
  EXPECT_THAT(socket.Connect(Address("[::1]:1")).message(),
              HasSubstr("connect [::1]:1: Address family not supported"));
  EXPECT_EQ(socket.peer_address(), SocketAddress());
}

// --- Options and errors ---

TEST(DatagramSocket, SharingIsOffByDefault) {
  const DatagramSocket first = BindTo("127.0.0.1:0");
  const absl::Status status =
      DatagramSocket::Bind(first.local_address()).status();
  EXPECT_EQ(status, ErrnoToStatus(EADDRINUSE,
                                  "bind " + first.local_address().ToString()));
}

TEST(DatagramSocket, SharesIfBothAsk) {
  for (const DatagramOptions& options : {DatagramOptions{.reuse_address = true},
                                         DatagramOptions{.reuse_port = true}}) {
    const DatagramSocket first = BindTo("127.0.0.1:0", options);
    const DatagramSocket second = BindTo(first.local_address(), options);
    EXPECT_EQ(second.local_address(), first.local_address());
    EXPECT_FALSE(DatagramSocket::Bind(first.local_address()).ok());
  }
}

TEST(DatagramSocket, V6OnlyLeavesIpv4ToOthers) {
  const DatagramSocket ipv6 = BindTo("[::]:0", {.v6_only = true});
  EXPECT_EQ(IntOption(ipv6.fd(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  const SocketAddress ipv4 =
      *SocketAddress::FromIp("0.0.0.0", ipv6.local_address().port());
  EXPECT_EQ(BindTo(ipv4).local_address(), ipv4);
}

TEST(DatagramSocket, BroadcastMustBeAllowed) {
  const SocketAddress everybody = Address("127.255.255.255:9");
  DatagramSocket shy = BindTo("127.0.0.1:0");
  EXPECT_EQ(Send(shy, "x", &everybody).error, EACCES);
  DatagramSocket loud = BindTo("127.0.0.1:0", {.broadcast = true});
  EXPECT_EQ(Send(loud, "x", &everybody).count, 1u);
}

TEST(DatagramSocket, BuffersAreAsked) {
  const DatagramSocket socket =
      BindTo("127.0.0.1:0",
             {.receive_buffer_bytes = 10'000, .send_buffer_bytes = 20'000});
  // Linux doubles them for its own use: socket(7).
  EXPECT_EQ(IntOption(socket.fd(), SOL_SOCKET, SO_RCVBUF), 20'000);
  EXPECT_EQ(IntOption(socket.fd(), SOL_SOCKET, SO_SNDBUF), 40'000);
}

TEST(DatagramSocket, RefusesOptionsThatMakeNoSense) {
  struct {
    SocketAddress address;
    DatagramOptions options;
    const char* message;
  } cases[] = {
      {{}, {}, "there is no address"},
      {Address("127.0.0.1:0"), {.v6_only = true}, "v6_only is for IPv6"},
      {Address("[::1]:0"), {.broadcast = true}, "broadcast is for IPv4"},
      {Address("@x"), {.reuse_address = true}, "are for UDP"},
      {Address("/nowhere/x"), {.reuse_port = true}, "are for UDP"},
      {Address("@x"), {.v6_only = true}, "v6_only is for IPv6"},
      {Address("127.0.0.1:0"),
       {.receive_buffer_bytes = size_t{1} << 31},
       "2 GiB"},
      {Address("127.0.0.1:0"), {.send_buffer_bytes = size_t{1} << 31}, "2 GiB"},
  };
  for (const auto& c : cases) {
    const absl::Status status =
        DatagramSocket::Bind(c.address, c.options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(c.message));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(
      DatagramSocket::Open(AF_INET, {.v6_only = true}).status()));
  EXPECT_THAT(DatagramSocket::Open(AF_NETLINK).status().message(),
              HasSubstr("family 16 is unknown"));
}

TEST(DatagramSocket, SetUpErrorsNameTheCallAndLeaveNothing) {
  const std::vector<int> open = OpenDescriptors();
  EXPECT_THAT(DatagramSocket::Bind(Address("192.0.2.1:0")).status().message(),
              HasSubstr("bind 192.0.2.1:0: Cannot assign"));
  Syscalls table;
  table.setsockopt = [](int, int, int, const void*, socklen_t) {
    errno = EPERM;
    return -1;
  };
  {
    const ScopedSyscalls scope(&table);
    EXPECT_THAT(
        DatagramSocket::Open(AF_INET, {.reuse_port = true}).status().message(),
        HasSubstr("setsockopt SO_REUSEPORT 0.0.0.0:0: Operation not"));
  }
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST(DatagramSocket, AUnixPathIsTakenOverAndRemoved) {
  const TempFolder folder;
  const SocketAddress address = Address(folder.File("x"));
  DatagramSocket client = OpenOf(AF_UNIX);
  {
    DatagramSocket server = BindTo(address);
    EXPECT_THAT(DatagramSocket::Bind(address).status().message(),
                HasSubstr("Address already in use"));
    EXPECT_EQ(Send(client, "hello", &address).count, 1u);
    EXPECT_EQ(Receive(server).bytes, "hello");
    server = BindTo(folder.File("y").c_str());
    EXPECT_THAT(folder.List(), ElementsAre("y"));
  }
  EXPECT_THAT(folder.List(), IsEmpty());
  EXPECT_EQ(Send(client, "hello", &address).error, ENOENT);
}

}  // namespace
}  // namespace fio
