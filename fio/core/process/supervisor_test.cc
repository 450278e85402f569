#include "fio/core/process/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_end.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr MonotonicTime kStart = MonotonicTime::FromNanoseconds(1'000'000'000);
constexpr absl::Duration kInstant = absl::Nanoseconds(1);
constexpr int kLimitMs = 60'000;  // Of what waits in vain.

// Between a test and the processes that it started.
class Pipe {
 public:
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end_.Reset(ends[0]);
    write_end_.Reset(ends[1]);
  }

  int fd() const { return read_end_.get(); }
  void CloseWriteEnd() { write_end_.Reset(); }

  void Write(const std::string& text) const {
    EXPECT_EQ(write(write_end_.get(), text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }

  // The next byte, or 0 at the end.
  char Next() const {
    pollfd ready = {.fd = fd(), .events = POLLIN, .revents = 0};
    int count;
    while ((count = poll(&ready, 1, kLimitMs)) < 0 && errno == EINTR) continue;
    EXPECT_EQ(count, 1) << "nobody wrote";
    char byte = 0;
    if (count == 1 && read(fd(), &byte, 1) != 1) return 0;
    return byte;
  }

  std::string Next(size_t size) const {
    std::string text;
    while (text.size() < size) {
      const char byte = Next();
      if (byte == 0) break;
      text += byte;
    }
    return text;
  }

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

// Dies by `signal` as if nobody had asked for it.
int DieOf(int signal) {
  const rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
  setrlimit(RLIMIT_CORE, &no_core);
  ::signal(signal, SIG_DFL);  // Sanitizers have handlers.
  raise(signal);
  return 98;
}

void AwaitRequest(const WorkerEnd& end) {
  std::vector<pollfd> fds;
  for (const int fd : end.fds()) {
    fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  }
  while (poll(fds.data(), fds.size(), kLimitMs) < 0 && errno == EINTR) continue;
}

// Until it is asked to stop, or its root has died.
int Serve(WorkerEnd& end) {
  end.TellReady();
  for (;;) {
    AwaitRequest(end);
    const WorkerEnd::Request request = end.Next();
    if (request.stop != StopLevel::kNone || request.root_died) return 0;
  }
}

// Neither ready nor asked in vain.
int NeverReady(WorkerEnd& end) {
  AwaitRequest(end);
  return 0;
}

int IgnoreRequests(WorkerEnd& end) {
  end.TellReady();
  for (;;) pause();
}

int ExitWithOne(WorkerEnd& /*end*/) { return 1; }

// A root, with its time. Forked workers run `worker` as it was at their fork.
class Root {
 public:
  explicit Root(SupervisorOptions options) {
    absl::StatusOr<std::unique_ptr<Supervisor>> created =
        Supervisor::Create(std::move(options), lifecycle);
    EXPECT_TRUE(created.ok()) << created.status();
    supervisor = *std::move(created);
  }

  absl::Status TryAdvance() {
    absl::StatusOr<std::unique_ptr<WorkerEnd>> end = supervisor->Advance(now);
    if (!end.ok()) return end.status();
    if (*end == nullptr) return absl::OkStatus();
    alarm(2 * kLimitMs / 1000);
    _exit(worker(**end));
  }

  void Advance() {
    const absl::Status advanced = TryAdvance();
    EXPECT_TRUE(advanced.ok()) << advanced;
  }

  void AdvanceAt(MonotonicTime time) {
    now = time;
    Advance();
  }

  bool IsDue() const { return supervisor->next_deadline() <= now; }

  // Until a descriptor says that there is something to do.
  bool AwaitNews() const {
    std::vector<pollfd> fds;
    for (const int fd : supervisor->fds()) {
      fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    }
    int count;
    while ((count = poll(fds.data(), fds.size(), kLimitMs)) < 0) {
      if (errno != EINTR) return false;
    }
    return count > 0;
  }

  // Time stands still. False if nothing happens.
  bool AdvanceUntil(const std::function<bool()>& done) {
    if (IsDue()) Advance();
    while (!done()) {
      if (!IsDue() && !AwaitNews()) return false;
      Advance();
    }
    return true;
  }

  void AwaitReady() {
    EXPECT_TRUE(AdvanceUntil([this] { return supervisor->all_ready(); }));
  }
  void AwaitRestarted() {
    EXPECT_TRUE(AdvanceUntil([this] { return !supervisor->restarting(); }));
  }
  void AwaitFinished() {
    EXPECT_TRUE(AdvanceUntil([this] { return supervisor->finished(); }));
  }
  void AwaitCrashes(uint64_t count) {
    EXPECT_TRUE(AdvanceUntil([&] { return stats().crashed >= count; }));
    EXPECT_EQ(stats().crashed, count);
  }

  const SupervisorStats& stats() const { return supervisor->stats(); }

  Lifecycle lifecycle;
  std::function<int(WorkerEnd&)> worker = &Serve;
  MonotonicTime now = kStart;
  std::unique_ptr<Supervisor> supervisor;
};

bool HasChildren() {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool IsAlive(pid_t child) {
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(child), &info,
                WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

int ReapChild(pid_t child) {
  int status = -1;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return status;
}

std::set<int> OpenDescriptors() {
  std::set<int> open;
  for (int fd = 0; fd < 256; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open.insert(fd);
  }
  return open;
}

TEST(Supervisor, OptionsAreChecked) {
  Lifecycle lifecycle;
  const auto expect_error = [&](SupervisorOptions options, const char* what) {
    const absl::Status status =
        Supervisor::Create(std::move(options), lifecycle).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(what));
  };
  expect_error({.workers = 0}, "workers: 0");
  expect_error({.workers = -3}, "workers: -3");
  expect_error({.max_leaving = 0}, "max_leaving: 0");
  expect_error({.first_delay = -kInstant}, "first_delay");
  expect_error({.max_delay = -kInstant}, "max_delay");
  expect_error({.min_lifetime = -kInstant}, "min_lifetime");
  expect_error({.stop_timeout = -kInstant}, "stop_timeout");
  expect_error({.cut_off_timeout = -kInstant}, "cut_off_timeout");
}

TEST(Supervisor, OneWorkerForEachPlaceUntilItStops) {
  Root root({.workers = 3});
  const Pipe news;
  root.worker = [&](WorkerEnd& end) {
    news.Write(std::string(1, static_cast<char>('0' + end.place())));
    return end.root() == getppid() ? Serve(end) : 1;
  };
  EXPECT_FALSE(root.supervisor->all_ready());
  root.AwaitReady();
  EXPECT_EQ(root.stats().forked, 3u);
  EXPECT_EQ(root.supervisor->pids().size(), 3u);
  std::string places = news.Next(3);
  std::sort(places.begin(), places.end());
  EXPECT_EQ(places, "012");
  EXPECT_EQ(root.supervisor->next_deadline(), MonotonicTime::InfiniteFuture());
  EXPECT_FALSE(root.supervisor->finished());
  root.supervisor->Stop(StopLevel::kGraceful);
  EXPECT_TRUE(root.IsDue());
  root.AwaitFinished();
  EXPECT_EQ(root.stats().forked, 3u);
  EXPECT_EQ(root.stats().crashed, 0u);
  EXPECT_EQ(root.stats().killed, 0u);
  EXPECT_FALSE(HasChildren());
}

TEST(Supervisor, CallbacksAroundAFork) {
  const Pipe news;
  Root root({.workers = 2, .entered_child = [&](int) { news.Write("e"); }});
  const pid_t self = getpid();
  std::string log;
  const auto add = [&](LifecycleEvent event, char letter) {
    root.lifecycle.Add(event, [&log, &news, self, letter] {
      if (getpid() == self) {
        log += letter;
      } else {
        news.Write(std::string(1, letter));
      }
    });
  };
  add(LifecycleEvent::kBeforeFork, 'b');
  add(LifecycleEvent::kAfterFork, 'a');
  add(LifecycleEvent::kInRoot, 'm');
  add(LifecycleEvent::kInChild, 'c');
  const Pipe gate;
  root.worker = [&](WorkerEnd& end) {
    news.Write(".");
    gate.Next();
    return Serve(end);
  };
  root.Advance();
  EXPECT_EQ(log, "bambam");
  std::string told = news.Next(8);
  std::sort(told.begin(), told.end());
  EXPECT_EQ(told, "..aaccee");
  gate.Write("..");
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  log.clear();
  kill(root.supervisor->pids().front(), SIGKILL);
  root.AwaitCrashes(1);
  EXPECT_EQ(log, "bam");
  EXPECT_EQ(news.Next(4), "eac.");
  gate.Write(".");
  root.AwaitReady();
}

TEST(Supervisor, AKilledWorkerIsFollowedAtOnce) {
  Root root({.workers = 2});
  int crashes = 0;
  root.lifecycle.Add(LifecycleEvent::kOnChildCrash, [&] { ++crashes; });
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  const std::vector<pid_t> before = root.supervisor->pids();
  kill(before[0], SIGKILL);
  root.AwaitCrashes(1);
  EXPECT_EQ(crashes, 1);
  EXPECT_EQ(root.stats().respawned, 1u);
  const std::vector<pid_t> after = root.supervisor->pids();
  ASSERT_EQ(after.size(), 2u);
  EXPECT_NE(after[0], before[0]);
  EXPECT_EQ(after[1], before[1]);
  root.AwaitReady();
  EXPECT_EQ(root.stats().killed, 0u);  // Not from here.
}

TEST(Supervisor, WhatIsACrash) {
  Root root({});
  int crashes = 0;
  root.lifecycle.Add(LifecycleEvent::kOnChildCrash, [&] { ++crashes; });
  const Pipe orders;
  root.worker = [&](WorkerEnd& end) {
    end.TellReady();
    switch (orders.Next()) {
      case '0':
        return 0;
      case '3':
        return 3;
      case 'a':
        return DieOf(SIGABRT);
      case 's':
        return DieOf(SIGSEGV);
      case 't':
        return DieOf(SIGTERM);
    }
    return 99;
  };
  uint64_t respawned = 0;
  const auto run = [&](const std::string& order) {
    root.AwaitReady();
    root.now = root.now + absl::Seconds(1);
    orders.Write(order);
    ++respawned;
    EXPECT_TRUE(
        root.AdvanceUntil([&] { return root.stats().respawned == respawned; }));
    return crashes;
  };
  EXPECT_EQ(run("0"), 0);
  EXPECT_EQ(run("3"), 1);
  EXPECT_EQ(run("a"), 2);
  EXPECT_EQ(run("s"), 3);
  EXPECT_EQ(run("t"), 4);
  EXPECT_EQ(run("0"), 4);
  EXPECT_EQ(root.stats().crashed, 4u);
  EXPECT_EQ(root.stats().forked, 7u);
}

// As a shell's `wait` in the root's process would.
TEST(Supervisor, NobodyKnowsHowAWorkerEndedThatWasReapedElsewhere) {
  Root root({});
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  const pid_t worker = root.supervisor->pids().front();
  kill(worker, SIGKILL);
  ReapChild(worker);
  EXPECT_TRUE(root.AdvanceUntil([&] { return root.stats().respawned == 1; }));
  EXPECT_EQ(root.stats().crashed, 0u);
  root.AwaitReady();
}

bool g_reap_at_fork = false;
void ReapAtFork() {
  while (g_reap_at_fork && waitpid(-1, nullptr, 0) > 0) continue;
}

// So early that it could not even be watched.
TEST(Supervisor, AWorkerThatWasReapedElsewhereAtOnceHasEnded) {
  Root root({});
  root.worker = &ExitWithOne;
  ASSERT_EQ(pthread_atfork(nullptr, &ReapAtFork, nullptr), 0);
  g_reap_at_fork = true;
  root.Advance();
  g_reap_at_fork = false;
  EXPECT_EQ(root.stats().forked, 1u);
  EXPECT_EQ(root.stats().failed_forks, 0u);
  EXPECT_EQ(root.stats().crashed, 0u);
  EXPECT_THAT(root.supervisor->pids(), IsEmpty());
  EXPECT_EQ(root.supervisor->next_deadline(),
            root.now + absl::Milliseconds(50));
  root.worker = &Serve;
  root.AdvanceAt(root.supervisor->next_deadline());
  root.AwaitReady();
  EXPECT_EQ(root.stats().respawned, 1u);
}

TEST(Supervisor, WhatAWorkerReportedBeforeItsEndCounts) {
  Root root({.min_lifetime = absl::ZeroDuration()});
  root.worker = [](WorkerEnd& end) {
    end.TellReady();
    return 0;
  };
  root.Advance();
  siginfo_t info;
  const id_t worker = static_cast<id_t>(root.supervisor->pids().front());
  while (waitid(P_PID, worker, &info, WEXITED | WNOWAIT) != 0) {
    ASSERT_EQ(errno, EINTR);
  }
  root.worker = &Serve;
  root.Advance();
  EXPECT_EQ(root.stats().respawned, 1u);  // It was ready: no delay.
  root.AwaitReady();
}

TEST(Supervisor, DelaysDoubleWhileWorkersEndBeforeTheyAreReady) {
  Root root({.first_delay = absl::Milliseconds(50),
             .max_delay = absl::Milliseconds(500)});
  root.worker = &ExitWithOne;
  root.Advance();
  uint64_t crashes = 0;
  for (const int delay_ms : {50, 100, 200, 400, 500, 500}) {
    root.AwaitCrashes(++crashes);
    const MonotonicTime due = root.now + absl::Milliseconds(delay_ms);
    EXPECT_EQ(root.supervisor->next_deadline(), due);
    root.AdvanceAt(due - kInstant);
    EXPECT_EQ(root.stats().forked, crashes);
    root.AdvanceAt(due);
    EXPECT_EQ(root.stats().forked, crashes + 1);
  }
  // One that lives makes all well again.
  root.AwaitCrashes(++crashes);
  root.worker = &Serve;
  root.AdvanceAt(root.supervisor->next_deadline());
  root.AwaitReady();
  root.now = root.now + absl::Milliseconds(250);
  kill(root.supervisor->pids().front(), SIGKILL);
  root.AwaitCrashes(++crashes);
  root.AwaitReady();
  root.now = root.now + absl::Milliseconds(250) - kInstant;
  kill(root.supervisor->pids().front(), SIGKILL);
  root.AwaitCrashes(++crashes);
  EXPECT_EQ(root.supervisor->next_deadline(),
            root.now + absl::Milliseconds(50));
}

// Also if it says that all went well.
TEST(Supervisor, AWorkerThatEndsAtOnceIsNotFollowedAtOnce) {
  Root root({});
  root.worker = [](WorkerEnd& end) {
    end.TellReady();
    return 0;
  };
  EXPECT_TRUE(root.AdvanceUntil([&] {
    return root.stats().forked == 1 && root.supervisor->pids().empty();
  }));
  EXPECT_EQ(root.stats().crashed, 0u);
  EXPECT_EQ(root.supervisor->next_deadline(),
            root.now + absl::Milliseconds(50));
}

TEST(Supervisor, PlacesAreDelayedOnTheirOwn) {
  Root root({.workers = 2});
  root.worker = [](WorkerEnd& end) {
    return end.place() == 0 ? 1 : Serve(end);
  };
  root.Advance();
  root.AwaitCrashes(1);
  EXPECT_TRUE(root.AdvanceUntil([&] { return !root.IsDue(); }));
  root.now = root.now + absl::Hours(25 * 24);
  root.worker = &Serve;
  root.AwaitReady();
  EXPECT_EQ(root.stats().forked, 3u);
  root.now = root.now + absl::Seconds(1);
  kill(root.supervisor->pids().back(), SIGKILL);
  root.AwaitCrashes(2);
  root.AwaitReady();
}

TEST(Supervisor, WithoutRespawnACrashStopsAll) {
  Root root({.workers = 3, .respawn = false});
  int crashes = 0;
  root.lifecycle.Add(LifecycleEvent::kOnChildCrash, [&] { ++crashes; });
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  EXPECT_TRUE(root.supervisor->crash().ok());
  const pid_t crashed = root.supervisor->pids()[1];
  kill(crashed, SIGKILL);
  root.AwaitFinished();
  EXPECT_EQ(crashes, 1);
  EXPECT_EQ(root.stats().forked, 3u);
  const absl::Status& crash = root.supervisor->crash();
  EXPECT_TRUE(absl::IsAborted(crash)) << crash;
  EXPECT_EQ(crash.message(),
            absl::StrCat("worker 1 (process ", crashed, ") crashed: signal 9"));
}

// A crash is no error where workers are replaced, nor is an end by the root.
TEST(Supervisor, OnlyACrashThatStopsAllIsAnError) {
  Root replaces({});
  replaces.AwaitReady();
  kill(replaces.supervisor->pids().front(), SIGKILL);
  replaces.AwaitCrashes(1);
  EXPECT_TRUE(replaces.supervisor->crash().ok());
  Root stops({.respawn = false});
  stops.worker = &IgnoreRequests;
  stops.AwaitReady();
  stops.supervisor->Stop(StopLevel::kKill);
  stops.AwaitFinished();
  EXPECT_TRUE(stops.supervisor->crash().ok());
}

// Old and new workers tell their place: the old ones when they are asked to
// stop, the new ones when they have started.
class SupervisorRestart : public ::testing::Test {
 protected:
  SupervisorRestart() {
    root_.worker = [this](WorkerEnd& end) {
      Serve(end);
      asked_.Write(std::to_string(end.place()));
      drain_.Next();
      return 0;
    };
    root_.AwaitReady();
    old_ = root_.supervisor->pids();
    root_.now = root_.now + absl::Seconds(1);
    root_.worker = [this](WorkerEnd& end) {
      started_.Write(std::to_string(end.place()));
      gate_.Next();
      return Serve(end);
    };
  }

  void AwaitForked(uint64_t count) {
    EXPECT_TRUE(
        root_.AdvanceUntil([&] { return root_.stats().forked >= count; }));
    EXPECT_EQ(root_.stats().forked, count);
  }
  size_t Living() const { return root_.supervisor->pids().size(); }

  Pipe asked_;
  Pipe started_;
  Pipe gate_;   // Lets a new one be ready.
  Pipe drain_;  // Lets an old one end.
  Root root_{{.workers = 3}};
  std::vector<pid_t> old_;
};

TEST_F(SupervisorRestart, PlaceAfterPlaceWhileOldOnesDrain) {
  EXPECT_FALSE(root_.supervisor->restarting());
  root_.supervisor->Restart();
  EXPECT_TRUE(root_.supervisor->restarting());
  for (size_t place = 0; place < 3; ++place) {
    const std::string name = std::to_string(place);
    AwaitForked(4 + place);
    EXPECT_EQ(started_.Next(1), name);
    root_.Advance();
    EXPECT_EQ(root_.stats().forked, 4 + place);  // It waits for this one.
    EXPECT_FALSE(root_.IsDue());
    EXPECT_TRUE(root_.supervisor->all_ready());
    EXPECT_EQ(Living(), 4 + place);
    gate_.Write(".");
    if (place < 2) {
      AwaitForked(5 + place);
    } else {
      root_.AwaitRestarted();
    }
    EXPECT_EQ(asked_.Next(1), name);
  }
  EXPECT_EQ(Living(), 6u);
  EXPECT_EQ(root_.supervisor->next_deadline(), root_.now + absl::Seconds(263));
  drain_.Write("...");
  EXPECT_TRUE(root_.AdvanceUntil([&] { return Living() == 3; }));
  EXPECT_EQ(root_.supervisor->next_deadline(), MonotonicTime::InfiniteFuture());
  for (const pid_t old : old_) EXPECT_FALSE(IsAlive(old));
  EXPECT_EQ(root_.stats().forked, 6u);
  EXPECT_EQ(root_.stats().respawned, 0u);
  EXPECT_EQ(root_.stats().crashed, 0u);
}

TEST_F(SupervisorRestart, TheOldOneServesWhileReplacementsDie) {
  const auto replace = root_.worker;
  root_.worker = &ExitWithOne;
  root_.supervisor->Restart();
  root_.AwaitCrashes(1);
  for (const int delay_ms : {50, 100}) {
    EXPECT_TRUE(root_.supervisor->all_ready());
    EXPECT_EQ(root_.supervisor->pids(), old_);
    EXPECT_EQ(root_.supervisor->next_deadline(),
              root_.now + absl::Milliseconds(delay_ms));
    root_.AdvanceAt(root_.supervisor->next_deadline());
    root_.AwaitCrashes(root_.stats().crashed + 1);
  }
  EXPECT_EQ(root_.stats().forked, 6u);
  root_.worker = replace;
  root_.AdvanceAt(root_.supervisor->next_deadline());
  gate_.Write("...");
  root_.AwaitRestarted();
  std::string asked = asked_.Next(3);
  std::sort(asked.begin(), asked.end());
  EXPECT_EQ(asked, "012");
  drain_.Write("...");
  EXPECT_TRUE(root_.AdvanceUntil([&] { return Living() == 3; }));
  EXPECT_EQ(root_.stats().forked, 9u);
}

TEST_F(SupervisorRestart, AnotherOneBeginsAnew) {
  root_.supervisor->Restart();
  AwaitForked(4);
  gate_.Write(".");
  AwaitForked(5);  // Place 0 is done, the new one of 1 is not ready.
  root_.worker = &NeverReady;
  root_.supervisor->Restart();
  EXPECT_TRUE(root_.IsDue());
  AwaitForked(6);
  EXPECT_EQ(Living(), 3u + 3u);  // The old one of 0, two that are not ready.
  root_.worker = &Serve;
  root_.supervisor->Restart();
  gate_.Write(".");
  root_.AwaitRestarted();
  drain_.Write("...");
  EXPECT_TRUE(root_.AdvanceUntil([&] { return Living() == 3; }));
  EXPECT_EQ(root_.stats().forked, 9u);
  EXPECT_EQ(root_.stats().crashed, 0u);
}

TEST_F(SupervisorRestart, AReplacementFollowsOneThatCrashes) {
  root_.supervisor->Restart();
  AwaitForked(4);
  kill(old_[0], SIGKILL);
  root_.AwaitCrashes(1);
  EXPECT_EQ(root_.stats().forked, 4u);
  EXPECT_FALSE(root_.supervisor->all_ready());
  kill(old_[2], SIGKILL);  // Its place is not the restart's yet.
  root_.AwaitCrashes(2);
  EXPECT_EQ(root_.stats().forked, 5u);
  EXPECT_EQ(root_.stats().respawned, 1u);
  gate_.Write("...");
  root_.AwaitRestarted();
  EXPECT_EQ(asked_.Next(1), "1");
  root_.AwaitReady();
  EXPECT_EQ(root_.stats().forked, 6u);
  drain_.Write(".");
}

TEST_F(SupervisorRestart, WhoDoesNotEndIsKilledInTime) {
  root_.supervisor->Restart();
  gate_.Write("...");
  root_.AwaitRestarted();
  root_.AdvanceAt(root_.now + absl::Seconds(263) - kInstant);
  EXPECT_EQ(root_.stats().killed, 0u);
  root_.AdvanceAt(root_.now + kInstant);
  EXPECT_EQ(root_.stats().killed, 3u);
  EXPECT_TRUE(root_.AdvanceUntil([&] { return Living() == 3; }));
  EXPECT_EQ(root_.stats().crashed, 0u);
}

TEST_F(SupervisorRestart, WaitsWhileThreeOfAPlaceAreLeaving) {
  root_.worker = [this](WorkerEnd& end) {
    Serve(end);
    drain_.Next();
    return 0;
  };
  for (int i = 0; i < 3; ++i) {
    root_.supervisor->Restart();
    root_.AwaitRestarted();
  }
  EXPECT_EQ(Living(), 3u + 3u * 3u);
  for (int i = 0; i < 20; ++i) {
    root_.supervisor->Restart();
    root_.Advance();
  }
  EXPECT_TRUE(root_.supervisor->restarting());
  EXPECT_FALSE(root_.IsDue());
  EXPECT_EQ(Living(), 3u + 3u * 3u);
  EXPECT_EQ(root_.stats().forked, 12u);
  drain_.Write(std::string(12, '.'));  // All that are leaving, and 3 more.
  root_.AwaitRestarted();
  EXPECT_TRUE(root_.AdvanceUntil([&] { return Living() == 3; }));
  EXPECT_EQ(root_.stats().forked, 15u) << "twenty calls are one restart";
  EXPECT_EQ(root_.stats().killed, 0u);
  drain_.Write("...");
}

// Each that drains by itself is replaced, whoever else is leaving.
TEST(Supervisor, TheOldestOfTooManyThatDrainIsCutOff) {
  Root root({.stop_timeout = absl::Seconds(10), .max_leaving = 2});
  const Pipe heard;
  root.worker = [&](WorkerEnd& end) {
    end.TellReady();
    end.TellDrains();
    StopLevel level = StopLevel::kNone;
    while (level < StopLevel::kCutOff) {
      AwaitRequest(end);
      level = end.Next().stop;
    }
    heard.Write("c");
    return 0;
  };
  const auto drains = [&] {
    return root.supervisor->next_deadline() <= root.now + absl::Seconds(1);
  };
  for (uint64_t forked = 1; forked <= 3; ++forked) {
    root.AdvanceAt(std::max(root.now, root.supervisor->next_deadline()));
    EXPECT_EQ(root.stats().forked, forked);
    EXPECT_TRUE(root.AdvanceUntil(drains));
  }
  EXPECT_EQ(heard.Next(1), "c");
  EXPECT_TRUE(
      root.AdvanceUntil([&] { return root.supervisor->pids().size() == 2; }));
  EXPECT_EQ(root.stats().killed, 0u);
}

TEST_F(SupervisorRestart, AStopEndsIt) {
  root_.supervisor->Restart();
  AwaitForked(4);
  root_.supervisor->Stop(StopLevel::kGraceful);
  EXPECT_FALSE(root_.supervisor->restarting());
  gate_.Write(".");
  drain_.Write("...");
  root_.AwaitFinished();
  EXPECT_EQ(root_.stats().forked, 4u);
  root_.supervisor->Restart();
  root_.Advance();
  EXPECT_TRUE(root_.supervisor->finished());
  EXPECT_EQ(root_.stats().forked, 4u);
}

TEST(Supervisor, LevelsAreHeardInTheirOrder) {
  Root root({});
  const Pipe news;
  root.worker = [&](WorkerEnd& end) {
    end.TellReady();
    StopLevel heard = StopLevel::kNone;
    while (heard != StopLevel::kCutOff) {
      AwaitRequest(end);
      heard = end.Next().stop;
      news.Write(heard == StopLevel::kGraceful ? "g" : "c");
    }
    return 0;
  };
  root.AwaitReady();
  root.supervisor->Stop(StopLevel::kGraceful);
  root.Advance();
  EXPECT_EQ(news.Next(1), "g");
  root.supervisor->Stop(StopLevel::kGraceful);
  root.supervisor->Stop(StopLevel::kNone);
  EXPECT_FALSE(root.IsDue());
  root.supervisor->Stop(StopLevel::kCutOff);
  root.AwaitFinished();
  EXPECT_EQ(news.Next(1), "c");
  EXPECT_EQ(root.stats().killed, 0u);
}

TEST(Supervisor, KilledWhenItsTimeIsUp) {
  Root root({.workers = 2, .stop_timeout = absl::Seconds(10)});
  int crashes = 0;
  root.lifecycle.Add(LifecycleEvent::kOnChildCrash, [&] { ++crashes; });
  root.worker = &IgnoreRequests;
  root.AwaitReady();
  root.supervisor->Stop(StopLevel::kGraceful);
  root.Advance();
  EXPECT_EQ(root.supervisor->next_deadline(), root.now + absl::Seconds(10));
  root.AdvanceAt(root.now + absl::Seconds(10) - kInstant);
  EXPECT_EQ(root.stats().killed, 0u);
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  for (const int place : {0, 1}) {
    const pid_t pid = root.supervisor->pids()[static_cast<size_t>(place)];
    EXPECT_CALL(log, Log(absl::LogSeverity::kError, _,
                         absl::StrCat("worker ", place, " (process ", pid,
                                      ") did not end within 10s: killed")));
  }
  log.StartCapturingLogs();
  root.AdvanceAt(root.now + kInstant);
  EXPECT_EQ(root.stats().killed, 2u);
  root.AwaitFinished();
  EXPECT_EQ(root.stats().killed, 2u);
  EXPECT_EQ(crashes, 0);
}

TEST(Supervisor, CutOffLeavesLessTime) {
  Root root({});
  root.worker = &IgnoreRequests;
  root.AwaitReady();
  root.supervisor->Stop(StopLevel::kGraceful);
  root.Advance();
  root.supervisor->Stop(StopLevel::kCutOff);
  root.Advance();
  EXPECT_EQ(root.supervisor->next_deadline(), root.now + absl::Seconds(1));
  root.AdvanceAt(root.now + absl::Seconds(1));
  root.AwaitFinished();
  EXPECT_EQ(root.stats().killed, 1u);
}

TEST(Supervisor, KillLeavesNone) {
  Root root({.workers = 2});
  root.worker = &IgnoreRequests;
  root.AwaitReady();
  root.supervisor->Stop(StopLevel::kKill);
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(
      log, Log(absl::LogSeverity::kError, _, HasSubstr(" still runs: killed")))
      .Times(2);
  log.StartCapturingLogs();
  root.AwaitFinished();
  EXPECT_EQ(root.stats().killed, 2u);
  EXPECT_EQ(root.stats().crashed, 0u);
}

TEST(Workers, NoSpawnAfterStop) {
  Root root({.workers = 2});
  int crashes = 0;
  root.lifecycle.Add(LifecycleEvent::kOnChildCrash, [&] { ++crashes; });
  root.worker = &IgnoreRequests;
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  root.supervisor->Stop(StopLevel::kGraceful);
  for (const pid_t worker : root.supervisor->pids()) kill(worker, SIGSEGV);
  for (const pid_t worker : root.supervisor->pids()) kill(worker, SIGKILL);
  root.AwaitFinished();
  root.AdvanceAt(root.now + absl::Hours(25 * 24));
  EXPECT_EQ(root.supervisor->next_deadline(), MonotonicTime::InfiniteFuture());
  EXPECT_EQ(root.stats().forked, 2u);
  EXPECT_EQ(crashes, 0);
}

// Its time would have come later.
TEST(Workers, NoSpawnAfterStopDuringADelay) {
  Root root({});
  root.worker = &ExitWithOne;
  root.Advance();
  root.AwaitCrashes(1);
  root.supervisor->Stop(StopLevel::kGraceful);
  EXPECT_TRUE(root.supervisor->finished());
  root.AdvanceAt(root.now + absl::Hours(25 * 24));
  EXPECT_EQ(root.stats().forked, 1u);
}

TEST(Supervisor, StoppedBeforeItsStart) {
  Root root({});
  root.supervisor->Stop(StopLevel::kGraceful);
  EXPECT_TRUE(root.supervisor->finished());
  root.Advance();
  EXPECT_EQ(root.stats().forked, 0u);
}

TEST(Supervisor, CallbacksMayStop) {
  for (const LifecycleEvent event :
       {LifecycleEvent::kBeforeFork, LifecycleEvent::kAfterFork,
        LifecycleEvent::kInRoot}) {
    Root root({.workers = 3});
    int before = 0;
    int after = 0;
    root.lifecycle.Add(LifecycleEvent::kBeforeFork, [&] { ++before; });
    root.lifecycle.Add(LifecycleEvent::kAfterFork, [&] { ++after; });
    root.lifecycle.Add(event,
                       [&] { root.supervisor->Stop(StopLevel::kGraceful); });
    root.Advance();
    const bool at_once = event == LifecycleEvent::kBeforeFork;
    EXPECT_EQ(root.stats().forked, at_once ? 0u : 1u);
    EXPECT_EQ(before, 1);
    EXPECT_EQ(after, 1);
    root.AwaitFinished();
  }
}

TEST(Supervisor, CallbacksMayRestart) {
  Root root({.workers = 2});
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  root.lifecycle.Add(LifecycleEvent::kOnChildCrash,
                     [&] { root.supervisor->Restart(); });
  const std::vector<pid_t> old = root.supervisor->pids();
  kill(old[1], SIGKILL);
  root.AwaitCrashes(1);
  root.AwaitRestarted();
  root.AwaitReady();
  EXPECT_TRUE(
      root.AdvanceUntil([&] { return root.supervisor->pids().size() == 2; }));
  EXPECT_FALSE(IsAlive(old[0]));
  EXPECT_EQ(root.stats().forked, 4u);
}

class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &original_), 0);
    rlimit none = original_;
    none.rlim_cur = 0;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &original_), 0); }

 private:
  rlimit original_;
};

