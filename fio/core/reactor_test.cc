#include "fio/core/reactor.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor_options.h"
#include "fio/core/reactor_test_util.h"
#include "fio/core/timer/timer_wheel.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::AttachEcho;
using core_internal::AwaitTurns;
using core_internal::ConnectMany;
using core_internal::ConnectTo;
using core_internal::ExpectChildPasses;
using core_internal::ListenOn;
using core_internal::NoSignals;
using core_internal::Threads;
using core_internal::TryConnectTo;
using core_internal::WriteTo;
using ::testing::HasSubstr;
using testing::ManualClock;
using testing::ReadToEnd;
using testing::ReadUntil;

// The C library keeps it for itself, so that sigaction(2) refuses it.
constexpr int kSignalOfTheLibrary = 32;

// Which loops serve, and how many connections each.
class Served {
 public:
  // Returns how many there are now.
  size_t Add(Connection& connection) {
    const std::lock_guard lock(mutex_);
    ++of_[&connection.loop()];
    ids_.push_back(connection.id());
    return ids_.size();
  }
  std::map<const Loop*, size_t> of() const {
    const std::lock_guard lock(mutex_);
    return of_;
  }
  std::vector<ConnectionId> ids() const {
    const std::lock_guard lock(mutex_);
    return ids_;
  }
  size_t count() const {
    const std::lock_guard lock(mutex_);
    return ids_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::map<const Loop*, size_t> of_;
  std::vector<ConnectionId> ids_;
};

// Attaches Echo, counts, and tells when there are so many.
std::function<void(Connection&)> CountTo(size_t count, Served& served,
                                         absl::Notification& all) {
  return [count, &served, &all](Connection& connection) {
    AttachEcho(connection);
    if (served.Add(connection) == count) all.Notify();
  };
}

TEST(Reactor, ServesUntilStoppedFromAnotherThread) {
  for (const int threads : {1, 2, 4}) {
    Reactor reactor(Threads(threads));
    const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
    std::thread clients([&] {
      std::vector<Socket> sockets = ConnectMany(address, 8);
      for (Socket& socket : sockets) {
        EXPECT_TRUE(socket.TryWrite("hello").ok());
        EXPECT_EQ(ReadUntil(socket, 5), "hello");
      }
      reactor.Stop();
      for (Socket& socket : sockets) EXPECT_EQ(ReadToEnd(socket), "bye");
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
  }
}

TEST(Reactor, TwoInOneProcess) {
  Reactor first(Threads(1));
  Reactor second(Threads(2));
  const SocketAddress addresses[] = {ListenOn(first, {.on_open = AttachEcho}),
                                     ListenOn(second, {.on_open = AttachEcho})};
  absl::Notification first_runs;
  absl::Notification second_runs;
  first.Post([&] { first_runs.Notify(); });
  second.Post([&] { second_runs.Notify(); });
  std::thread threads[] = {
      std::thread([&] { EXPECT_TRUE(first.Run().ok()); }),
      std::thread([&] { EXPECT_TRUE(second.Run().ok()); })};
  first_runs.WaitForNotification();
  second_runs.WaitForNotification();
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
  Reactor reactor(Threads(1));
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

// Several loops have a socket each, and take nobody's port.
TEST(Reactor, ListenFindsATakenPortWithSeveralThreads) {
  Reactor first(Threads(3));
  Reactor second(Threads(3));
  const SocketAddress taken = ListenOn(first, {.on_open = AttachEcho});
  const absl::Status status =
      second
          .Listen(absl::StrCat("tcp://", taken.ToString()),
                  {.on_open = AttachEcho})
          .status();
  EXPECT_THAT(status.message(), HasSubstr("Address already in use"));
}

TEST(Reactor, ListensOnIpv6) {
  Reactor reactor(Threads(1));
  const absl::StatusOr<ListenerId> listener =
      reactor.Listen("tcp://[::1]:0", {.on_open = AttachEcho});
  ASSERT_TRUE(listener.ok()) << listener.status();
  Socket client = ConnectTo(*reactor.ListenAddress(*listener));
  EXPECT_TRUE(client.TryWrite("hello").ok());
  std::thread stopper([&] {
    EXPECT_EQ(ReadUntil(client, 5), "hello");
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  stopper.join();
  EXPECT_EQ(ReadToEnd(client), "bye");
}

TEST(Reactor, ListensOnAUnixPathAndRemovesIt) {
  for (const int threads : {1, 3}) {
    std::string folder = "/tmp/fio_reactor_XXXXXX";  // As short as it must be.
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    const std::string path = absl::StrCat(folder, "/x");
    Reactor reactor(Threads(threads));
    const absl::StatusOr<ListenerId> listener =
        reactor.Listen(absl::StrCat("unix://", path),
                       {.on_open = AttachEcho, .socket = {.unix_mode = 0600}});
    ASSERT_TRUE(listener.ok()) << listener.status();
    const SocketAddress address = *reactor.ListenAddress(*listener);
    EXPECT_EQ(address.path(), path);
    std::thread clients([&] {
      std::vector<Socket> sockets = ConnectMany(address, 20);
      for (Socket& socket : sockets) {
        EXPECT_TRUE(socket.TryWrite("hello").ok());
        EXPECT_EQ(ReadUntil(socket, 5), "hello");
      }
      reactor.Stop();
      for (Socket& socket : sockets) EXPECT_EQ(ReadToEnd(socket), "bye");
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
    EXPECT_EQ(access(path.c_str(), F_OK), -1);
    EXPECT_EQ(rmdir(folder.c_str()), 0);
  }
}

TEST(Reactor, FillsInWhatTheUrlLeavesOut) {
  ASSERT_EQ(setenv("ADDRESS", "127.0.0.1", 1), 0);
  ASSERT_EQ(setenv("PORT", "0", 1), 0);
  Reactor reactor(Threads(1));
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

TEST(Reactor, EveryLoopAcceptsWhatTheKernelDealsOut) {
  constexpr size_t kClients = 64;
  Reactor reactor(Threads(3));
  Served served;
  absl::Notification all;
  const SocketAddress address =
      ListenOn(reactor, {.on_open = CountTo(kClients, served, all)});
  std::thread clients([&] {
    std::vector<Socket> sockets = ConnectMany(address, kClients);
    all.WaitForNotification();
    EXPECT_EQ(served.of().size(), 3u);
    reactor.Stop();
    for (Socket& socket : sockets) EXPECT_EQ(ReadToEnd(socket), "bye");
  });
  EXPECT_TRUE(reactor.Run().ok());
  clients.join();
}

TEST(Reactor, LeastConnectionsAreEven) {
  constexpr size_t kClients = 30;
  for (const bool before_run : {true, false}) {
    Reactor reactor(Threads(3));
    Served served;
    absl::Notification all;
    absl::Notification listens;
    SocketAddress address;
    const auto listen = [&] {
      address =
          ListenOn(reactor, {.on_open = CountTo(kClients, served, all),
                             .balance = AcceptBalance::kLeastConnections});
      listens.Notify();
    };
    before_run ? listen() : static_cast<void>(reactor.Post(listen));
    std::thread clients([&] {
      listens.WaitForNotification();
      std::vector<Socket> sockets = ConnectMany(address, kClients);
      all.WaitForNotification();
      for (const LoopHandle& handle : reactor.handles()) {
        EXPECT_EQ(handle.connection_count(), kClients / 3);
      }
      EXPECT_EQ(served.of().size(), 3u);
      reactor.Stop();
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
  }
}

TEST(Reactor, ListensWhileRunning) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    constexpr size_t kClients = 64;
    Served served;
    absl::Notification all;
    absl::Notification listens;
    SocketAddress address;
    reactor.Post([&] {
      address = ListenOn(reactor, {.on_open = CountTo(kClients, served, all)});
      listens.Notify();
    });
    std::thread clients([&] {
      listens.WaitForNotification();
      std::vector<Socket> sockets = ConnectMany(address, kClients);
      all.WaitForNotification();
      EXPECT_EQ(served.of().size(), static_cast<size_t>(threads));
      reactor.Stop();
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
  }
}

// Where nothing accepts yet, though Run() is running.
TEST(Reactor, ListensInEachCallbackOfTheStart) {
  for (const int threads : {1, 3}) {
    for (const LifecycleEvent event :
         {LifecycleEvent::kOnInitialize, LifecycleEvent::kPreStart,
          LifecycleEvent::kOnStart}) {
      SCOPED_TRACE(static_cast<int>(event));
      Reactor reactor(Threads(threads));
      int finished = 0;
      SocketAddress address;
      absl::Notification listens;
      reactor.lifecycle().Add(event, [&] {
        address = ListenOn(
            reactor, {.on_open = AttachEcho, .on_finish = [&] { ++finished; }});
      });
      reactor.Post([&] { listens.Notify(); });
      std::thread clients([&] {
        listens.WaitForNotification();
        for (int i = 0; i < 10; ++i) {
          Socket socket = ConnectTo(address);
          EXPECT_TRUE(socket.TryWrite("hello").ok());
          EXPECT_EQ(ReadUntil(socket, 5), "hello");
        }
        reactor.Stop();
      });
      EXPECT_TRUE(reactor.Run().ok());
      clients.join();
      EXPECT_EQ(finished, 1);
    }
  }
}

// Each worker one of its own, of which it gets every connection.
TEST(Reactor, ListensInAWorker) {
  for (const LifecycleEvent event :
       {LifecycleEvent::kInChild, LifecycleEvent::kOnStart}) {
    for (const int threads : {1, 2}) {
      ExpectChildPasses([=] {
        constexpr int kClients = 20;
        std::array<int, 2> ends;
        ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
        Reactor reactor(
            {.threads = threads, .workers = 2, .signals = NoSignals()});
        std::vector<Socket> clients;
        std::atomic<int> opened{0};
        reactor.lifecycle().Add(event, [&] {
          const SocketAddress address =
              ListenOn(reactor, {.on_open = [&](Connection& connection) {
                         AttachEcho(connection);
                         if (++opened == kClients) WriteTo(ends[1], "w");
                       }});
          clients = ConnectMany(address, kClients);
        });
        int workers = 0;
        const absl::StatusOr<WatchId> watch = reactor.loop().Watch(
            ends[0], Interest::kReadable, Trigger::kLevel, [&](Readiness) {
              char told = 0;
              ASSERT_EQ(read(ends[0], &told, 1), 1);
              if (++workers == 2) reactor.Stop();
            });
        ASSERT_TRUE(watch.ok()) << watch.status();
        EXPECT_TRUE(reactor.Run().ok());
        EXPECT_EQ(workers, 2);
      });
    }
  }
}

TEST(Reactor, APausedListenerLetsClientsWait) {
  constexpr size_t kClients = 20;
  for (const int threads : {1, 3}) {
    for (const AcceptBalance balance :
         {AcceptBalance::kByKernel, AcceptBalance::kLeastConnections}) {
      for (const bool before_run : {true, false}) {
        Reactor reactor(Threads(threads));
        Served served;
        absl::Notification all;
        ListenerId id;
        const SocketAddress address = ListenOn(
            reactor,
            {.on_open = CountTo(kClients, served, all), .balance = balance},
            &id);
        absl::Notification paused;
        const auto pause = [&] {
          EXPECT_TRUE(reactor.PauseListener(id).ok());
          paused.Notify();
        };
        before_run ? pause() : static_cast<void>(reactor.Post(pause));
        absl::Notification runs;
        reactor.Post([&] { runs.Notify(); });
        std::thread clients([&] {
          runs.WaitForNotification();
          paused.WaitForNotification();
          AwaitTurns(reactor);
          std::vector<Socket> sockets = ConnectMany(address, kClients);
          AwaitTurns(reactor, 3);
          EXPECT_EQ(served.count(), 0u);
          reactor.Post([&] { EXPECT_TRUE(reactor.ResumeListener(id).ok()); });
          all.WaitForNotification();
          reactor.Stop();
          for (Socket& socket : sockets) EXPECT_EQ(ReadToEnd(socket), "bye");
        });
        EXPECT_TRUE(reactor.Run().ok());
        clients.join();
      }
    }
  }
}

TEST(Reactor, AClosedListenerRefusesAndKeepsItsConnections) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    ListenerId id;
    const SocketAddress address =
        ListenOn(reactor, {.on_open = AttachEcho}, &id);
    std::thread clients([&] {
      std::vector<Socket> sockets = ConnectMany(address, 8);
      for (Socket& socket : sockets) {
        EXPECT_TRUE(socket.TryWrite("hello").ok());
        EXPECT_EQ(ReadUntil(socket, 5), "hello");
      }
      reactor.Post([&] {
        EXPECT_TRUE(reactor.CloseListener(id).ok());
        EXPECT_TRUE(absl::IsNotFound(reactor.CloseListener(id)));
        EXPECT_TRUE(absl::IsNotFound(reactor.PauseListener(id)));
        EXPECT_TRUE(absl::IsNotFound(reactor.ResumeListener(id)));
        EXPECT_TRUE(absl::IsNotFound(reactor.ListenAddress(id).status()));
      });
      AwaitTurns(reactor, 4);
      EXPECT_LT(TryConnectTo(address).fd(), 0);
      EXPECT_EQ(errno, ECONNREFUSED);
      for (Socket& socket : sockets) {
        EXPECT_TRUE(socket.TryWrite("again").ok());
        EXPECT_EQ(ReadUntil(socket, 5), "again");
      }
      reactor.Stop();
      for (Socket& socket : sockets) EXPECT_EQ(ReadToEnd(socket), "bye");
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
  }
}

TEST(Reactor, CloseInsideOnOpenStopsTheBatch) {
  Reactor reactor(Threads(1));
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
  std::vector<Socket> clients = ConnectMany(address, 10);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, 1);
}

TEST(Listen, OnFinishPerProcess) {
  for (const int threads : {1, 3}) {
    for (const bool closes : {false, true}) {
      Reactor reactor(Threads(threads));
      std::atomic<int> finished{0};
      std::atomic<int> opened{0};
      std::atomic<int> opened_late{0};
      bool lifecycle_finished = false;
      const std::thread::id main = std::this_thread::get_id();
      ListenerId id;
      absl::Notification done;
      const SocketAddress address =
          ListenOn(reactor,
                   {.on_open =
                        [&](Connection& connection) {
                          AttachEcho(connection);
                          ++opened;
                          if (finished > 0) ++opened_late;
                        },
                    .on_finish =
                        [&] {
                          EXPECT_EQ(std::this_thread::get_id(), main);
                          EXPECT_FALSE(lifecycle_finished);
                          if (++finished == 1) done.Notify();
                        }},
                   &id);
      reactor.lifecycle().Add(LifecycleEvent::kOnFinish, [&] {
        EXPECT_EQ(finished, 1);
        lifecycle_finished = true;
      });
      // Clients come all the time.
      std::thread clients([&] {
        std::vector<Socket> sockets;
        while (opened < 20) sockets.push_back(TryConnectTo(address));
        closes ? static_cast<void>(reactor.Post(
                     [&] { EXPECT_TRUE(reactor.CloseListener(id).ok()); }))
               : reactor.Stop();
        while (!done.HasBeenNotified()) {
          sockets.push_back(TryConnectTo(address));
        }
        if (closes) {
          AwaitTurns(reactor, 4);
          EXPECT_EQ(finished, 1);
          reactor.Stop();
        }
      });
      EXPECT_TRUE(reactor.Run().ok());
      clients.join();
      EXPECT_EQ(finished, 1);
      EXPECT_EQ(opened_late, 0);
      EXPECT_TRUE(lifecycle_finished);
      EXPECT_TRUE(absl::IsNotFound(reactor.ListenAddress(id).status()));
    }
  }

  // Errors, by the call that fails.
  Reactor reactor(Threads(3));
  int finished = 0;
  const auto on_finish = [&] { ++finished; };
  const SocketAddress taken = ListenOn(reactor, {.on_open = AttachEcho});
  for (const std::string& url :
       {std::string("nonsense"), std::string("udp://127.0.0.1:0"),
        absl::StrCat("tcp://", taken.ToString())}) {
    finished = 0;
    EXPECT_FALSE(
        reactor.Listen(url, {.on_open = AttachEcho, .on_finish = on_finish})
            .ok());
    EXPECT_EQ(finished, 1) << url;
  }
  finished = 0;
  EXPECT_FALSE(
      reactor.Listen("tcp://127.0.0.1:0", {.on_finish = on_finish}).ok());
  EXPECT_EQ(finished, 1);

  // One that never ran: with the reactor, or at once.
  finished = 0;
  {
    Reactor unused(Threads(1));
    ListenerId id;
    ListenOn(unused, {.on_open = AttachEcho, .on_finish = on_finish});
    ListenOn(unused, {.on_open = AttachEcho, .on_finish = on_finish}, &id);
    EXPECT_TRUE(unused.CloseListener(id).ok());
    EXPECT_EQ(finished, 1);
  }
  EXPECT_EQ(finished, 2);

  // A Run() that was cancelled, or failed.
  for (const bool fails : {true, false}) {
    finished = 0;
    ReactorOptions options = Threads(2);
    if (fails) options.signals.stop = {kSignalOfTheLibrary};
    Reactor cancelled(options);
    ListenOn(cancelled, {.on_open = AttachEcho, .on_finish = on_finish});
    cancelled.lifecycle().Add(LifecycleEvent::kPreStart,
                              [&] { cancelled.Stop(); });
    EXPECT_EQ(cancelled.Run().ok(), !fails);
    EXPECT_EQ(finished, 1);
  }
}

TEST(Reactor, AcceptsMoreThanABatchAtOnce) {
  Reactor reactor(Threads(1));
  int opened = 0;
  const SocketAddress address =
      ListenOn(reactor, {.on_open = [&](Connection& connection) {
                 AttachEcho(connection);
                 if (++opened == 300) reactor.Stop();
               }});
  std::vector<Socket> clients = ConnectMany(address, 300);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, 300);
  for (Socket& client : clients) EXPECT_EQ(ReadToEnd(client), "bye");
}

// facil.io delivered none of these bytes.
TEST(Reactor, AThousandClientsThatSendAndCloseAtOnceLoseNoByte) {
  constexpr int kClients = 1'000;
  struct Count final : Protocol {
    Count(Reactor& reactor, std::atomic<int>& bytes, std::atomic<int>& closed)
        : reactor(reactor), bytes(bytes), closed(closed) {}
    void OnData(Connection& connection) override {
      const std::string_view received = connection.Received();
      bytes += static_cast<int>(received.size());
      connection.Write(received);
    }
    void OnClose(Connection&, const CloseReason&) override {
      if (++closed == kClients) reactor.Stop();
    }
    Reactor& reactor;
    std::atomic<int>& bytes;
    std::atomic<int>& closed;
  };
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    std::atomic<int> bytes{0};
    std::atomic<int> closed{0};
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
    EXPECT_EQ(bytes, kClients * 5);
  }
}

// A peer can make a server run out of descriptors; it must not stop for that,
// nor spin.
TEST(Reactor, OutOfDescriptorsItWaitsAndGoesOn) {
  rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  ReactorOptions options = Threads(1);
  options.max_descriptors = 0;
  Reactor reactor(options);
  std::vector<ConnectionId> opened;
  uint64_t shed = 0;
  ListenOptions listen = {.on_open = [&](Connection& connection) {
    AttachEcho(connection);
    opened.push_back(connection.id());
  }};
  listen.on_shed = [&](int, uint64_t count) {
    shed = count;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
  };
  listen.back_off = absl::Milliseconds(1);
  const SocketAddress address = ListenOn(reactor, std::move(listen));
  std::vector<Socket> clients = ConnectMany(address, 8);
  ASSERT_TRUE(reactor
                  .RunEvery({.callback =
                                 [&] {
                                   if (opened.size() + shed < clients.size()) {
                                     return TimerWheel::Next::kContinue;
                                   }
                                   reactor.Stop();
                                   return TimerWheel::Next::kStop;
                                 },
                             .interval = absl::Milliseconds(1)})
                  .ok());
  // One for the listener to keep, and four for connections.
  std::vector<int> fillers;
  reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
    rlimit tight = original;
    tight.rlim_cur = static_cast<rlim_t>(clients.back().fd()) + 16;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (int fd = dup(0); fd >= 0; fd = dup(0)) fillers.push_back(fd);
    EXPECT_EQ(errno, EMFILE);
    ASSERT_GE(fillers.size(), 5u);
    for (int i = 0; i < 5; ++i) {
      close(fillers.back());
      fillers.pop_back();
    }
  });
  EXPECT_TRUE(reactor.Run().ok());
  for (const int fd : fillers) close(fd);
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
  EXPECT_GT(shed, 0u);
  EXPECT_GT(opened.size(), 0u);
  EXPECT_EQ(opened.size() + shed, clients.size());
}

// --- Connecting ---

class Greeter final : public Protocol {
 public:
  explicit Greeter(std::function<void()> on_close)
      : on_close_(std::move(on_close)) {}
  void OnOpen(Connection& connection) override { connection.Write("hello"); }
  void OnData(Connection& connection) override {
    got_ += connection.Received();
    if (got_ == "hello") connection.Close();
  }
  void OnClose(Connection&, const CloseReason&) override { on_close_(); }

 private:
  const std::function<void()> on_close_;
  std::string got_;
};

TEST(Reactor, ConnectsBeforeAndWhileRunning) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    const SocketAddress address = ListenOn(reactor, {.on_open = AttachEcho});
    const std::string url = absl::StrCat("tcp://", address.ToString());
    int finished = 0;
    int closed = 0;
    const auto connect = [&] {
      const absl::StatusOr<ConnectorId> id = reactor.Connect(
          url, {.on_open =
                    [&](Connection& connection) {
                      EXPECT_EQ(&connection.loop(), &reactor.loop());
                      connection.Attach(std::make_unique<Greeter>([&] {
                        if (++closed == 3) reactor.Stop();
                      }));
                    },
                .on_finish = [&] { ++finished; }});
      EXPECT_TRUE(id.ok()) << id.status();
    };
    connect();
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, connect);
    reactor.Post(connect);
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(closed, 3);
    EXPECT_EQ(finished, 3);
    // There is none left.
    reactor.lifecycle().Clear(LifecycleEvent::kOnStart);
    reactor.Post([&] { reactor.Stop(); });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(finished, 3);
  }
}

// Owns the way to its upstream, as the protocol of a proxy does.
class Front final : public Protocol {
 public:
  Front(Reactor& reactor, Connection& connection, std::string_view url,
        const std::function<void()>& on_open) {
    absl::StatusOr<std::unique_ptr<Connector>> upstream = reactor.ConnectOn(
        connection.loop(), url,
        {.on_open = [&loop = connection.loop(), on_open,
                     thread = std::this_thread::get_id()](Connection& opened) {
          EXPECT_EQ(&opened.loop(), &loop);
          EXPECT_EQ(std::this_thread::get_id(), thread);
          opened.Close();
          on_open();
        }});
    EXPECT_TRUE(upstream.ok()) << upstream.status();
    if (upstream.ok()) upstream_ = *std::move(upstream);
  }
  void OnData(Connection& connection) override { connection.Received(); }

 private:
  std::unique_ptr<Connector> upstream_;
};

TEST(Reactor, ConnectsOnTheLoopOfACallback) {
  constexpr int kClients = 24;
  Reactor reactor(Threads(3));
  const SocketAddress upstream = ListenOn(reactor, {.on_open = &AttachEcho});
  // One of the two is a name.
  const std::string urls[] = {
      absl::StrCat("tcp://", upstream.ToString()),
      absl::StrCat("tcp4://localhost:", upstream.port())};
  std::atomic<int> opened = 0;
  const auto count = [&] {
    if (++opened == kClients) reactor.Stop(absl::ZeroDuration());
  };
  std::atomic<size_t> clients = 0;
  const SocketAddress address =
      ListenOn(reactor, {.on_open = [&](Connection& connection) {
                 const std::string& url = urls[clients++ % std::size(urls)];
                 connection.Attach(
                     std::make_unique<Front>(reactor, connection, url, count));
               }});
  const std::vector<Socket> sockets = ConnectMany(address, kClients);
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(opened, kClients);
}

TEST(Reactor, ConnectOnTellsBadArguments) {
  Reactor reactor(Threads(1));
  int finished = 0;
  const absl::Status bad =
      reactor
          .ConnectOn(reactor.loop(), "nonsense://x",
                     {.on_open = &AttachEcho,
                      .on_finish = [&finished] { ++finished; }})
          .status();
  EXPECT_TRUE(absl::IsInvalidArgument(bad)) << bad;
  EXPECT_EQ(finished, 1);
}

TEST(Reactor, ConnectErrorsFinishAtOnce) {
  Reactor reactor(Threads(1));
  int finished = 0;
  const auto on_finish = [&] { ++finished; };
  const auto fails = [&] {
    finished = 0;
    EXPECT_TRUE(absl::IsInvalidArgument(
        reactor.Connect("tcp://127.0.0.1:9", {.on_finish = on_finish})
            .status()));
    EXPECT_EQ(finished, 1);
    EXPECT_TRUE(absl::IsInvalidArgument(
        reactor
            .Connect("nonsense",
                     {.on_open = AttachEcho, .on_finish = on_finish})
            .status()));
    EXPECT_EQ(finished, 2);
  };
  fails();
  reactor.Post([&] {
    fails();
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(finished, 2);
}

TEST(Reactor, CancelConnectFinishesOnce) {
  Reactor reactor(Threads(1));
  ListenerId listener;
  const SocketAddress address =
      ListenOn(reactor, {.on_open = AttachEcho}, &listener);
  const std::string url = absl::StrCat("tcp://", address.ToString());
  std::string log;
  const auto connect = [&](char name, bool reconnect = true) {
    return *reactor.Connect(
        url, {.on_open = [](Connection& connection) { connection.Close(); },
              .on_finish = [&log, name] { log += name; },
              .reconnect = reconnect});
  };
  const ConnectorId a = connect('a');
  const ConnectorId b = connect('b');
  connect('c');
  const ConnectorId d = connect('d', /*reconnect=*/false);
  EXPECT_TRUE(reactor.CancelConnect(a).ok());
  EXPECT_EQ(log, "a");
  EXPECT_TRUE(absl::IsNotFound(reactor.CancelConnect(a)));
  EXPECT_TRUE(absl::IsNotFound(reactor.CancelConnect(ConnectorId::kNone)));
  reactor.Post([&] {
    EXPECT_TRUE(reactor.CancelConnect(b).ok());
    EXPECT_EQ(log, "ab");
    EXPECT_TRUE(absl::IsNotFound(reactor.CancelConnect(b)));
    const ConnectorId e = connect('e');
    EXPECT_TRUE(reactor.CancelConnect(e).ok());
    EXPECT_EQ(log, "abe");
  });
  ASSERT_TRUE(reactor
                  .RunEvery({.callback =
                                 [&] {
                                   if (log != "abed") {
                                     return TimerWheel::Next::kContinue;
                                   }
                                   // It is forgotten once it has finished.
                                   EXPECT_TRUE(absl::IsNotFound(
                                       reactor.CancelConnect(d)));
                                   reactor.Stop();
                                   return TimerWheel::Next::kStop;
                                 },
                             .interval = absl::Milliseconds(1)})
                  .ok());
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(log, "abedc");
}

// Each comes back to the reactor.
TEST(Reactor, OnFinishOfConnectorsMayConnectAndCancel) {
  Reactor reactor(Threads(1));
  int finished = 0;
  std::vector<ConnectorId> ids;
  const std::function<void()> on_finish = [&] {
    ++finished;
    for (const ConnectorId id : ids) {
      reactor.CancelConnect(id).IgnoreError();
    }
    for (int i = 0; i < 20 && finished <= 10; ++i) {
      const absl::StatusOr<ConnectorId> id = reactor.Connect(
          "tcp://127.0.0.1:9",
          {.on_open = AttachEcho, .on_finish = [&] { ++finished; }});
      EXPECT_TRUE(id.ok());
    }
  };
  for (int i = 0; i < 10; ++i) {
    const absl::StatusOr<ConnectorId> id = reactor.Connect(
        "tcp://127.0.0.1:9",
        {.on_open = AttachEcho, .on_finish = on_finish, .reconnect = true});
    ASSERT_TRUE(id.ok()) << id.status();
    ids.push_back(*id);
  }
  reactor.Post([&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(finished % 20, 10);
}

// --- Tasks and timers ---

TEST(Reactor, DefersBeforeAndWhileRunning) {
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    std::string log;
    EXPECT_FALSE(reactor.Defer(nullptr));
    EXPECT_TRUE(reactor.Defer([&] { log += 'a'; }));
    reactor.lifecycle().Add(LifecycleEvent::kPreStart, [&] {
      EXPECT_TRUE(reactor.Defer([&] { log += 'b'; }));
    });
    reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&] {
      EXPECT_EQ(log, "");
      EXPECT_TRUE(reactor.Defer([&] {
        log += 'c';
        EXPECT_FALSE(reactor.Defer(nullptr));
        EXPECT_TRUE(reactor.Defer([&] {
          log += 'd';
          reactor.Stop();
          // Those that wait run before Run() returns, with what they post.
          reactor.Defer([&] {
            log += 'e';
            reactor.Defer([&] { log += 'f'; });
          });
        }));
      }));
    });
    std::string at_finish;
    reactor.lifecycle().Add(LifecycleEvent::kOnFinish,
                            [&] { at_finish = log; });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(log, "abcdef");
    EXPECT_EQ(at_finish, log);
    // They are not for the next run, but for those of the callbacks.
    log.clear();
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(log, "bcdef");
  }
}

// What kOnFinish sets up is for the next run.
TEST(Reactor, OnFinishSetsUpTheNextRun) {
  Reactor reactor(Threads(2));
  std::string log;
  int finished = 0;
  SocketAddress address;
  const Lifecycle::CallbackId callback =
      reactor.lifecycle().Add(LifecycleEvent::kOnFinish, [&] {
        reactor.Defer([&] { log += 'd'; });
        EXPECT_TRUE(reactor
                        .RunEvery({.callback =
                                       [&] {
                                         log += 't';
                                         return TimerWheel::Next::kContinue;
                                       },
                                   .interval = absl::Hours(1),
                                   .on_finish = [&] { log += 'f'; }})
                        .ok());
        address = ListenOn(
            reactor, {.on_open = AttachEcho, .on_finish = [&] { ++finished; }});
        EXPECT_FALSE(reactor.Run().ok());
      });
  reactor.Post([&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_EQ(log, "");
  EXPECT_EQ(finished, 0);
  ASSERT_TRUE(reactor.lifecycle().Remove(callback));
  Socket client = ConnectTo(address);
  EXPECT_TRUE(client.TryWrite("hello").ok());
  std::thread stopper([&] {
    EXPECT_EQ(ReadUntil(client, 5), "hello");
    reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  stopper.join();
  EXPECT_EQ(log, "df");
  EXPECT_EQ(finished, 1);
}

TEST(Reactor, ErrorsNameTheCall) {
  Reactor reactor(Threads(1));
  const auto none = static_cast<ListenerId>(0);
  EXPECT_EQ(reactor.ListenAddress(none).status().message(),
            "reactor: ListenAddress: no listener has id 0");
  EXPECT_EQ(reactor.PauseListener(none).message(),
            "reactor: PauseListener: no listener has id 0");
  EXPECT_EQ(reactor.ResumeListener(none).message(),
            "reactor: ResumeListener: no listener has id 0");
  EXPECT_EQ(reactor.CloseListener(none).message(),
            "reactor: CloseListener: no listener has id 0");
  EXPECT_EQ(reactor.CancelConnect(static_cast<ConnectorId>(0)).message(),
            "reactor: CancelConnect: no connector has id 0");
  EXPECT_EQ(reactor.RunEvery({.callback = [] {}, .interval = {}}).message(),
            "reactor: RunEvery: the interval is not positive: 0");
  EXPECT_EQ(
      reactor.RunEvery({.callback = nullptr, .interval = absl::Seconds(1)})
          .message(),
      "reactor: RunEvery: the callback is missing");
}

TEST(Reactor, TimersCountFromTheStart) {
  ManualClock clock;
  ReactorOptions options = Threads(1);
  options.loop.clock = &clock;
  Reactor reactor(options);
  std::vector<absl::Duration> ran;
  std::string finished;
  MonotonicTime start;
  const auto timer = [&](absl::Duration interval, int64_t repetitions,
                         char name) {
    EXPECT_TRUE(
        reactor
            .RunEvery({.callback =
                           [&] {
                             ran.push_back(clock.Now() - start);
                             return TimerWheel::Next::kContinue;
                           },
                       .interval = interval,
                       .repetitions = repetitions,
                       .on_finish = [&finished, name] { finished += name; }})
            .ok());
  };
  timer(absl::Seconds(10), 2, 'a');
  timer(absl::Hours(1), -1, 'b');
  clock.Advance(absl::Seconds(1000));
  reactor.lifecycle().Add(LifecycleEvent::kOnStart,
                          [&] { start = clock.Now(); });
  reactor.Defer([&] {
    clock.Advance(absl::Seconds(5));
    timer(absl::Seconds(10), 0, 'c');
  });
  // Time goes on as long as there is something to wait for.
  reactor.loop().OnTurnBegin([&] {
    reactor.loop().Wake();
    if (finished.size() == 2) {
      reactor.Stop();
    } else if (start != MonotonicTime()) {
      clock.Advance(absl::Milliseconds(500));
    }
  });
  EXPECT_TRUE(reactor.Run().ok());
  reactor.loop().OnTurnBegin(nullptr);
  ASSERT_EQ(ran.size(), 3u);
  EXPECT_EQ(ran[0], absl::Seconds(10));
  EXPECT_GE(ran[1], absl::Seconds(15));
  EXPECT_LE(ran[1], absl::Seconds(16));
  EXPECT_EQ(ran[2], absl::Seconds(20));
  EXPECT_EQ(finished, "cab");
}

TEST(Reactor, TimersFinishExactlyOnce) {
  for (const int threads : {1, 3}) {
    std::string finished;
    const auto timer = [&](char name, TimerWheel::Next next,
                           int64_t repetitions) {
      return Reactor::Timer{
          .callback = [next] { return next; },
          .interval = absl::Microseconds(100),
          .repetitions = repetitions,
          .on_finish = [&finished, name] { finished += name; }};
    };
    {
      Reactor reactor(Threads(threads));
      EXPECT_TRUE(absl::IsInvalidArgument(reactor.RunEvery(
          {.callback = nullptr, .interval = absl::Seconds(1), .on_finish = [&] {
             finished += 'x';
           }})));
      EXPECT_EQ(finished, "x");
      Reactor::Timer bad = timer('y', TimerWheel::Next::kContinue, 1);
      bad.interval = absl::ZeroDuration();
      EXPECT_TRUE(absl::IsInvalidArgument(reactor.RunEvery(bad)));
      EXPECT_EQ(finished, "xy");
      finished.clear();
      EXPECT_TRUE(
          reactor.RunEvery(timer('a', TimerWheel::Next::kStop, -1)).ok());
      EXPECT_TRUE(
          reactor.RunEvery(timer('b', TimerWheel::Next::kContinue, 3)).ok());
      EXPECT_TRUE(
          reactor.RunEvery(timer('c', TimerWheel::Next::kContinue, 0)).ok());
      EXPECT_TRUE(
          reactor.RunEvery(timer('d', TimerWheel::Next::kContinue, -1)).ok());
      EXPECT_TRUE(reactor
                      .RunEvery({.callback =
                                     [&] {
                                       if (finished.size() == 3) {
                                         reactor.Stop();
                                       }
                                       return TimerWheel::Next::kContinue;
                                     },
                                 .interval = absl::Milliseconds(1)})
                      .ok());
      reactor.lifecycle().Add(LifecycleEvent::kOnFinish,
                              [&] { EXPECT_EQ(finished.size(), 4u); });
      EXPECT_TRUE(reactor.Run().ok());
      std::sort(finished.begin(), finished.end());
      EXPECT_EQ(finished, "abcd");
      // Never started: a start that is cancelled, and one that never comes.
      finished.clear();
      EXPECT_TRUE(
          reactor.RunEvery(timer('e', TimerWheel::Next::kContinue, 1)).ok());
      reactor.lifecycle().Clear(LifecycleEvent::kOnFinish);
      reactor.lifecycle().Add(LifecycleEvent::kPreStart,
                              [&] { reactor.Stop(); });
      EXPECT_TRUE(reactor.Run().ok());
      EXPECT_EQ(finished, "e");
      EXPECT_TRUE(
          reactor.RunEvery(timer('f', TimerWheel::Next::kContinue, 1)).ok());
    }
    EXPECT_EQ(finished, "ef");
  }
}

// --- Connections by id ---

TEST(Reactor, PostsToConnectionsWhereverTheyAre) {
  constexpr size_t kClients = 30;
  for (const int threads : {1, 3}) {
    Reactor reactor(Threads(threads));
    Served served;
    absl::Notification all;
    const SocketAddress address =
        ListenOn(reactor, {.on_open = CountTo(kClients, served, all),
                           .balance = AcceptBalance::kLeastConnections});
    std::thread clients([&] {
      std::vector<Socket> sockets = ConnectMany(address, kClients);
      all.WaitForNotification();
      const std::vector<LoopHandle> handles = reactor.handles();
      EXPECT_EQ(handles.size(), static_cast<size_t>(threads));
      std::atomic<size_t> found{0};
      std::atomic<size_t> gone{0};
      std::set<const Loop*> loops;
      std::mutex mutex;
      for (const ConnectionId id : served.ids()) {
        const LoopHandle handle = reactor.HandleOf(id);
        EXPECT_TRUE(std::find(handles.begin(), handles.end(), handle) !=
                    handles.end());
        EXPECT_TRUE(handle.Has(id));
        reactor.Post(id, [&, id, handle](Connection* connection) {
          ++(connection == nullptr ? gone : found);
          if (connection == nullptr) return;
          EXPECT_EQ(connection->id(), id);
          EXPECT_EQ(connection->loop().handle(), handle);
          const std::lock_guard lock(mutex);
          loops.insert(&connection->loop());
        });
      }
      AwaitTurns(reactor);
      EXPECT_EQ(found, kClients);
      EXPECT_EQ(gone, 0u);
      EXPECT_EQ(loops.size(), static_cast<size_t>(threads));
      // From a loop to the others, and once they are gone.
      absl::Notification aborted;
      std::atomic<size_t> left{kClients};
      for (const ConnectionId id : served.ids()) {
        reactor.Post(id, [&](Connection* connection) {
          ASSERT_NE(connection, nullptr);
          connection->Abort();
          if (--left == 0) aborted.Notify();
        });
      }
      aborted.WaitForNotification();
      AwaitTurns(reactor);
      for (const ConnectionId id : served.ids()) {
        EXPECT_EQ(reactor.HandleOf(id), handles.front());
        reactor.Post(id, [&](Connection* connection) {
          ++(connection == nullptr ? gone : found);
        });
      }
      reactor.Post(ConnectionId(), [&](Connection* connection) {
        ++(connection == nullptr ? gone : found);
      });
      AwaitTurns(reactor);
      EXPECT_EQ(found, kClients);
      EXPECT_EQ(gone, kClients + 1);
      reactor.Stop();
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
  }
}

// --- Options and errors ---

TEST(Reactor, RunInsideACallbackIsAnError) {
  for (const LifecycleEvent event :
       {LifecycleEvent::kOnInitialize, LifecycleEvent::kPreStart,
        LifecycleEvent::kOnStart, LifecycleEvent::kOnShutdown,
        LifecycleEvent::kOnFinish}) {
    Reactor reactor(Threads(2));
    int calls = 0;
    const auto run = [&] {
      ++calls;
      EXPECT_TRUE(absl::IsFailedPrecondition(reactor.Run()));
    };
    reactor.lifecycle().Add(event, run);
    reactor.Defer([&] {
      run();
      reactor.Stop();
    });
    EXPECT_TRUE(reactor.Run().ok());
    EXPECT_EQ(calls, 2);
  }
}

TEST(Reactor, BadOptionsAreToldByRunAndListen) {
  ReactorOptions options = Threads(2);
  options.loop.clock = nullptr;
  int finished = 0;
  {
    Reactor reactor(options);
    EXPECT_TRUE(absl::IsInvalidArgument(reactor.Run()));
    EXPECT_THAT(reactor.Run().message(), HasSubstr("clock"));
    EXPECT_TRUE(absl::IsInvalidArgument(
        reactor
            .Listen("tcp://127.0.0.1:0",
                    {.on_open = AttachEcho, .on_finish = [&] { ++finished; }})
            .status()));
    EXPECT_EQ(finished, 1);
    EXPECT_TRUE(absl::IsInvalidArgument(
        reactor
            .Connect("tcp://127.0.0.1:9",
                     {.on_open = AttachEcho, .on_finish = [&] { ++finished; }})
            .status()));
    EXPECT_EQ(finished, 2);
    // Nothing else is worse for it.
    EXPECT_FALSE(reactor.Post([] {}));
    EXPECT_FALSE(
        reactor.Post(ConnectionId(1, 1), [](Connection*) { ADD_FAILURE(); }));
    EXPECT_TRUE(reactor.Defer([] {}));
    EXPECT_TRUE(
        reactor
            .RunEvery({.callback = [] { return TimerWheel::Next::kStop; },
                       .interval = absl::Seconds(1),
                       .on_finish = [&] { ++finished; }})
            .ok());
    reactor.Stop();
    reactor.Restart();
    EXPECT_TRUE(reactor.handles().empty());
    EXPECT_TRUE(reactor.HandleOf(ConnectionId(1, 1)).expired());
    EXPECT_TRUE(absl::IsNotFound(reactor.PauseListener(ListenerId{1})));
    EXPECT_TRUE(absl::IsNotFound(reactor.ResumeListener(ListenerId{1})));
    EXPECT_TRUE(absl::IsNotFound(reactor.CloseListener(ListenerId{1})));
    EXPECT_TRUE(absl::IsNotFound(reactor.CancelConnect(ConnectorId{1})));
    EXPECT_EQ(reactor.running_workers(), 0);
    EXPECT_FALSE(reactor.engine().empty());
    EXPECT_GT(reactor.last_tick(), absl::UnixEpoch());
  }
  EXPECT_EQ(finished, 3);
}

TEST(Reactor, ErrorsOfTheStartLeaveItAsItWas) {
  ReactorOptions options = Threads(2);
  options.signals = {.stop = {SIGTERM}, .restart = {kSignalOfTheLibrary}};
  Reactor reactor(options);
  std::string log;
  EXPECT_TRUE(reactor
                  .RunEvery({.callback = [] { return TimerWheel::Next::kStop; },
                             .interval = absl::Seconds(1),
                             .on_finish = [&] { log += 't'; }})
                  .ok());
  EXPECT_TRUE(
      reactor
          .Connect("tcp://127.0.0.1:9",
                   {.on_open = AttachEcho, .on_finish = [&] { log += 'c'; }})
          .ok());
  const absl::Status status = reactor.Run();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr(absl::StrCat(kSignalOfTheLibrary)));
  EXPECT_EQ(log, "tc");
  EXPECT_EQ(reactor.running_workers(), 0);
  EXPECT_EQ(reactor.capacity(), 0u);
  EXPECT_EQ(reactor.Run(), status);
}

TEST(Reactor, ThreadsAndWorkersAreResolved) {
  Reactor single({.threads = -2, .workers = 1, .cores = 8});
  EXPECT_EQ(single.concurrency().threads, 4);
  EXPECT_EQ(single.concurrency().workers, 1);
  Reactor both({.cores = 2});
  EXPECT_EQ(both.concurrency().threads, 2);
  EXPECT_EQ(both.concurrency().workers, 1);
}

}  // namespace
}  // namespace fio
