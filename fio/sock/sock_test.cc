// What holds for all sockets of this package alike.

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/connect.h"
#include "fio/sock/datagram_socket.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/listen_defaults.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/test_util.h"
#include "fio/sock/url.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::Address;
using testing::CarryBytes;
using testing::IntOption;
using testing::TempFolder;
using testing::WaitAndAccept;

// A listening socket, and a connection to it with both its ends.
struct Stream {
  explicit Stream(const SocketAddress& address)
      : listener(*ListenSocket::Listen(address, {})),
        client(*StartConnect(listener.local_address())),
        server(WaitAndAccept(listener)) {}

  ListenSocket listener;
  Socket client;
  ListenSocket::Accepted server;
};

// Two bound sockets, of which one is connected to the other.
struct Datagrams {
  explicit Datagrams(const SocketAddress& address)
      : server(*DatagramSocket::Bind(address)),
        client(*DatagramSocket::Bind(address)) {
    EXPECT_TRUE(client.Connect(server.local_address()).ok());
  }

  DatagramSocket server;
  DatagramSocket client;
};

bool CarryDatagram(DatagramSocket& from, DatagramSocket& to,
                   const SocketAddress* address) {
  const OutgoingDatagram outgoing = {.bytes = "there", .to = address};
  if (from.SendBatch({&outgoing, 1}).count != 1) return false;
  testing::WaitReadable(to.fd());
  char buffer[10];
  IncomingDatagram incoming = {.buffer = absl::MakeSpan(buffer)};
  return to.ReceiveBatch({&incoming, 1}).count == 1 &&
         std::string(buffer, incoming.bytes) == "there" &&
         incoming.from == from.local_address();
}

TEST(Socket, AllKinds) {
  const TempFolder folder;
  for (const SocketAddress& address :
       {Address("127.0.0.1:0"), Address("[::1]:0"), Address(folder.File("x")),
        Address("unix:")}) {
    Stream stream(address);
    EXPECT_TRUE(CarryBytes(stream.client, stream.server.socket))
        << address.ToString();
  }
  for (const char* address : {"127.0.0.1:0", "[::1]:0", "unix:"}) {
    Datagrams datagrams((Address(address)));
    const SocketAddress client = datagrams.client.local_address();
    EXPECT_TRUE(CarryDatagram(datagrams.client, datagrams.server, nullptr));
    EXPECT_TRUE(CarryDatagram(datagrams.server, datagrams.client, &client));
  }
  const absl::Status conflicts[] = {
      ListenSocket::Listen(Address("/x"), {.v6_only = true}).status(),
      ListenSocket::Listen(Address("127.0.0.1:0"), {.unix_mode = 0600})
          .status(),
      StartConnect(Address("/x"), {.keepalive = KeepAlive()}).status(),
      StartConnect(Address("127.0.0.1:1"), {.local_address = Address("@x")})
          .status(),
      DatagramSocket::Bind(Address("@x"), {.reuse_port = true}).status(),
  };
  for (const absl::Status& conflict : conflicts) {
    EXPECT_TRUE(absl::IsInvalidArgument(conflict)) << conflict;
  }
}

// The numbers of those of `fds` that a program sees that this process becomes.
std::string SeenAfterExec(const std::vector<int>& fds) {
  const std::string script = absl::StrCat(
      "for fd in ", absl::StrJoin(fds, " "),
      "; do test -e /proc/self/fd/$fd && echo -n \"$fd \"; done; echo");
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    dup2(writer.get(), STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    _exit(127);
  }
  writer.Reset();
  std::string seen;
  char byte;
  while (read(reader.get(), &byte, 1) == 1) seen += byte;
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  return seen;
}

// facil.io asked fcntl(2) for it with the wrong command.
TEST(Socket, CloexecReallySet) {
  const TempFolder folder;
  const Stream streams[] = {
      Stream(Address("127.0.0.1:0")), Stream(Address("[::1]:0")),
      Stream(Address(folder.File("x"))), Stream(Address("unix:"))};
  const Datagrams datagrams[] = {Datagrams(Address("127.0.0.1:0")),
                                 Datagrams(Address("[::1]:0")),
                                 Datagrams(Address("unix:"))};
  const DatagramSocket unbound = *DatagramSocket::Open(AF_INET);
  std::vector<int> fds = {unbound.fd()};
  for (const Stream& stream : streams) {
    fds.insert(fds.end(), {stream.listener.fd(), stream.client.fd(),
                           stream.server.socket.fd()});
  }
  for (const Datagrams& pair : datagrams) {
    fds.insert(fds.end(), {pair.server.fd(), pair.client.fd()});
  }
  for (const int fd : fds) EXPECT_TRUE(testing::CloseOnExec(fd)) << fd;
  // One without the flag shows that the child looks in the right place.
  const UniqueFd kept(dup(unbound.fd()));
  fds.push_back(kept.get());
  EXPECT_EQ(SeenAfterExec(fds), absl::StrCat(kept.get(), " \n"));
}

