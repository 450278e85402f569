// What lifecycle callbacks are told of workers, and the descriptors that they
// give to one of them.

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/exit_with.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_event.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_options.h"
#include "fio/core/test_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::TestCluster;
using core_internal::Trace;
using ::testing::ElementsAre;

constexpr int kWorkers = 3;

ReactorOptions Options(int workers = kWorkers) {
  return {.threads = 1,
          .workers = workers,
          .supervise_single_worker = true,
          .respawn_delay = absl::ZeroDuration(),
          .max_respawn_delay = absl::ZeroDuration()};
}

std::string Describe(const WorkerEvent& worker) {
  return absl::StrCat(worker.place(), ".", worker.generation(), " ",
                      worker.pid() == 0          ? "unborn"
                      : worker.pid() == getpid() ? "self"
                                                 : "other");
}

void TellWorkers(Reactor& reactor, const Trace& trace) {
  const std::pair<LifecycleEvent, const char*> told[] = {
      {LifecycleEvent::kPreStart, "pre_start"},
      {LifecycleEvent::kBeforeFork, "before_fork"},
      {LifecycleEvent::kAfterFork, "after_fork"},
      {LifecycleEvent::kInChild, "in_child"},
      {LifecycleEvent::kInRoot, "in_root"},
      {LifecycleEvent::kOnStart, "start"},
      {LifecycleEvent::kOnShutdown, "shutdown"},
      {LifecycleEvent::kOnFinish, "finish"},
      {LifecycleEvent::kOnParentCrash, "parent_crash"},
      {LifecycleEvent::kOnChildCrash, "child_crash"}};
  for (const auto& [event, name] : told) {
    reactor.lifecycle().Add(event, [trace, name = name](WorkerEvent& worker) {
      trace.Tell(absl::StrCat(name, " ", Describe(worker)));
    });
  }
}

TEST(WorkerEvents, TellPlaceGenerationAndProcess) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Options(1));
    TellWorkers(reactor, trace);
    return ExitWith(reactor.Run());
  });
  const std::vector<pid_t> first = cluster.Await("start 0.1 self");
  ASSERT_EQ(first.size(), 1u);
  cluster.Signal(first[0], SIGKILL);
  const std::vector<pid_t> second = cluster.Await("start 0.2 self");
  ASSERT_EQ(second.size(), 1u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.TraceOf(cluster.root()),
              ElementsAre("pre_start 0.0 unborn", "before_fork 0.1 unborn",
                          "after_fork 0.1 other", "in_root 0.1 other",
                          "child_crash 0.1 other", "before_fork 0.2 unborn",
                          "after_fork 0.2 other", "in_root 0.2 other",
                          "shutdown 0.0 unborn", "finish 0.0 unborn"));
  EXPECT_THAT(
      cluster.TraceOf(second[0]),
      ElementsAre("after_fork 0.2 self", "in_child 0.2 self", "start 0.2 self",
                  "shutdown 0.2 self", "finish 0.2 self"));
}

TEST(WorkerEvents, OfASingleProcessAreAboutItself) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor({.threads = 1, .workers = 1});
    TellWorkers(reactor, trace);
    reactor.Defer([&reactor] { reactor.Stop(); });
    return ExitWith(reactor.Run());
  });
  EXPECT_EQ(cluster.AwaitEnd(), 0);
  EXPECT_THAT(cluster.TraceOf(cluster.root()),
              ElementsAre("pre_start 0.0 unborn", "start 0.0 self",
                          "shutdown 0.0 self", "finish 0.0 self"));
}

TEST(WorkerEvents, AWorkerIsToldOfItsRootsDeath) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Options(2));
    TellWorkers(reactor, trace);
    return ExitWith(reactor.Run());
  });
  cluster.Await("start 0.1 self");
  cluster.Await("start 1.1 self");
  cluster.Signal(SIGKILL);
  cluster.Await("parent_crash 0.1 self");
  cluster.Await("parent_crash 1.1 self");
}

// --- Descriptors ---

