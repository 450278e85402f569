#include "fio/core/connector.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
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
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/resolver.h"
#include "fio/sock/connect.h"
#include "fio/sock/io_result.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FaultPlan;
using ::testing::HasSubstr;
using testing::ManualClock;
using ::testing::StartsWith;

using State = Connector::State;
using Call = FaultPlan::Call;
using Addresses = std::vector<SocketAddress>;

// How long something that must come may take, and a little while in which
// something that must not could come.
constexpr int kManyTurns = 1000;
constexpr int kFewTurns = 5;

SocketAddress Address(std::string_view text) {
  absl::StatusOr<SocketAddress> address = SocketAddress::Parse(text);
  EXPECT_TRUE(address.ok()) << address.status();
  return address.ok() ? *address : SocketAddress();
}

class Ignore final : public Protocol {
 public:
  void OnData(Connection& connection) override { connection.Received(); }
};

// A server's socket, bound from the start, so that its name is taken; until it
// listens it refuses.
class Server {
 public:
  explicit Server(const SocketAddress& address)
      : fd_(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    EXPECT_EQ(bind(fd_.get(), address.data(), address.size()), 0)
        << address.ToString() << ": " << errno;
  }
  Server() : Server(Address("127.0.0.1:0")) {}

  void Listen(int backlog = 8) { EXPECT_EQ(listen(fd_.get(), backlog), 0); }

  // From now on nobody is answered: the queue has one place, and it is taken.
  // Unix sockets answer that the queue is full.
  void ListenWithFullQueue() {
    Listen(0);
    const SocketAddress address = this->address();
    filler_ = UniqueFd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(filler_.get(), address.data(), address.size()), 0);
  }

  SocketAddress address() const {
    sockaddr_storage storage = {};
    socklen_t size = sizeof(storage);
    auto* const name = reinterpret_cast<sockaddr*>(&storage);
    EXPECT_EQ(getsockname(fd_.get(), name, &size), 0);
    absl::StatusOr<SocketAddress> address =
        SocketAddress::FromSockaddr(name, size);
    EXPECT_TRUE(address.ok()) << address.status();
    return *address;
  }
  std::string url() const {
    const SocketAddress address = this->address();
    return absl::StrCat(address.family() == AF_UNIX ? "unix://" : "tcp://",
                        address.ToString());
  }

  // Whether somebody waits to be accepted.
  bool HasClient() const {
    pollfd ready = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
    return poll(&ready, 1, 0) == 1;
  }
  UniqueFd Accept() {
    EXPECT_TRUE(HasClient());
    return UniqueFd(HasClient() ? accept4(fd_.get(), nullptr, nullptr,
                                          SOCK_CLOEXEC | SOCK_NONBLOCK)
                                : -1);
  }

 private:
  UniqueFd fd_;
  UniqueFd filler_;
};

// A loop on a clock that stands still, a connector, and what it has told.
class Client {
 public:
  explicit Client(PollerKind poller = PollerKind::kAuto,
                  Resolver::Function ask = nullptr)
      : resolver_(std::make_unique<Resolver>(ask != nullptr ? std::move(ask)
                                                            : &fio::Resolve)) {
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock_, .poller = poller});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }
  // Names are these addresses.
  explicit Client(Addresses addresses)
      : Client(PollerKind::kAuto, [addresses = std::move(addresses)](
                                      const Url&) { return addresses; }) {}

  ~Client() { connector_ = nullptr; }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Options whose callbacks are recorded, and then do what they are told.
  ConnectorOptions Options() {
    return {.on_open =
                [this](Connection& connection) {
                  EXPECT_EQ(finished, 0);
                  ++opened;
                  peer = connection.peer_address();
                  connection.Attach(std::make_unique<Ignore>());
                  if (then_open) then_open(connection);
                },
            .on_failed =
                [this](const absl::Status& reason) {
                  EXPECT_EQ(finished, 0);
                  EXPECT_FALSE(reason.ok());
                  failed.push_back(reason);
                  if (then_failed) then_failed();
                },
            .on_finish =
                [this] {
                  ++finished;
                  if (then_finish) then_finish();
                }};
  }
  ConnectorOptions Reconnecting() {
    ConnectorOptions options = Options();
    options.reconnect = true;
    return options;
  }

  absl::Status Create(std::string_view url, ConnectorOptions options) {
    absl::StatusOr<std::unique_ptr<Connector>> created =
        Connector::Create(*loop_, *resolver_, url, std::move(options));
    if (created.ok()) connector_ = *std::move(created);
    return created.status();
  }
  void Connect(std::string_view url, ConnectorOptions options) {
    const absl::Status created = Create(url, std::move(options));
    ASSERT_TRUE(created.ok()) << created;
    // Nothing is told from inside.
    EXPECT_EQ(opened + static_cast<int>(failed.size()) + finished, 0);
    EXPECT_EQ(state(), State::kResolving);
  }

  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      const absl::Status turn = loop_->RunOnce(MonotonicTime::InfinitePast());
      ASSERT_TRUE(turn.ok()) << turn;
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(kFewTurns);
  }
  // Turns, each of which waits for other threads and the kernel a little.
  bool Until(const std::function<bool()>& so) {
    for (int i = 0; i < kManyTurns && !so(); ++i) {
      const absl::Status turn =
          loop_->RunOnce(clock_.Now() + absl::Milliseconds(10));
      EXPECT_TRUE(turn.ok()) << turn;
    }
    return so();
  }
  bool UntilState(State awaited) {
    return Until([&] { return state() == awaited; });
  }
  // Whether that, and no more, is told.
  void ExpectTold(int opened_count, size_t failed_count, int finished_count) {
    EXPECT_EQ(opened, opened_count);
    EXPECT_EQ(failed.size(), failed_count);
    EXPECT_EQ(finished, finished_count);
  }

  State state() const { return connector_->state(); }
  Connector& connector() { return *connector_; }
  Loop& loop() { return *loop_; }
  void Destroy() { connector_ = nullptr; }
  void DestroyResolver() { resolver_ = nullptr; }

  int opened = 0;
  std::vector<absl::Status> failed;
  int finished = 0;
  SocketAddress peer;  // Of the last connection.
  std::function<void(Connection&)> then_open;
  std::function<void()> then_failed, then_finish;

 private:
  ManualClock clock_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Connector> connector_;
};

