// What the suites of TCP stand on: a poller, and sockets of TCP over loopback.
//
// TCP delivers when it likes, over loopback too. So before a test says that
// nothing is told, it waits until what might be told of has happened, and asks
// poll(2) itself for that, not the poller under test.

#ifndef FIO_CORE_POLLER_TEST_SUITES_TCP_FIXTURE_H_
#define FIO_CORE_POLLER_TEST_SUITES_TCP_FIXTURE_H_

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "gtest/gtest.h"

namespace fio {

// A poller, and sockets on loopback; they do not block unless it is said.
template <typename Backend>
class PollerTcpFixture : public PollerFixture<Backend> {
 protected:
  struct Pair {
    UniqueFd client, server;
  };
  struct Trio {
    UniqueFd listener, client, server;
  };
  struct Address {
    sockaddr_storage storage = {};
    socklen_t length = sizeof(storage);

    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  };

  // --- Sockets ---

  static Address AddressOf(const UniqueFd& fd) {
    Address address;
    EXPECT_EQ(getsockname(fd.get(), address.get(), &address.length), 0);
    return address;
  }
  // As "127.0.0.1:80".
  static std::string Text(Address address) {
    char host[64];
    char port[16];
    EXPECT_EQ(getnameinfo(address.get(), address.length, host, sizeof(host),
                          port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV),
              0);
    return absl::StrCat(host, ":", port);
  }
  static std::string NameOf(const UniqueFd& fd) { return Text(AddressOf(fd)); }
  static std::string PeerOf(const UniqueFd& fd) {
    Address address;
    EXPECT_EQ(getpeername(fd.get(), address.get(), &address.length), 0);
    return Text(address);
  }

  static UniqueFd NewSocket(int family, int flags = SOCK_NONBLOCK) {
    UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    EXPECT_TRUE(fd);
    return fd;
  }
  // On a port of its own, which refuses as long as nobody listens.
  static UniqueFd Bind(int family = AF_INET, int flags = SOCK_NONBLOCK) {
    UniqueFd fd = NewSocket(family, flags);
    sockaddr_in v4 = {};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 v6 = {};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    EXPECT_EQ(
        family == AF_INET
            ? bind(fd.get(), reinterpret_cast<sockaddr*>(&v4), sizeof(v4))
            : bind(fd.get(), reinterpret_cast<sockaddr*>(&v6), sizeof(v6)),
        0);
    return fd;
  }
  static UniqueFd Listen(int family = AF_INET, int flags = SOCK_NONBLOCK) {
    UniqueFd listener = Bind(family, flags);
    EXPECT_EQ(listen(listener.get(), 16), 0);
    return listener;
  }
  // Connected sooner or later.
  static UniqueFd StartToConnect(const UniqueFd& listener) {
    Address to = AddressOf(listener);
    UniqueFd client = NewSocket(to.storage.ss_family);
    EXPECT_TRUE(connect(client.get(), to.get(), to.length) == 0 ||
                errno == EINPROGRESS);
    return client;
  }
  // Connected, by a call that blocked.
  static UniqueFd ConnectTo(const UniqueFd& listener) {
    Address to = AddressOf(listener);
    UniqueFd client = NewSocket(to.storage.ss_family, 0);
    EXPECT_EQ(connect(client.get(), to.get(), to.length), 0);
    SetFlags(client, O_NONBLOCK);
    return client;
  }
  // One that has come already.
  static UniqueFd AcceptFrom(const UniqueFd& listener) {
    UniqueFd server(accept4(listener.get(), nullptr, nullptr,
                            SOCK_NONBLOCK | SOCK_CLOEXEC));
    EXPECT_TRUE(server);
    return server;
  }
  static Pair NewPair() {
    const UniqueFd listener = Listen();
    Pair pair;
    pair.client = ConnectTo(listener);
    Await(listener, POLLIN);
    pair.server = AcceptFrom(listener);
    return pair;
  }