void ExpectKind(int fd, int type, int domain, bool accepts) {
  EXPECT_EQ(IntOption(fd, SOL_SOCKET, SO_TYPE), type);
  EXPECT_EQ(IntOption(fd, SOL_SOCKET, SO_DOMAIN), domain);
  EXPECT_EQ(IntOption(fd, SOL_SOCKET, SO_ACCEPTCONN), accepts ? 1 : 0);
}

// What was a flag of facil.io's fio_socket() is a class or an address here, so
// that no two of them can contradict each other:
//
//   FIO_SOCKET_SERVER   ListenSocket, DatagramSocket::Bind()
//   FIO_SOCKET_CLIENT   StartConnect(), DatagramSocket::Connect()
//   FIO_SOCKET_NONBLOCK always
//   FIO_SOCKET_TCP      Url::Kind::kStream, an IP address
//   FIO_SOCKET_UDP      Url::Kind::kDatagram, DatagramSocket
//   FIO_SOCKET_UNIX     Url::Kind::kUnix, a Unix address
TEST(Socket, FlagValues) {
  const TempFolder folder;
  struct {
    SocketAddress address;
    int domain;
  } cases[] = {{Address("127.0.0.1:0"), AF_INET},
               {Address("[::1]:0"), AF_INET6},
               {Address("unix:"), AF_UNIX},
               {Address(folder.File("x")), AF_UNIX}};
  std::vector<int> fds;
  for (const auto& c : cases) {
    const Stream stream(c.address);
    ExpectKind(stream.listener.fd(), SOCK_STREAM, c.domain, true);
    ExpectKind(stream.client.fd(), SOCK_STREAM, c.domain, false);
    ExpectKind(stream.server.socket.fd(), SOCK_STREAM, c.domain, false);
    EXPECT_TRUE(testing::NonBlocking(stream.listener.fd()));
    EXPECT_TRUE(testing::NonBlocking(stream.client.fd()));
    EXPECT_TRUE(testing::NonBlocking(stream.server.socket.fd()));
  }
  for (const auto& c : absl::MakeSpan(cases).first(3)) {
    const Datagrams pair(c.address);
    ExpectKind(pair.server.fd(), SOCK_DGRAM, c.domain, false);
    ExpectKind(pair.client.fd(), SOCK_DGRAM, c.domain, false);
    EXPECT_TRUE(testing::NonBlocking(pair.server.fd()));
    EXPECT_TRUE(testing::NonBlocking(pair.client.fd()));
  }
  EXPECT_EQ(Url::Parse("tcp://:1")->kind(), Url::Kind::kStream);
  EXPECT_EQ(Url::Parse("udp://:1")->kind(), Url::Kind::kDatagram);
  EXPECT_EQ(Url::Parse("unix:///x")->kind(), Url::Kind::kUnix);
}

TEST(Addr, PeerKinds) {
  const TempFolder folder;
  // As accepted, of the accepted, of the client: all of them outlive the
  // sockets.
  struct Addresses {
    explicit Addresses(const Stream& stream)
        : accepted_from(stream.server.peer_address),
          server_peer(stream.server.socket.peer_address()),
          server_local(stream.server.socket.local_address()),
          client_peer(stream.client.peer_address()),
          client_local(stream.client.local_address()) {}
    SocketAddress accepted_from, server_peer, server_local, client_peer,
        client_local;
  };
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    const Addresses told{Stream(Address(address))};
    EXPECT_EQ(told.accepted_from, told.client_local);
    EXPECT_EQ(told.server_peer, told.client_local);
    EXPECT_EQ(told.client_peer, told.server_local);
    EXPECT_EQ(told.accepted_from.ip(), Address(address).ip());
    EXPECT_NE(told.accepted_from.port(), 0);
    EXPECT_NE(told.accepted_from.port(), told.server_local.port());
  }
  for (const SocketAddress& address :
       {Address(folder.File("x")),
        ListenSocket::Listen(Address("unix:"), {})->local_address()}) {
    const Addresses told{Stream(address)};
    EXPECT_EQ(told.server_local, address);
    EXPECT_EQ(told.client_peer, address);
    EXPECT_EQ(told.accepted_from.ToString(), "unix:");
    EXPECT_EQ(told.server_peer, told.accepted_from);
    EXPECT_EQ(told.client_local, told.accepted_from);
  }
}

TEST(Addr, AnIpv4PeerOfAnIpv6SocketReadsAsIpv4) {
  ListenSocket listener = *ListenSocket::Listen(Address("[::]:0"), {});
  const Socket client = *StartConnect(
      *SocketAddress::FromIp("127.0.0.1", listener.local_address().port()));
  const ListenSocket::Accepted accepted = WaitAndAccept(listener);
  EXPECT_EQ(accepted.peer_address.ip(), "127.0.0.1");
  EXPECT_EQ(accepted.peer_address, client.local_address());
  EXPECT_EQ(accepted.socket.peer_address(), client.local_address());
  EXPECT_EQ(accepted.socket.local_address(), client.peer_address());
}

