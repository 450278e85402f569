#include "fio/sock/connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/syscalls.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::Address;
using testing::CarryBytes;
using ::testing::HasSubstr;
using testing::IntOption;
using testing::OpenDescriptors;
using testing::ScopedSyscalls;
using testing::TempFolder;
using testing::WaitAndAccept;

ListenSocket ListenOn(const SocketAddress& address) {
  absl::StatusOr<ListenSocket> listener = ListenSocket::Listen(address, {});
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

Socket ConnectTo(const SocketAddress& address,
                 const ConnectOptions& options = {}) {
  absl::StatusOr<Socket> socket = StartConnect(address, options);
  EXPECT_TRUE(socket.ok()) << socket.status();
  return *std::move(socket);
}

std::string ConnectError(const SocketAddress& address,
                         const ConnectOptions& options = {}) {
  return std::string(StartConnect(address, options).status().message());
}

// What came of it in the end, as an errno.
int Outcome(const Socket& socket) {
  testing::WaitWritable(socket.fd());
  return IntOption(socket.fd(), SOL_SOCKET, SO_ERROR);
}

TEST(Connect, CarriesBytesOnceWritable) {
  const TempFolder folder;
  for (const SocketAddress& address :
       {Address("127.0.0.1:0"), Address("[::1]:0"), Address("unix:"),
        Address(folder.File("x"))}) {
    ListenSocket listener = ListenOn(address);
    Socket client = ConnectTo(listener.local_address());
    EXPECT_TRUE(testing::NonBlocking(client.fd()));
    EXPECT_TRUE(testing::CloseOnExec(client.fd()));
    EXPECT_EQ(Outcome(client), 0);
    ListenSocket::Accepted server = WaitAndAccept(listener);
    EXPECT_TRUE(CarryBytes(client, server.socket));
  }
}

TEST(Connect, IsNonBlockingAndCloseOnExecFromBirth) {
  ListenSocket listener = ListenOn(Address("127.0.0.1:0"));
  Syscalls table;
  table.socket = [](int domain, int type, int protocol) {
    EXPECT_EQ(type, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    return socket(domain, type, protocol);
  };
  const ScopedSyscalls scope(&table);
  ConnectTo(listener.local_address());
}

TEST(Connect, InProgressIsSuccess) {
  static int error;
  Syscalls table;
  table.connect = [](int, const sockaddr*, socklen_t) {
    errno = error;
    return -1;
  };
  const ScopedSyscalls scope(&table);
  // An interrupted connect(2) goes on; see connect(2) in POSIX.
  for (const int going_on : {EINPROGRESS, EINTR}) {
    error = going_on;
    EXPECT_TRUE(StartConnect(Address("127.0.0.1:1")).ok());
  }
  error = ENETUNREACH;
  EXPECT_THAT(ConnectError(Address("127.0.0.1:1")),
              HasSubstr("connect 127.0.0.1:1: Network is unreachable"));
}

TEST(Connect, ARefusalIsTheOutcome) {
  const SocketAddress nobody = ListenOn(Address("127.0.0.1:0")).local_address();
  const absl::StatusOr<Socket> socket = StartConnect(nobody);
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_EQ(Outcome(*socket), ECONNREFUSED);
}

TEST(Connect, UnixErrorsComeAtOnceAndNameThePath) {
  const TempFolder folder;
  const std::vector<int> open = OpenDescriptors();
  EXPECT_THAT(ConnectError(Address(folder.File("x"))),
              HasSubstr("connect " + folder.File("x") + ": No such file"));
  EXPECT_THAT(ConnectError(Address("@fio_nobody")),
              HasSubstr("connect @fio_nobody: Connection refused"));
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST(Connect, AFullUnixQueueIsAnError) {
  absl::StatusOr<ListenSocket> listener =
      ListenSocket::Listen(Address("unix:"), {.backlog = 1});
  ASSERT_TRUE(listener.ok()) << listener.status();
  std::vector<Socket> clients;
  absl::Status status;
  while (status.ok()) {
    absl::StatusOr<Socket> client = StartConnect(listener->local_address());
    status = client.status();
    if (client.ok()) clients.push_back(*std::move(client));
    ASSERT_LT(clients.size(), 10u);
  }
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_THAT(status.message(),
              HasSubstr("(EAGAIN): the server's queue is full"));
}

TEST(Connect, NodelayIsOnByDefault) {
  const ListenSocket listener = ListenOn(Address("127.0.0.1:0"));
  for (const bool nodelay : {true, false}) {
    const Socket client =
        ConnectTo(listener.local_address(), {.nodelay = nodelay});
    EXPECT_EQ(IntOption(client.fd(), IPPROTO_TCP, TCP_NODELAY) != 0, nodelay);
  }
}

TEST(Connect, KeepAliveIsOffByDefault) {
  const ListenSocket listener = ListenOn(Address("[::1]:0"));
  const Socket without = ConnectTo(listener.local_address());
  EXPECT_EQ(IntOption(without.fd(), SOL_SOCKET, SO_KEEPALIVE), 0);
  const Socket with =
      ConnectTo(listener.local_address(),
                {.keepalive = KeepAlive{.idle = absl::Seconds(20),
                                        .interval = absl::Nanoseconds(1),
                                        .count = 3}});
  EXPECT_EQ(IntOption(with.fd(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(IntOption(with.fd(), IPPROTO_TCP, TCP_KEEPIDLE), 20);
  EXPECT_EQ(IntOption(with.fd(), IPPROTO_TCP, TCP_KEEPINTVL), 1);
  EXPECT_EQ(IntOption(with.fd(), IPPROTO_TCP, TCP_KEEPCNT), 3);
}

// The kernel doubles them.
TEST(Connect, BuffersHaveTheSizeThatIsAskedFor) {
  for (const char* server : {"127.0.0.1:0", "unix:"}) {
    const ListenSocket listener = ListenOn(Address(server));
    const Socket client = ConnectTo(
        listener.local_address(),
        {.receive_buffer_bytes = 30'000, .send_buffer_bytes = 20'000});
    EXPECT_EQ(IntOption(client.fd(), SOL_SOCKET, SO_RCVBUF), 60'000);
    EXPECT_EQ(IntOption(client.fd(), SOL_SOCKET, SO_SNDBUF), 40'000);
  }
}

TEST(Connect, ComesFromTheLocalAddress) {
  ListenSocket listener = ListenOn(Address("127.0.0.1:0"));
  const Socket client = ConnectTo(listener.local_address(),
                                  {.local_address = Address("127.0.0.2:0")});
  const ListenSocket::Accepted accepted = WaitAndAccept(listener);
  EXPECT_EQ(accepted.peer_address.ip(), "127.0.0.2");
  EXPECT_EQ(accepted.peer_address, client.local_address());

  ListenSocket unix_listener = ListenOn(Address("unix:"));
  const SocketAddress name = ListenOn(Address("unix:")).local_address();
  const Socket unix_client =
      ConnectTo(unix_listener.local_address(), {.local_address = name});
  EXPECT_EQ(WaitAndAccept(unix_listener).peer_address, name);
}

TEST(Connect, ALocalAddressThatCannotBeIsNamed) {
  EXPECT_THAT(ConnectError(Address("127.0.0.1:1"),
                           {.local_address = Address("192.0.2.1:0")}),
              HasSubstr("bind 192.0.2.1:0: Cannot assign"));
}

TEST(Connect, RefusesWhatMakesNoSense) {
  const SocketAddress ipv4 = Address("127.0.0.1:1");
  const SocketAddress path = Address("/nowhere/x");
  struct {
    SocketAddress address;
    ConnectOptions options;
    const char* message;
  } cases[] = {
      {{}, {}, "there is no address"},
      {Address("127.0.0.1:0"), {}, "the port is 0"},
      {Address("[::1]:0"), {}, "the port is 0"},
      {Address("unix:"), {}, "the name is missing"},
      {path, {.keepalive = KeepAlive()}, "keepalive is for TCP"},
      {ipv4,
       {.receive_buffer_bytes = size_t{1} << 31},
       "a buffer has more than 2 GiB"},
      {ipv4,
       {.send_buffer_bytes = size_t{1} << 31},
       "a buffer has more than 2 GiB"},
      {path, {.local_address = Address("/x")}, "local_address is a path"},
      {ipv4, {.local_address = Address("[::1]:0")}, "of another family"},
      {ipv4, {.local_address = Address("@x")}, "of another family"},
  };
  for (const auto& c : cases) {
    const absl::Status status = StartConnect(c.address, c.options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr("connect " + c.address.ToString()));
    EXPECT_THAT(status.message(), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace fio