TEST(Supervisor, AFirstStartThatFailsIsAnError) {
  Root root({.workers = 2});
  {
    const NoDescriptors none;
    const absl::Status failed = root.TryAdvance();
    EXPECT_TRUE(absl::IsResourceExhausted(failed)) << failed;
    EXPECT_THAT(failed.message(), HasSubstr("socketpair worker 0"));
    Lifecycle lifecycle;
    const absl::Status status = Supervisor::Create({}, lifecycle).status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  }
  root.AwaitReady();
}

TEST(Supervisor, AForkThatFailsLaterIsTriedAgain) {
  Root root({});
  root.AwaitReady();
  root.now = root.now + absl::Seconds(1);
  kill(root.supervisor->pids().front(), SIGKILL);
  EXPECT_TRUE(root.AwaitNews());
  {
    const NoDescriptors none;
    root.Advance();
    EXPECT_EQ(root.stats().crashed, 1u);
    EXPECT_EQ(root.stats().failed_forks, 1u);
    for (const int delay_ms : {50, 100}) {
      const MonotonicTime due = root.now + absl::Milliseconds(delay_ms);
      EXPECT_EQ(root.supervisor->next_deadline(), due);
      root.AdvanceAt(due);
    }
    EXPECT_EQ(root.stats().failed_forks, 3u);
  }
  root.AdvanceAt(root.supervisor->next_deadline());
  root.AwaitReady();
  EXPECT_EQ(root.stats().forked, 2u);
}

