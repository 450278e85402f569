// What a server promises whatever the kernel refuses and its clients do.

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
#include "fio/base/unique_fd.h"
#include "fio/core/listener.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_test_util.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::ExpectChildPasses;
using core_internal::ListenOn;
using core_internal::NoSignals;
using core_internal::Threads;
using testing::FaultPlan;
using testing::ForEachCall;
using ::testing::HasSubstr;
using testing::ManualClock;

// Longer than anything takes.
constexpr int kPatienceMs = 30'000;

// --- Clients: blocking sockets, past the table of system calls ---

UniqueFd NewClient(const SocketAddress& address) {
  return UniqueFd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
}

bool Connect(const UniqueFd& client, const SocketAddress& address) {
  return ::connect(client.get(), address.data(), address.size()) == 0;
}

bool Refuses(const SocketAddress& address) {
  return !Connect(NewClient(address), address) && errno == ECONNREFUSED;
}

// What has come, or comes within `timeout_ms`; "closed" for the end or a reset.
std::string Receive(const UniqueFd& client, int timeout_ms = 0) {
  pollfd polled = {.fd = client.get(), .events = POLLIN, .revents = 0};
  if (::poll(&polled, 1, timeout_ms) != 1) return "";
  char bytes[64];
  const ssize_t count = ::recv(client.get(), bytes, sizeof(bytes), 0);
  return count > 0 ? std::string(bytes, static_cast<size_t>(count)) : "closed";
}

void Send(const UniqueFd& client, std::string_view bytes) {
  ::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// --- Servers ---

// Answers each line.
class Lines final : public Protocol {
 public:
  void OnOpen(Connection& connection) override {
    connection.SetDeadline(absl::Minutes(1));
  }
  void OnData(Connection& connection) override {
    if (!connection.Received().ends_with('\n')) return;
    connection.SetDeadline(absl::InfiniteDuration());
    connection.Write("!");
  }
};

void AttachLines(Connection& connection) {
  connection.Attach(std::make_unique<Lines>());
}

// Greets, so that a client knows that it is served.
void Greet(Connection& connection) {
  connection.Attach(std::make_unique<Lines>());
  connection.Write("!");
}

std::unique_ptr<Loop> NewLoop(const LoopOptions& options) {
  absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create(options);
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

void Turn(Loop& loop, int count) {
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(loop.RunOnce(MonotonicTime::InfinitePast()).ok());
  }
}

// By a Unix socket, whose connections wait as soon as connect(2) returns.
std::unique_ptr<Listener> ListenOnUnix(Loop& loop, ListenOptions options) {
  absl::StatusOr<ListenSocket> socket =
      ListenSocket::Listen(*SocketAddress::Parse("unix:"), {});
  EXPECT_TRUE(socket.ok()) << socket.status();
  absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Create(
      loop, std::make_shared<ListenSocket>(*std::move(socket)),
      std::make_shared<const ListenOptions>(std::move(options)));
  EXPECT_TRUE(listener.ok()) << listener.status();
  return *std::move(listener);
}

// --- Errors that last ---

TEST(Listen, LastingAbortedIsBounded) {
  for (const int error : {ECONNABORTED, EINTR}) {
    ManualClock clock;
    const std::unique_ptr<Loop> loop = NewLoop({.clock = &clock});
    const std::unique_ptr<Listener> listener =
        ListenOnUnix(*loop, {.on_open = Greet});
    const UniqueFd client = NewClient(listener->local_address());
    ASSERT_TRUE(Connect(client, listener->local_address()));
    {
      FaultPlan plan;
      plan.FailNext(FaultPlan::Call::kAccept4, error, 1'000'000);
      Turn(*loop, 1);
      EXPECT_LE(plan.calls(FaultPlan::Call::kAccept4), 64u);
      Turn(*loop, 10);
      EXPECT_LE(plan.calls(FaultPlan::Call::kAccept4), 64u) << "it spins";
    }
    clock.Advance(absl::Milliseconds(50));
    Turn(*loop, 3);
    EXPECT_EQ(Receive(client), "!");
  }
}

// --- Each system call of the start fails once ---

int CountServed(const SocketAddress& address, int clients) {
  std::vector<UniqueFd> connected;
  for (int i = 0; i < clients; ++i) {
    connected.push_back(NewClient(address));
    if (!Connect(connected.back(), address)) return i;
  }
  for (int i = 0; i < clients; ++i) {
    if (Receive(connected[static_cast<size_t>(i)], kPatienceMs) != "!") {
      return i;
    }
  }
  return clients;
}

void ExpectNamesTheCall(const FaultPlan& plan, const absl::Status& status) {
  ASSERT_TRUE(plan.nth_failed().has_value()) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(FaultPlan::NameOf(*plan.nth_failed())));
}

