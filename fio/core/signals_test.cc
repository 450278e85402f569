// Signals that the program inherited as blocked, and those that are sent to a
// worker right after its fork.

#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/test_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::Values;

constexpr int kBlocked[] = {SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE};

// Blocks them as whoever started this program may have: a mask is inherited
// through fork(2) and exec(3) alike.
void BlockAsAtExec() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kBlocked) sigaddset(&set, signal);
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
}

// One letter for each of kBlocked.
std::string Mask() {
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  std::string mask;
  for (const int signal : kBlocked) {
    mask += sigismember(&now, signal) == 1 ? 'b' : '-';
  }
  return mask;
}

TEST(Signals, BlockedAtExecAreHeard) {
  TestCluster cluster([](const Trace& trace) {
    BlockAsAtExec();
    Reactor reactor({.threads = 2, .workers = 1});
    reactor.Defer([&] {
      trace.Tell("main " + Mask());
      reactor.handles()[1].Post([&] { trace.Tell("other " + Mask()); });
    });
    for (int i = 0; i < 2; ++i) {
      const int code = ExitWith(reactor.Run());
      trace.Tell("after " + Mask());
      if (code != 0) return code;
      // It is blocked again, and waits for the next Run(), which hears it.
      if (i == 0) kill(getpid(), SIGTERM);
    }
    return 0;
  });
  EXPECT_EQ(cluster.AwaitValue("main"), "--bb");
  EXPECT_EQ(cluster.AwaitValue("other"), "bbbb");
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.Values("after"), ElementsAre("bbbb", "bbbb"));
}

TEST(Signals, BlockedAtExecAreHeardInRootAndWorkers) {
  TestCluster cluster([](const Trace& trace) {
    BlockAsAtExec();
    Reactor reactor({.threads = 1, .workers = 2});
    trace.Follow(reactor.lifecycle());
    reactor.lifecycle().Add(LifecycleEvent::kOnStart,
                            [&] { trace.Tell("worker " + Mask()); });
    const int code = ExitWith(reactor.Run());
    trace.Tell("after " + Mask());
    return code;
  });
  const std::vector<pid_t> first = cluster.Await("start", 2);
  cluster.Signal(first.front(), SIGTERM);  // It is replaced.
  cluster.AwaitMore("start", 2, 1);
  cluster.Signal(SIGUSR1);  // All are.
  cluster.AwaitMore("start", 3, 2);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.Values("after"), ElementsAre("bbbb"));
  for (const std::string& mask : cluster.Values("worker")) {
    EXPECT_EQ(mask, "--bb");
  }
}

// When a worker meets a signal.
enum class Moment : uint8_t { kInFork, kWhileItDropsTheLoop };

Moment g_moment;
pid_t g_root = 0;
int g_forks = 0;  // In the root.

// The first worker sends itself a signal.
void RaiseInFirstWorker(Moment moment) {
  if (moment == g_moment && g_forks == 1 && getpid() != g_root) raise(SIGTERM);
}

// Part of what the root's loop owns.
struct PartOfTheLoop {
  ~PartOfTheLoop() { RaiseInFirstWorker(Moment::kWhileItDropsTheLoop); }
};

class NewWorkerSignal : public ::testing::TestWithParam<Moment> {};
INSTANTIATE_TEST_SUITE_P(Signals, NewWorkerSignal,
                         Values(Moment::kInFork, Moment::kWhileItDropsTheLoop));

TEST_P(NewWorkerSignal, StopsIt) {
  g_moment = GetParam();
  TestCluster cluster([](const Trace& trace) {
    g_root = getpid();
    pthread_atfork([] { ++g_forks; }, nullptr,
                   [] { RaiseInFirstWorker(Moment::kInFork); });
    Reactor reactor(
        {.threads = 1, .workers = 1, .supervise_single_worker = true});
    trace.Follow(reactor.lifecycle());
    reactor.lifecycle().Add(LifecycleEvent::kPreStart, [&reactor] {
      reactor.loop().RunAfter(absl::Hours(1),
                              [part = std::make_unique<PartOfTheLoop>()] {});
    });
    return ExitWith(reactor.Run());
  });
  const pid_t first = cluster.Await("in_child").front();
  EXPECT_THAT(cluster.AwaitMore("in_child", 1, 1), Not(Contains(first)));
  EXPECT_THAT(cluster.TraceOf(first), Contains("shutdown"));
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
}

}  // namespace
}  // namespace fio
