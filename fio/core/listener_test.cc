#include "fio/core/listener.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
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
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using testing::FaultPlan;
using ::testing::HasSubstr;
using testing::ManualClock;
using ::testing::Pair;

using Call = FaultPlan::Call;

const PollerKind kPoller = core_internal::PollerUnderTest();

// Longer than anything takes.
constexpr int kPatienceMs = 30'000;

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

void AttachEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
}

// Greets, so that a client knows that it is served.
void GreetAndEcho(Connection& connection) {
  connection.Attach(std::make_unique<Echo>());
  connection.Write("!");
}

// --- Clients: blocking sockets, past the table of system calls ---

UniqueFd ConnectTo(const SocketAddress& address) {
  UniqueFd client(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(client.get(), address.data(), address.size()), 0)
      << address.ToString();
  return client;
}

std::vector<UniqueFd> ConnectMany(const SocketAddress& address, int count) {
  std::vector<UniqueFd> clients;
  for (int i = 0; i < count; ++i) clients.push_back(ConnectTo(address));
  return clients;
}

bool IsReadable(int fd, int timeout_ms) {
  pollfd polled = {.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&polled, 1, timeout_ms) == 1;
}

void Send(const UniqueFd& client, std::string_view bytes) {
  EXPECT_EQ(::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

// What has come, or comes within `timeout_ms`; "closed" for the end or a reset.
std::string Receive(const UniqueFd& client, int timeout_ms = 0) {
  if (!IsReadable(client.get(), timeout_ms)) return "";
  std::array<char, 64> bytes;
  const ssize_t count = ::recv(client.get(), bytes.data(), bytes.size(), 0);
  return count > 0 ? std::string(bytes.data(), static_cast<size_t>(count))
                   : "closed";
}

int CountClosed(const std::vector<UniqueFd>& clients) {
  return static_cast<int>(
      std::count_if(clients.begin(), clients.end(), [](const UniqueFd& client) {
        char byte;
        const ssize_t count =
            ::recv(client.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return count == 0 || (count < 0 && errno != EAGAIN);
      }));
}

// --- Servers ---

std::unique_ptr<Loop> NewLoop(const LoopOptions& options) {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(options);
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

// By Unix sockets, whose connections wait as soon as connect(2) returns.
std::shared_ptr<ListenSocket> NewSocket(std::string_view address = "unix:") {
  absl::StatusOr<ListenSocket> socket =
      ListenSocket::Listen(*SocketAddress::Parse(address), {});
  EXPECT_TRUE(socket.ok()) << socket.status();
  return std::make_shared<ListenSocket>(*std::move(socket));
}

std::unique_ptr<Listener> NewListener(Loop& loop,
                                      std::shared_ptr<ListenSocket> socket,
                                      ListenOptions options,
                                      std::vector<LoopHandle> targets = {}) {
  absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
      loop, std::move(socket),
      std::make_shared<const ListenOptions>(std::move(options)),
      std::move(targets));
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

void Turn(Loop& loop, int count = 1) {
  for (int i = 0; i < count; ++i) {
    const absl::Status turn = loop.RunOnce(MonotonicTime::InfinitePast());
    ASSERT_TRUE(turn.ok()) << turn;
  }
}

// A loop whose time stands still, and a socket that tests listen on.
class ListenerTest : public ::testing::Test {
 protected:
  void Listen(ListenOptions options, std::vector<LoopHandle> targets = {}) {
    if (options.on_open == nullptr) options.on_open = AttachEcho;
    listener_ =
        NewListener(*loop_, socket_, std::move(options), std::move(targets));
  }
  // Without the connections of before, whose clients have gone.
  void StartAnew() {
    listener_ = nullptr;
    socket_ = NewSocket();
    Turn(3);
    ASSERT_EQ(connections(), 0u);
  }
  std::vector<UniqueFd> Connect(int count) {
    return ConnectMany(socket_->local_address(), count);
  }
  void Turn(int count = 1) { fio::Turn(*loop_, count); }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(2);  // The timer, and what it watches again.
  }
  size_t connections() const { return loop_->connection_count(); }

  ManualClock clock_;
  const std::unique_ptr<Loop> loop_ =
      NewLoop({.clock = &clock_, .poller = kPoller});
  std::unique_ptr<Loop> other_ = NewLoop({.clock = &clock_, .poller = kPoller});
  std::shared_ptr<ListenSocket> socket_ = NewSocket();
  std::unique_ptr<Listener> listener_;
};

// --- Creation ---

TEST(Listener, ErrorsNameTheUrl) {
  const std::unique_ptr<Loop> loop = NewLoop({});
  const auto error = [&](std::string_view url, ListenOptions options) {
    return std::string(
        Listener::Create(*loop, *Url::Parse(url), std::move(options))
            .status()
            .message());
  };
  EXPECT_EQ(error("tcp://127.0.0.1:0", {}),
            "listen tcp://127.0.0.1:0: on_open is missing");
  EXPECT_EQ(error("tcp://127.0.0.1:0",
                  {.on_open = AttachEcho, .back_off = absl::ZeroDuration()}),
            "listen tcp://127.0.0.1:0: back_off is not positive");
  EXPECT_EQ(error("udp://127.0.0.1:1", {.on_open = AttachEcho}),
            "listen udp://127.0.0.1:1: datagrams make no connections");
  EXPECT_THAT(error("tcp://127.0.0.1:0",
                    {.on_open = AttachEcho, .socket = {.backlog = -1}}),
              HasSubstr("listen tcp://127.0.0.1:0: "));
  const std::shared_ptr<ListenSocket> taken = NewSocket("127.0.0.1:0");
  const std::string in_use =
      absl::StrCat("tcp://", taken->local_address().ToString());
  EXPECT_EQ(error(in_use, {.on_open = AttachEcho}),
            absl::StrCat("listen ", in_use, ": bind ",
                         taken->local_address().ToString(),
                         ": Address already in use (EADDRINUSE)"));
}

TEST(Listener, ErrorsOfASharedSocketNameTheAddress) {
  const std::unique_ptr<Loop> loop = NewLoop({});
  const auto error = [&](std::shared_ptr<ListenSocket> socket,
                         std::shared_ptr<const ListenOptions> options) {
    return std::string(
        Listener::Create(*loop, std::move(socket), std::move(options))
            .status()
            .message());
  };
  const std::shared_ptr<ListenSocket> socket = NewSocket("127.0.0.1:0");
  const std::string where =
      absl::StrCat("listen ", socket->local_address().ToString(), ": ");
  EXPECT_EQ(error(nullptr, nullptr), "listen: the socket is null");
  EXPECT_EQ(error(socket, nullptr), where + "the options are null");
  EXPECT_EQ(error(socket, std::make_shared<const ListenOptions>()),
            where + "on_open is missing");
  const auto fine = std::make_shared<const ListenOptions>(
      ListenOptions{.on_open = AttachEcho});
  const absl::StatusOr<std::unique_ptr<Listener>> first =
      Listener::Create(*loop, socket, fine);
  EXPECT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(error(socket, fine), HasSubstr(where));  // It is watched already.
}

TEST(Listener, ServesAUrl) {
  const std::unique_ptr<Loop> loop = NewLoop({.poller = kPoller});
  absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
      *loop, *Url::Parse("tcp://127.0.0.1:0"), {.on_open = GreetAndEcho});
  ASSERT_TRUE(listener.ok()) << listener.status();
  const UniqueFd client = ConnectTo((*listener)->local_address());
  while (loop->connection_count() == 0) {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  }
  EXPECT_EQ(Receive(client, kPatienceMs), "!");
}

TEST(Listener, OnFinishIsCalledOnce) {
  const std::unique_ptr<Loop> loop = NewLoop({});
  int finished = 0;
  const auto finish = [&] { ++finished; };
  const Url url = *Url::Parse("tcp://127.0.0.1:0");
  {
    const absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
        *loop, url, {.on_open = AttachEcho, .on_finish = finish});
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(finished, 0);
    (*listener)->Close();
    EXPECT_EQ(finished, 1);
    (*listener)->Close();
  }
  EXPECT_EQ(finished, 1);
  FaultPlan plan;
  for (const Call call : {Call::kBind, Call::kListen}) {
    finished = 0;
    plan.FailNext(call, EACCES);
    EXPECT_FALSE(Listener::Create(*loop, url,
                                  {.on_open = AttachEcho, .on_finish = finish})
                     .ok());
    EXPECT_EQ(finished, 1);
  }
  // Who shares a socket is not the only one.
  finished = 0;
  NewListener(*loop, NewSocket(), {.on_open = AttachEcho, .on_finish = finish})
      ->Close();
  EXPECT_EQ(finished, 0);
}

TEST_F(ListenerTest, TheSocketClosesWithItsLastOwner) {
  Listen({});
  const SocketAddress address = socket_->local_address();
  std::unique_ptr<Listener> second =
      NewListener(*other_, socket_, {.on_open = AttachEcho});
  socket_ = nullptr;
  listener_->Close();
  const UniqueFd client = ConnectTo(address);
  fio::Turn(*other_, 1);
  EXPECT_EQ(other_->connection_count(), 1u);
  second = nullptr;
  const UniqueFd late(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(::connect(late.get(), address.data(), address.size()), 0);
  EXPECT_EQ(listener_->local_address(), address);
}

// --- Batches ---

// Nobody else was told of who waits.
TEST_F(ListenerTest, CloseOpensThoseItMayHaveBeenWokenFor) {
  int opened = 0;
  const ListenOptions options = {.on_open = [&opened](Connection& connection) {
    ++opened;
    AttachEcho(connection);
  }};
  Listen(options);
  const UniqueFd first = ConnectTo(socket_->local_address());
  listener_->Close();
  EXPECT_EQ(opened, 1);
  absl::StatusOr<std::unique_ptr<Listener>> alone = Listener::Create(
      *loop_, socket_, std::make_shared<const ListenOptions>(options),
      /*targets=*/{}, AcceptWakes::kAll);
  ASSERT_TRUE(alone.ok()) << alone.status();
  const UniqueFd second = ConnectTo(socket_->local_address());
  (*alone)->Close();
  EXPECT_EQ(opened, 1);
}

TEST_F(ListenerTest, ABatchIsBounded) {
  Listen({});
  const std::vector<UniqueFd> clients = Connect(150);
  Turn();
  EXPECT_EQ(connections(), 64u);
  Turn();
  EXPECT_EQ(connections(), 128u);
  Turn();
  EXPECT_EQ(connections(), 150u);
  EXPECT_EQ(listener_->stats().accepted, 150u);
}

TEST_F(ListenerTest, ABatchEndsWithTheTimeOfTheTurn) {
  Listen({.on_open = [this](Connection& connection) {
    AttachEcho(connection);
    clock_.Advance(absl::Milliseconds(6));  // Of 10.
  }});
  const std::vector<UniqueFd> clients = Connect(5);
  Turn();
  EXPECT_EQ(connections(), 2u);
  Turn();
  EXPECT_EQ(connections(), 4u);
  Turn();
  EXPECT_EQ(connections(), 5u);
}

// It ends the batch, and who waits is reset.
TEST_F(ListenerTest, ClosesInsideItsCallbacks) {
  for (const bool in_on_accept : {false, true}) {
    StartAnew();
    int opened = 0;
    const auto close_at_second = [&] {
      if (++opened == 2) listener_->Close();
    };
    Listen({.on_open =
                [&](Connection& connection) {
                  AttachEcho(connection);
                  if (!in_on_accept) close_at_second();
                },
            .on_accept =
                [&](const SocketAddress&) {
                  if (in_on_accept) close_at_second();
                  return AcceptVerdict::Keep();
                }});
    const std::vector<UniqueFd> clients = Connect(5);
    socket_ = nullptr;
    Turn(3);
    EXPECT_EQ(connections(), 2u);
    EXPECT_EQ(listener_->stats().accepted, 2u);
    EXPECT_EQ(CountClosed(clients), 3);
    Send(clients[1], "x");
    Turn(2);
    EXPECT_EQ(Receive(clients[1]), "x");
  }
}

TEST_F(ListenerTest, ClosesInsideOnShed) {
  Listen({.on_shed = [this](int, uint64_t) { listener_->Close(); }});
  FaultPlan plan;
  plan.FailNext(Call::kAccept4, ENOMEM);
  const std::vector<UniqueFd> clients = Connect(1);
  Turn();
  Advance(absl::Hours(1));
  EXPECT_EQ(plan.calls(Call::kAccept4), 1u);
}

// --- Closed while it makes room at the limit of descriptors ---

// At the limit, with AtLimit::kShedUnproductive, it serves the client that
// waits. So each of its callbacks runs while it handles a failed accept4(2).
class ListenerAtLimit : public ListenerTest {
 protected:
  static constexpr absl::Duration kBackOff = absl::Milliseconds(50);

  // Which callback calls `act_`, for the second client.
  enum class In { kOnAccept, kTransport, kOnOpen };
  static constexpr In kAllCallbacks[] = {In::kOnAccept, In::kTransport,
                                         In::kOnOpen};

  void Act(In in) {
    if (in == in_ && ++calls_ == 2) act_();
  }

  ListenOptions Options() {
    return {.on_open =
                [this](Connection& connection) {
                  AttachEcho(connection);
                  Act(In::kOnOpen);
                },
            .on_accept =
                [this](const SocketAddress&) {
                  Act(In::kOnAccept);
                  return AcceptVerdict::Keep();
                },
            .on_shed = [this](int, uint64_t) { ++told_; },
            .transport =
                [this](const TransportRequest&) {
                  Act(In::kTransport);
                  return std::make_unique<Transport>();
                },
            .back_off = kBackOff,
            .at_limit = AtLimit::kShedUnproductive};
  }

  // Serves one client, and the second one at the limit.
  void ServeTwo(In in, std::function<void()> act) {
    in_ = in;
    act_ = std::move(act);
    calls_ = told_ = 0;
    clients_.clear();
    StartAnew();
    ListenOptions options = Options();
    // With one on_open comes later than accept has failed.
    if (in != In::kTransport) options.transport = nullptr;
    Listen(std::move(options));
    clients_ = Connect(1);
    Turn(2);
    plan_.FailNext(Call::kAccept4, EMFILE);
    clients_.push_back(ConnectTo(socket_->local_address()));
    Turn(2);
    EXPECT_EQ(calls_, 2) << "it was not at the limit";
  }

  FaultPlan plan_;
  In in_ = In::kOnOpen;
  std::function<void()> act_;
  int calls_ = 0;
  int told_ = 0;
  std::vector<UniqueFd> clients_;
};

TEST_F(ListenerAtLimit, ClosedInACallbackItHasNoTimerAndTellsNothing) {
  for (const In in : kAllCallbacks) {
    SCOPED_TRACE(static_cast<int>(in));
    ServeTwo(in, [this] { listener_->Close(); });
    EXPECT_EQ(told_, 0);
    EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
    listener_ = nullptr;
    Advance(absl::Hours(1));  // A timer that is left would run on it.
  }
}

TEST_F(ListenerAtLimit, PausedInACallbackItAcceptsAfterResume) {
  for (const In in : kAllCallbacks) {
    SCOPED_TRACE(static_cast<int>(in));
    ServeTwo(in, [this] { listener_->Pause(); });
    EXPECT_EQ(told_, 1);
    Advance(kBackOff);
    clients_.push_back(ConnectTo(socket_->local_address()));
    Turn(2);
    EXPECT_EQ(listener_->stats().accepted, 2u);
    listener_->Resume();
    Turn(2);
    EXPECT_EQ(listener_->stats().accepted, 3u);
  }
}

// The failed Resume() begins a back-off, and so does the failed accept4(2).
TEST_F(ListenerAtLimit, PausedAndResumedInVainItHasOneTimer) {
  if (loop_->fd() < 0) {  // poll(2) watches without asking the kernel.
    SUCCEED();
    return;
  }
  for (const In in : kAllCallbacks) {
    SCOPED_TRACE(static_cast<int>(in));
    ServeTwo(in, [this] {
      listener_->Pause();
      plan_.FailNext(Call::kEpollCtl, ENOMEM);
      listener_->Resume();
    });
    EXPECT_EQ(loop_->next_deadline(), clock_.Now() + kBackOff);
    listener_->Close();
    EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
    listener_ = nullptr;
    Advance(absl::Hours(1));
  }
}

// Close() itself serves those who wait, which may close it.
TEST_F(ListenerTest, ClosedInACallbackThatCloseCalls) {
  int opened = 0;
  Listen({.on_open = [&](Connection& connection) {
    AttachEcho(connection);
    ++opened;
    listener_->Close();
  }});
  const std::vector<UniqueFd> clients = Connect(2);
  listener_->Close();
  EXPECT_EQ(opened, 1);
  Turn(2);
  EXPECT_EQ(connections(), 1u);
}

// --- Forked ---

// What the parent's listener does, only the parent is told.
TEST(Listener, OnFinishIsNotCalledInAForkedChild) {
  std::unique_ptr<Loop> loop = NewLoop({});
  int finished = 0;
  absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
      *loop, *Url::Parse("tcp://127.0.0.1:0"),
      {.on_open = AttachEcho, .on_finish = [&] { ++finished; }});
  ASSERT_TRUE(listener.ok()) << listener.status();
  loop->BeforeFork();
  const pid_t child = fork();
  loop->AfterFork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    listener->reset();
    loop = nullptr;
    _exit(finished);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const UniqueFd client = ConnectTo((*listener)->local_address());
  (*listener)->Close();
  EXPECT_EQ(finished, 1);
}

// --- Pausing ---

TEST_F(ListenerTest, PauseLeavesTheBacklog) {
  Listen({});
  EXPECT_FALSE(listener_->paused());
  listener_->Pause();
  listener_->Pause();
  EXPECT_TRUE(listener_->paused());
  const std::vector<UniqueFd> clients = Connect(10);
  Turn(5);
  EXPECT_EQ(connections(), 0u);
  EXPECT_EQ(CountClosed(clients), 0);
  listener_->Resume();
  EXPECT_FALSE(listener_->paused());
  Turn();
  EXPECT_EQ(connections(), 10u);
}

TEST_F(ListenerTest, PausesInsideABatch) {
  Listen({.on_open = [this](Connection& connection) {
    AttachEcho(connection);
    listener_->Pause();
  }});
  const std::vector<UniqueFd> clients = Connect(3);
  for (size_t i = 1; i <= 3; ++i) {
    Turn(3);
    EXPECT_EQ(connections(), i);
    listener_->Resume();
  }
  listener_->Close();
  listener_->Pause();
  listener_->Resume();
  Turn(2);
}

TEST_F(ListenerTest, PauseAndBackOffCompose) {
  Listen({.back_off = absl::Milliseconds(50)});
  FaultPlan plan;
  const std::vector<UniqueFd> clients = Connect(2);
  // Paused when the back-off ends.
  plan.FailNext(Call::kAccept4, ENOMEM);
  Turn(2);
  listener_->Pause();
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(plan.calls(Call::kAccept4), 1u);
  // Resumed before the next one ends.
  plan.FailNext(Call::kAccept4, ENOMEM);
  listener_->Resume();
  Turn(2);
  EXPECT_EQ(plan.calls(Call::kAccept4), 2u);
  listener_->Pause();
  listener_->Resume();
  Turn(5);
  Advance(absl::Milliseconds(49));
  EXPECT_EQ(plan.calls(Call::kAccept4), 2u);
  Advance(absl::Milliseconds(2));
  EXPECT_EQ(connections(), 2u);
}

TEST_F(ListenerTest, ABackOffEndsWithTheRunThatCancelsTimers) {
  const std::unique_ptr<Loop> loop = NewLoop({.poller = kPoller});
  std::vector<int> errors;
  const std::unique_ptr<Listener> listener = NewListener(
      *loop, socket_,
      {.on_open = AttachEcho,
       .on_shed = [&](int error, uint64_t) { errors.push_back(error); },
       .back_off = absl::Hours(1)});
  FaultPlan plan;
  plan.FailNext(Call::kAccept4, ENOMEM);
  const std::vector<UniqueFd> clients = Connect(1);
  fio::Turn(*loop, 1);
  EXPECT_THAT(errors, ElementsAre(ENOMEM));
  loop->Stop();
  ASSERT_TRUE(loop->Run().ok());
  fio::Turn(*loop, 1);
  EXPECT_EQ(loop->connection_count(), 1u);
}

// --- Out of descriptors, and other errors ---

// Lowers the limit so that `room` more descriptors can be opened at most.
class ScopedDescriptorLimit {
 public:
  explicit ScopedDescriptorLimit(int room) {
    const int next = dup(0);
    ::close(next);
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &original_), 0);
    rlimit low = original_;
    low.rlim_cur = static_cast<rlim_t>(next + room);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  }
  ScopedDescriptorLimit(const ScopedDescriptorLimit&) = delete;
  ScopedDescriptorLimit& operator=(const ScopedDescriptorLimit&) = delete;
  ~ScopedDescriptorLimit() {
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &original_), 0);
  }

 private:
  rlimit original_;
};