// Two descriptors are free, and it takes one more.
TEST(Supervisor, AWorkerThatCannotBeWatchedIsNotLeftBehind) {
  Root root({});
  const Pipe news;
  int before = 0;
  int after = 0;
  int in_root = 0;
  root.lifecycle.Add(LifecycleEvent::kBeforeFork, [&] { ++before; });
  root.lifecycle.Add(LifecycleEvent::kAfterFork, [&] { ++after; });
  root.lifecycle.Add(LifecycleEvent::kInRoot, [&] { ++in_root; });
  rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  rlimit two = original;
  {
    const UniqueFd first(dup(news.fd()));
    const UniqueFd second(dup(news.fd()));
    two.rlim_cur = static_cast<rlim_t>(second.get()) + 1;
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &two), 0);
  const absl::Status failed = root.TryAdvance();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(failed)) << failed;
  EXPECT_THAT(failed.message(), HasSubstr("pidfd_open child"));
  EXPECT_FALSE(HasChildren());
  EXPECT_EQ(before, 1);
  EXPECT_EQ(after, 1);
  EXPECT_EQ(in_root, 0);
  root.AwaitReady();
}

TEST(Supervisor, ItsDestructorLeavesNobody) {
  Root root({.workers = 3});
  root.worker = &IgnoreRequests;
  root.AwaitReady();
  root.supervisor->Stop(StopLevel::kGraceful);
  root.Advance();
  root.supervisor = nullptr;
  EXPECT_FALSE(HasChildren());
}

