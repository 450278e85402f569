// What the suites of sockets and pipes stand on: system calls of which a test
// fails if they do.

#ifndef FIO_CORE_POLLER_TEST_SUITES_SOCKET_FIXTURE_H_
#define FIO_CORE_POLLER_TEST_SUITES_SOCKET_FIXTURE_H_

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "gtest/gtest.h"

namespace fio {

// Whether a system call's answer is none of failure.
inline ::testing::AssertionResult Succeeds(ssize_t answer) {
  if (answer >= 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << strerror(errno);
}

// The bytes of a sockaddr of any family, as many as count.
using SockaddrBytes = std::string;

template <typename Sockaddr>
SockaddrBytes BytesOf(const Sockaddr& address, size_t size = sizeof(Sockaddr)) {
  return SockaddrBytes(reinterpret_cast<const char*>(&address), size);
}

inline const sockaddr* AsSockaddr(const SockaddrBytes& address) {
  return reinterpret_cast<const sockaddr*>(address.data());
}

template <typename Backend>
class PollerSocketFixture : public PollerFixture<Backend> {
 protected:
  // Where a socket comes from: it is made as fio makes its own, or as a program
  // that knows nothing of fio does, and set to what a poller wants afterwards.
  enum class Origin { kOwn, kForeign };

  struct Message {
    std::string bytes;
    SockaddrBytes from;

    friend bool operator==(const Message&, const Message&) = default;
  };

  void Add(const UniqueFd& fd, Token token, Interest interest,
           Trigger trigger = Trigger::kEdge) {
    ASSERT_TRUE(IsOk(this->poller_->Add(fd.get(), token, interest, trigger)));
  }
  void Modify(const UniqueFd& fd, Token token, Interest interest,
              Trigger trigger = Trigger::kEdge) {
    ASSERT_TRUE(
        IsOk(this->poller_->Modify(fd.get(), token, interest, trigger)));
  }
  void Remove(const UniqueFd& fd, Token token) {
    ASSERT_TRUE(IsOk(this->poller_->Remove(fd.get(), token)));
  }

  static UniqueFd OpenSocket(int family, int type,
                             Origin origin = Origin::kOwn) {
    if (origin == Origin::kForeign) {
      return Adopt(UniqueFd(socket(family, type, 0)));
    }
    UniqueFd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_TRUE(Succeeds(fd.get()));
    return fd;
  }
  static UniqueFd Adopt(UniqueFd fd) {
    EXPECT_TRUE(Succeeds(fd.get()));
    EXPECT_TRUE(Succeeds(fcntl(fd.get(), F_SETFL, O_NONBLOCK)));
    EXPECT_TRUE(Succeeds(fcntl(fd.get(), F_SETFD, FD_CLOEXEC)));
    return fd;
  }
  static void ExpectNonBlockingAndCloseOnExec(const UniqueFd& fd) {
    EXPECT_TRUE(fcntl(fd.get(), F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  }

  static void BindTo(const UniqueFd& fd, const SockaddrBytes& address) {
    ASSERT_TRUE(Succeeds(bind(fd.get(), AsSockaddr(address), SizeOf(address))));
  }
  static void ConnectTo(const UniqueFd& fd, const SockaddrBytes& address) {
    ASSERT_TRUE(
        Succeeds(connect(fd.get(), AsSockaddr(address), SizeOf(address))));
  }
  static SockaddrBytes LocalAddress(const UniqueFd& fd) {
    return AddressBy(getsockname, fd);
  }
  static SockaddrBytes PeerAddress(const UniqueFd& fd) {
    return AddressBy(getpeername, fd);
  }
  template <typename Value>
  static void SetOption(const UniqueFd& fd, int level, int name,
                        const Value& value) {
    EXPECT_TRUE(
        Succeeds(setsockopt(fd.get(), level, name, &value, sizeof(value))));
  }
  static int GetOption(const UniqueFd& fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    EXPECT_TRUE(Succeeds(getsockopt(fd.get(), level, name, &value, &size)));
    return value;
  }
  // What is pending, which this takes.
  static int TakeError(const UniqueFd& fd) {
    return GetOption(fd, SOL_SOCKET, SO_ERROR);
  }

  // To the peer if no address is given.
  static void Send(const UniqueFd& fd, std::string_view bytes,
                   const SockaddrBytes& to = {}) {
    EXPECT_EQ(TrySend(fd, bytes, to), 0);
  }
  // Returns errno.
  static int TrySend(const UniqueFd& fd, std::string_view bytes,
                     const SockaddrBytes& to = {}) {
    const ssize_t sent =
        sendto(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL,
               to.empty() ? nullptr : AsSockaddr(to), SizeOf(to));
    if (sent < 0) return errno;
    EXPECT_EQ(static_cast<size_t>(sent), bytes.size());
    return 0;
  }
  static Message Receive(const UniqueFd& fd, int flags = 0) {
    char buffer[64];
    sockaddr_storage from = {};
    socklen_t size = sizeof(from);
    const ssize_t got = recvfrom(fd.get(), buffer, sizeof(buffer), flags,
                                 reinterpret_cast<sockaddr*>(&from), &size);
    EXPECT_TRUE(Succeeds(got));
    if (got < 0) return {};
    return {.bytes = std::string(buffer, got), .from = BytesOf(from, size)};
  }
  // Of pipes too.
  static std::string Read(const UniqueFd& fd) {
    char buffer[64];
    const ssize_t got = read(fd.get(), buffer, sizeof(buffer));
    EXPECT_TRUE(Succeeds(got));
    return got < 0 ? std::string() : std::string(buffer, got);
  }
  // And says so to the poller.
  void ExpectReadWouldBlock(const UniqueFd& fd) {
    char byte;
    EXPECT_EQ(read(fd.get(), &byte, 1), -1);
    EXPECT_EQ(errno, EAGAIN);
    this->Drained(fd.get(), Interest::kReadable);
  }

 private:
  static socklen_t SizeOf(const SockaddrBytes& address) {
    return static_cast<socklen_t>(address.size());
  }
  template <typename Call>
  static SockaddrBytes AddressBy(Call call, const UniqueFd& fd) {
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    EXPECT_TRUE(
        Succeeds(call(fd.get(), reinterpret_cast<sockaddr*>(&address), &size)));
    return BytesOf(address, size);
  }
};

// Beside that: UDP sockets of the loopback.
template <typename Backend>
class PollerUdpFixture : public PollerSocketFixture<Backend> {
 protected:
  using Fixture = PollerSocketFixture<Backend>;
  using typename Fixture::Origin;

  struct Udp {
    UniqueFd fd;
    SockaddrBytes address;
  };

  // On the loopback, and on a port that nobody else has.
  static Udp Bind(int family = AF_INET, Origin origin = Origin::kOwn) {
    if (family == AF_INET6) {
      sockaddr_in6 address = {};
      address.sin6_family = AF_INET6;
      address.sin6_addr = in6addr_loopback;
      return BindAt(BytesOf(address), family, origin);
    }
    return BindAt(Ipv4(htonl(INADDR_LOOPBACK), 0), family, origin);
  }
  static Udp BindAt(const SockaddrBytes& address, int family,
                    Origin origin = Origin::kOwn) {
    Udp udp = {.fd = Fixture::OpenSocket(family, SOCK_DGRAM, origin),
               .address = {}};
    Fixture::BindTo(udp.fd, address);
    udp.address = Fixture::LocalAddress(udp.fd);
    return udp;
  }
  // Both as the network orders their bytes.
  static SockaddrBytes Ipv4(in_addr_t host, in_port_t port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = host;
    address.sin_port = port;
    return BytesOf(address);
  }
  static std::pair<Udp, Udp> ConnectedPair(int family = AF_INET,
                                           Origin origin = Origin::kOwn) {
    std::pair<Udp, Udp> pair(Bind(family, origin), Bind(family, origin));
    Fixture::ConnectTo(pair.first.fd, pair.second.address);
    Fixture::ConnectTo(pair.second.fd, pair.first.address);
    return pair;
  }

  static void ExpectNoErrors(std::initializer_list<const Udp*> sockets) {
    for (const Udp* udp : sockets) {
      EXPECT_EQ(Fixture::TakeError(udp->fd), 0);
    }
  }
};

// Beside that: Unix sockets, and a folder for their names.
template <typename Backend>
class PollerUnixFixture : public PollerSocketFixture<Backend> {
 protected:
  using Fixture = PollerSocketFixture<Backend>;
  using typename Fixture::Origin;

  struct Pair {
    UniqueFd near, far;
  };

  PollerUnixFixture() { EXPECT_NE(mkdtemp(folder_.data()), nullptr); }
  ~PollerUnixFixture() override {
    for (const std::string& path : paths_) unlink(path.c_str());
    EXPECT_TRUE(Succeeds(rmdir(folder_.c_str())));
  }

  static SockaddrBytes UnixAddress(std::string_view name) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    EXPECT_LT(name.size(), sizeof(address.sun_path));
    name.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return BytesOf(address, kNameOffset + name.size());
  }
  // Empty if it has none.
  static std::string PathOf(const SockaddrBytes& address) {
    if (address.size() <= kNameOffset) return "";
    const std::string path = address.substr(kNameOffset);
    return path.substr(0, path.find('\0'));
  }
  // Of a file that is gone when the test ends.
  SockaddrBytes NewPath() {
    paths_.push_back(folder_ + "/" + std::to_string(paths_.size()));
    return UnixAddress(paths_.back());
  }

  UniqueFd Bind(int type, const SockaddrBytes& address,
                Origin origin = Origin::kOwn) {
    UniqueFd fd = Fixture::OpenSocket(AF_UNIX, type, origin);
    Fixture::BindTo(fd, address);
    return fd;
  }
  UniqueFd Listen(const SockaddrBytes& address, Origin origin = Origin::kOwn) {
    UniqueFd fd = Bind(SOCK_STREAM, address, origin);
    EXPECT_TRUE(Succeeds(listen(fd.get(), 16)));
    return fd;
  }
  static UniqueFd Connect(const SockaddrBytes& address,
                          Origin origin = Origin::kOwn) {
    UniqueFd fd = Fixture::OpenSocket(AF_UNIX, SOCK_STREAM, origin);
    Fixture::ConnectTo(fd, address);
    return fd;
  }
  static UniqueFd Accept(const UniqueFd& listener) {
    return Fixture::Adopt(UniqueFd(accept(listener.get(), nullptr, nullptr)));
  }
  static Pair NewPair(int type) {
    int fds[2];
    EXPECT_TRUE(Succeeds(
        socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds)));
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
  }

  // A stream and who accepted it.
  Pair NewConnection(Origin origin = Origin::kOwn) {
    const SockaddrBytes address = NewPath();
    const UniqueFd listener = Listen(address);
    UniqueFd near = Connect(address, origin);
    return {std::move(near), Accept(listener)};
  }

  std::string folder_ = "/tmp/fio.XXXXXX";

 private:
  static constexpr size_t kNameOffset = offsetof(sockaddr_un, sun_path);

  std::vector<std::string> paths_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_SOCKET_FIXTURE_H_