// Until the first turn of both loops is over, the plan is in force.
void StartAndServe(FaultPlan& plan) {
  constexpr int kClients = 40;
  Reactor reactor(
      {.threads = 2, .workers = 1, .linger_timeout = absl::ZeroDuration()});
  const absl::StatusOr<ListenerId> id =
      reactor.Listen("tcp://127.0.0.1:0",
                     {.on_open = Greet, .back_off = absl::Milliseconds(1)});
  if (!id.ok()) {
    plan.CancelFailNth();
    ExpectNamesTheCall(plan, id.status());
    return;
  }
  const SocketAddress address = *reactor.ListenAddress(*id);
  absl::Notification begun;
  reactor.Defer(
      [&] { reactor.handles().back().Post([&] { begun.Notify(); }); });
  int served = 0;
  std::thread clients([&] {
    begun.WaitForNotification();
    plan.CancelFailNth();
    served = CountServed(address, kClients);
    reactor.Stop(absl::ZeroDuration());
  });
  const absl::Status run = reactor.Run();
  if (!begun.HasBeenNotified()) begun.Notify();
  clients.join();
  if (!run.ok()) {
    ExpectNamesTheCall(plan, run);
    return;
  }
  EXPECT_EQ(served, kClients)
      << "deaf after "
      << FaultPlan::NameOf(plan.nth_failed().value_or(FaultPlan::Call::kClose));
}

TEST(Listen, HalfDeafIsImpossible) {
  const int failed = ForEachCall({ENOMEM, EPERM, EMFILE},
                                 [](FaultPlan& plan, std::string_view fault) {
                                   SCOPED_TRACE(fault);
                                   StartAndServe(plan);
                                 });
  EXPECT_GE(failed, 3 * 25) << "a start makes more calls than that";
}

// A listener that begins while the loops run on their threads.
TEST(Listen, ALateListenerIsNotHalfDeafEither) {
  for (const int error : {ENOMEM, ENOSPC}) {
    Reactor reactor({.threads = 2,
                     .workers = 1,
                     .signals = NoSignals(),
                     .linger_timeout = absl::ZeroDuration()});
    absl::Notification begun;
    SocketAddress address;
    // Held up meanwhile, so that the fault is that of the other loop's thread.
    absl::Notification listened;
    FaultPlan plan;
    reactor.Defer([&] {
      reactor.handles().back().Post([&] { listened.WaitForNotification(); });
      const absl::StatusOr<ListenerId> id =
          reactor.Listen("tcp://127.0.0.1:0",
                         {.on_open = Greet, .back_off = absl::Milliseconds(1)});
      ASSERT_TRUE(id.ok()) << id.status();
      address = *reactor.ListenAddress(*id);
      plan.FailNext(FaultPlan::Call::kEpollCtl, error);
      listened.Notify();
      reactor.handles().back().Post([&] { begun.Notify(); });
    });
    int served = 0;
    std::thread clients([&] {
      begun.WaitForNotification();
      served = CountServed(address, 40);
      reactor.Stop(absl::ZeroDuration());
    });
    EXPECT_TRUE(reactor.Run().ok());
    clients.join();
    EXPECT_EQ(plan.faults(), 1u);
    EXPECT_EQ(served, 40);
  }
}

// --- The end ---

// A child of fork(2) that has a copy of each descriptor, until this dies.
class ChildWithCopies {
 public:
  ChildWithCopies() {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    UniqueFd read_end(ends[0]);
    write_end_ = UniqueFd(ends[1]);
    child_ = fork();
    if (child_ != 0) return;
    ::close(ends[1]);
    char byte;
    _exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);
  }
  ChildWithCopies(const ChildWithCopies&) = delete;
  ChildWithCopies& operator=(const ChildWithCopies&) = delete;
  ~ChildWithCopies() {
    write_end_.Reset();
    int status = -1;
    EXPECT_EQ(waitpid(child_, &status, 0), child_);
    EXPECT_EQ(status, 0);
  }

 private:
  UniqueFd write_end_;
  pid_t child_;
};

