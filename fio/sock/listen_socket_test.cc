#include "fio/sock/listen_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/keep_alive.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::Address;
using testing::CloseOnExec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IntOption;
using ::testing::IsEmpty;
using testing::NonBlocking;
using testing::OpenDescriptors;
using testing::ScopedSyscalls;
using testing::SyscallCounter;
using testing::TempFolder;
using testing::WaitAndAccept;

ListenSocket ListenOn(const SocketAddress& address,
                      const ListenSocketOptions& options = {}) {
  absl::StatusOr<ListenSocket> listener =
      ListenSocket::Listen(address, options);
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

ListenSocket ListenOn(const char* address,
                      const ListenSocketOptions& options = {}) {
  return ListenOn(Address(address), options);
}

std::string ListenError(const SocketAddress& address,
                        const ListenSocketOptions& options = {}) {
  return std::string(ListenSocket::Listen(address, options).status().message());
}

// A blocking client; none if it cannot connect.
UniqueFd ConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int result = connect(fd.get(), address.data(), address.size());
  EXPECT_EQ(result, 0) << address.ToString();
  return result == 0 ? std::move(fd) : UniqueFd();
}

// Bound to `address`, and no more.
UniqueFd BindOnly(const SocketAddress& address, int type = SOCK_STREAM) {
  UniqueFd fd(socket(address.family(), type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(fd.get(), address.data(), address.size()), 0);
  return fd;
}

// The accepted end of a connection to `listener`; none if that cannot be had.
Socket AcceptOne(ListenSocket& listener) {
  const UniqueFd client = ConnectTo(listener.local_address());
  if (!client) return Socket();
  ListenSocket::Accepted accepted = WaitAndAccept(listener);
  EXPECT_EQ(accepted.error, 0);
  return std::move(accepted.socket);
}

bool Exists(const std::string& path) {
  struct stat file;
  return lstat(path.c_str(), &file) == 0;
}

mode_t ModeOf(const std::string& path) {
  struct stat file = {};
  EXPECT_EQ(lstat(path.c_str(), &file), 0);
  return file.st_mode & 07777;
}

void WriteFile(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  ASSERT_TRUE(file);
}

class ScopedUmask {
 public:
  explicit ScopedUmask(mode_t mask) : previous_(umask(mask)) {}
  ~ScopedUmask() { umask(previous_); }

 private:
  const mode_t previous_;
};

// --- Accepting ---

TEST(ListenSocket, TellsTheRealPort) {
  EXPECT_NE(ListenOn("127.0.0.1:0").local_address().port(), 0);
  EXPECT_NE(ListenOn("[::1]:0").local_address().port(), 0);
}

TEST(ListenSocket, AnUnnamedUnixSocketGetsAFreeAbstractName) {
  ListenSocket first = ListenOn("unix:");
  const ListenSocket second = ListenOn("unix:");
  EXPECT_THAT(first.local_address().ToString(), ::testing::StartsWith("@"));
  EXPECT_NE(first.local_address(), second.local_address());
  EXPECT_GE(AcceptOne(first).fd(), 0);
}

TEST(Socket, AcceptFlags) {
  const TempFolder folder;
  for (const SocketAddress& address :
       {Address("127.0.0.1:0"), Address("[::1]:0"), Address("unix:"),
        Address(folder.File("x"))}) {
    ListenSocket listener = ListenOn(address);
    EXPECT_TRUE(NonBlocking(listener.fd()));
    EXPECT_TRUE(CloseOnExec(listener.fd()));
    const UniqueFd client = ConnectTo(listener.local_address());
    const ListenSocket::Accepted accepted = WaitAndAccept(listener);
    EXPECT_EQ(accepted.error, 0);
    EXPECT_TRUE(NonBlocking(accepted.socket.fd()));
    EXPECT_TRUE(CloseOnExec(accepted.socket.fd()));
    EXPECT_EQ(accepted.peer_address.family(), address.family());
    EXPECT_EQ(accepted.peer_address, accepted.socket.peer_address());
    EXPECT_EQ(accepted.socket.local_address(), listener.local_address());
  }
}

TEST(ListenSocket, AnAcceptCostsOneSystemCall) {
  constexpr int kClients = 50;
  const TempFolder folder;
  const ListenSocketOptions tcp_options = {.defer_accept = absl::Seconds(1),
                                           .nodelay = true,
                                           .keepalive = KeepAlive()};
  for (auto& [address, options] :
       {std::pair{Address("127.0.0.1:0"), tcp_options},
        std::pair{Address("[::1]:0"), tcp_options},
        std::pair{Address(folder.File("x")), ListenSocketOptions()}}) {
    ListenSocket listener = ListenOn(address, options);
    std::vector<UniqueFd> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.push_back(ConnectTo(listener.local_address()));
      ASSERT_EQ(send(clients.back().get(), "x", 1, 0), 1);
    }
    std::vector<ListenSocket::Accepted> accepted(kClients);
    testing::WaitReadable(listener.fd());
    const SyscallCounter counter;
    for (ListenSocket::Accepted& one : accepted) one = listener.Accept();
    EXPECT_EQ(counter.count(), kClients);
    for (const ListenSocket::Accepted& one : accepted) {
      EXPECT_EQ(one.error, 0);
      EXPECT_EQ(one.peer_address.family(), address.family());
    }
  }
}