// A folder that goes with its test.
class TempFolder {
 public:
  TempFolder() : path_("/tmp/fio_connector_XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    unlink(File().c_str());
    rmdir(path_.c_str());
  }

  std::string File() const { return path_ + "/socket"; }

 private:
  std::string path_;
};

enum class Kind { kIp, kName, kUnixPath, kUnixAbstract };

SocketAddress ServerAddress(Kind kind, const TempFolder& folder) {
  switch (kind) {
    case Kind::kUnixPath:
      return *SocketAddress::FromUnixPath(folder.File());
    case Kind::kUnixAbstract:
      return Address(absl::StrCat("@fio_connector_", getpid()));
    default:
      return Address("127.0.0.1:0");
  }
}

// One life of a connector: a server of some kind, its client, and how that is
// to connect.
class Life {
 public:
  Life(Kind kind, bool reconnect)
      : server_(ServerAddress(kind, folder_)), client_({server_.address()}) {
    url_ = kind == Kind::kName
               ? absl::StrCat("tcp://name.test:", server_.address().port())
               : server_.url();
    options_ = client_.Options();
    options_.reconnect = reconnect;
  }

  Client& Connect() {
    client_.Connect(url_, options_);
    return client_;
  }

  Server& server() { return server_; }

 private:
  TempFolder folder_;
  Server server_;
  Client client_;
  std::string url_;
  ConnectorOptions options_;
};

// What connectors of any url go through.
void LiveThrough(Kind kind, bool reconnect) {
  {
    SCOPED_TRACE("success");
    Life life(kind, reconnect);
    life.server().Listen();
    Client& client = life.Connect();
    ASSERT_TRUE(client.Until([&] { return client.opened == 1; }));
    client.ExpectTold(1, 0, reconnect ? 0 : 1);
    EXPECT_EQ(client.state(), reconnect ? State::kConnected : State::kFinished);
    EXPECT_NE(client.loop().Find(client.connector().connection()), nullptr);
    // The connection is not bound by the time of the attempt.
    client.Advance(absl::Hours(1));
    EXPECT_EQ(client.loop().connection_count(), 1u);
    // It ends.
    life.server().Accept().Reset();
    ASSERT_TRUE(client.Until(
        [&] { return client.connector().connection() == ConnectionId(); }));
    client.ExpectTold(1, 0, reconnect ? 0 : 1);
    client.Advance(absl::Seconds(1));
    ASSERT_TRUE(
        client.Until([&] { return client.opened == (reconnect ? 2 : 1); }));
    client.Destroy();
    client.Turn(kFewTurns);
    client.ExpectTold(reconnect ? 2 : 1, 0, 1);
    EXPECT_EQ(client.loop().connection_count(), reconnect ? 1u : 0u);
  }
  {
    SCOPED_TRACE("refused");
    Life life(kind, reconnect);
    Client& client = life.Connect();
    ASSERT_TRUE(client.Until([&] { return client.failed.size() == 1; }));
    client.ExpectTold(0, 1, reconnect ? 0 : 1);
    client.Advance(absl::Seconds(1));
    ASSERT_TRUE(client.Until(
        [&] { return client.failed.size() == (reconnect ? 2u : 1u); }));
    client.Destroy();
    client.Advance(absl::Hours(1));
    client.ExpectTold(0, reconnect ? 2 : 1, 1);
  }
  {
    SCOPED_TRACE("no answer");
    Life life(kind, reconnect);
    life.server().ListenWithFullQueue();
    Client& client = life.Connect();
    ASSERT_TRUE(client.UntilState(State::kConnecting));
    client.Advance(absl::Seconds(29));
    client.ExpectTold(0, 0, 0);
    client.Advance(absl::Seconds(1));
    ASSERT_TRUE(client.Until([&] { return client.failed.size() == 1; }));
    client.ExpectTold(0, 1, reconnect ? 0 : 1);
  }
  {
    SCOPED_TRACE("cancelled while resolving");
    Life life(kind, reconnect);
    life.server().Listen();
    Client& client = life.Connect();
    client.connector().Cancel();
    client.ExpectTold(0, 0, 1);
    client.connector().Cancel();
    client.Advance(absl::Hours(1));
    client.ExpectTold(0, 0, 1);
    EXPECT_FALSE(life.server().HasClient());
  }
  {
    SCOPED_TRACE("cancelled while connecting");
    Life life(kind, reconnect);
    life.server().Listen();
    Client& client = life.Connect();
    ASSERT_TRUE(client.UntilState(State::kConnecting));
    client.connector().Cancel();
    client.ExpectTold(0, 0, 1);
    client.Advance(absl::Hours(1));
    client.ExpectTold(0, 0, 1);
  }
  if (!reconnect) return;
  {
    SCOPED_TRACE("cancelled while connected");
    Life life(kind, reconnect);
    life.server().Listen();
    Client& client = life.Connect();
    ASSERT_TRUE(client.UntilState(State::kConnected));
    client.connector().Cancel();
    client.ExpectTold(1, 0, 1);
    EXPECT_EQ(client.state(), State::kFinished);
    EXPECT_NE(client.connector().connection(), ConnectionId());
    const UniqueFd accepted = life.server().Accept();
    client.loop().Find(client.connector().connection())->Close();
    client.Advance(absl::Hours(1));
    EXPECT_EQ(client.connector().connection(), ConnectionId());
    client.ExpectTold(1, 0, 1);
  }
  {
    SCOPED_TRACE("cancelled while waiting");
    Life life(kind, reconnect);
    Client& client = life.Connect();
    ASSERT_TRUE(client.Until([&] { return client.failed.size() == 1; }));
    EXPECT_EQ(client.state(), State::kWaiting);
    client.connector().Cancel();
    client.ExpectTold(0, 1, 1);
    client.Advance(absl::Hours(1));
    client.ExpectTold(0, 1, 1);
  }
}

