// exit(3) while Run() is running.

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "fio/core/timer/timer_wheel.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestClient;
using core_internal::TestCluster;
using core_internal::Trace;

constexpr int kCode = 3;
constexpr size_t kThreads = 3;

class ExitsOnData final : public Protocol {
 public:
  void OnData(Connection& /*connection*/) override { std::exit(kCode); }
};

// The exit code of a process with a static Reactor that `set_up` has prepared
// to call exit(3) somewhere.
int CodeOf(const ReactorOptions& options,
           const std::function<void(Reactor&)>& set_up) {
  TestCluster cluster([&](const Trace& trace) {
    static Reactor reactor(options);
    trace.Follow(reactor.lifecycle());
    set_up(reactor);
    return ExitWith(reactor.Run());
  });
  return cluster.AwaitEnd();
}

ReactorOptions SingleProcess() {
  return {.threads = int{kThreads}, .workers = 1};
}

TEST(Exit, FromACallback) {
  EXPECT_EQ(
      CodeOf(SingleProcess(),
             [](Reactor& reactor) { reactor.Defer([] { std::exit(kCode); }); }),
      kCode);
  EXPECT_EQ(CodeOf(SingleProcess(),
                   [](Reactor& reactor) {
                     reactor
                         .RunEvery({.callback =
                                        [] {
                                          std::exit(kCode);
                                          return TimerWheel::Next::kStop;
                                        },
                                    .interval = absl::Milliseconds(1)})
                         .IgnoreError();
                   }),
            kCode);
  for (size_t loop = 0; loop < kThreads; ++loop) {
    EXPECT_EQ(CodeOf(SingleProcess(),
                     [loop](Reactor& reactor) {
                       reactor.Defer([&reactor, loop] {
                         reactor.handles()[loop].Post([] { std::exit(kCode); });
                       });
                     }),
              kCode)
        << "on loop " << loop;
  }
  for (const LifecycleEvent event :
       {LifecycleEvent::kPreStart, LifecycleEvent::kOnStart}) {
    EXPECT_EQ(CodeOf(SingleProcess(),
                     [event](Reactor& reactor) {
                       reactor.lifecycle().Add(event, [] { std::exit(kCode); });
                     }),
              kCode);
  }
}

// Of a connection, whichever loop has it.
TEST(Exit, FromACallbackOfAConnection) {
  for (const bool in_on_open : {true, false}) {
    TestCluster cluster([&](const Trace& trace) {
      static Reactor reactor(SingleProcess());
      trace.Listen(reactor, {.on_open = [in_on_open](Connection& connection) {
                     if (in_on_open) std::exit(kCode);
                     connection.Attach(std::make_unique<ExitsOnData>());
                   }});
      return ExitWith(reactor.Run());
    });
    TestClient client(cluster.AwaitAddress());
    client.Send("x");
    EXPECT_EQ(cluster.AwaitEnd(), kCode);
  }
}

TEST(Exit, FromACallbackInAWorkerIsACrash) {
  TestCluster cluster([](const Trace& trace) {
    static Reactor reactor({.threads = 2, .workers = 2});
    trace.Follow(reactor.lifecycle());
    reactor.Defer([] {
      if (!reactor.is_root() && reactor.worker_place() == 0) {
        reactor.handles()[1].Post([] { std::exit(kCode); });
      }
    });
    reactor.lifecycle().Add(LifecycleEvent::kOnChildCrash,
                            [] { reactor.Stop(); });
    return ExitWith(reactor.Run());
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_EQ(cluster.Count("child_crash"), 1u);
}

TEST(Exit, FromACallbackInTheRootEndsTheWorkers) {
  TestCluster cluster([](const Trace& trace) {
    static Reactor reactor({.threads = 2, .workers = 2});
    trace.Follow(reactor.lifecycle());
    reactor
        .RunEvery({.callback =
                       [&trace] {
                         if (!reactor.is_root()) {
                           trace.Tell("serves");
                           return TimerWheel::Next::kStop;
                         }
                         return TimerWheel::Next::kContinue;
                       },
                   .interval = absl::Milliseconds(1)})
        .IgnoreError();
    trace.Listen(reactor, {.on_open = [](Connection&) { std::exit(kCode); },
                           .root_only = true});
    return ExitWith(reactor.Run());
  });
  cluster.Await("serves", 2);
  TestClient client(cluster.AwaitAddress());
  EXPECT_EQ(cluster.AwaitEnd(), kCode);
  EXPECT_EQ(cluster.Count("parent_crash"), 2u);
}

TEST(ExitDeathTest, DestroyedInsideItsOwnRun) {
  EXPECT_DEATH(
      {
        auto reactor = std::make_unique<Reactor>(
            ReactorOptions{.threads = 1, .workers = 1});
        reactor->Defer([&] { reactor.reset(); });
        reactor->Run().IgnoreError();
      },
      "Reactor destroyed inside its own Run\\(\\)");
}

}  // namespace
}  // namespace fio