class Listen : public ListenerTest {};

TEST_F(Listen, EmfileCpuBounded) {
  constexpr int kClients = 200;
  constexpr int kRoom = 32;
  constexpr absl::Duration kBackOff = absl::Milliseconds(50);
  std::vector<std::pair<int, uint64_t>> told;
  ListenerTest::Listen(
      {.on_open = AttachEcho,
       .on_shed = [&](int error,
                      uint64_t shed) { told.emplace_back(error, shed); },
       .back_off = kBackOff});
  std::vector<UniqueFd> clients = Connect(kClients);
  const auto echoes = [&](const UniqueFd& client) {
    Send(client, "x");
    Turn(3);
    return Receive(client) == "x";
  };
  size_t full = 0;
  {
    const ScopedDescriptorLimit limit(kRoom);
    Turn(3);
    full = connections();
    EXPECT_GE(full, 1u);
    EXPECT_LE(full, size_t{kRoom});
    EXPECT_THAT(told, ElementsAre(Pair(EMFILE, 1u)));
    EXPECT_EQ(CountClosed(clients), 1);
    // It would sleep until the back-off ends.
    EXPECT_EQ(loop_->next_deadline(), clock_.Now() + kBackOff);
    const FaultPlan plan;
    Turn(10);
    EXPECT_EQ(plan.calls(), 10u) << "a turn is a wait";
    // A back-off: wait and watch; wait, accept, close the reserve, accept and
    // close one, get a reserve, and watch no more.
    constexpr int kBackOffs = 20;
    const uint64_t before = plan.calls();
    for (int i = 0; i < kBackOffs; ++i) Advance(kBackOff);
    EXPECT_LE(plan.calls() - before, uint64_t{kBackOffs * 10});
    EXPECT_EQ(plan.calls(Call::kAccept4), uint64_t{kBackOffs * 2});
    EXPECT_EQ(listener_->stats().shed, uint64_t{1 + kBackOffs});
    EXPECT_EQ(CountClosed(clients), 1 + kBackOffs);
    EXPECT_EQ(told.size(), size_t{1 + kBackOffs});
    EXPECT_EQ(connections(), full);
    for (size_t i = 0; i < full; ++i) EXPECT_TRUE(echoes(clients[i])) << i;
    // Some descriptors come free, and are given to those who wait longest.
    clients.erase(clients.begin(), clients.begin() + 4);
    Turn(3);
    EXPECT_EQ(connections(), full - 4);
    // The clients' own numbers are free again, too.
    Advance(kBackOff);
    EXPECT_GE(connections(), full);
  }
  Advance(kBackOff);
  Turn(3);
  const ListenerStats stats = listener_->stats();
  EXPECT_EQ(stats.accepted + stats.shed, uint64_t{kClients});
  EXPECT_EQ(CountClosed(clients), static_cast<int>(stats.shed));
  int served = 0;
  for (const UniqueFd& client : clients) served += Receive(client) != "closed";
  EXPECT_EQ(served + static_cast<int>(stats.shed), kClients - 4);
  EXPECT_TRUE(echoes(clients.back()));
}

