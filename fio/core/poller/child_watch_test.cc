#include "fio/core/poller/child_watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/test_suites/await_readable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

// What waits for a byte before it goes on.
class Gate {
 public:
  Gate() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end_.Reset(ends[0]);
    write_end_.Reset(ends[1]);
  }
  void Pass() const {
    char byte;
    while (read(read_end_.get(), &byte, 1) < 0 && errno == EINTR) continue;
  }
  void Open(size_t count = 1) const {
    const std::string bytes(count, '.');
    EXPECT_EQ(write(write_end_.get(), bytes.data(), count), ssize_t(count));
  }

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

// A child process that runs `body` and then exits with what it returns.
template <typename Body>
pid_t Fork(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  EXPECT_GT(child, 0);
  return child;
}

// A child process that lives until told otherwise.
class Child {
 public:
  explicit Child(int code = 0)
      : pid_(Fork([this, code] {
          gate_.Pass();
          return code;
        })) {}

  pid_t pid() const { return pid_; }

  // It will exit with `code`.
  void End() const { gate_.Open(); }

  // It has exited with `code`, and nobody has reaped it.
  void EndNow() const {
    End();
    AwaitEnd();
  }

  void Kill(int signal) const { EXPECT_EQ(kill(pid_, signal), 0); }

  void AwaitEnd() const { Await(WEXITED); }
  void AwaitStop() const { Await(WSTOPPED); }

  // The status of waitpid(2), which reaps it.
  int Reap() const {
    int status = -1;
    while (waitpid(pid_, &status, 0) < 0) {
      if (errno != EINTR) return -1;
    }
    return status;
  }

 private:
  void Await(int what) const {
    siginfo_t info;
    const id_t id = static_cast<id_t>(pid_);
    while (waitid(P_PID, id, &info, what | WNOWAIT) != 0) {
      ASSERT_EQ(errno, EINTR);
    }
  }

  const Gate gate_;
  const pid_t pid_;
};

MATCHER_P2(Exited, pid, code, "") {
  return arg.has_value() && arg->pid == pid && arg->status.has_value() &&
         WIFEXITED(*arg->status) && WEXITSTATUS(*arg->status) == code;
}

MATCHER_P2(Killed, pid, signal, "") {
  return arg.has_value() && arg->pid == pid && arg->status.has_value() &&
         WIFSIGNALED(*arg->status) && WTERMSIG(*arg->status) == signal;
}

MATCHER_P(ReapedElsewhere, pid, "") {
  return arg.has_value() && arg->pid == pid && !arg->status.has_value();
}

std::unique_ptr<ChildWatch> Watch(ChildMechanism mechanism) {
  absl::StatusOr<std::unique_ptr<ChildWatch>> watch =
      ChildWatch::Create(mechanism);
  EXPECT_TRUE(watch.ok()) << watch.status();
  return *std::move(watch);
}

void Add(ChildWatch& watch, pid_t child) {
  const absl::Status added = watch.Add(child);
  EXPECT_TRUE(added.ok()) << added;
}

// The next that it tells, however long that takes.
std::optional<ChildExit> Await(ChildWatch& watch) {
  std::optional<ChildExit> exit = watch.Next();
  while (!exit.has_value()) {
    AwaitReadable(watch.fd());
    exit = watch.Next();
  }
  return exit;
}

void ExpectNothing(ChildWatch& watch) {
  EXPECT_EQ(watch.Next(), std::nullopt);
  EXPECT_FALSE(IsReadable(watch.fd()));
}

std::set<int> OpenDescriptors() {
  std::set<int> open;
  for (int fd = 0; fd < 256; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open.insert(fd);
  }
  return open;
}

