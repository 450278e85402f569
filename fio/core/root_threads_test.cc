// Threads of the user's in the root, of which a fork leaves none.

#include <pthread.h>
#include <sys/types.h>

#include <csignal>
#include <latch>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Fork, ThreadsInTheRootAreRefused) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2, .root_threads = RootThreads::kRefuse});
    trace.Follow(reactor.lifecycle());
    std::latch named(1), end(1);
    std::thread mine([&] {
      pthread_setname_np(pthread_self(), "mine");
      named.count_down();
      end.wait();
    });
    named.wait();
    const absl::Status ran = reactor.Run();
    trace.Tell(absl::StrCat("code ", ran.code()));
    trace.Tell(absl::StrCat("message ", ran.message()));
    end.count_down();
    mine.join();
    return 0;
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.Values("code"),
              ElementsAre(absl::StrCat(absl::StatusCode::kFailedPrecondition)));
  EXPECT_THAT(
      cluster.Values("message"),
      Each(AllOf(HasSubstr("fork worker 0: the root has 1 other thread"),
                 HasSubstr("kOnStart"))));
  EXPECT_EQ(cluster.Count("start"), 0u);
}

TEST(Fork, ThreadsInTheRootMayBeWarnedOfOrAllowed) {
  for (const RootThreads rule : {RootThreads::kWarn, RootThreads::kAllow}) {
    TestCluster cluster([rule](const Trace& trace) {
      Reactor reactor({.workers = 2, .root_threads = rule});
      trace.Follow(reactor.lifecycle());
      std::latch end(1);
      std::thread mine([&] { end.wait(); });
      const int code = ExitWith(reactor.Run());
      // A worker ends inside of Run().
      end.count_down();
      mine.join();
      return code;
    });
    cluster.Await("start", 2);
    cluster.Signal(SIGTERM);
    EXPECT_EQ(cluster.AwaitEnd(), 0);
  }
}

// A place whose worker cannot be forked now is tried again.
TEST(Fork, ThreadsThatComeLaterDelayTheWorker) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.workers = 2,
                     .root_threads = RootThreads::kRefuse,
                     .respawn_delay = absl::Milliseconds(1),
                     .max_respawn_delay = absl::Milliseconds(1)});
    trace.Follow(reactor.lifecycle());
    std::latch end(1);
    std::thread mine;
    int refused = 0;
    reactor.lifecycle().Add(LifecycleEvent::kOnChildCrash,
                            [&] { mine = std::thread([&] { end.wait(); }); });
    reactor.lifecycle().Add(LifecycleEvent::kBeforeFork, [&] {
      if (!mine.joinable() || ++refused < 3) return;
      end.count_down();
      mine.join();
      trace.Tell("ended");
    });
    return ExitWith(reactor.Run());
  });
  const std::vector<pid_t> first = cluster.Await("start", 2);
  cluster.Signal(first.front(), SIGKILL);
  cluster.Await("ended", 1);
  cluster.AwaitMore("start", 2, 1);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