TEST_F(ListenerTest, ShedsOnePerBackOff) {
  for (const int error : {EMFILE, ENFILE}) {
    std::vector<std::pair<int, uint64_t>> told;
    StartAnew();
    Listen({.on_shed = [&](int why, uint64_t shed) {
      told.emplace_back(why, shed);
    }});
    const std::vector<UniqueFd> clients = Connect(4);
    FaultPlan plan;
    for (uint64_t i = 1; i <= 2; ++i) {
      plan.FailNext(Call::kAccept4, error);
      Advance(absl::Milliseconds(50));
      EXPECT_EQ(told.size(), i);
      EXPECT_THAT(told.back(), Pair(error, i));
      EXPECT_EQ(CountClosed(clients), static_cast<int>(i));
    }
    Advance(absl::Milliseconds(50));
    EXPECT_EQ(connections(), 2u);
    EXPECT_EQ(listener_->stats().accepted, 2u);
    EXPECT_EQ(listener_->stats().shed, 2u);
  }
}

// The kernel looks for a descriptor before it looks who waits.
TEST_F(ListenerTest, NobodyIsShedWhereNobodyWaits) {
  int told = 0;
  Listen({.on_shed = [&](int, uint64_t) { ++told; }});
  FaultPlan plan;
  const std::vector<UniqueFd> clients = Connect(1);
  plan.FailNext(Call::kAccept4, EMFILE);
  plan.FailNext(Call::kAccept4, EAGAIN);
  Turn();
  EXPECT_EQ(connections(), 0u);
  Turn();  // It has not backed off.
  EXPECT_EQ(connections(), 1u);
  EXPECT_EQ(told, 0);
}