// Children of this process, zombies included.
bool HasChildren() {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

class ChildWatchTest : public ::testing::TestWithParam<ChildMechanism> {
 protected:
  ~ChildWatchTest() override { EXPECT_FALSE(HasChildren()); }

  static std::unique_ptr<ChildWatch> Watch() { return fio::Watch(GetParam()); }
};

#if defined(__linux__)
constexpr ChildMechanism kMechanisms[] = {
    ChildMechanism::kAuto, ChildMechanism::kPidFd, ChildMechanism::kSigChld};
#else
constexpr ChildMechanism kMechanisms[] = {ChildMechanism::kAuto,
                                          ChildMechanism::kSigChld};
#endif

INSTANTIATE_TEST_SUITE_P(
    All, ChildWatchTest, ::testing::ValuesIn(kMechanisms),
    [](const ::testing::TestParamInfo<ChildMechanism>& info) {
      switch (info.param) {
        case ChildMechanism::kAuto:
          return "Auto";
        case ChildMechanism::kPidFd:
          return "PidFd";
        case ChildMechanism::kSigChld:
          return "SigChld";
      }
      return "";
    });

TEST_P(ChildWatchTest, ToldOnceWithItsStatus) {
  const auto watch = Watch();
  const Child child(7);
  Add(*watch, child.pid());
  ExpectNothing(*watch);
  child.End();
  AwaitReadable(watch->fd());
  EXPECT_THAT(Await(*watch), Exited(child.pid(), 7));
  ExpectNothing(*watch);
  EXPECT_TRUE(absl::IsNotFound(watch->Remove(child.pid())));
}

TEST_P(ChildWatchTest, ToldOfTheSignalThatKilledIt) {
  const auto watch = Watch();
  const Child child;
  Add(*watch, child.pid());
  child.Kill(SIGKILL);
  EXPECT_THAT(Await(*watch), Killed(child.pid(), SIGKILL));
}

TEST_P(ChildWatchTest, TheStatusIsThatOfWaitpid) {
  const auto abort = [] {
    const rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    return raise(SIGABRT);
  };
  const auto terminate = [] { return raise(SIGTERM); };
  const auto run = [&](int how) {
    return how == 256 ? abort() : how == 257 ? terminate() : how;
  };
  for (const int how : {0, 1, 127, 128, 255, 256, 257}) {
    const auto watch = Watch();
    Add(*watch, Fork([&] { return run(how); }));
    const pid_t twin = Fork([&] { return run(how); });
    int status;
    while (waitpid(twin, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
    EXPECT_EQ(Await(*watch)->status, status) << how;
  }
}

TEST_P(ChildWatchTest, EndedBeforeItWasAdded) {
  const auto watch = Watch();
  const Child child(3);
  child.EndNow();
  ExpectNothing(*watch);
  Add(*watch, child.pid());
  EXPECT_TRUE(IsReadable(watch->fd()));
  EXPECT_THAT(watch->Next(), Exited(child.pid(), 3));
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, EndedBeforeTheWatchWasCreated) {
  const Child child(3);
  child.EndNow();
  const auto watch = Watch();
  Add(*watch, child.pid());
  EXPECT_TRUE(IsReadable(watch->fd()));
  EXPECT_THAT(watch->Next(), Exited(child.pid(), 3));
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, AStoppedChildHasNotEnded) {
  const auto watch = Watch();
  const Child child;
  Add(*watch, child.pid());
  child.Kill(SIGSTOP);
  child.AwaitStop();
  ExpectNothing(*watch);
  child.Kill(SIGKILL);
  EXPECT_THAT(Await(*watch), Killed(child.pid(), SIGKILL));
}

TEST_P(ChildWatchTest, EachOfManyThatEndAtOnceIsToldOnce) {
  constexpr int kChildren = 200;
  const auto watch = Watch();
  const Gate gate;
  std::map<pid_t, int> codes;
  for (int code = 0; code < kChildren; ++code) {
    const pid_t child = Fork([&gate, code] {
      gate.Pass();
      return code;
    });
    codes[child] = code;
    Add(*watch, child);
  }
  gate.Open(kChildren);
  std::map<pid_t, int> told;
  while (told.size() < kChildren) {
    const std::optional<ChildExit> exit = Await(*watch);
    EXPECT_TRUE(told.emplace(exit->pid, WEXITSTATUS(*exit->status)).second);
  }
  EXPECT_EQ(told, codes);
  ExpectNothing(*watch);
}

// However many the children, as long as it is blocked there is one SIGCHLD.
TEST_P(ChildWatchTest, MergedSignalsLoseNobody) {
  const auto watch = Watch();
  const std::vector<Child> children(5);
  for (const Child& child : children) Add(*watch, child.pid());
  sigset_t sigchld;
  sigemptyset(&sigchld);
  sigaddset(&sigchld, SIGCHLD);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &sigchld, nullptr), 0);
  for (const Child& child : children) child.EndNow();
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &sigchld, nullptr), 0);
  std::set<pid_t> told;
  while (told.size() < children.size()) told.insert(Await(*watch)->pid);
  for (const Child& child : children) EXPECT_EQ(told.count(child.pid()), 1);
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, ReadableUntilAllAreTold) {
  const auto watch = Watch();
  const std::vector<Child> children(4);
  for (const Child& child : children) Add(*watch, child.pid());
  for (const Child& child : children) child.EndNow();
  for (size_t i = 0; i < children.size(); ++i) {
    AwaitReadable(watch->fd());
    EXPECT_NE(watch->Next(), std::nullopt);
  }
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, ChildrenAddedBetweenTwoTellings) {
  const auto watch = Watch();
  const std::vector<Child> children(6);
  for (const Child& child : children) child.EndNow();
  Add(*watch, children[2].pid());
  Add(*watch, children[4].pid());
  std::set<pid_t> told = {watch->Next()->pid};
  Add(*watch, children[0].pid());
  told.insert(watch->Next()->pid);
  Add(*watch, children[5].pid());
  Add(*watch, children[3].pid());
  told.insert(watch->Next()->pid);
  Add(*watch, children[1].pid());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(IsReadable(watch->fd()));
    told.insert(watch->Next()->pid);
  }
  EXPECT_EQ(told.size(), children.size());
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, NoChildIsAnError) {
  const auto watch = Watch();
  const Child child;
  child.End();
  child.Reap();
  for (const pid_t stranger : {child.pid(), getpid()}) {
    const absl::Status status = watch->Add(stranger);
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(status.message(),
                HasSubstr("waitid child " + std::to_string(stranger)));
  }
  for (const pid_t nonsense : {0, -1}) {
    const absl::Status status = watch->Add(nonsense);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, TwiceIsAnError) {
  const auto watch = Watch();
  const Child child(5);
  Add(*watch, child.pid());
  EXPECT_TRUE(absl::IsAlreadyExists(watch->Add(child.pid())));
  child.EndNow();
  EXPECT_TRUE(absl::IsAlreadyExists(watch->Add(child.pid())));
  EXPECT_THAT(Await(*watch), Exited(child.pid(), 5));
  EXPECT_TRUE(absl::IsNotFound(watch->Add(child.pid())));
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, EachWatchTellsOfItsOwn) {
  for (const ChildMechanism other : kMechanisms) {
    const auto one = Watch();
    const auto two = fio::Watch(other);
    const Child first(1);
    const Child second(2);
    Add(*one, first.pid());
    Add(*two, second.pid());
    first.EndNow();
    second.EndNow();
    EXPECT_THAT(Await(*two), Exited(second.pid(), 2));
    ExpectNothing(*two);
    EXPECT_THAT(Await(*one), Exited(first.pid(), 1));
    ExpectNothing(*one);
  }
}

TEST_P(ChildWatchTest, AChildNotAddedIsTheCallersToReap) {
  const auto watch = Watch();
  const Child watched(1);
  const Child foreign(2);
  Add(*watch, watched.pid());
  foreign.EndNow();
  watched.EndNow();
  EXPECT_THAT(Await(*watch), Exited(watched.pid(), 1));
  ExpectNothing(*watch);
  EXPECT_EQ(WEXITSTATUS(foreign.Reap()), 2);
}

TEST_P(ChildWatchTest, SomebodyElseReapedIt) {
  const auto watch = Watch();
  const Child child(9);
  Add(*watch, child.pid());
  child.End();
  EXPECT_EQ(WEXITSTATUS(child.Reap()), 9);
  EXPECT_THAT(Await(*watch), ReapedElsewhere(child.pid()));
  ExpectNothing(*watch);
}

TEST_P(ChildWatchTest, ARemovedChildIsTheCallersToReap) {
  const auto watch = Watch();
  const Child child(4);
  Add(*watch, child.pid());
  child.EndNow();
  AwaitReadable(watch->fd());
  EXPECT_TRUE(watch->Remove(child.pid()).ok());
  ExpectNothing(*watch);
  EXPECT_TRUE(absl::IsNotFound(watch->Remove(child.pid())));
  EXPECT_EQ(WEXITSTATUS(child.Reap()), 4);
}

TEST_P(ChildWatchTest, ARemovedChildMayBeAddedAgain) {
  const auto watch = Watch();
  const Child child(4);
  Add(*watch, child.pid());
  EXPECT_TRUE(watch->Remove(child.pid()).ok());
  child.EndNow();
  ExpectNothing(*watch);
  Add(*watch, child.pid());
  EXPECT_THAT(Await(*watch), Exited(child.pid(), 4));
}

TEST_P(ChildWatchTest, ItsDestructorReapsNobody) {
  auto watch = Watch();
  const Child child(6);
  Add(*watch, child.pid());
  child.EndNow();
  AwaitReadable(watch->fd());
  watch.reset();
  EXPECT_EQ(WEXITSTATUS(child.Reap()), 6);
}

TEST_P(ChildWatchTest, InterruptedAllTheTime) {
  struct sigaction interrupt = {};
  interrupt.sa_handler = [](int) {};
  struct sigaction original;
  ASSERT_EQ(sigaction(SIGUSR1, &interrupt, &original), 0);
  const auto watch = Watch();
  const std::vector<Child> children(20);
  for (const Child& child : children) Add(*watch, child.pid());
  std::atomic<bool> stop{false};
  std::thread sender([&stop, target = pthread_self()] {
    while (!stop) pthread_kill(target, SIGUSR1);
  });
  for (const Child& child : children) {
    child.End();
    EXPECT_THAT(Await(*watch), Exited(child.pid(), 0));
  }
  stop = true;
  sender.join();
  ExpectNothing(*watch);
  ASSERT_EQ(sigaction(SIGUSR1, &original, nullptr), 0);
}

TEST_P(ChildWatchTest, AForkedChildChangesNothingForItsParent) {
  auto watch = Watch();
  const Child ended(1);
  const Child living(2);
  Add(*watch, ended.pid());
  Add(*watch, living.pid());
  ended.EndNow();
  AwaitReadable(watch->fd());
  const pid_t heir = Fork([&] {
    const bool refused = watch->Next() == std::nullopt &&
                         absl::IsFailedPrecondition(watch->Add(getpid())) &&
                         absl::IsFailedPrecondition(watch->Remove(ended.pid()));
    watch.reset();
    return refused ? 0 : 1;
  });
  int status;
  while (waitpid(heir, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
  EXPECT_EQ(status, 0);
  AwaitReadable(watch->fd());
  EXPECT_THAT(watch->Next(), Exited(ended.pid(), 1));
  ExpectNothing(*watch);
  living.End();
  EXPECT_THAT(Await(*watch), Exited(living.pid(), 2));
  ExpectNothing(*watch);
}

// It holds copies of the descriptors.
TEST_P(ChildWatchTest, AForkedChildThatLivesOnIsNotNoticed) {
  const auto watch = Watch();
  const Child told(1);
  const Child removed(2);
  Add(*watch, told.pid());
  Add(*watch, removed.pid());
  const Child heir(3);
  told.EndNow();
  removed.EndNow();
  EXPECT_TRUE(watch->Remove(removed.pid()).ok());
  EXPECT_THAT(Await(*watch), Exited(told.pid(), 1));
  ExpectNothing(*watch);
  EXPECT_EQ(WEXITSTATUS(removed.Reap()), 2);
  heir.End();
  EXPECT_EQ(WEXITSTATUS(heir.Reap()), 3);
}

TEST_P(ChildWatchTest, DescriptorsAreClosedOnExecAndAtTheEnd) {
  const Child told;
  const Child left;
  const std::set<int> before = OpenDescriptors();
  auto watch = Watch();
  Add(*watch, told.pid());
  Add(*watch, left.pid());
  for (const int fd : OpenDescriptors()) {
    if (before.count(fd) != 0) continue;
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC) << fd;
  }
  told.End();
  EXPECT_THAT(Await(*watch), Exited(told.pid(), 0));
  watch.reset();
  EXPECT_EQ(OpenDescriptors(), before);
  left.End();
  left.Reap();
}

TEST(ChildWatch, SigChldIsHandledAsBeforeAfterwards) {
  auto watch = Watch(ChildMechanism::kSigChld);
  struct sigaction action;
  ASSERT_EQ(sigaction(SIGCHLD, nullptr, &action), 0);
  EXPECT_NE(action.sa_handler, SIG_DFL);
  watch.reset();
  ASSERT_EQ(sigaction(SIGCHLD, nullptr, &action), 0);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
}

#if defined(__linux__)

TEST(ChildWatch, WithoutDescriptorsNothingIsWatched) {
  const auto watch = Watch(ChildMechanism::kPidFd);
  const Child child(8);
  rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  rlimit none = original;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status added = watch->Add(child.pid());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(added)) << added;
  EXPECT_THAT(added.message(),
              HasSubstr("pidfd_open child " + std::to_string(child.pid())));
  child.EndNow();
  ExpectNothing(*watch);
  EXPECT_EQ(WEXITSTATUS(child.Reap()), 8);
}

// Nobody could say how they ended.
TEST(ChildWatch, IgnoredChildrenAreToldWithoutStatus) {
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction original;
  ASSERT_EQ(sigaction(SIGCHLD, &ignore, &original), 0);
  const auto watch = Watch(ChildMechanism::kPidFd);
  const Child child(1);
  Add(*watch, child.pid());
  child.End();
  EXPECT_THAT(Await(*watch), ReapedElsewhere(child.pid()));
  ExpectNothing(*watch);
  ASSERT_EQ(sigaction(SIGCHLD, &original, nullptr), 0);
}

#else

TEST(ChildWatch, WhatOnlyLinuxHasIsAnError) {
  const absl::Status status =
      ChildWatch::Create(ChildMechanism::kPidFd).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
}

#endif

// A reaper of the application's children, a watch of the workers, and children
// that the application waits for itself: facil.io's reaper waited for all, so
// that the workers' statuses were lost.
TEST(Signals, ReaperDoesNotStealWorkers) {
  for (const ChildMechanism mechanism : kMechanisms) {
    const auto reaper = Watch(mechanism);
    const auto workers = Watch(mechanism);
    const std::vector<Child> children(3);
    const Child worker(11);
    const Child crashing;
    const Child own(12);
    for (const Child& child : children) Add(*reaper, child.pid());
    Add(*workers, worker.pid());
    Add(*workers, crashing.pid());
    own.EndNow();
    worker.EndNow();
    for (const Child& child : children) child.EndNow();
    for (size_t i = 0; i < children.size(); ++i) Await(*reaper);
    ExpectNothing(*reaper);
    EXPECT_THAT(Await(*workers), Exited(worker.pid(), 11));
    ExpectNothing(*workers);
    crashing.Kill(SIGKILL);
    EXPECT_THAT(Await(*workers), Killed(crashing.pid(), SIGKILL));
    EXPECT_EQ(WEXITSTATUS(own.Reap()), 12);
    EXPECT_FALSE(HasChildren());  // No zombies.
  }
}

// A program may have been started with SIGCHLD blocked.
TEST(ChildWatch, BlockedSigChldIsHeard) {
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &chld, nullptr), 0);
  {
    absl::StatusOr<std::unique_ptr<ChildWatch>> watch =
        ChildWatch::Create(ChildMechanism::kSigChld);
    ASSERT_TRUE(watch.ok()) << watch.status();
    const Child child(5);
    ASSERT_TRUE((*watch)->Add(child.pid()).ok());
    child.End();
    std::optional<ChildExit> exit;
    while (!exit.has_value()) {
      AwaitReadable((*watch)->fd());
      exit = (*watch)->Next();
    }
    EXPECT_EQ(exit->pid, child.pid());
  }
  sigset_t after;
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &chld, &after), 0);
  EXPECT_EQ(sigismember(&after, SIGCHLD), 1);
}

}  // namespace
}  // namespace fio