TEST(Supervisor, ChildrenOfTheUserAreLeftAlone) {
  Pipe gate;
  const pid_t ended = fork();
  if (ended == 0) _exit(5);
  const pid_t living = fork();
  if (living == 0) {
    gate.CloseWriteEnd();
    gate.Next();
    _exit(6);
  }
  {
    Root root({.workers = 2});
    root.AwaitReady();
    kill(root.supervisor->pids().front(), SIGKILL);
    root.AwaitCrashes(1);
    root.supervisor->Stop(StopLevel::kKill);
    root.AwaitFinished();
  }
  EXPECT_TRUE(IsAlive(living));
  gate.CloseWriteEnd();
  EXPECT_EQ(WEXITSTATUS(ReapChild(ended)), 5);
  EXPECT_EQ(WEXITSTATUS(ReapChild(living)), 6);
}

// As a child that the application forks for itself.
TEST(Supervisor, AnotherForkedChildCannotUseIt) {
  Root root({.workers = 2});
  root.AwaitReady();
  const std::vector<pid_t> workers = root.supervisor->pids();
  const pid_t child = fork();
  if (child == 0) {
    const absl::Status status = root.TryAdvance();
    root.supervisor = nullptr;
    _exit(absl::IsFailedPrecondition(status) ? 0 : 1);
  }
  EXPECT_EQ(ReapChild(child), 0);
  EXPECT_TRUE(IsAlive(workers[0]) && IsAlive(workers[1]));
  root.supervisor->Stop(StopLevel::kGraceful);
  root.AwaitFinished();
  EXPECT_EQ(root.stats().killed, 0u);
}

