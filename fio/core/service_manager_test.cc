#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"
#include "fio/core/exit_with.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/test_cluster.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using testing::ReadUntil;

// The same, with a number that leaves 3 free.
UniqueFd OutOfTheWay(int fd) {
  const UniqueFd low(fd);
  return UniqueFd(fcntl(low.get(), F_DUPFD_CLOEXEC, 100));
}

// What a service manager is to a service that it starts: a socket to be told
// things on, and one that listens already.
class Manager {
 public:
  Manager() : notify_(OutOfTheWay(socket(AF_UNIX, SOCK_DGRAM, 0))) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;  // And no name: the kernel gives one.
    socklen_t size = sizeof(sa_family_t);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(notify_.get(), generic, size), 0);
    size = sizeof(address);
    EXPECT_EQ(getsockname(notify_.get(), generic, &size), 0);
    const std::string name(address.sun_path + 1,
                           size - offsetof(sockaddr_un, sun_path) - 1);
    setenv("NOTIFY_SOCKET", absl::StrCat("@", name).c_str(), 1);
    const timeval patience = {.tv_sec = 30, .tv_usec = 0};
    EXPECT_EQ(setsockopt(notify_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience,
                         sizeof(patience)),
              0);
  }

  // Passes it on as descriptor 3.
  SocketAddress PassListenSocket() {
    absl::StatusOr<ListenSocket> socket =
        ListenSocket::Listen(*SocketAddress::Parse("127.0.0.1:0"), {});
    EXPECT_TRUE(socket.ok()) << socket.status();
    const SocketAddress address = socket->local_address();
    const UniqueFd copy = OutOfTheWay(dup(socket->fd()));
    socket = absl::CancelledError("closed");
    EXPECT_EQ(dup2(copy.get(), 3), 3);
    setenv("LISTEN_PID", absl::StrCat(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", "1", 1);
    return address;
  }

  // As a manager that does not read: nobody can tell it more.
  void FillQueue() const {
    const std::string name(getenv("NOTIFY_SOCKET"));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::copy(name.begin() + 1, name.end(), address.sun_path + 1);
    const auto size =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const UniqueFd filler(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    while (sendto(filler.get(), "x", 1, 0,
                  reinterpret_cast<sockaddr*>(&address), size) == 1) {
    }
    EXPECT_EQ(errno, EAGAIN);
  }

  // What comes after FillQueue().
  std::string ToldAfterAll() const {
    std::string told;
    do told = Told();
    while (told == "x");
    return told;
  }

  std::string Told() const {
    std::array<char, 256> bytes;
    const ssize_t size = recv(notify_.get(), bytes.data(), bytes.size(), 0);
    return size < 0 ? "nothing"
                    : std::string(bytes.data(), static_cast<size_t>(size));
  }

 private:
  const UniqueFd notify_;
};

// In a process of its own, where descriptor 3 may be what it must.
void ServeAsAService(int pipe) {
  const UniqueFd report = OutOfTheWay(dup(pipe));
  Manager manager;
  const SocketAddress passed = manager.PassListenSocket();
  ReactorOptions options = Threads(2);
  options.socket_activation = true;
  options.notify_service_manager = true;
  Reactor reactor(options);
  const absl::StatusOr<ListenerId> given = reactor.Listen(
      absl::StrCat("tcp://", passed.ToString()), {.on_open = AttachEcho});
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_EQ(*reactor.ListenAddress(*given), passed);
  EXPECT_EQ(getenv("LISTEN_FDS"), nullptr) << "a child would take it again";
  const SocketAddress own = ListenOn(reactor, {.on_open = AttachEcho});
  EXPECT_NE(own, passed);
  std::thread client([&] {
    EXPECT_EQ(manager.Told(), "READY=1");
    for (const SocketAddress& address : {passed, own}) {
      Socket socket = ConnectTo(address);
      EXPECT_TRUE(socket.Write("hello").ok());
      EXPECT_TRUE(socket.Flush().ok());
      EXPECT_EQ(ReadUntil(socket, 5), "hello");
    }
    reactor.Stop();
    EXPECT_EQ(manager.Told(), "STOPPING=1");
  });
  const absl::Status ran = reactor.Run();
  EXPECT_TRUE(ran.ok()) << ran;
  client.join();
  EXPECT_EQ(write(report.get(), "served", 6), 6);
}

TEST(ServiceManager, GivesTheSocketAndIsToldOfReadinessAndStop) {
  int status = -1;
  EXPECT_EQ(InChild(&ServeAsAService, status), "served");
  EXPECT_EQ(status, 0);
}

TEST(ServiceManager, AStalledOneDelaysNeitherStartNorStop) {
  ExpectChildPasses([] {
    const Manager manager;
    ReactorOptions options = Threads(2);
    options.notify_service_manager = true;
    Reactor reactor(options);
    const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
    manager.FillQueue();
    std::thread client([&] {
      Socket socket = ConnectTo(address);
      EXPECT_TRUE(socket.Write("hello").ok());
      EXPECT_TRUE(socket.Flush().ok());
      EXPECT_EQ(ReadUntil(socket, 5), "hello");
      EXPECT_EQ(manager.ToldAfterAll(), "READY=1");
      manager.FillQueue();
      reactor.Stop();
    });
    const absl::Status ran = reactor.Run();
    EXPECT_TRUE(ran.ok()) << ran;
    client.join();
  });
}

TEST(ServiceManager, AStalledOneDelaysNoReplacement) {
  TestCluster cluster([](const Trace& trace) {
    const Manager manager;
    manager.FillQueue();
    Reactor reactor(
        {.threads = 1, .workers = 2, .notify_service_manager = true});
    trace.Follow(reactor.lifecycle());
    return ExitWith(reactor.Run());
  });
  const std::vector<pid_t> first = cluster.Await("start", 2);
  cluster.Signal(first[0], SIGKILL);
  cluster.AwaitMore("start", 2, 1);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

TEST(ServiceManager, WhatItGivesMustListen) {
  int status = -1;
  const std::string told = InChild(
      [](int pipe) {
        const UniqueFd report = OutOfTheWay(dup(pipe));
        const UniqueFd other = OutOfTheWay(socket(AF_INET, SOCK_STREAM, 0));
        ASSERT_EQ(dup2(other.get(), 3), 3);
        setenv("LISTEN_PID", absl::StrCat(getpid()).c_str(), 1);
        setenv("LISTEN_FDS", "1", 1);
        ReactorOptions options = Threads(1);
        options.socket_activation = true;
        Reactor reactor(options);
        int finished = 0;
        const std::string error(
            reactor
                .Listen("tcp://127.0.0.1:0",
                        {.on_open = AttachEcho,
                         .on_finish = [&finished] { ++finished; }})
                .status()
                .message());
        EXPECT_EQ(finished, 1);
        EXPECT_EQ(write(report.get(), error.data(), error.size()),
                  static_cast<ssize_t>(error.size()));
      },
      status);
  EXPECT_NE(told.find("fd 3"), std::string::npos) << told;
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace fio::core_internal
