#include "fio/core/reactor.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;
using testing::ReadToEnd;
using testing::ReadUntil;

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
  absl::Duration OnShutdown(Connection& connection) override {
    connection.Write("bye");
    return absl::ZeroDuration();
  }
};

void AttachEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
}

// A blocking client, which may run in the same thread as the reactor: its
// system calls need only the kernel's help.
Socket ConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(fd.get(), address.data(), address.size()), 0);
  return Socket(std::move(fd));
}

// Listens on a free port of loopback.
SocketAddress ListenOn(Reactor& reactor, ListenOptions options,
                       ListenerId* id = nullptr) {
  const absl::StatusOr<ListenerId> listener =
      reactor.Listen("tcp://127.0.0.1:0", std::move(options));
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (id != nullptr) *id = *listener;
  return *reactor.ListenAddress(*listener);
}

TEST(Reactor, ServesUntilStoppedFromAnotherThread) {
  Reactor reactor({.handle_signals = false});
  const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
  std::thread client([&] {
    Socket socket = ConnectTo(address);
    EXPECT_TRUE(socket.TryWrite("hello").ok());
    EXPECT_EQ(ReadUntil(socket, 5), "hello");
    reactor.Stop();
    EXPECT_EQ(ReadToEnd(socket), "bye");
  });
  EXPECT_TRUE(reactor.Run().ok());
  client.join();
}

TEST(Reactor, TwiceInOneProcess) {
  Reactor reactor({.handle_signals = false});
  for (int i = 0; i < 2; ++i) {
    const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
    Socket client = ConnectTo(address);
    EXPECT_TRUE(client.TryWrite("hello").ok());
    reactor.loop().RunAfter(absl::Milliseconds(1), [&] { reactor.Stop(); });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(ReadToEnd(client), "hellobye");
  }
}

TEST(Reactor, TwoInOneProcess) {
  Reactor first({.handle_signals = false});
  Reactor second({.handle_signals = false});
  const SocketAddress addresses[] = {ListenOn(first, {.on_open = AttachEcho}),
                                     ListenOn(second, {.on_open = AttachEcho})};
  std::thread threads[] = {
      std::thread([&] { EXPECT_TRUE(first.Run().ok()); }),
      std::thread([&] { EXPECT_TRUE(second.Run().ok()); })};
  for (const SocketAddress& address : addresses) {
    Socket client = ConnectTo(address);
    EXPECT_TRUE(client.TryWrite("hello").ok());
    EXPECT_EQ(ReadUntil(client, 5), "hello");
  }
  first.Stop();
  second.Stop();
  for (std::thread& thread : threads) thread.join();
}

// --- Listening ---

TEST(Reactor, ListenErrorsNameTheUrlAndTheCall) {
  Reactor reactor({.handle_signals = false});
  const SocketAddress taken = ListenOn(reactor, {.on_open = AttachEcho});
  const auto error = [&](std::string url) {
    return std::string(
        reactor.Listen(url, {.on_open = AttachEcho}).status().message());
  };
  const std::string in_use = absl::StrCat("tcp://", taken.ToString());
  EXPECT_THAT(error(in_use),
              HasSubstr(absl::StrCat("listen ", in_use, ": bind ")));
  EXPECT_THAT(error(in_use), HasSubstr("Address already in use"));
  EXPECT_THAT(error("nonsense"), HasSubstr("listen: url 'nonsense'"));
  EXPECT_THAT(error("udp://127.0.0.1:0"), HasSubstr("datagrams"));
  EXPECT_THAT(reactor.Listen("tcp://127.0.0.1:0", {}).status().message(),
              HasSubstr("listen tcp://127.0.0.1:0: on_open is missing"));
}