TEST(Supervisor, DescriptorsAreClosedOnExecAndNotInherited) {
  const Pipe news;
  const std::set<int> before = OpenDescriptors();
  {
    Root root({.workers = 3});
    root.worker = [&](WorkerEnd& end) {
      const size_t more = OpenDescriptors().size() - before.size();
      end.TellReady();
      // Its channel, the reports' end, and a pidfd.
      const bool as_expected =
          more == end.fds().size() + 1 && end.fds().size() <= 2;
      news.Write(as_expected ? "y" : "n");
      return Serve(end);
    };
    root.AwaitReady();
    EXPECT_EQ(news.Next(3), "yyy");
    root.now = root.now + absl::Seconds(1);
    kill(root.supervisor->pids().front(), SIGKILL);
    root.AwaitCrashes(1);
    EXPECT_EQ(news.Next(1), "y");
    for (const int fd : OpenDescriptors()) {
      if (before.count(fd) != 0) continue;
      EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC) << fd;
    }
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

enum class RootDeathCase {
  kAlone,
  kWithAnotherChild,  // Which keeps the root's ends of all channels open.
  kWithoutPidFds,     // As on an old kernel: the channels' ends have to tell.
};

// A forked child has no room for a pidfd until it calls this again.
bool g_limit_children = false;
void LimitDescriptors(bool limit) {
  rlimit descriptors;
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = limit ? 0 : descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);
}