void ListenerCloses() {
  const std::unique_ptr<Loop> loop = NewLoop({});
  for (const std::string& url :
       {std::string("tcp://127.0.0.1:0"),
        absl::StrCat("unix://@fio-listen-test-", getpid())}) {
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        Listener::Create(*loop, *Url::Parse(url), {.on_open = Greet});
    ASSERT_TRUE(listener.ok()) << listener.status();
    const SocketAddress address = (*listener)->local_address();
    const UniqueFd waits = NewClient(address);
    ASSERT_TRUE(Connect(waits, address));
    const ChildWithCopies child;
    (*listener)->Close();
    EXPECT_TRUE(Refuses(address)) << url;
    if (address.family() == AF_INET) {
      EXPECT_EQ(Receive(waits, kPatienceMs), "closed");
    }
  }
}

// `how` ends it, on the main loop; on_finish is told when it has ended.
void ReactorCloses(
    const std::function<void(Reactor& reactor, ListenerId id)>& how) {
  Reactor reactor({.threads = 2,
                   .workers = 1,
                   .signals = NoSignals(),
                   .linger_timeout = absl::ZeroDuration()});
  SocketAddress address;
  bool refused = false;
  const absl::StatusOr<ListenerId> id =
      reactor.Listen("tcp://127.0.0.1:0", {.on_open = Greet, .on_finish = [&] {
                                             refused = Refuses(address);
                                             reactor.Stop();
                                           }});
  ASSERT_TRUE(id.ok()) << id.status();
  address = *reactor.ListenAddress(*id);
  const ChildWithCopies child;
  reactor.Defer([&] { how(reactor, *id); });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_TRUE(refused);
  EXPECT_TRUE(Refuses(address));
}

void RootOfWorkersCloses() {
  Reactor reactor({.threads = 1,
                   .workers = 2,
                   .signals = NoSignals(),
                   .linger_timeout = absl::ZeroDuration()});
  const absl::StatusOr<ListenerId> id =
      reactor.Listen("tcp://127.0.0.1:0", {.on_open = Greet});
  ASSERT_TRUE(id.ok()) << id.status();
  const SocketAddress address = *reactor.ListenAddress(*id);
  const ChildWithCopies child;
  reactor.Defer([&] {
    if (reactor.is_root()) reactor.Stop();
  });
  EXPECT_TRUE(reactor.Run().ok());
  EXPECT_TRUE(Refuses(address));
}

TEST(Listen, ClosesThoughAChildHasACopy) {
  ListenerCloses();
  ReactorCloses([](Reactor& reactor, ListenerId id) {
    EXPECT_TRUE(reactor.CloseListener(id).ok());
  });
  ReactorCloses([](Reactor& reactor, ListenerId) { reactor.Stop(); });
  ExpectChildPasses(RootOfWorkersCloses);
}

// --- At the limit of descriptors ---