// The addresses that a url to listen on stands for.
absl::StatusOr<std::vector<SocketAddress>> ListenAddresses(
    ListenDefaults& defaults, const std::string& text) {
  const absl::StatusOr<Url> url =
      defaults.Complete(text, [](const char*) { return nullptr; });
  if (!url.ok()) return url.status();
  return Resolve(*url);
}

TEST(Listen, UrlMatrix) {
  // What is always the same port can be asked, but not tried.
  struct {
    const char* url;
    const char* address;
  } cases[] = {
      {"", "0.0.0.0:3000"},
      {"tcp://", "0.0.0.0:3001"},
      {"tcp://127.0.0.1", "127.0.0.1:3002"},
      {"tcp6://", "[::]:3003"},
      {"udp://", "0.0.0.0:3004"},
      {"tcp://:80", "0.0.0.0:80"},
      {"tcp://[::1]:80", "[::1]:80"},
      {"udp://127.0.0.1:53", "127.0.0.1:53"},
      {"http://", "0.0.0.0:80"},
      {"ws://127.0.0.1/", "127.0.0.1:80"},
      {"https://127.0.0.1", "127.0.0.1:443"},
      {"wss://[::1]", "[::1]:443"},
      {"unix:///p", "/p"},
      {"/abs/path", "/abs/path"},
      {"unix://p", "unix:p"},
      {"unix://@p", "@p"},
  };
  ListenDefaults defaults;
  for (const auto& c : cases) {
    const absl::StatusOr<std::vector<SocketAddress>> addresses =
        ListenAddresses(defaults, c.url);
    ASSERT_TRUE(addresses.ok()) << addresses.status();
    EXPECT_EQ(addresses->front().ToString(), c.address) << c.url;
  }

  const TempFolder folder;
  ASSERT_EQ(chdir(folder.path().c_str()), 0);
  for (const std::string& url :
       {std::string("tcp://127.0.0.1:0"), std::string("tcp4://localhost:0"),
        std::string("tcp6://[::1]:0"), std::string("tcp://[::1]:0"),
        std::string("tcp://:0"), std::string("tcp6://:0"),
        std::string("http://127.0.0.1:0"), std::string("ws://:0/"),
        std::string("https://[::1]:0"), std::string("wss://localhost:0"),
        "unix://" + folder.File("a"), folder.File("b"),
        std::string("unix://relative"), "unix://@" + folder.File("c")}) {
    const absl::StatusOr<std::vector<SocketAddress>> addresses =
        ListenAddresses(defaults, url);
    ASSERT_TRUE(addresses.ok()) << addresses.status();
    absl::StatusOr<ListenSocket> listener = ListenOnAny(*addresses, {});
    ASSERT_TRUE(listener.ok()) << listener.status();
    absl::StatusOr<Socket> client = StartConnect(listener->local_address());
    ASSERT_TRUE(client.ok()) << client.status();
    ListenSocket::Accepted server = WaitAndAccept(*listener);
    EXPECT_TRUE(CarryBytes(*client, server.socket)) << url;
  }
  for (const std::string& url :
       {std::string("udp://127.0.0.1:0"), std::string("udp6://[::1]:0"),
        std::string("udp4://localhost:0")}) {
    const absl::StatusOr<std::vector<SocketAddress>> addresses =
        ListenAddresses(defaults, url);
    ASSERT_TRUE(addresses.ok()) << addresses.status();
    Datagrams datagrams(addresses->front());
    EXPECT_TRUE(CarryDatagram(datagrams.client, datagrams.server, nullptr));
  }
  ASSERT_EQ(chdir("/"), 0);

  EXPECT_TRUE(absl::IsInvalidArgument(
      ListenAddresses(defaults, "tcp://127.0.0.1:0/path").status()));
  EXPECT_TRUE(absl::StrContains(
      ListenAddresses(defaults, "/" + std::string(200, 'x')).status().message(),
      "File name too long"));
}

TEST(Text, OfAddressesUrlsAndResults) {
  EXPECT_EQ(absl::StrCat(*SocketAddress::Parse("127.0.0.1:3000")),
            "127.0.0.1:3000");
  EXPECT_EQ(absl::StrCat(*SocketAddress::Parse("[::1]:80")), "[::1]:80");
  EXPECT_EQ(absl::StrCat(*SocketAddress::Parse("/run/x.sock")), "/run/x.sock");
  EXPECT_EQ(absl::StrCat(SocketAddress()), "");
  EXPECT_EQ(absl::StrCat(*Url::Parse("tcp://127.0.0.1:3000")),
            "tcp://127.0.0.1:3000");
  EXPECT_EQ(absl::StrCat(IoResult{.bytes = 12}), "12 bytes");
  EXPECT_EQ(absl::StrCat(IoResult{.bytes = 12, .error = ECONNRESET}),
            "ECONNRESET after 12 bytes");
}

}  // namespace
}  // namespace fio