TEST(Reactor, ListensOnIpv6) {
  Reactor reactor({.handle_signals = false});
  const absl::StatusOr<ListenerId> listener =
      reactor.Listen("tcp://[::1]:0", {.on_open = AttachEcho});
  ASSERT_TRUE(listener.ok()) << listener.status();
  Socket client = ConnectTo(*reactor.ListenAddress(*listener));
  EXPECT_TRUE(client.TryWrite("hello").ok());
  reactor.loop().RunAfter(absl::Milliseconds(1), [&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(ReadToEnd(client), "hellobye");
}

TEST(Reactor, ListensOnAUnixPathAndRemovesIt) {
  char folder[] = "/tmp/fio_reactor_XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = absl::StrCat(folder, "/x.sock");
  Reactor reactor({.handle_signals = false});
  const absl::StatusOr<ListenerId> listener = reactor.Listen(
      path, {.on_open = AttachEcho, .socket = {.unix_mode = 0600}});
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(reactor.ListenAddress(*listener)->path(), path);
  Socket client = ConnectTo(*reactor.ListenAddress(*listener));
  EXPECT_TRUE(client.TryWrite("hello").ok());
  reactor.loop().RunAfter(absl::Milliseconds(1), [&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(ReadToEnd(client), "hellobye");
  EXPECT_EQ(access(path.c_str(), F_OK), -1);
  EXPECT_EQ(rmdir(folder), 0);
}

TEST(Reactor, FillsInWhatTheUrlLeavesOut) {
  ASSERT_EQ(setenv("ADDRESS", "127.0.0.1", 1), 0);
  ASSERT_EQ(setenv("PORT", "0", 1), 0);
  Reactor reactor({.handle_signals = false});
  for (const char* url : {"", "tcp://"}) {
    const absl::StatusOr<ListenerId> listener =
        reactor.Listen(url, {.on_open = AttachEcho});
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(reactor.ListenAddress(*listener)->ip(), "127.0.0.1");
    EXPECT_NE(reactor.ListenAddress(*listener)->port(), 0);
  }
  ASSERT_EQ(unsetenv("ADDRESS"), 0);
  ASSERT_EQ(unsetenv("PORT"), 0);
}

TEST(Reactor, AClosedListenerRefusesAndKeepsItsConnections) {
  Reactor reactor({.handle_signals = false});
  ListenerId id;
  const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho}, &id);
  Socket client = ConnectTo(address);
  EXPECT_TRUE(client.TryWrite("hello").ok());
  reactor.loop().RunAfter(absl::Milliseconds(1), [&] {
    EXPECT_TRUE(reactor.CloseListener(id).ok());
    EXPECT_TRUE(absl::IsNotFound(reactor.CloseListener(id)));
    EXPECT_TRUE(absl::IsNotFound(reactor.ListenAddress(id).status()));
    const UniqueFd late(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_NE(connect(late.get(), address.data(), address.size()), 0);
    EXPECT_EQ(errno, ECONNREFUSED);
    EXPECT_EQ(reactor.loop().connection_count(), 1u);
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(ReadToEnd(client), "hellobye");
}

TEST(Reactor, CloseInsideOnOpenStopsTheBatch) {
  Reactor reactor({.handle_signals = false});
  ListenerId id;
  int opened = 0;
  const SocketAddress address =
      ListenOn(reactor,
               {.on_open =
                    [&](Connection& connection) {
                      ++opened;
                      AttachEcho(connection);
                      EXPECT_TRUE(reactor.CloseListener(id).ok());
                      reactor.Stop();
                    }},
               &id);
  std::vector<Socket> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(ConnectTo(address));
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, 1);
}

TEST(Reactor, AcceptsMoreThanABatchAtOnce) {
  Reactor reactor({.handle_signals = false});
  int opened = 0;
  const SocketAddress address =
      ListenOn(reactor, {.on_open = [&](Connection& connection) {
                 AttachEcho(connection);
                 if (++opened == 300) reactor.Stop();
               }});
  std::vector<Socket> clients;
  for (int i = 0; i < 300; ++i) clients.push_back(ConnectTo(address));
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, 300);
  for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), "bye");
}

// facil.io delivered none of these bytes.
TEST(Reactor, AThousandClientsThatSendAndCloseAtOnceLoseNoByte) {
  constexpr int kClients = 1'000;
  struct Count final : Protocol {
    Count(Reactor& reactor, std::string& bytes, int& closed)
        : reactor(reactor), bytes(bytes), closed(closed) {}
    void OnData(Connection& connection) override {
      const std::string_view received = connection.Received();
      bytes += received;
      connection.Write(received);
    }
    void OnClose(Connection&, const CloseReason&) override {
      if (++closed == kClients) reactor.Stop();
    }
    Reactor& reactor;
    std::string& bytes;
    int& closed;
  };
  Reactor reactor({.handle_signals = false});
  std::string bytes;
  int closed = 0;
  const SocketAddress address = ListenOn(
      reactor, {.on_open = [&](Connection& connection) {
        connection.Attach(std::make_unique<Count>(reactor, bytes, closed));
      }});
  std::thread clients([&] {
    for (int i = 0; i < kClients; ++i) {
      EXPECT_EQ(ConnectTo(address).TryWrite("hello").bytes, 5u);
    }
  });
  EXPECT_TRUE(reactor.Run().ok());
  clients.join();
  EXPECT_EQ(bytes.size(), size_t{kClients} * 5);
}

// A peer can make a server run out of descriptors; it must not stop for that,
// nor spin.
TEST(Reactor, OutOfDescriptorsItWaitsAndGoesOn) {
  rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  Reactor reactor({.handle_signals = false, .max_descriptors = 0});
  std::vector<ConnectionId> opened;
  const SocketAddress address =
      ListenOn(reactor, {.on_open = [&](Connection& connection) {
                 AttachEcho(connection);
                 opened.push_back(connection.id());
               }});
  std::vector<Socket> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(ConnectTo(address));
  rlimit tight = original;
  tight.rlim_cur = static_cast<rlim_t>(clients.back().fd()) + 4;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  size_t opened_when_full = 0;
  reactor.loop().RunAfter(absl::Milliseconds(50), [&] {
    opened_when_full = opened.size();
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
  });
  const std::function<void()> stop_when_served = [&] {
    if (opened.size() == clients.size()) {
      reactor.Stop();
    } else {
      reactor.loop().RunAfter(absl::Milliseconds(10), stop_when_served);
    }
  };
  reactor.loop().RunAfter(absl::Milliseconds(10), stop_when_served);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_LT(opened_when_full, clients.size());
  EXPECT_GT(opened_when_full, 0u);
  for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), "bye");
}