TEST(Connect, LifecycleMatrix) {
  for (const Kind kind :
       {Kind::kIp, Kind::kName, Kind::kUnixPath, Kind::kUnixAbstract}) {
    for (const bool reconnect : {false, true}) {
      SCOPED_TRACE(absl::StrCat("kind ", static_cast<int>(kind),
                                reconnect ? ", again" : ", once"));
      LiveThrough(kind, reconnect);
    }
  }
}

TEST(Connect, BadArgumentsFinishInTheCaller) {
  const auto refused = [](std::string_view url, std::string_view why,
                          const std::function<void(ConnectorOptions&)>& spoil) {
    Client client;
    ConnectorOptions options = client.Options();
    spoil(options);
    const absl::Status created = client.Create(url, std::move(options));
    EXPECT_EQ(created.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(
        created.message(),
        AllOf(StartsWith(absl::StrCat("connect ", url, ": ")), HasSubstr(why)));
    client.ExpectTold(0, 0, 1);
    client.Advance(absl::Hours(1));
    client.ExpectTold(0, 0, 1);
  };
  const auto nothing = [](ConnectorOptions&) {};
  refused("", "", nothing);
  refused("what://is:this", "", nothing);
  refused("tcp://127.0.0.1", "the port is missing", nothing);
  refused("tcp://example.org", "the port is missing", nothing);
  refused("tcp://127.0.0.1:0", "port 0 is no server's", nothing);
  refused("http://127.0.0.1:0", "port 0 is no server's", nothing);
  refused("tcp://127.0.0.1:80/x", "leave out '/x'", nothing);
  refused("udp://127.0.0.1:1", "datagrams", nothing);
  EXPECT_EQ(Connector::Check("tcp://127.0.0.1:99999", {}).message(),
            "connect tcp://127.0.0.1:99999: port '99999' is above 65535");
  refused("tcp://127.0.0.1:1", "on_open is missing",
          [](ConnectorOptions& options) { options.on_open = nullptr; });
  refused("tcp://127.0.0.1:1", "timeout", [](ConnectorOptions& options) {
    options.timeout = -absl::Seconds(1);
  });
  refused("tcp://127.0.0.1:1", "attempt_delay", [](ConnectorOptions& options) {
    options.attempt_delay = -absl::Seconds(1);
  });
  refused("tcp://127.0.0.1:1", "reconnect_delay",
          [](ConnectorOptions& options) {
            options.reconnect_delay = absl::ZeroDuration();
          });
  refused("tcp://127.0.0.1:1", "max_reconnect_delay",
          [](ConnectorOptions& options) {
            options.max_reconnect_delay = absl::Milliseconds(1);
          });
}

// The parent's connector goes on, and only the parent is told.
TEST(Connect, OnFinishIsNotCalledInAForkedChild) {
  std::unique_ptr<Loop> loop = *Loop::Create({});
  Resolver resolver;
  Server server;
  server.Listen();
  int opened = 0;
  int finished = 0;
  absl::StatusOr<std::unique_ptr<Connector>> connector =
      Connector::Create(*loop, resolver, server.url(),
                        {.on_open =
                             [&](Connection& connection) {
                               ++opened;
                               connection.Attach(std::make_unique<Ignore>());
                             },
                         .on_finish = [&] { ++finished; }});
  ASSERT_TRUE(connector.ok()) << connector.status();
  loop->BeforeFork();
  const pid_t child = fork();
  loop->AfterFork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    connector->reset();
    loop = nullptr;
    _exit(finished);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  while (finished == 0) {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  }
  EXPECT_EQ(opened, 1);
}

TEST(Connect, AResolverThatFindsNothingIsNamed) {
  Client client(PollerKind::kAuto,
                [](const Url&) -> Resolver::Addresses { return Addresses(); });
  ASSERT_TRUE(client.Create("tcp://nobody.test:1", client.Options()).ok());
  ASSERT_TRUE(client.Until([&] { return client.failed.size() == 1; }));
  EXPECT_EQ(client.failed[0],
            absl::NotFoundError("connect tcp://nobody.test:1: the resolver has "
                                "found no address"));
}

TEST(Connect, AFailedLookupNamesTheUrlOnce) {
  Client client(PollerKind::kAuto, [](const Url&) -> Resolver::Addresses {
    return absl::NotFoundError("resolve tcp://nobody.test:1: no such name");
  });
  ASSERT_TRUE(client.Create("tcp://nobody.test:1", client.Options()).ok());
  ASSERT_TRUE(client.Until([&] { return client.failed.size() == 1; }));
  EXPECT_EQ(client.failed[0],
            absl::NotFoundError("connect tcp://nobody.test:1: no such name"));
}

// However an attempt fails, it is told once, later, with the url and why.
TEST(Connect, FailExactlyOnceDeferred) {
  const auto fails =
      [](std::string_view why, std::string_view url,
         const Resolver::Function& ask,
         const std::function<void(Client&, ConnectorOptions&)>& prepare) {
        SCOPED_TRACE(why);
        Client client(PollerKind::kAuto, ask);
        ConnectorOptions options = client.Options();
        prepare(client, options);
        client.Connect(url, std::move(options));
        ASSERT_TRUE(client.Until([&] { return !client.failed.empty(); }));
        client.Advance(absl::Hours(1));
        client.ExpectTold(0, 1, 1);
        EXPECT_THAT(client.failed[0].message(),
                    AllOf(StartsWith(absl::StrCat("connect ", url, ": ")),
                          HasSubstr(why)));
        EXPECT_EQ(client.connector().stats().attempts, 1u);
        EXPECT_EQ(client.connector().stats().failed, 1u);
      };
  const auto nothing = [](Client&, ConnectorOptions&) {};
  const auto no_name = [](const Url& url) -> Resolver::Addresses {
    return absl::NotFoundError(absl::StrCat("no ", url.host()));
  };
  Server closed;
  FaultPlan plan;

  fails(absl::StrCat(closed.address().ToString(), ": Connection refused"),
        closed.url(), nullptr, nothing);
  fails("no name.test", "tcp://name.test:80", no_name, nothing);
  fails("Too many open files", closed.url(), nullptr,
        [&](Client&, ConnectorOptions&) {
          plan.FailNext(Call::kSocket, EMFILE);
        });
  fails("Network is unreachable", closed.url(), nullptr,
        [&](Client&, ConnectorOptions&) {
          plan.FailNext(Call::kConnect, ENETUNREACH);
        });
  fails("no address is of the family of 127.0.0.1:0", "tcp://[::1]:80", nullptr,
        [](Client&, ConnectorOptions& options) {
          options.socket.local_address = Address("127.0.0.1:0");
        });
  Server open;
  open.Listen();
  fails("No space left on device", open.url(), nullptr,
        [&](Client&, ConnectorOptions&) {
          plan.FailNext(Call::kEpollCtl, ENOSPC);
        });
  fails("no transport was made", open.url(), nullptr,
        [](Client&, ConnectorOptions& options) {
          options.transport = [](const TransportRequest&) { return nullptr; };
        });
  fails("the loop is stopping", open.url(), nullptr,
        [](Client& client, ConnectorOptions& options) {
          options.reconnect = true;
          client.loop().Stop();
        });
  // A thread that has asked for a name may hold the waker of its loop a little
  // longer.
  while (!plan.open_descriptors().empty()) std::this_thread::yield();
}

TEST(Connect, MessageNamesEachAddress) {
  Server first, second;
  Client client({first.address(), second.address()});
  client.Connect("tcp://name.test:80", client.Options());
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  ASSERT_EQ(client.failed.size(), 1u);
  EXPECT_EQ(
      client.failed[0].message(),
      absl::StrCat("connect tcp://name.test:80: ", first.address().ToString(),
                   ": Connection refused (ECONNREFUSED); ",
                   second.address().ToString(),
                   ": Connection refused (ECONNREFUSED)"));
  EXPECT_EQ(client.failed[0].code(), absl::StatusCode::kUnavailable);
}

TEST(Connect, ReconnectDelay) {
  Server server;
  Client client;
  ConnectorOptions options = client.Reconnecting();
  options.max_reconnect_delay = absl::Seconds(1);
  client.Connect(server.url(), options);
  uint64_t attempts = 1;
  const auto attempted = [&] {
    return client.connector().stats().attempts == attempts;
  };
  // Waits, and then tries once more; neither too early nor too late.
  const auto expect_delay = [&](absl::Duration delay) {
    SCOPED_TRACE(delay);
    ASSERT_TRUE(client.UntilState(State::kWaiting));
    client.Advance(0.75 * delay - absl::Milliseconds(1));
    EXPECT_TRUE(attempted());
    client.Advance(0.5 * delay + absl::Milliseconds(2));
    ++attempts;
    ASSERT_TRUE(client.Until(attempted));
  };
  for (const int ms : {150, 300, 600, 1000, 1000, 1000}) {
    expect_delay(absl::Milliseconds(ms));
  }
  // A success sets it back.
  server.Listen();
  expect_delay(absl::Seconds(1));
  ASSERT_TRUE(client.UntilState(State::kConnected));
  server.Accept().Reset();
  expect_delay(absl::Milliseconds(150));
  ASSERT_TRUE(client.UntilState(State::kConnected));
  client.ExpectTold(2, client.connector().stats().failed, 0);
}

// 25 days are more milliseconds than an int holds.
TEST(Connect, ReconnectDelayOfDays) {
  Server server;
  Client client;
  ConnectorOptions options = client.Reconnecting();
  options.reconnect_delay = options.max_reconnect_delay = absl::Hours(25 * 24);
  client.Connect(server.url(), options);
  ASSERT_TRUE(client.UntilState(State::kWaiting));
  client.Advance(absl::Hours(18 * 24));
  EXPECT_EQ(client.connector().stats().attempts, 1u);
  client.Advance(absl::Hours(14 * 24));
  EXPECT_EQ(client.connector().stats().attempts, 2u);
}

// What this machine can be asked with.
std::vector<PollerKind> PollersHere() {
  std::vector<PollerKind> kinds;
  for (const PollerKind kind :
       {PollerKind::kEpoll, PollerKind::kPoll, PollerKind::kKqueue}) {
    const absl::Status made = Loop::Create({.poller = kind}).status();
    if (made.ok()) kinds.push_back(kind);
    EXPECT_TRUE(made.ok() || absl::IsUnimplemented(made)) << made;
  }
  EXPECT_GE(kinds.size(), 2u);
  return kinds;
}

TEST(Connect, RefusedOnEveryPoller) {
  for (const PollerKind poller : PollersHere()) {
    SCOPED_TRACE(PollerKindName(poller));
    Server server;
    Client client(poller);
    client.Connect(server.url(), client.Options());
    // The clock stands still: nobody waits for a timeout.
    ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
    client.ExpectTold(0, 1, 1);
    EXPECT_THAT(client.failed[0].message(), HasSubstr("Connection refused"));
    EXPECT_EQ(client.loop().connection_count(), 0u);
    // Likewise for who does it by hand, and looks when the error was taken.
    absl::StatusOr<Socket> socket = StartConnect(server.address());
    ASSERT_TRUE(socket.ok()) << socket.status();
    int looks = 0;
    IoResult outcome = {.error = EAGAIN};
    const absl::StatusOr<WatchId> watch = client.loop().Watch(
        socket->fd(), Interest::kWritable, Trigger::kLevel, [&](Readiness) {
          // The kernel tells the error once, and libkqueue asks for it.
          int error = 0;
          socklen_t size = sizeof(error);
          getsockopt(socket->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
          if (++looks > 1 && outcome.would_block()) {
            socket->HoldDescriptor(true);
            outcome = socket->FinishConnect();
          }
        });
    ASSERT_TRUE(watch.ok()) << watch.status();
    ASSERT_TRUE(client.Until([&] { return !outcome.would_block(); }));
    EXPECT_EQ(outcome.error, ECONNREFUSED);
    EXPECT_EQ(looks, 2);
    client.loop().Unwatch(*watch);
  }
}

// Keeps what it is told.
struct Told {
  std::string bytes;
  std::vector<CloseReason> ends;
};

class Recorder final : public Protocol {
 public:
  explicit Recorder(Told& told) : told_(told) {}
  void OnData(Connection& connection) override {
    told_.bytes += connection.Received();
  }
  void OnClose(Connection& /*connection*/, const CloseReason& reason) override {
    told_.ends.push_back(reason);
  }

 private:
  Told& told_;
};

// A server may say why it refuses, and reset, before the client looks.
TEST(Connect, BannerThenReset) {
  for (const PollerKind poller : PollersHere()) {
    for (const std::string_view banner : {"421 too many\r\n", ""}) {
      SCOPED_TRACE(absl::StrCat(PollerKindName(poller), " '", banner, "'"));
      Server server;
      server.Listen();
      Told told;
      Client client(poller);
      client.then_open = [&](Connection& connection) {
        connection.Attach(std::make_unique<Recorder>(told));
      };
      client.Connect(server.url(), client.Options());
      // connect(2) was called in this turn, which is over.
      ASSERT_TRUE(client.UntilState(State::kConnecting));
      UniqueFd accepted = server.Accept();
      ASSERT_EQ(send(accepted.get(), banner.data(), banner.size(), 0),
                static_cast<ssize_t>(banner.size()));
      const linger reset = {.l_onoff = 1, .l_linger = 0};
      ASSERT_EQ(setsockopt(accepted.get(), SOL_SOCKET, SO_LINGER, &reset,
                           sizeof(reset)),
                0);
      accepted.Reset();
      ASSERT_TRUE(client.Until([&] { return !told.ends.empty(); }));
      client.ExpectTold(1, 0, 1);
      EXPECT_EQ(told.bytes, banner);
      ASSERT_EQ(told.ends.size(), 1u);
      // libkqueue takes the error from the kernel, and the end is all there is.
      if (poller == PollerKind::kKqueue) continue;
      EXPECT_EQ(told.ends[0].origin, CloseReason::Origin::kError);
      EXPECT_EQ(told.ends[0].error, ECONNRESET);
    }
  }
}

// A full queue of a Unix server is no answer: there may be room in time.
TEST(Connect, UnixBacklogFull) {
  for (const bool room : {true, false}) {
    SCOPED_TRACE(room ? "room in time" : "no room");
    TempFolder folder;
    Server server(*SocketAddress::FromUnixPath(folder.File()));
    server.ListenWithFullQueue();
    Client client;
    FaultPlan plan;
    ConnectorOptions options = client.Options();
    options.timeout = absl::Seconds(2);
    client.Connect(server.url(), options);
    ASSERT_TRUE(client.UntilState(State::kConnecting));
    client.Turn(100);
    EXPECT_EQ(plan.calls(Call::kConnect), 1u);  // It does not spin.
    if (room) {
      const UniqueFd filler = server.Accept();
      client.Advance(absl::Milliseconds(2));
      client.ExpectTold(1, 0, 1);
    } else {
      for (int i = 0; i < 1999; ++i) client.Advance(absl::Milliseconds(1));
      client.ExpectTold(0, 0, 0);
      // From 1 ms on, twice as long each time, up to 100 ms.
      EXPECT_GE(plan.calls(Call::kConnect), 20u);
      EXPECT_LE(plan.calls(Call::kConnect), 40u);
      EXPECT_THAT(plan.open_descriptors(), ElementsAre());
      client.Advance(absl::Milliseconds(1));
      client.ExpectTold(0, 1, 1);
      EXPECT_TRUE(absl::IsDeadlineExceeded(client.failed[0]));
      EXPECT_EQ(client.failed[0].message(),
                absl::StrCat("connect ", server.url(), ": timed out after 2s; ",
                             folder.File(),
                             ": Resource temporarily unavailable (EAGAIN): "
                             "the server's queue is full"));
    }
  }
}

// A poller may say writable when nothing is decided.
TEST(Connect, WritableIsNotOpen) {
  for (const PollerKind poller : {PollerKind::kAuto, PollerKind::kPoll}) {
    Server server;
    server.Listen();
    Client client(poller);
    FaultPlan plan;
    // The socket never sets out, and is writable and hung up; in each of two
    // looks the kernel says neither what it was nor what is wrong with it.
    plan.FailNext(Call::kConnect, EINPROGRESS);
    plan.FailNext(Call::kGetsockopt, EAGAIN, 4);
    client.Connect(server.url(), client.Options());
    client.Turn(100);
    EXPECT_EQ(client.state(), State::kConnecting);
    EXPECT_EQ(plan.calls(Call::kGetpeername), 1u);  // It does not spin.
    client.Advance(absl::Milliseconds(10));
    EXPECT_EQ(plan.calls(Call::kGetpeername), 2u);
    client.Advance(absl::Seconds(30));
    client.ExpectTold(0, 1, 1);
    EXPECT_EQ(client.failed[0].code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(
        client.failed[0].message(),
        HasSubstr(absl::StrCat("timed out after 30s; ",
                               server.address().ToString(), ": no answer")));
    EXPECT_THAT(plan.open_descriptors(), ElementsAre());
  }
}

TEST(Connect, EstablishedOnEachPoller) {
  for (const PollerKind poller : {PollerKind::kAuto, PollerKind::kPoll}) {
    Server server;
    server.Listen();
    Client client(poller);
    client.then_open = [](Connection& connection) { connection.Write("hi"); };
    client.Connect(server.url(), client.Options());
    ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
    client.Turn(kFewTurns);
    const UniqueFd accepted = server.Accept();
    char received[8];
    EXPECT_EQ(recv(accepted.get(), received, sizeof(received), MSG_DONTWAIT),
              2);
    EXPECT_EQ(client.peer, server.address());
  }
}

// --- Several addresses ---

TEST(Connect, SecondAddressWinsOverSilentFirst) {
  Server silent, server;
  silent.ListenWithFullQueue();
  server.Listen();
  Client client({silent.address(), server.address()});
  FaultPlan plan;
  client.Connect("tcp://name.test:80", client.Reconnecting());
  ASSERT_TRUE(client.UntilState(State::kConnecting));
  client.Advance(absl::Milliseconds(249));
  EXPECT_EQ(plan.calls(Call::kConnect), 1u);
  EXPECT_FALSE(server.HasClient());
  client.Advance(absl::Milliseconds(1));
  EXPECT_EQ(plan.calls(Call::kConnect), 2u);
  ASSERT_TRUE(client.UntilState(State::kConnected));
  EXPECT_EQ(client.peer, server.address());
  // The loser is closed, and nothing is told of it.
  EXPECT_EQ(plan.open_descriptors().size(), 1u);
  client.Advance(absl::Hours(1));
  client.ExpectTold(1, 0, 0);
}

// An address that is late may still win.
TEST(Connect, FirstAddressWinsOverSilentSecond) {
  Server first, silent;
  first.Listen();
  silent.ListenWithFullQueue();
  Client client({first.address(), silent.address()});
  FaultPlan plan;
  plan.FailNext(Call::kGetpeername, ENOTCONN);  // It is not connected yet.
  plan.FailNext(Call::kGetsockopt, EAGAIN, 2);
  ConnectorOptions options = client.Options();
  options.attempt_delay = absl::Milliseconds(5);
  client.Connect("tcp://name.test:80", options);
  ASSERT_TRUE(
      client.Until([&] { return plan.calls(Call::kGetpeername) == 1; }));
  client.Advance(absl::Milliseconds(5));
  EXPECT_EQ(plan.calls(Call::kConnect), 2u);
  client.ExpectTold(0, 0, 0);
  client.Advance(absl::Milliseconds(5));
  client.ExpectTold(1, 0, 1);
  EXPECT_EQ(client.peer, first.address());
  EXPECT_EQ(plan.open_descriptors().size(), 1u);
}

TEST(Connect, NextAddressAtOnceWhenOneFails) {
  Server refusing, server;
  server.Listen();
  Client client({refusing.address(), refusing.address(), server.address()});
  client.Connect("tcp://name.test:80", client.Options());
  // The clock stands still.
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  client.ExpectTold(1, 0, 1);
  EXPECT_EQ(client.peer, server.address());
}

TEST(Connect, NextAddressAtOnceWhenTheNewestFails) {
  Server silent, refusing, server;
  silent.ListenWithFullQueue();
  server.Listen();
  Client client({silent.address(), refusing.address(), server.address()});
  client.Connect("tcp://name.test:80", client.Options());
  ASSERT_TRUE(client.UntilState(State::kConnecting));
  client.Advance(absl::Milliseconds(250));
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  EXPECT_EQ(client.peer, server.address());
}

// The newest has its head start, whatever becomes of those before it.
TEST(Connect, HeadStartOutlastsEarlierFailures) {
  Server first, silent, server;
  silent.ListenWithFullQueue();
  server.Listen();
  Client client({first.address(), silent.address(), server.address()});
  FaultPlan plan;
  plan.FailNext(Call::kConnect, EINPROGRESS);  // As in WritableIsNotOpen.
  plan.FailNext(Call::kGetsockopt, EAGAIN, 4);
  client.Connect("tcp://name.test:80", client.Options());
  ASSERT_TRUE(client.UntilState(State::kConnecting));
  client.Turn(kFewTurns);
  client.Advance(absl::Milliseconds(250));
  EXPECT_EQ(plan.calls(Call::kConnect), 2u);
  plan.FailNext(Call::kGetsockopt, ECONNRESET, 2);
  client.Advance(absl::Milliseconds(249));
  EXPECT_EQ(plan.open_descriptors().size(), 1u);  // The first has failed.
  EXPECT_EQ(plan.calls(Call::kConnect), 2u);
  client.Advance(absl::Milliseconds(1));
  EXPECT_EQ(plan.calls(Call::kConnect), 3u);
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  EXPECT_EQ(client.peer, server.address());
}

TEST(Connect, TimeoutNamesEachAddressAndClosesAll) {
  Server refusing, silent, other;
  silent.ListenWithFullQueue();
  other.ListenWithFullQueue();
  Client client({refusing.address(), silent.address(), other.address()});
  FaultPlan plan;
  ConnectorOptions options = client.Options();
  options.timeout = absl::Seconds(2);
  client.Connect("tcp://name.test:80", options);
  ASSERT_TRUE(client.Until([&] { return plan.calls(Call::kConnect) == 2; }));
  client.Advance(absl::Milliseconds(250));
  EXPECT_EQ(plan.open_descriptors().size(), 2u);
  client.Advance(absl::Milliseconds(1749));
  client.ExpectTold(0, 0, 0);
  client.Advance(absl::Milliseconds(1));
  client.ExpectTold(0, 1, 1);
  EXPECT_EQ(client.failed[0].code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(
      client.failed[0].message(),
      AllOf(StartsWith("connect tcp://name.test:80: timed out after 2s; "),
            HasSubstr(refusing.address().ToString() + ": Connection refused"),
            HasSubstr(silent.address().ToString() + ": no answer"),
            HasSubstr(other.address().ToString() + ": no answer")));
  EXPECT_THAT(plan.open_descriptors(), ElementsAre());
}

TEST(Connect, LocalAddressChoosesTheFamily) {
  Server server;
  server.Listen();
  Client client({Address("[::1]:9"), server.address()});
  FaultPlan plan;
  ConnectorOptions options = client.Options();
  options.socket.local_address = Address("127.0.0.1:0");
  client.Connect("tcp://name.test:80", options);
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  client.ExpectTold(1, 0, 1);
  EXPECT_EQ(plan.calls(Call::kConnect), 1u);
}

TEST(Connect, ToItselfIsRefused) {
  const SocketAddress free = Server().address();
  Client client;
  ConnectorOptions options = client.Options();
  options.socket.local_address = free;
  client.Connect(absl::StrCat("tcp://", free.ToString()), options);
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  client.ExpectTold(0, 1, 1);
  EXPECT_THAT(client.failed[0].message(),
              HasSubstr("which is itself: Connection refused"));
}

// --- Names ---

TEST(Connect, ReconnectGoesOnWhenTheNameFails) {
  Server server;
  server.Listen();
  // Called by one thread at a time: there is one attempt at a time.
  auto asked = std::make_shared<int>(0);
  Client client(
      PollerKind::kAuto,
      [asked, address = server.address()](const Url&) -> Resolver::Addresses {
        if (++*asked < 3) return absl::UnavailableError("no server");
        return Addresses{address};
      });
  client.Connect("tcp://name.test:80", client.Reconnecting());
  for (size_t failures = 1; failures < 3; ++failures) {
    ASSERT_TRUE(client.Until([&] { return client.failed.size() == failures; }));
    EXPECT_EQ(client.failed.back().message(),
              "connect tcp://name.test:80: no server");
    client.Advance(absl::Seconds(1));
  }
  ASSERT_TRUE(client.UntilState(State::kConnected));
  client.ExpectTold(1, 2, 0);
}

// A name that is asked for and not answered until Answer().
class SlowName {
 public:
  Resolver::Function function() const {
    return [state = state_](const Url&) -> Resolver::Addresses {
      state->asked.Notify();
      state->answer.WaitForNotification();
      state->answered.Notify();
      return Addresses{state->address};
    };
  }
  bool IsAsked() const { return state_->asked.HasBeenNotified(); }
  void Answer() {
    state_->answer.Notify();
    state_->answered.WaitForNotification();
  }

 private:
  struct State {
    SocketAddress address = Address("127.0.0.1:9");
    absl::Notification asked, answer, answered;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

TEST(Connect, DestroyedWhileResolving) {
  SlowName name;
  {
    Client client(PollerKind::kAuto, name.function());
    client.Connect("tcp://name.test:80", client.Reconnecting());
    ASSERT_TRUE(client.Until([&] { return name.IsAsked(); }));
    client.Destroy();
    client.ExpectTold(0, 0, 1);
    // Would wait for ever if it waited for the answer.
    client.DestroyResolver();
  }
  name.Answer();
}

TEST(Connect, TimeoutBoundsResolving) {
  SlowName name;
  Client client(PollerKind::kAuto, name.function());
  client.Connect("tcp://name.test:80", client.Options());
  ASSERT_TRUE(client.Until([&] { return name.IsAsked(); }));
  client.Advance(absl::Seconds(30));
  client.ExpectTold(0, 1, 1);
  EXPECT_EQ(client.failed[0].message(),
            "connect tcp://name.test:80: timed out after 30s; resolving its "
            "name");
  name.Answer();  // Too late.
  client.Turn(kFewTurns);
  client.ExpectTold(0, 1, 1);
}

// A connector that gives up takes its question back.
TEST(Connect, TimeoutCancelsTheQuestion) {
  SlowName name;
  Client client(PollerKind::kAuto, name.function());
  ConnectorOptions options = client.Options();
  options.timeout = absl::Milliseconds(20);
  options.reconnect = true;
  options.reconnect_delay = options.max_reconnect_delay = absl::Milliseconds(5);
  client.Connect("tcp://name.test:80", options);
  ASSERT_TRUE(client.Until([&] { return name.IsAsked(); }));
  // SlowName would end the program if it was asked a second time.
  while (client.failed.size() < 55) client.Advance(absl::Milliseconds(5));
  client.connector().Cancel();
  name.Answer();
  client.Turn(kFewTurns);
  client.ExpectTold(0, 55, 1);
}

// --- Callbacks ---

TEST(Connect, CancelInEachCallback) {
  for (const bool destroy : {false, true}) {
    const auto end = [destroy](Client& client) {
      destroy ? client.Destroy() : client.connector().Cancel();
    };
    Server server;
    {
      Client client;
      client.then_failed = [&] { end(client); };
      client.then_finish = [&] { end(client); };
      client.Connect(server.url(), client.Reconnecting());
      ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
      client.Advance(absl::Hours(1));
      client.ExpectTold(0, 1, 1);
    }
    server.Listen();
    for (const bool reconnect : {false, true}) {
      Client client;
      client.then_open = [&](Connection&) { end(client); };
      client.then_finish = [&] { end(client); };
      ConnectorOptions options = client.Options();
      options.reconnect = reconnect;
      client.Connect(server.url(), options);
      ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
      client.Advance(absl::Hours(1));
      client.ExpectTold(1, 0, 1);
      EXPECT_EQ(client.loop().connection_count(), 1u);  // It stays.
    }
    Client client;
    ConnectorOptions options = client.Reconnecting();
    options.transport =
        [&](const TransportRequest&) -> std::unique_ptr<Transport> {
      end(client);
      return std::make_unique<Transport>();
    };
    client.Connect(server.url(), options);
    ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
    client.Advance(absl::Hours(1));
    client.ExpectTold(0, 0, 1);
  }
}

TEST(Connect, OnOpenThatClosesReconnects) {
  Server server;
  server.Listen();
  Client client;
  client.then_open = [&](Connection& connection) {
    if (client.opened < 3) connection.Close();
  };
  client.Connect(server.url(), client.Reconnecting());
  for (int i = 1; i < 3; ++i) {
    ASSERT_TRUE(client.UntilState(State::kWaiting));
    EXPECT_EQ(client.opened, i);
    EXPECT_EQ(client.connector().connection(), ConnectionId());
    client.Advance(absl::Milliseconds(200));
  }
  ASSERT_TRUE(client.UntilState(State::kConnected));
  client.ExpectTold(3, 0, 0);
}

TEST(Connect, PeerThatClosesAtOnceIsReconnected) {
  Server server;
  server.Listen();
  Client client;
  // Another protocol is told of the end.
  client.then_open = [&](Connection& connection) {
    connection.Attach(std::make_unique<Ignore>());
    server.Accept().Reset();
  };
  client.Connect(server.url(), client.Reconnecting());
  for (int i = 1; i < 4; ++i) {
    ASSERT_TRUE(client.UntilState(State::kWaiting));
    client.ExpectTold(i, 0, 0);
    client.Advance(absl::Milliseconds(200));
    ASSERT_TRUE(client.Until([&] { return client.opened == i + 1; }));
  }
}

// Who took the socket has it; another one would be a surprise.
TEST(Connect, ReleasedSocketFinishes) {
  Server server;
  server.Listen();
  Client client;
  Socket taken;
  client.then_open = [&](Connection& connection) {
    connection.Release([&](Socket socket) { taken = std::move(socket); });
  };
  client.Connect(server.url(), client.Reconnecting());
  ASSERT_TRUE(client.Until([&] { return client.finished == 1; }));
  client.ExpectTold(1, 0, 1);
  EXPECT_GE(taken.fd(), 0);
  client.Advance(absl::Hours(1));
  client.ExpectTold(1, 0, 1);
}

class CountedTransport final : public Transport {
 public:
  explicit CountedTransport(int& writes) : writes_(writes) {}
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    ++writes_;
    return Transport::Write(socket, pieces);
  }

 private:
  int& writes_;
};

TEST(Connect, TransportOfItsOwnForEachConnection) {
  Server server;
  server.Listen();
  Client client;
  int made = 0, writes = 0;
  client.then_open = [](Connection& connection) {
    connection.Write("hello");
    connection.Close();
  };
  ConnectorOptions options = client.Reconnecting();
  options.transport = [&](const TransportRequest&) {
    ++made;
    return std::make_unique<CountedTransport>(writes);
  };
  client.Connect(server.url(), options);
  ASSERT_TRUE(client.UntilState(State::kWaiting));
  client.Advance(absl::Milliseconds(200));
  ASSERT_TRUE(client.UntilState(State::kWaiting));
  EXPECT_EQ(made, 2);
  EXPECT_EQ(writes, 2);
}

// --- Stop ---

TEST(Connect, EndOfRunFinishes) {
  for (const bool listens : {false, true}) {
    Server server;
    if (listens) server.Listen();
    Client client;
    client.Connect(server.url(), client.Reconnecting());
    ASSERT_TRUE(
        client.UntilState(listens ? State::kConnected : State::kWaiting));
    client.loop().Stop();
    EXPECT_TRUE(client.loop().Run().ok());
    client.ExpectTold(listens ? 1 : 0, listens ? 0 : 1, 1);
    EXPECT_EQ(client.state(), State::kFinished);
  }
}

TEST(Connect, EndOfRunFinishesWhatIsUnderWay) {
  Server silent;
  silent.ListenWithFullQueue();
  Client client;
  FaultPlan plan;
  client.Connect(silent.url(), client.Reconnecting());
  ASSERT_TRUE(client.UntilState(State::kConnecting));
  client.loop().Stop();
  EXPECT_TRUE(client.loop().Run().ok());
  client.ExpectTold(0, 0, 1);
  EXPECT_THAT(plan.open_descriptors(), ElementsAre());
}

}  // namespace
}  // namespace fio