struct SocketPair {
  SocketPair() {
    std::array<int, 2> ends;
    ABSL_CHECK_EQ(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    root = UniqueFd(ends[0]);
    worker = UniqueFd(ends[1]);
  }

  UniqueFd root, worker;
};

// Whether the peer's end comes soon, and nothing before it.
bool HasEnded(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  int polled;
  while ((polled = poll(&ready, 1, 20'000)) < 0 && errno == EINTR) continue;
  char byte;
  return polled == 1 && read(fd, &byte, 1) == 0;
}

// When the root has died. The worker does not end, and so closes no copy that
// another one may wait for.
void TellWhetherEnded(const Trace& trace, int fd) {
  trace.Tell(HasEnded(fd) ? "the root's end has ended" : "it is still open");
  for (;;) pause();
}

// The root's end of a worker's pair, which the root's loop owns. Traces what
// the worker says and that it has ended.
class RootEnd final : public Protocol {
 public:
  RootEnd(const Trace& trace, int place) : trace_(trace), place_(place) {}
  void OnData(Connection& connection) override {
    trace_.Tell(absl::StrCat("heard ", place_, ":",
                             std::string(connection.Received())));
  }
  // Also called in each child, for its copy.
  void OnClose(Connection&, const CloseReason&) override {
    if (getpid() == root_) trace_.Tell(absl::StrCat("gone ", place_));
  }

 private:
  const Trace trace_;
  const int place_;
  const pid_t root_ = getpid();
};

void GivePairs(Lifecycle& lifecycle) {
  lifecycle.Add(LifecycleEvent::kBeforeFork, [](WorkerEvent& worker) {
    SocketPair pair;
    worker.KeepInRoot("pair", std::move(pair.root));
    worker.GiveToWorker("pair", std::move(pair.worker));
  });
}

void ServeRootEnds(Reactor& reactor, const Trace& trace) {
  reactor.lifecycle().Add(LifecycleEvent::kInRoot, [&reactor, trace](
                                                       WorkerEvent& worker) {
    ABSL_CHECK_OK(reactor.loop().Adopt(
        worker.Take("pair"), std::make_unique<RootEnd>(trace, worker.place())));
  });
}

TEST(WorkerEvents, EachWorkerHasADescriptorOfItsOwn) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Options());
    Lifecycle& lifecycle = reactor.lifecycle();
    GivePairs(lifecycle);
    ServeRootEnds(reactor, trace);
    UniqueFd end;  // This worker's.
    lifecycle.Add(LifecycleEvent::kInChild, [&](WorkerEvent& worker) {
      end = worker.Take("pair");
      const std::string place = absl::StrCat(worker.place());
      ABSL_CHECK_EQ(write(end.get(), place.data(), place.size()),
                    static_cast<ssize_t>(place.size()));
    });
    lifecycle.Add(LifecycleEvent::kOnStart, [&](WorkerEvent& worker) {
      trace.Tell(absl::StrCat("start ", worker.place()));
    });
    lifecycle.Add(LifecycleEvent::kOnParentCrash,
                  [&] { TellWhetherEnded(trace, end.get()); });
    return ExitWith(reactor.Run());
  });
  std::map<int, pid_t> workers;
  for (int place = 0; place < kWorkers; ++place) {
    cluster.Await(absl::StrCat("heard ", place, ":", place));
    workers[place] = cluster.Await(absl::StrCat("start ", place)).at(0);
  }
  // No sibling has a copy of a worker's end: the root hears its end though the
  // siblings, older and younger ones, live.
  for (int place = 0; place < kWorkers; ++place) {
    EXPECT_EQ(cluster.Count(absl::StrCat("gone ", place)), 0u);
    cluster.Signal(workers[place], SIGKILL);
    cluster.Await(absl::StrCat("gone ", place));
    cluster.Await(absl::StrCat("heard ", place, ":", place), 2);
    cluster.Await(absl::StrCat("start ", place), 2);
  }
  // And none has a copy of the root's ends.
  cluster.Signal(SIGKILL);
  cluster.Await("the root's end has ended", kWorkers);
  EXPECT_EQ(cluster.Count("it is still open"), 0u);
}

// Without a loop: each worker closes what it inherits of the root's.
TEST(WorkerEvents, ARootThatOwnsItsEndsClosesThemInEachChild) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Options());
    Lifecycle& lifecycle = reactor.lifecycle();
    trace.Follow(lifecycle);
    GivePairs(lifecycle);
    std::map<pid_t, UniqueFd> ends;
    lifecycle.Add(LifecycleEvent::kInRoot, [&](WorkerEvent& worker) {
      ends[worker.pid()] = worker.Take("pair");
    });
    UniqueFd end;
    lifecycle.Add(LifecycleEvent::kInChild, [&](WorkerEvent& worker) {
      ends.clear();
      end = worker.Take("pair");
    });
    lifecycle.Add(LifecycleEvent::kOnParentCrash,
                  [&] { TellWhetherEnded(trace, end.get()); });
    return ExitWith(reactor.Run());
  });
  cluster.Await("start", kWorkers);
  cluster.Signal(SIGKILL);
  cluster.Await("the root's end has ended", kWorkers);
  EXPECT_EQ(cluster.Count("it is still open"), 0u);
}

TEST(WorkerEvents, WhatAWorkerDoesNotTakeIsClosed) {
  TestCluster cluster([](const Trace& trace) {
    Reactor reactor(Options());
    trace.Follow(reactor.lifecycle());
    GivePairs(reactor.lifecycle());
    ServeRootEnds(reactor, trace);
    return ExitWith(reactor.Run());
  });
  for (int place = 0; place < kWorkers; ++place) {
    cluster.Await(absl::StrCat("gone ", place));
  }
  cluster.Await("start", kWorkers);
  EXPECT_EQ(cluster.Count("child_crash"), 0u);
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.AwaitEnd(), 0);
}

}  // namespace
}  // namespace fio