// A process between the test and the workers is their root. What it leaves is
// the test's to reap.
class RootDeath : public ::testing::TestWithParam<RootDeathCase> {
 protected:
  RootDeath() { EXPECT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); }
  ~RootDeath() override { EXPECT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0), 0); }
};

INSTANTIATE_TEST_SUITE_P(
    Supervisor, RootDeath,
    ::testing::Values(RootDeathCase::kAlone, RootDeathCase::kWithAnotherChild,
                      RootDeathCase::kWithoutPidFds),
    [](const ::testing::TestParamInfo<RootDeathCase>& info) {
      switch (info.param) {
        case RootDeathCase::kAlone:
          return "Alone";
        case RootDeathCase::kWithAnotherChild:
          return "WithAnotherChild";
        case RootDeathCase::kWithoutPidFds:
          return "WithoutPidFds";
      }
      return "";
    });

TEST_P(RootDeath, IsToldOnceToEachWorker) {
  constexpr int kWorkers = 3;
  const bool other_child = GetParam() == RootDeathCase::kWithAnotherChild;
  const bool pidfds = GetParam() != RootDeathCase::kWithoutPidFds;
  const Pipe news;
  const Pipe gate;
  const pid_t root_process = fork();
  if (root_process == 0) {
    alarm(2 * kLimitMs / 1000);
    Root root({.workers = kWorkers});
    root.worker = [&](WorkerEnd& end) {
      LimitDescriptors(false);
      const bool as_expected = (end.fds().size() == 2) == pidfds;
      const bool no_news = !end.Next().root_died;
      end.TellReady();
      AwaitRequest(end);
      const WorkerEnd::Request first = end.Next();
      const WorkerEnd::Request second = end.Next();
      const bool once = first.root_died && !second.root_died &&
                        first.stop == StopLevel::kNone;
      news.Write(as_expected && no_news && once ? "d" : "?");
      return 0;
    };
    if (!pidfds) {
      g_limit_children = true;
      pthread_atfork(nullptr, nullptr,
                     [] { LimitDescriptors(g_limit_children); });
    }
    root.AwaitReady();
    if (other_child && fork() == 0) {
      gate.Next();
      _exit(0);
    }
    news.Write("r");
    for (;;) pause();
  }
  EXPECT_EQ(news.Next(1), "r");
  kill(root_process, SIGKILL);
  EXPECT_EQ(news.Next(kWorkers), "ddd");
  gate.Write(".");
  EXPECT_EQ(WTERMSIG(ReapChild(root_process)), SIGKILL);
  // Its children are the test's now.
  for (int i = 0; i < kWorkers + (other_child ? 1 : 0); ++i) {
    EXPECT_EQ(ReapChild(-1), 0);
  }
  EXPECT_FALSE(HasChildren());
}

}  // namespace
}  // namespace fio