TEST_F(ListenerTest, WithoutAReserveItOnlyBacksOff) {
  std::vector<std::pair<int, uint64_t>> told;
  Listen({.on_shed = [&](int error, uint64_t shed) {
    told.emplace_back(error, shed);
  }});
  const std::vector<UniqueFd> clients = Connect(3);
  FaultPlan plan;
  // Somebody else takes the descriptor, and keeps it for a while.
  plan.FailNext(Call::kAccept4, EMFILE);
  plan.FailNext(Call::kSocket, EMFILE, 2);
  Turn();
  EXPECT_THAT(told, ElementsAre(Pair(EMFILE, 1u)));
  plan.FailNext(Call::kAccept4, EMFILE);
  Advance(absl::Milliseconds(50));
  EXPECT_THAT(told, ElementsAre(Pair(EMFILE, 1u), Pair(EMFILE, 1u)));
  EXPECT_EQ(CountClosed(clients), 1);
  // And again, with a reserve.
  plan.FailNext(Call::kAccept4, EMFILE);
  Advance(absl::Milliseconds(50));
  EXPECT_THAT(told.back(), Pair(EMFILE, 2u));
  EXPECT_EQ(CountClosed(clients), 2);
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(connections(), 1u);
}

TEST_F(ListenerTest, SomebodyElseTakesTheReserve) {
  Listen({});
  const std::vector<UniqueFd> clients = Connect(1);
  FaultPlan plan;
  plan.FailNext(Call::kAccept4, EMFILE, 2);
  Turn(5);
  EXPECT_EQ(plan.calls(Call::kAccept4), 2u);
  EXPECT_EQ(listener_->stats().shed, 0u);
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(connections(), 1u);
}

