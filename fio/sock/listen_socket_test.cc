#include "fio/sock/listen_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

ListenSocket ListenOn(const char* ip) {
  absl::StatusOr<ListenSocket> listener =
      ListenSocket::Listen(*SocketAddress::FromIp(ip, 0), {});
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

UniqueFd ConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(fd.get(), address.data(), address.size()), 0);
  return fd;
}

Socket AcceptOn(ListenSocket& listener) {
  pollfd ready = {.fd = listener.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ready, 1, -1), 1);
  ListenSocket::Accepted accepted = listener.Accept();
  EXPECT_EQ(accepted.error, 0);
  return std::move(accepted.socket);
}

int IntOption(int fd, int level, int option) {
  int value = -1;
  socklen_t size = sizeof(value);
  EXPECT_EQ(getsockopt(fd, level, option, &value, &size), 0);
  return value;
}

TEST(ListenSocket, TellsTheRealPort) {
  EXPECT_NE(ListenOn("127.0.0.1").local_address().port(), 0);
  EXPECT_NE(ListenOn("::1").local_address().port(), 0);
}

TEST(ListenSocket, AcceptsNonBlockingCloexecNodelay) {
  ListenSocket listener = ListenOn("127.0.0.1");
  const UniqueFd client = ConnectTo(listener.local_address());
  const Socket socket = AcceptOn(listener);
  EXPECT_TRUE(fcntl(socket.fd(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(fcntl(socket.fd(), F_GETFD) & FD_CLOEXEC);
  EXPECT_NE(IntOption(socket.fd(), IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_TRUE(fcntl(listener.fd(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(fcntl(listener.fd(), F_GETFD) & FD_CLOEXEC);
}

TEST(ListenSocket, AcceptedSocketKnowsBothEnds) {
  ListenSocket listener = ListenOn("127.0.0.1");
  const UniqueFd client = ConnectTo(listener.local_address());
  const Socket socket = AcceptOn(listener);
  EXPECT_EQ(socket.local_address(), listener.local_address());
  EXPECT_EQ(socket.peer_address().ip(), "127.0.0.1");
  EXPECT_NE(socket.peer_address().port(), 0);
}

TEST(ListenSocket, NobodyWaitingIsEagain) {
  EXPECT_EQ(ListenOn("127.0.0.1").Accept().error, EAGAIN);
}

TEST(ListenSocket, AddressInUseNamesTheCallAndTheAddress) {
  const ListenSocket first = ListenOn("127.0.0.1");
  const absl::Status status =
      ListenSocket::Listen(first.local_address(), {}).status();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.message(),
              HasSubstr("bind " + first.local_address().ToString()));
  EXPECT_THAT(status.message(), HasSubstr("Address already in use"));
}

TEST(ListenSocket, ForeignAddressIsRefused) {
  // 192.0.2.0/24 is for documentation and no machine's own: RFC 5737.
  const absl::Status status =
      ListenSocket::Listen(*SocketAddress::FromIp("192.0.2.1", 0), {}).status();
  EXPECT_THAT(status.message(), HasSubstr("bind 192.0.2.1:0"));
  EXPECT_FALSE(ListenSocket::Listen(SocketAddress(), {}).ok());
}

TEST(ListenSocket, BytesSentBeforeAcceptAndCloseAreThere) {
  ListenSocket listener = ListenOn("127.0.0.1");
  UniqueFd client = ConnectTo(listener.local_address());
  ASSERT_EQ(send(client.get(), "hello", 5, 0), 5);
  client.Reset();
  Socket socket = AcceptOn(listener);
  char buffer[16];
  const IoResult read = socket.Read(absl::MakeSpan(buffer));
  EXPECT_EQ(std::string(buffer, read.bytes), "hello");
}

}  // namespace
}  // namespace fio