  static void SetFlags(const UniqueFd& fd, int flags) {
    EXPECT_EQ(fcntl(fd.get(), F_SETFL, flags), 0);
  }
  static int Option(const UniqueFd& fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    EXPECT_EQ(getsockopt(fd.get(), level, name, &value, &size), 0);
    return value;
  }
  static int Error(const UniqueFd& fd) {
    return Option(fd, SOL_SOCKET, SO_ERROR);
  }
  // A close is a reset from now on.
  static void ResetAtClose(const UniqueFd& fd) {
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    EXPECT_EQ(
        setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)),
        0);
  }

  // --- Bytes ---

  static void Await(const UniqueFd& fd, int16_t events) {
    pollfd polled = {.fd = fd.get(), .events = events, .revents = 0};
    EXPECT_EQ(poll(&polled, 1, -1), 1);
  }
  // Waits for bytes or the end, and leaves them. As recv(2) must wait for what
  // the system does with the socket meanwhile, it has signalled all of it.
  static void AwaitInput(const UniqueFd& fd) {
    Await(fd, POLLIN);
    char byte;
    EXPECT_GE(recv(fd.get(), &byte, 1, MSG_PEEK), 0);
  }
  static void Send(const UniqueFd& to, std::string_view bytes, int flags = 0) {
    EXPECT_EQ(send(to.get(), bytes.data(), bytes.size(), flags | MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // What comes next; waits for it. Nothing: the end.
  static std::string Receive(const UniqueFd& from, int flags = 0) {
    Await(from, POLLIN);
    char bytes[64];
    const ssize_t count = recv(from.get(), bytes, sizeof(bytes), flags);
    EXPECT_GE(count, 0);
    return std::string(bytes, count < 0 ? 0 : count);
  }
  // What recv(2) says of `fd` once it says no longer that there are bytes: 0,
  // which is the end, or an errno.
  static int AfterTheBytesOf(const UniqueFd& fd) {
    char bytes[64];
    ssize_t count;
    while ((count = recv(fd.get(), bytes, sizeof(bytes), 0)) > 0) {
    }
    return count == 0 ? 0 : errno;
  }
  // Why a send fails, or 0.
  static int WhyNoSend(const UniqueFd& to) {
    return send(to.get(), "x", 1, MSG_NOSIGNAL) < 0 ? errno : 0;
  }

  // --- Watches ---

  void Watch(const UniqueFd& fd, Token token, Interest interest,
             Trigger trigger = Trigger::kEdge) {
    ASSERT_TRUE(IsOk(this->poller_->Add(fd.get(), token, interest, trigger)));
  }
  void Rewatch(const UniqueFd& fd, Token token, Interest interest,
               Trigger trigger = Trigger::kEdge) {
    ASSERT_TRUE(
        IsOk(this->poller_->Modify(fd.get(), token, interest, trigger)));
  }
  void Unwatch(const UniqueFd& fd, Token token) {
    ASSERT_TRUE(IsOk(this->poller_->Remove(fd.get(), token)));
  }
  void Close(UniqueFd& fd, Token token) {
    this->poller_->RemoveForClose(fd.get(), token);
    fd.Reset();
  }
  // A pair that the poller saw come about: the client is watched both ways, as
  // 1, and writable was told.
  Pair NewWatchedPair() {
    const UniqueFd listener = Listen();
    Pair pair;
    pair.client = StartToConnect(listener);
    Watch(pair.client, 1, kReadableAndWritable);
    EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
    Await(listener, POLLIN);
    pair.server = AcceptFrom(listener);
    return pair;
  }
  // A trio that the poller saw come about: the listener is watched as 1, the
  // client as 2, for reading, and of the one it was told.
  Trio NewWatchedTrio() {
    Trio trio;
    trio.listener = Listen();
    Watch(trio.listener, 1, Interest::kReadable);
    trio.client = StartToConnect(trio.listener);
    Watch(trio.client, 2, Interest::kReadable);
    this->WaitFor(1, &Readiness::readable);
    trio.server = AcceptFrom(trio.listener);
    return trio;
  }

  // --- What is so ---

  void ExpectNothingToRead(const UniqueFd& fd, int flags = 0) {
    char byte;
    EXPECT_EQ(recv(fd.get(), &byte, 1, flags), -1);
    EXPECT_EQ(errno, EAGAIN);
    this->Drained(fd.get(), Interest::kReadable);
  }
  void ExpectNobodyToAccept(const UniqueFd& listener) {
    EXPECT_EQ(accept(listener.get(), nullptr, nullptr), -1);
    EXPECT_EQ(errno, EAGAIN);
    this->Drained(listener.get(), Interest::kReadable);
  }
  // Of no token at all.
  void ExpectNothingTold() {
    std::array<Event, 8> events;
    const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
        absl::MakeSpan(events), MonotonicTime::InfinitePast());
    ASSERT_TRUE(IsOk(ready.status()));
    for (const Event event : *ready) {
      ADD_FAILURE() << event.token() << " was told " << event.readiness();
    }
  }
  static void ExpectConnected(const UniqueFd& one, const UniqueFd& other) {
    EXPECT_EQ(PeerOf(one), NameOf(other));
    EXPECT_EQ(PeerOf(other), NameOf(one));
  }
  static void ExpectNonBlockingAndCloseOnExec(const UniqueFd& fd) {
    EXPECT_TRUE(fcntl(fd.get(), F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  }
  static void ExpectOptionKeeps(const UniqueFd& fd, int level, int name,
                                int value) {
    EXPECT_EQ(setsockopt(fd.get(), level, name, &value, sizeof(value)), 0);
    EXPECT_EQ(Option(fd, level, name), value);
    EXPECT_EQ(Error(fd), 0);
  }
  // Whoever takes the number takes the socket.
  static void ExpectTheSameUnderItsNumber(UniqueFd fd) {
    const std::string name = NameOf(fd);
    const int number = fd.get();
    const UniqueFd again(fd.Release());
    EXPECT_EQ(again.get(), number);
    EXPECT_EQ(NameOf(again), name);
  }
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_TCP_FIXTURE_H_