TEST_F(ListenerTest, OutOfMemoryBacksOffAndShedsNobody) {
  for (const int error : {ENOMEM, ENOBUFS}) {
    std::vector<std::pair<int, uint64_t>> told;
    StartAnew();
    Listen({.on_shed = [&](int why, uint64_t shed) {
      told.emplace_back(why, shed);
    }});
    const std::vector<UniqueFd> clients = Connect(2);
    FaultPlan plan;
    plan.FailNext(Call::kAccept4, error);
    Turn(5);
    EXPECT_EQ(plan.calls(Call::kAccept4), 1u);
    EXPECT_THAT(told, ElementsAre(Pair(error, 0u)));
    Advance(absl::Milliseconds(50));
    EXPECT_EQ(connections(), 2u);
    EXPECT_EQ(CountClosed(clients), 0);
  }
}

// What accept(2) passes on from the network.
TEST_F(ListenerTest, AnErrorOfOneConnectionIsNotThatOfTheNext) {
  int told = 0;
  Listen({.on_shed = [&](int, uint64_t) { ++told; }});
  FaultPlan plan;
  size_t expected = 0;
  std::vector<std::vector<UniqueFd>> clients;
  for (const int error :
       {ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
        EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EINTR}) {
    clients.push_back(Connect(3));
    expected += 3;
    plan.FailNext(Call::kAccept4, error, 2);
    Turn();
    EXPECT_EQ(connections(), expected) << error;
  }
  EXPECT_EQ(told, 0);
}

