// Starts of workers: with nothing of the root's that a fork would break.

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/connector.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/connection.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/resolver.h"
#include "fio/core/test_cluster.h"
#include "fio/sock/url.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::AnyOf;
using ::testing::SizeIs;

constexpr int kWorkers = 4;

// `fallback`, or what the environment says: for longer runs by hand.
int FromEnvironment(const char* name, int fallback) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return fallback;
  const std::string_view text = value;
  int number = fallback;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// One for all processes that are forked from here on.
template <typename T>
T& Shared() {
  void* const memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return *new (memory) T{};
}

size_t CountThreads() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return static_cast<size_t>(
      std::distance(begin(threads), std::filesystem::directory_iterator()));
}

// What TSan adds once a process has forked.
#if defined(__SANITIZE_THREAD__)
constexpr size_t kThreadsOfTools = 1;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr size_t kThreadsOfTools = 1;
#else
constexpr size_t kThreadsOfTools = 0;
#endif
#else
constexpr size_t kThreadsOfTools = 0;
#endif

ReactorOptions RestartsAtOnce(int workers) {
  return {.workers = workers,
          .shutdown_timeout = absl::Seconds(1),
          .respawn_delay = absl::ZeroDuration(),
          .max_respawn_delay = absl::ZeroDuration(),
          .worker_min_lifetime = absl::ZeroDuration()};
}

// A connection that the root tries to make, over and over. Nobody listens
// there.
void ConnectByName(Reactor& reactor) {
  const absl::StatusOr<ConnectorId> id = reactor.Connect(
      "tcp://localhost:1",
      {.on_open = [](Connection& connection) { connection.Close(); },
       .reconnect = true,
       .reconnect_delay = absl::Milliseconds(1),
       .max_reconnect_delay = absl::Milliseconds(1),
       .root_only = true});
  EXPECT_TRUE(id.ok()) << id.status();
}

// A name that nobody answers until the root stops.
class EndlessQuestion {
 public:
  explicit EndlessQuestion(Reactor& reactor)
      : resolver_(Resolver::InProcesses(reactor.loop(),
                                        [](const Url&) -> Resolver::Addresses {
                                          for (;;) pause();
                                        })) {
    resolver_->Resolve(*Url::Parse("tcp://slow.example:1"),
                       reactor.loop().handle(), [](Resolver::Addresses) {});
  }

 private:
  const std::unique_ptr<Resolver> resolver_;
};

// Has the root ask for names, of which one is never answered, while it runs.
void AskInTheRoot(Reactor& reactor,
                  std::unique_ptr<EndlessQuestion>& question) {
  ConnectByName(reactor);
  reactor.Defer([&] {
    if (!reactor.is_worker()) {
      question = std::make_unique<EndlessQuestion>(reactor);
    }
  });
  reactor.lifecycle().Add(LifecycleEvent::kOnShutdown,
                          [&question] { question = nullptr; });
}

TEST(Fork, NoThreadOfOursIsRunning) {
  constexpr int kForks = 60;
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(RestartsAtOnce(2));
    std::unique_ptr<EndlessQuestion> question;
    AskInTheRoot(reactor, question);
    reactor.lifecycle().Add(LifecycleEvent::kBeforeFork, [&] {
      trace.Tell(absl::StrCat("other ", CountThreads() - 1));
    });
    int forks = 0;
    reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&] {
      if (++forks == kForks) reactor.Stop();
    });
    reactor.Defer([&] {
      if (!reactor.is_root()) _exit(0);
    });
    return ExitWith(reactor.Run());
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  for (const std::string& other : cluster.Values("other")) {
    EXPECT_LE(std::atoi(other.c_str()), int{kThreadsOfTools});
  }
  // Stop() is heard in the next turn. If both workers had ended by then, this
  // turn has replaced the other one, too.
  EXPECT_THAT(cluster.Values("other"), SizeIs(AnyOf(kForks, kForks + 1)));
}

// A worker's question; `answered` runs in it.
void AskInTheWorker(Reactor& reactor, std::function<void()> answered) {
  reactor.lifecycle().Add(LifecycleEvent::kOnStart, [&reactor, answered] {
    reactor.resolver().Resolve(*Url::Parse("tcp://localhost:1"),
                               reactor.loop().handle(),
                               [answered](Resolver::Addresses) { answered(); });
  });
}

// A worker that hangs keeps the test from ending.
TEST(Fork, ThousandStartsWhileResolving) {
  const int starts = FromEnvironment("FIO_TEST_STARTS", 1'000 / kWorkers);
  for (int i = 0; i < starts; ++i) {
    TestCluster cluster([](const Trace& trace) {
      Reactor reactor(RestartsAtOnce(kWorkers));
      std::unique_ptr<EndlessQuestion> question;
      AskInTheRoot(reactor, question);
      AskInTheWorker(reactor, [&trace] { trace.Tell("answered"); });
      return ExitWith(reactor.Run());
    });
    ASSERT_THAT(cluster.Await("answered", kWorkers), SizeIs(kWorkers));
    cluster.Signal(SIGTERM);
    ASSERT_EQ(cluster.AwaitEnd(), 0);
  }
}

TEST(Fork, ThousandReforksWhileResolving) {
  using Answers = std::array<std::atomic<int>, kWorkers>;
  TestCluster cluster([](const Trace& trace) {
    const int wanted = FromEnvironment("FIO_TEST_REFORKS", 1'000) / kWorkers;
    Answers& answers = Shared<Answers>();
    Reactor reactor(RestartsAtOnce(kWorkers));
    std::unique_ptr<EndlessQuestion> question;
    AskInTheRoot(reactor, question);
    AskInTheWorker(reactor, [&] {
      trace.Tell("answered");
      ++answers[static_cast<size_t>(reactor.worker_place())];
      _exit(0);
    });
    // One place that hangs keeps the root from stopping.
    reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&] {
      for (const std::atomic<int>& count : answers) {
        if (count < wanted) return;
      }
      reactor.Stop(absl::ZeroDuration());
    });
    return ExitWith(reactor.Run());
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