// Lowers the limit so that `room` more descriptors can be opened at most.
class ScopedDescriptorLimit {
 public:
  explicit ScopedDescriptorLimit(int room) {
    const int next = ::dup(0);
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

// Clients that send a byte now and then, and never a whole line, have all
// descriptors and the places in front of an honest one.
TEST(Listen, SlowLorisAtTheLimit) {
  constexpr absl::Duration kBackOff = absl::Milliseconds(50);
  constexpr int kOpen = 5;  // Of those that drip.
  constexpr int kWait = 3;
  ManualClock clock;
  const std::unique_ptr<Loop> loop = NewLoop({.clock = &clock});
  const std::unique_ptr<Listener> listener =
      ListenOnUnix(*loop, {.on_open = AttachLines,
                           .back_off = kBackOff,
                           .at_limit = AtLimit::kShedUnproductive});
  const SocketAddress& address = listener->local_address();
  std::vector<UniqueFd> drip;
  for (int i = 0; i < kOpen + kWait; ++i) drip.push_back(NewClient(address));
  const UniqueFd idle = NewClient(address);
  const UniqueFd honest = NewClient(address);
  const ScopedDescriptorLimit limit(kOpen + 1);

  // One that has had its answer, and is silent from then on.
  ASSERT_TRUE(Connect(idle, address));
  Send(idle, "line\n");
  for (int i = 0; i < kOpen; ++i) {
    ASSERT_TRUE(Connect(drip[static_cast<size_t>(i)], address));
  }
  Turn(*loop, 3);
  ASSERT_EQ(Receive(idle), "!");
  ASSERT_EQ(loop->connection_count(), size_t{kOpen + 1});
  for (int second = 0; second < 10; ++second) {
    clock.Advance(absl::Seconds(1));
    for (const UniqueFd& client : drip) Send(client, "x");
    Turn(*loop, 2);
  }
  for (int i = kOpen; i < kOpen + kWait; ++i) {
    ASSERT_TRUE(Connect(drip[static_cast<size_t>(i)], address));
  }
  ASSERT_TRUE(Connect(honest, address));
  Send(honest, "line\n");

  // Each back-off lets one in: those in front of the honest one, and it.
  Turn(*loop, 2);
  int back_offs = 0;
  while (Receive(honest).empty() && back_offs < 20) {
    ++back_offs;
    clock.Advance(kBackOff);
    for (const UniqueFd& client : drip) Send(client, "x");
    Turn(*loop, 3);
  }
  EXPECT_LE(back_offs, kWait);
  EXPECT_EQ(listener->stats().shed, uint64_t{kWait + 1});
  EXPECT_EQ(loop->connection_count(), size_t{kOpen + 1});
  // Those that have dripped for the longest have gone, and nobody else.
  for (int i = 0; i < kOpen + kWait; ++i) {
    EXPECT_EQ(Receive(drip[static_cast<size_t>(i)]),
              i < kWait + 1 ? "closed" : "")
        << i;
  }
  for (const UniqueFd* const client : {&idle, &honest}) {
    Send(*client, "line\n");
    Turn(*loop, 2);
    EXPECT_EQ(Receive(*client), "!");
  }
}

// Nobody is shed for a client that does not wait.
TEST(Listen, AFullProcessShedsNobodyWithoutNeed) {
  ManualClock clock;
  const std::unique_ptr<Loop> loop = NewLoop({.clock = &clock});
  const std::unique_ptr<Listener> listener = ListenOnUnix(
      *loop, {.on_open = AttachLines, .at_limit = AtLimit::kShedUnproductive});
  const SocketAddress& address = listener->local_address();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(NewClient(address));
  const ScopedDescriptorLimit limit(3);
  for (const UniqueFd& client : clients) ASSERT_TRUE(Connect(client, address));
  Turn(*loop, 5);
  clock.Advance(absl::Seconds(30));
  Turn(*loop, 5);
  EXPECT_EQ(loop->connection_count(), 3u);
  EXPECT_EQ(listener->stats().shed, 0u);
}

TEST(Listen, AReactorAddsUpWhatItsLoopsHaveDone) {
  constexpr uint64_t kClients = 6;
  Reactor reactor(Threads(2));
  ListenerId id;
  const SocketAddress address = ListenOn(reactor, {.on_open = Greet}, &id);
  EXPECT_TRUE(absl::IsInvalidArgument(reactor.GetListenerStats(id, nullptr)));
  EXPECT_TRUE(absl::IsNotFound(
      reactor.GetListenerStats(ListenerId{0}, [](const ListenerStats&) {})));
  std::optional<ListenerStats> stats;
  std::thread clients([&] {
    std::vector<UniqueFd> all;
    for (uint64_t i = 0; i < kClients; ++i) {
      all.push_back(NewClient(address));
      EXPECT_TRUE(Connect(all.back(), address));
      EXPECT_EQ(Receive(all.back(), kPatienceMs), "!");
    }
    reactor.Post([&] {
      EXPECT_TRUE(reactor
                      .GetListenerStats(id,
                                        [&](const ListenerStats& told) {
                                          stats = told;
                                          reactor.Stop();
                                        })
                      .ok());
    });
  });
  EXPECT_TRUE(reactor.Run().ok());
  clients.join();
  ASSERT_TRUE(stats.has_value());
  EXPECT_EQ(stats->accepted, kClients);
  EXPECT_EQ(stats->rejected, 0u);
}

}  // namespace
}  // namespace fio