// A socket on which nothing but errors comes does not make the loop spin.
TEST_F(ListenerTest, ErrorsWithoutEndBackOff) {
  int told = 0;
  Listen({.on_shed = [&](int, uint64_t) { ++told; }});
  FaultPlan plan;
  const std::vector<UniqueFd> clients = Connect(1);
  plan.FailNext(Call::kAccept4, ENETDOWN, 1000);
  Turn(10);
  EXPECT_EQ(plan.calls(Call::kAccept4), 64u);
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(plan.calls(Call::kAccept4), 128u);
  EXPECT_EQ(told, 0);
}

TEST_F(ListenerTest, AnyOtherErrorBacksOff) {
  int told = 0;
  Listen({.on_shed = [&](int, uint64_t) { ++told; }});
  FaultPlan plan;
  const std::vector<UniqueFd> clients = Connect(1);
  for (const int error : {EINVAL, EPERM}) {
    const uint64_t before = plan.calls(Call::kAccept4);
    plan.FailNext(Call::kAccept4, error);
    Advance(absl::Milliseconds(50));
    Turn(5);
    EXPECT_EQ(plan.calls(Call::kAccept4), before + 1);
  }
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(connections(), 1u);
  EXPECT_EQ(told, 0);
}

TEST_F(ListenerTest, AWatchThatCannotBeHadIsTriedAgain) {
  if (loop_->fd() < 0) {  // poll(2) watches without asking the kernel.
    SUCCEED();
    return;
  }
  Listen({});
  listener_->Pause();
  const std::vector<UniqueFd> clients = Connect(1);
  FaultPlan plan;
  plan.FailNext(Call::kEpollCtl, ENOMEM, 2);
  listener_->Resume();
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(connections(), 0u);
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(connections(), 1u);
}

// --- Who serves it ---

TEST_F(ListenerTest, FilterKeepsRejectsAndHandsOver) {
  std::vector<AcceptVerdict> verdicts = {
      AcceptVerdict::Keep(),    AcceptVerdict::Reject(),
      AcceptVerdict::ToLoop(0), AcceptVerdict::ToLoop(1),
      AcceptVerdict::ToLoop(2), AcceptVerdict::ToLoop(3)};
  LoopHandle gone = NewLoop({})->handle();
  size_t next = 0;
  int opened_here = 0;
  int opened_there = 0;
  Listen(
      {.on_open =
           [&](Connection& connection) {
             ++(&connection.loop() == loop_.get() ? opened_here : opened_there);
             GreetAndEcho(connection);
           },
       .on_accept = [&](const SocketAddress&) { return verdicts[next++]; }},
      {loop_->handle(), other_->handle(), gone});
  const std::vector<UniqueFd> clients = Connect(6);
  Turn(2);
  EXPECT_EQ(other_->handle().connection_count(), 1u);
  fio::Turn(*other_, 2);
  EXPECT_EQ(opened_here, 2);
  EXPECT_EQ(opened_there, 1);
  for (const size_t served : {0, 2, 3}) {
    EXPECT_EQ(Receive(clients[served]), "!");
  }
  for (const size_t rejected : {1, 4, 5}) {
    EXPECT_EQ(Receive(clients[rejected]), "closed");
  }
  const ListenerStats stats = listener_->stats();
  EXPECT_EQ(stats.accepted, 6u);
  EXPECT_EQ(stats.rejected, 3u);
  EXPECT_EQ(stats.handed_over, 1u);
  EXPECT_EQ(stats.shed, 0u);
}