// --- Options ---

TEST(Reactor, RefusesMoreThanOneThreadOrWorkerForNow) {
  Reactor threads({.threads = 2});
  EXPECT_THAT(threads.Run().message(), HasSubstr("threads = 2"));
  EXPECT_THAT(threads.Listen("tcp://127.0.0.1:0", {.on_open = AttachEcho})
                  .status()
                  .message(),
              HasSubstr("threads = 2"));
  threads.Stop();
  Reactor workers({.workers = 0});
  EXPECT_THAT(workers.Run().message(), HasSubstr("workers = 0"));
}

TEST(Reactor, RaisesTheDescriptorLimit) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Reactor reactor({.handle_signals = false, .max_descriptors = 100});
  reactor.Stop();
  EXPECT_TRUE(reactor.Run().ok());
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, 100u);
}

// --- Signals ---

class NeverLeaves final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
  absl::Duration OnShutdown(Connection& /*connection*/) override {
    return absl::Hours(1);
  }
};

TEST(Reactor, ASignalStopsItAndASecondOneCutsOff) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Reactor reactor;
    Loop& loop = reactor.loop();
    const SocketAddress address =
        ListenOn(reactor, {.on_open = [&](Connection& connection) {
                   connection.Attach(std::make_unique<NeverLeaves>());
                   raise(signal);
                   loop.RunAfter(absl::Milliseconds(1), [&] {
                     EXPECT_EQ(loop.connection_count(), 1u);
                     raise(signal);
                   });
                 }});
    Socket client = ConnectTo(address);
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(loop.connection_count(), 0u);
  }
}

int g_own_handler_calls = 0;

TEST(Reactor, OldSignalHandlersAreBackAfterRun) {
  struct sigaction own = {};
  own.sa_handler = [](int) { ++g_own_handler_calls; };
  struct sigaction original;
  ASSERT_EQ(sigaction(SIGTERM, &own, &original), 0);
  Reactor reactor;
  reactor.Post([] { raise(SIGTERM); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(g_own_handler_calls, 0);
  raise(SIGTERM);
  EXPECT_EQ(g_own_handler_calls, 1);
  ASSERT_EQ(sigaction(SIGTERM, &original, nullptr), 0);
}

TEST(Reactor, SharesSignalsWithOtherWatches) {
  const auto elsewhere = SignalWatch::Create({SIGINT});
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.status();
  Reactor reactor;
  reactor.Post([] { raise(SIGINT); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ((*elsewhere)->Next(), SIGINT);
}

}  // namespace
}  // namespace fio