TEST(ListenSocket, NobodyWaitingIsEagain) {
  EXPECT_EQ(ListenOn("127.0.0.1:0").Accept().error, EAGAIN);
  EXPECT_EQ(ListenOn("unix:").Accept().error, EAGAIN);
}

TEST(ListenSocket, WhatIsAcceptedIsNoStandardStream) {
  ListenSocket listener = ListenOn("127.0.0.1:0");
  const UniqueFd client = ConnectTo(listener.local_address());
  testing::WaitReadable(listener.fd());
  UniqueFd saved(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  close(STDIN_FILENO);
  {
    const ListenSocket::Accepted accepted = listener.Accept();
    EXPECT_EQ(accepted.error, 0);
    EXPECT_GT(accepted.socket.fd(), STDERR_FILENO);
  }
  EXPECT_EQ(fcntl(0, F_GETFD), 0) << "it became /dev/null";
  if (saved) dup2(saved.get(), STDIN_FILENO);
}

TEST(ListenSocket, BytesSentBeforeAcceptAndCloseAreThere) {
  ListenSocket listener = ListenOn("127.0.0.1:0");
  UniqueFd client = ConnectTo(listener.local_address());
  ASSERT_EQ(send(client.get(), "hello", 5, 0), 5);
  client.Reset();
  Socket socket = WaitAndAccept(listener).socket;
  char buffer[16];
  const IoResult read = socket.Read(absl::MakeSpan(buffer));
  EXPECT_EQ(std::string(buffer, read.bytes), "hello");
}

// --- Sockets that listen already ---

TEST(ListenSocket, TakesOverADescriptor) {
  const TempFolder folder;
  for (const SocketAddress& address :
       {Address("127.0.0.1:0"), Address("[::1]:0"),
        Address(folder.File("x"))}) {
    UniqueFd fd = BindOnly(address);
    ASSERT_EQ(listen(fd.get(), 5), 0);
    ASSERT_EQ(fcntl(fd.get(), F_SETFD, 0), 0);
    const int number = fd.get();
    absl::StatusOr<ListenSocket> listener = ListenSocket::FromFd(std::move(fd));
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(listener->fd(), number);
    EXPECT_TRUE(NonBlocking(number));
    EXPECT_TRUE(CloseOnExec(number));
    EXPECT_EQ(listener->local_address().family(), address.family());
    EXPECT_GE(AcceptOne(*listener).fd(), 0);
  }
  // Its path is whose who bound it.
  EXPECT_TRUE(Exists(folder.File("x")));
}

TEST(ListenSocket, TakesOverNothingElse) {
  const auto error = [](UniqueFd fd) {
    const int number = fd.get();
    const absl::StatusOr<ListenSocket> listener =
        ListenSocket::FromFd(std::move(fd));
    EXPECT_FALSE(listener.ok());
    EXPECT_EQ(fcntl(number, F_GETFD), -1) << "it is closed";
    const std::string message(listener.status().message());
    const std::string start = "listen on fd " + std::to_string(number) + ": ";
    EXPECT_EQ(message.substr(0, start.size()), start);
    return message.substr(std::min(start.size(), message.size()));
  };
  EXPECT_EQ(error(UniqueFd()), "it is negative");
  EXPECT_EQ(error(BindOnly(Address("127.0.0.1:0"))), "it does not listen");
  EXPECT_EQ(error(BindOnly(Address("127.0.0.1:0"), SOCK_DGRAM)),
            "it is no stream socket");
  UniqueFd seqpacket = BindOnly(Address("unix:"), SOCK_SEQPACKET);
  ASSERT_EQ(listen(seqpacket.get(), 5), 0);
  EXPECT_EQ(error(std::move(seqpacket)), "it is no stream socket");
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd other(ends[1]);
  EXPECT_THAT(error(UniqueFd(ends[0])),
              HasSubstr("getsockopt SO_TYPE: Socket operation on non-socket"));
}

// --- Options ---

TEST(ListenSocket, BacklogIsTheKernels) {
  const ListenSocket listener = ListenOn("127.0.0.1:0", {.backlog = 7});
  tcp_info info;
  socklen_t size = sizeof(info);
  ASSERT_EQ(getsockopt(listener.fd(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  EXPECT_EQ(info.tcpi_sacked, 7u);
}

TEST(ListenSocket, ReuseAddressIsOnByDefault) {
  EXPECT_EQ(IntOption(ListenOn("127.0.0.1:0").fd(), SOL_SOCKET, SO_REUSEADDR),
            1);
  EXPECT_EQ(IntOption(ListenOn("127.0.0.1:0", {.reuse_address = false}).fd(),
                      SOL_SOCKET, SO_REUSEADDR),
            0);
}

TEST(ListenSocket, ReuseAddressBindsWhatOldConnectionsHold) {
  SocketAddress address;
  {
    ListenSocket listener = ListenOn("127.0.0.1:0");
    address = listener.local_address();
    // Who closes first waits; see RFC 9293, 3.6.
    UniqueFd client = ConnectTo(address);
    WaitAndAccept(listener).socket.Close();
    char byte;
    EXPECT_EQ(recv(client.get(), &byte, 1, 0), 0);
  }
  EXPECT_THAT(ListenError(address, {.reuse_address = false}),
              HasSubstr("Address already in use"));
  EXPECT_EQ(ListenOn(address).local_address(), address);
}

TEST(ListenSocket, ReusePortSharesAmongThoseWhoAsk) {
  const ListenSocket first = ListenOn("127.0.0.1:0", {.reuse_port = true});
  const SocketAddress& address = first.local_address();
  const ListenSocket second = ListenOn(address, {.reuse_port = true});
  EXPECT_EQ(second.local_address(), address);
  EXPECT_THAT(ListenError(address), HasSubstr("Address already in use"));
}

TEST(ListenSocket, WithoutReusePortNobodyJoins) {
  for (const bool exclusive : {false, true}) {
    const ListenSocket first =
        ListenOn("127.0.0.1:0", {.exclusive = exclusive});
    EXPECT_THAT(ListenError(first.local_address(), {.reuse_port = true}),
                HasSubstr("Address already in use"));
  }
}

TEST(ListenSocket, ExclusiveWithReusePortIsTheFirstAndOthersJoin) {
  const ListenSocketOptions exclusive = {.reuse_port = true, .exclusive = true};
  ListenSocket first = ListenOn("127.0.0.1:0", exclusive);
  const SocketAddress address = first.local_address();
  ListenSocket second = ListenOn(address, {.reuse_port = true});
  EXPECT_THAT(ListenError(address, exclusive),
              HasSubstr("Address already in use"));
  // Both get their share of the connections.
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(ConnectTo(address));
  EXPECT_EQ(WaitAndAccept(first).error, 0);
  EXPECT_EQ(WaitAndAccept(second).error, 0);
}

TEST(ListenSocket, Ipv6TakesIpv4TooUnlessTold) {
  ListenSocket both = ListenOn("[::]:0");
  EXPECT_EQ(IntOption(both.fd(), IPPROTO_IPV6, IPV6_V6ONLY), 0);
  const UniqueFd client = ConnectTo(
      *SocketAddress::FromIp("127.0.0.1", both.local_address().port()));
  EXPECT_EQ(WaitAndAccept(both).peer_address.ip(), "127.0.0.1");

  const ListenSocket only = ListenOn("[::]:0", {.v6_only = true});
  EXPECT_EQ(IntOption(only.fd(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  const SocketAddress ipv4 =
      *SocketAddress::FromIp("127.0.0.1", only.local_address().port());
  EXPECT_EQ(ListenOn(ipv4).local_address(), ipv4);
}

TEST(ListenSocket, DeferAcceptWaitsForBytes) {
  ListenSocket listener =
      ListenOn("127.0.0.1:0", {.defer_accept = absl::Seconds(100)});
  const UniqueFd client = ConnectTo(listener.local_address());
  EXPECT_EQ(listener.Accept().error, EAGAIN);
  ASSERT_EQ(send(client.get(), "x", 1, 0), 1);
  EXPECT_EQ(WaitAndAccept(listener).error, 0);
}

// The kernel counts in retransmissions, after 1, 3, 7 ... seconds.
TEST(ListenSocket, DeferAcceptIsRoundedUp) {
  const auto seconds = [](absl::Duration defer_accept) {
    return IntOption(
        ListenOn("127.0.0.1:0", {.defer_accept = defer_accept}).fd(),
        IPPROTO_TCP, TCP_DEFER_ACCEPT);
  };
  EXPECT_EQ(seconds(absl::ZeroDuration()), 0);
  EXPECT_EQ(seconds(absl::Nanoseconds(1)), 1);
  EXPECT_EQ(seconds(absl::Seconds(1)), 1);
  EXPECT_EQ(seconds(absl::Milliseconds(1001)), 3);
  EXPECT_GT(seconds(absl::InfiniteDuration()), 100);
}

TEST(ListenSocket, NodelayIsInherited) {
  for (const bool nodelay : {false, true}) {
    ListenSocket listener = ListenOn("[::1]:0", {.nodelay = nodelay});
    const Socket socket = AcceptOne(listener);
    EXPECT_EQ(IntOption(socket.fd(), IPPROTO_TCP, TCP_NODELAY) != 0, nodelay);
  }
}

// The kernel doubles them.
TEST(ListenSocket, SizesOfBuffersAreInherited) {
  ListenSocket listener =
      ListenOn("127.0.0.1:0",
               {.receive_buffer_bytes = 30'000, .send_buffer_bytes = 20'000});
  const Socket socket = AcceptOne(listener);
  EXPECT_EQ(IntOption(socket.fd(), SOL_SOCKET, SO_RCVBUF), 60'000);
  EXPECT_EQ(IntOption(socket.fd(), SOL_SOCKET, SO_SNDBUF), 40'000);
}

TEST(ListenSocket, KeepAliveIsInherited) {
  ListenSocket without = ListenOn("127.0.0.1:0");
  EXPECT_EQ(IntOption(AcceptOne(without).fd(), SOL_SOCKET, SO_KEEPALIVE), 0);
  ListenSocket with = ListenOn(
      "127.0.0.1:0", {.keepalive = KeepAlive{.idle = absl::Milliseconds(6500),
                                             .interval = absl::Seconds(3),
                                             .count = 4}});
  const Socket socket = AcceptOne(with);
  EXPECT_EQ(IntOption(socket.fd(), SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(IntOption(socket.fd(), IPPROTO_TCP, TCP_KEEPIDLE), 7);
  EXPECT_EQ(IntOption(socket.fd(), IPPROTO_TCP, TCP_KEEPINTVL), 3);
  EXPECT_EQ(IntOption(socket.fd(), IPPROTO_TCP, TCP_KEEPCNT), 4);
}

TEST(ListenSocket, WhatTheKernelRefusesIsNamed) {
  EXPECT_THAT(ListenError(Address("127.0.0.1:0"),
                          {.keepalive = KeepAlive{.idle = absl::Hours(10)}}),
              HasSubstr("setsockopt TCP_KEEPIDLE 127.0.0.1:0: Invalid"));
  EXPECT_THAT(
      ListenError(Address("127.0.0.1:0"), {.keepalive = KeepAlive{.count = 0}}),
      HasSubstr("setsockopt TCP_KEEPCNT"));
}

TEST(ListenSocket, RefusesOptionsThatMakeNoSense) {
  const SocketAddress ipv4 = Address("127.0.0.1:0");
  const SocketAddress path = Address("/nowhere/x");
  struct {
    SocketAddress address;
    ListenSocketOptions options;
    const char* message;
  } cases[] = {
      {{}, {}, "there is no address"},
      {ipv4, {.backlog = -1}, "backlog is negative"},
      {ipv4, {.v6_only = true}, "v6_only is for IPv6"},
      {ipv4, {.defer_accept = -absl::Seconds(1)}, "defer_accept is negative"},
      {ipv4, {.unix_mode = 0600}, "unix_mode is for Unix paths"},
      {Address("@x"), {.unix_mode = 0600}, "unix_mode is for Unix paths"},
      {path, {.unix_mode = 010000}, "unix_mode is no mode"},
      {path, {.reuse_port = true}, "reuse_port is for TCP"},
      {path, {.exclusive = true}, "exclusive is for TCP"},
      {path, {.v6_only = true}, "v6_only is for IPv6"},
      {path, {.defer_accept = absl::Seconds(1)}, "defer_accept is for TCP"},
      {path, {.keepalive = KeepAlive()}, "keepalive is for TCP"},
      {path, {.receive_buffer_bytes = 1}, "receive_buffer_bytes is for TCP"},
      {path, {.send_buffer_bytes = 1}, "send_buffer_bytes is for TCP"},
      {ipv4,
       {.receive_buffer_bytes = size_t{1} << 31},
       "a buffer has more than 2 GiB"},
      {ipv4,
       {.send_buffer_bytes = size_t{1} << 31},
       "a buffer has more than 2 GiB"},
  };
  for (const auto& c : cases) {
    const absl::Status status =
        ListenSocket::Listen(c.address, c.options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr("listen " + c.address.ToString()));
    EXPECT_THAT(status.message(), HasSubstr(c.message));
  }
}

// --- Errors ---

TEST(Listen, BindErrorFinish) {
  const TempFolder folder;
  WriteFile(folder.File("file"));
  auto port = std::make_unique<ListenSocket>(ListenOn("127.0.0.1:0"));
  auto path =
      std::make_unique<ListenSocket>(ListenOn(Address(folder.File("x"))));
  const SocketAddress addresses[] = {port->local_address(),
                                     path->local_address()};
  const std::vector<int> open = OpenDescriptors();
  for (const SocketAddress& address : addresses) {
    const absl::Status status = ListenSocket::Listen(address, {}).status();
    EXPECT_EQ(status, ErrnoToStatus(EADDRINUSE, "bind " + address.ToString()));
  }
  EXPECT_THAT(ListenError(Address(folder.File("file"))),
              HasSubstr("/file: Address already in use"));
  EXPECT_THAT(ListenError(Address(folder.File("no/x"))),
              HasSubstr("/no/x: No such file"));
  // 192.0.2.0/24 is for documentation and no machine's own: RFC 5737.
  EXPECT_THAT(ListenError(Address("192.0.2.1:0")),
              HasSubstr("bind 192.0.2.1:0: Cannot assign requested address"));
  EXPECT_EQ(OpenDescriptors(), open);
  EXPECT_THAT(folder.List(), ElementsAre("file", "x"));
  port.reset();
  path.reset();
  for (const SocketAddress& address : addresses) {
    ListenSocket again = ListenOn(address);
    EXPECT_GE(AcceptOne(again).fd(), 0);
  }
  EXPECT_THAT(folder.List(), ElementsAre("file"));
}

TEST(Listen, NothingStaysOfAFailureAfterBind) {
  const TempFolder folder;
  const SocketAddress addresses[] = {Address(folder.File("x")),
                                     Address("127.0.0.1:0")};
  const std::vector<int> open = OpenDescriptors();
  Syscalls table;
  table.listen = [](int, int) {
    errno = ENOMEM;
    return -1;
  };
  const ScopedSyscalls scope(&table);
  for (const SocketAddress& address : addresses) {
    EXPECT_THAT(ListenError(address), HasSubstr("listen " + address.ToString() +
                                                ": Cannot allocate"));
  }
  EXPECT_THAT(folder.List(), IsEmpty());
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST(Listen, NoSocketIsAnErrorToo) {
  Syscalls table;
  table.socket = [](int, int, int) {
    errno = EMFILE;
    return -1;
  };
  const ScopedSyscalls scope(&table);
  EXPECT_THAT(ListenError(Address("127.0.0.1:0")),
              HasSubstr("socket 127.0.0.1:0: Too many open files"));
  EXPECT_THAT(ListenError(Address("/nowhere/x")),
              HasSubstr("socket /nowhere/x"));
}

TEST(Listen, OnAnyTakesTheFirstThatAllowsIt) {
  const ListenSocket taken = ListenOn("127.0.0.1:0");
  const SocketAddress addresses[] = {
      taken.local_address(), Address("127.0.0.2:0"), Address("127.0.0.3:0")};
  const absl::StatusOr<ListenSocket> listener = ListenOnAny(addresses, {});
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(listener->local_address().ip(), "127.0.0.2");
}

TEST(Listen, OnAnyTellsTheLastError) {
  const ListenSocket taken = ListenOn("127.0.0.1:0");
  const SocketAddress addresses[] = {taken.local_address(),
                                     Address("192.0.2.1:0")};
  EXPECT_THAT(ListenOnAny(addresses, {}).status().message(),
              HasSubstr("192.0.2.1:0"));
  EXPECT_TRUE(absl::IsInvalidArgument(ListenOnAny({}, {}).status()));
}

// --- Unix paths ---

TEST(Listen, UnixPathLifecycle) {
  const TempFolder folder;
  const std::string path = folder.File("x");
  const SocketAddress address = Address(path);
  { const UniqueFd crashed = BindOnly(address); }
  ASSERT_TRUE(Exists(path));
  {
    // The stale path is taken over, with the mode asked for.
    ListenSocket first = ListenOn(address, {.unix_mode = 0640});
    EXPECT_EQ(ModeOf(path), 0640u);
    EXPECT_EQ(first.local_address(), address);
    EXPECT_GE(AcceptOne(first).fd(), 0);
    // The live one is not, and sees nothing of the attempt.
    EXPECT_THAT(ListenError(address), HasSubstr("Address already in use"));
    EXPECT_EQ(first.Accept().error, EAGAIN);
    // A child's copy leaves the path alone.
    const pid_t child = fork();
    if (child == 0) {
      { const ListenSocket copy = std::move(first); }
      _exit(0);
    }
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_GE(AcceptOne(first).fd(), 0);
  }
  EXPECT_FALSE(Exists(path));
  {
    // Another's path of the same name stays.
    auto old = std::make_unique<ListenSocket>(ListenOn(address));
    ASSERT_EQ(unlink(path.c_str()), 0);
    ListenSocket replacement = ListenOn(address);
    old.reset();
    EXPECT_GE(AcceptOne(replacement).fd(), 0);
  }
  EXPECT_THAT(folder.List(), IsEmpty());
}

TEST(Listen, APathThatIsBoundAndNotYetListeningIsLive) {
  const TempFolder folder;
  const SocketAddress address = Address(folder.File("x"));
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    const UniqueFd bound = BindOnly(address, type);
    EXPECT_THAT(ListenError(address), HasSubstr("Address already in use"));
    EXPECT_TRUE(Exists(folder.File("x")));
    ASSERT_EQ(unlink(folder.File("x").c_str()), 0);
  }
}

TEST(Listen, AFileThatIsNoSocketStays) {
  const TempFolder folder;
  WriteFile(folder.File("file"));
  ASSERT_EQ(symlink("nowhere", folder.File("link").c_str()), 0);
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  for (const char* name : {"file", "link", "pipe"}) {
    EXPECT_THAT(ListenError(Address(folder.File(name))),
                HasSubstr("Address already in use"));
  }
  EXPECT_THAT(ListenError(Address(folder.path())),
              HasSubstr("Address already in use"));
  EXPECT_THAT(folder.List(), ElementsAre("file", "link", "pipe"));
}

TEST(Listen, WithoutAProbeAPathIsNotTaken) {
  const TempFolder folder;
  const SocketAddress address = Address(folder.File("x"));
  { const UniqueFd crashed = BindOnly(address); }
  Syscalls table;
  table.connect = [](int, const sockaddr*, socklen_t) {
    errno = EACCES;
    return -1;
  };
  {
    const ScopedSyscalls scope(&table);
    EXPECT_THAT(ListenError(address), HasSubstr("Address already in use"));
  }
  EXPECT_TRUE(Exists(folder.File("x")));
  EXPECT_EQ(ListenOn(address).local_address(), address);
}

TEST(Listen, ModeIsExactWhateverTheUmask) {
  const TempFolder folder;
  for (const mode_t mask : {0, 022, 077, 0777}) {
    const ScopedUmask scope(mask);
    for (const mode_t mode : {0, 0600, 0660, 0666, 0777}) {
      const ListenSocket listener =
          ListenOn(Address(folder.File("x")), {.unix_mode = mode});
      EXPECT_EQ(ModeOf(folder.File("x")), mode) << mask;
    }
    const ListenSocket listener = ListenOn(Address(folder.File("x")));
    EXPECT_EQ(ModeOf(folder.File("x")), 0777 & ~mask);
  }
}

mode_t mode_after_bind = 07777;

TEST(Listen, ThePathIsNeverMoreOpenThanAsked) {
  const TempFolder folder;
  const ScopedUmask scope(0);
  Syscalls table;
  table.bind = [](int fd, const sockaddr* address, socklen_t size) {
    const int result = bind(fd, address, size);
    mode_after_bind =
        ModeOf(std::string(SocketAddress::FromSockaddr(address, size)->path()));
    return result;
  };
  const ScopedSyscalls syscalls(&table);
  const ListenSocket listener =
      ListenOn(Address(folder.File("x")), {.unix_mode = 0600});
  EXPECT_EQ(mode_after_bind, 0600u);
}

TEST(Listen, ARelativePathIsRemovedFromElsewhere) {
  const TempFolder folder;
  char original[PATH_MAX];
  ASSERT_NE(getcwd(original, sizeof(original)), nullptr);
  ASSERT_EQ(chdir(folder.path().c_str()), 0);
  {
    ListenSocket listener = ListenOn("unix:x");
    EXPECT_EQ(listener.local_address().path(), "x");
    EXPECT_GE(AcceptOne(listener).fd(), 0);
    EXPECT_THAT(folder.List(), ElementsAre("x"));
    ASSERT_EQ(chdir(original), 0);
  }
  EXPECT_THAT(folder.List(), IsEmpty());
}

TEST(Listen, TheLongestPathWorks) {
  const TempFolder folder;
  std::string path = folder.File("");
  path.resize(108, 'x');
  ListenSocket listener = ListenOn(*SocketAddress::FromUnixPath(path));
  EXPECT_EQ(listener.local_address().path(), path);
  EXPECT_GE(AcceptOne(listener).fd(), 0);
}

TEST(Listen, AbstractNamesLeaveNoFileAndAreNotStolen) {
  const SocketAddress address = ListenOn("unix:").local_address();
  {
    const ListenSocket listener = ListenOn(address);
    EXPECT_THAT(ListenError(address), HasSubstr("Address already in use"));
  }
  ListenSocket again = ListenOn(address);
  EXPECT_GE(AcceptOne(again).fd(), 0);
}

TEST(Listen, AMovedListenSocketOwnsThePath) {
  const TempFolder folder;
  {
    ListenSocket a = ListenOn(Address(folder.File("a")));
    ListenSocket b = ListenOn(Address(folder.File("b")));
    a = std::move(b);
    EXPECT_THAT(folder.List(), ElementsAre("b"));
    EXPECT_EQ(a.local_address().path(), folder.File("b"));
    EXPECT_GE(AcceptOne(a).fd(), 0);
  }
  EXPECT_THAT(folder.List(), IsEmpty());
}

}  // namespace
}  // namespace fio