TEST_F(ListenerTest, TheFilterIsToldThePeer) {
  socket_ = NewSocket("127.0.0.1:0");
  std::vector<SocketAddress> peers;
  Listen({.on_accept = [&](const SocketAddress& peer) {
    peers.push_back(peer);
    return AcceptVerdict::Reject();
  }});
  const std::vector<UniqueFd> clients = Connect(1);
  ASSERT_TRUE(IsReadable(socket_->fd(), kPatienceMs));
  Turn();
  sockaddr_storage storage;
  socklen_t size = sizeof(storage);
  auto* const name = reinterpret_cast<sockaddr*>(&storage);
  ASSERT_EQ(getsockname(clients[0].get(), name, &size), 0);
  EXPECT_THAT(peers, ElementsAre(*SocketAddress::FromSockaddr(name, size)));
  EXPECT_EQ(Receive(clients[0], kPatienceMs), "closed");
  EXPECT_EQ(connections(), 0u);
}

TEST_F(ListenerTest, WhatWasHandedOverIsOpenedAlthoughTheListenerHasGone) {
  Listen({.on_open = GreetAndEcho,
          .on_accept =
              [](const SocketAddress&) { return AcceptVerdict::ToLoop(0); }},
         {other_->handle()});
  const std::vector<UniqueFd> clients = Connect(1);
  Turn();
  listener_ = nullptr;
  fio::Turn(*other_, 2);
  EXPECT_EQ(Receive(clients[0]), "!");
}

TEST_F(ListenerTest, ALoopThatEndsClosesWhatItWasHanded) {
  Listen({.on_accept =
              [](const SocketAddress&) { return AcceptVerdict::ToLoop(0); }},
         {other_->handle()});
  const std::vector<UniqueFd> clients = Connect(2);
  Turn();
  EXPECT_EQ(listener_->stats().handed_over, 2u);
  other_ = nullptr;
  EXPECT_EQ(CountClosed(clients), 2);
}

TEST_F(ListenerTest, AStoppingLoopRejects) {
  Listen({});
  loop_->Stop();
  Turn();
  const std::vector<UniqueFd> late = Connect(2);
  Turn(3);
  EXPECT_EQ(CountClosed(late), 2);
  EXPECT_EQ(listener_->stats().rejected, 2u);
}

// --- Transports ---

// What a TLS context is to its connections.
struct Context {};

class PassThrough final : public Transport {
 public:
  explicit PassThrough(std::shared_ptr<Context> context)
      : context_(std::move(context)) {}

 private:
  const std::shared_ptr<Context> context_;
};

TEST_F(Listen, TlsRefBalanced) {
  const auto context = std::make_shared<Context>();
  auto with_transport = context.use_count();
  ListenerTest::Listen({.on_open =
                            [&](Connection& connection) {
                              with_transport = context.use_count();
                              AttachEcho(connection);
                            },
                        .on_accept =
                            [n = 0](const SocketAddress&) mutable {
                              return n++ % 2 == 0 ? AcceptVerdict::Keep()
                                                  : AcceptVerdict::ToLoop(0);
                            },
                        .transport =
                            [context](const TransportRequest&) {
                              return std::make_unique<PassThrough>(context);
                            }},
                       {other_->handle()});
  const auto listening = context.use_count();
  EXPECT_GT(listening, 1);
  std::vector<UniqueFd> clients = Connect(10);
  Turn(2);
  fio::Turn(*other_, 2);
  EXPECT_EQ(context.use_count(), listening + 10);
  EXPECT_EQ(with_transport, listening + 10) << "it is there in on_open";
  for (const UniqueFd& client : clients) {
    Send(client, "x");
    Turn(2);
    fio::Turn(*other_, 2);
    EXPECT_EQ(Receive(client), "x");
  }
  clients.resize(4);
  Turn(3);
  fio::Turn(*other_, 3);
  EXPECT_EQ(context.use_count(), listening + 4);
  clients.clear();
  Turn(3);
  fio::Turn(*other_, 3);
  EXPECT_EQ(context.use_count(), listening);
  // The last of them is on its way when the listener ends.
  const std::vector<UniqueFd> last = Connect(2);
  Turn();
  listener_ = nullptr;
  EXPECT_GT(context.use_count(), 1);
  other_ = nullptr;
  loop_->Stop(absl::ZeroDuration());
  Turn(3);
  EXPECT_EQ(context.use_count(), 1);
}

TEST_F(ListenerTest, WithoutATransportItIsNotServedInTheClear) {
  int opened = 0;
  Listen({.on_open = [&](Connection&) { ++opened; },
          .transport = [](const TransportRequest&) { return nullptr; }});
  const std::vector<UniqueFd> clients = Connect(2);
  Turn(2);
  EXPECT_EQ(opened, 0);
  EXPECT_EQ(connections(), 0u);
  EXPECT_EQ(CountClosed(clients), 2);
}

// --- Several loops ---

// Loops on a thread each, until it dies.
class Threads {
 public:
  explicit Threads(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      loops_.push_back(NewLoop({.poller = kPoller}));
    }
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { Stop(); }

  void Start() {
    for (const std::unique_ptr<Loop>& loop : loops_) {
      threads_.emplace_back([&loop] { EXPECT_TRUE(loop->Run().ok()); });
    }
  }
  void Stop() {
    for (const std::unique_ptr<Loop>& loop : loops_) loop->Stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  Loop& loop(size_t index) { return *loops_[index]; }
  std::vector<LoopHandle> handles() const {
    std::vector<LoopHandle> handles;
    for (const std::unique_ptr<Loop>& loop : loops_) {
      handles.push_back(loop->handle());
    }
    return handles;
  }
  std::vector<size_t> Counts() const {
    std::vector<size_t> counts;
    for (const LoopHandle& handle : handles()) {
      counts.push_back(handle.connection_count());
    }
    return counts;
  }

 private:
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::thread> threads_;
};

TEST(SharedListenSocket, ServesAllByTwoLoopsOnTwoThreads) {
  constexpr int kClients = 200;
  for (const std::string_view address : {"unix:", "127.0.0.1:0"}) {
    Threads threads(2);
    const std::shared_ptr<ListenSocket> socket = NewSocket(address);
    std::atomic<int> opened = 0;
    const auto options = std::make_shared<const ListenOptions>(ListenOptions{
        .on_open =
            [&](Connection& connection) {
              ++opened;
              GreetAndEcho(connection);
            },
        .on_accept =
            [](const SocketAddress&) { return AcceptVerdict::Keep(); }});
    std::vector<std::unique_ptr<Listener>> listeners;
    for (size_t i = 0; i < 2; ++i) {
      absl::StatusOr<std::unique_ptr<Listener>> listener =
          Listener::Create(threads.loop(i), socket, options);
      ASSERT_TRUE(listener.ok()) << listener.status();
      listeners.push_back(*std::move(listener));
    }
    threads.Start();
    // One by one, so that none finds the loops awake by chance; and at once.
    std::vector<UniqueFd> clients;
    for (int i = 0; i < kClients / 2; ++i) {
      clients.push_back(ConnectTo(socket->local_address()));
      ASSERT_EQ(Receive(clients.back(), kPatienceMs), "!");
    }
    for (int i = 0; i < kClients / 2; ++i) {
      clients.push_back(ConnectTo(socket->local_address()));
    }
    for (int i = kClients / 2; i < kClients; ++i) {
      ASSERT_EQ(Receive(clients[static_cast<size_t>(i)], kPatienceMs), "!");
    }
    EXPECT_EQ(opened, kClients);
    EXPECT_EQ(listeners[0]->stats().accepted + listeners[1]->stats().accepted,
              uint64_t{kClients});
    threads.Stop();
    listeners.clear();
  }
}

TEST(LeastConnections, SpreadsLongLivedOnesEvenly) {
  constexpr size_t kClients = 100;
  for (const size_t loops : {2, 3, 4}) {
    Threads threads(loops);
    const std::shared_ptr<ListenSocket> socket = NewSocket();
    std::unique_ptr<Listener> listener = NewListener(
        threads.loop(0), socket,
        {.on_open = GreetAndEcho, .balance = AcceptBalance::kLeastConnections},
        threads.handles());
    threads.Start();
    std::vector<UniqueFd> clients;
    for (size_t i = 0; i < kClients; ++i) {
      clients.push_back(ConnectTo(socket->local_address()));
    }
    for (const UniqueFd& client : clients) {
      ASSERT_EQ(Receive(client, kPatienceMs), "!");
    }
    const std::vector<size_t> counts = threads.Counts();
    size_t sum = 0;
    for (const size_t count : counts) sum += count;
    EXPECT_EQ(sum, kClients);
    const auto [least, most] =
        std::minmax_element(counts.begin(), counts.end());
    EXPECT_LE(*most - *least, 1u) << *least << " and " << *most;
    const ListenerStats stats = listener->stats();
    EXPECT_EQ(stats.accepted, kClients);
    EXPECT_EQ(stats.handed_over, kClients - counts[0]);
    threads.Stop();
    listener = nullptr;
    for (const size_t count : threads.Counts()) EXPECT_EQ(count, 0u);
  }
}

// Not in rotation, but where the fewest are; and not to a loop that has gone.
TEST_F(ListenerTest, TheNextGoesWhereTheFewestAre) {
  Listen({.on_open = AttachEcho, .balance = AcceptBalance::kLeastConnections},
         {loop_->handle(), other_->handle()});
  std::vector<UniqueFd> clients = Connect(4);
  Turn(2);
  fio::Turn(*other_, 2);
  EXPECT_EQ(connections(), 2u);
  EXPECT_EQ(other_->connection_count(), 2u);
  // The second and the fourth are the other's.
  clients[1].Reset();
  clients[3].Reset();
  fio::Turn(*other_, 3);
  EXPECT_EQ(other_->connection_count(), 0u);
  const std::vector<UniqueFd> more = Connect(3);
  Turn(2);
  EXPECT_EQ(other_->connection_count(), 0u) << "they are on their way, counted";
  EXPECT_EQ(other_->handle().connection_count() + connections(), 5u);
  EXPECT_GE(other_->handle().connection_count(), 2u);
  fio::Turn(*other_, 2);
  EXPECT_EQ(other_->connection_count(), other_->handle().connection_count());
  const size_t before = connections();
  other_ = nullptr;
  const std::vector<UniqueFd> last = Connect(3);
  Turn(2);
  EXPECT_EQ(connections(), before + 3);
}

TEST_F(ListenerTest, WithoutTargetsLeastConnectionsIsItsOwnLoop) {
  Listen({.balance = AcceptBalance::kLeastConnections});
  const std::vector<UniqueFd> clients = Connect(3);
  Turn();
  EXPECT_EQ(connections(), 3u);
  EXPECT_EQ(listener_->stats().handed_over, 0u);
}

}  // namespace
}  // namespace fio
