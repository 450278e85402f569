#include "fio/core/poller/signal_watch.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/poller/test_suites/await_readable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<SignalWatch> Watch(std::initializer_list<int> signals,
                                   SignalMechanism mechanism) {
  absl::StatusOr<std::unique_ptr<SignalWatch>> watch =
      SignalWatch::Create(signals, mechanism);
  EXPECT_TRUE(watch.ok()) << watch.status();
  return *std::move(watch);
}

std::vector<int> All(SignalWatch& watch) {
  std::vector<int> told;
  while (const int signal = watch.Next()) told.push_back(signal);
  return told;
}

struct sigaction Disposition(int signal) {
  struct sigaction action;
  EXPECT_EQ(sigaction(signal, nullptr, &action), 0);
  return action;
}

bool IsBlocked(int signal) {
  sigset_t blocked;
  EXPECT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &blocked), 0);
  return sigismember(&blocked, signal) == 1;
}

// Whether `body` says so in a forked child, which ends with it.
template <typename Body>
bool InForkedChild(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) EXPECT_EQ(errno, EINTR);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string Name(const ::testing::TestParamInfo<SignalMechanism>& info) {
  switch (info.param) {
    case SignalMechanism::kAuto:
      return "Auto";
    case SignalMechanism::kEventFd:
      return "EventFd";
    case SignalMechanism::kSelfPipe:
      return "SelfPipe";
    case SignalMechanism::kSignalFd:
      return "SignalFd";
  }
  return "";
}

// What every mechanism does.
class SignalWatchTest : public ::testing::TestWithParam<SignalMechanism> {
 protected:
  static std::unique_ptr<SignalWatch> Watch(
      std::initializer_list<int> signals) {
    return fio::Watch(signals, GetParam());
  }
};

// What those with a handler do.
class SignalHandlerTest : public SignalWatchTest {};

#if defined(__linux__)
INSTANTIATE_TEST_SUITE_P(All, SignalWatchTest,
                         ::testing::Values(SignalMechanism::kAuto,
                                           SignalMechanism::kEventFd,
                                           SignalMechanism::kSelfPipe,
                                           SignalMechanism::kSignalFd),
                         Name);
INSTANTIATE_TEST_SUITE_P(All, SignalHandlerTest,
                         ::testing::Values(SignalMechanism::kEventFd,
                                           SignalMechanism::kSelfPipe),
                         Name);
#else
INSTANTIATE_TEST_SUITE_P(All, SignalWatchTest,
                         ::testing::Values(SignalMechanism::kAuto,
                                           SignalMechanism::kSelfPipe),
                         Name);
INSTANTIATE_TEST_SUITE_P(All, SignalHandlerTest,
                         ::testing::Values(SignalMechanism::kSelfPipe), Name);

TEST(SignalWatch, WhatOnlyLinuxHasIsAnError) {
  for (const SignalMechanism mechanism :
       {SignalMechanism::kEventFd, SignalMechanism::kSignalFd}) {
    const absl::Status status =
        SignalWatch::Create({SIGUSR1}, mechanism).status();
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  }
}
#endif

TEST_P(SignalWatchTest, TellsASignalOnce) {
  const auto watch = Watch({SIGUSR1, SIGUSR2});
  EXPECT_EQ(watch->Next(), 0);
  EXPECT_FALSE(IsReadable(watch->fd()));
  raise(SIGUSR2);
  EXPECT_TRUE(IsReadable(watch->fd()));
  EXPECT_EQ(watch->Next(), SIGUSR2);
  EXPECT_EQ(watch->Next(), 0);
  EXPECT_FALSE(IsReadable(watch->fd()));
}

TEST_P(SignalWatchTest, TellsEachOfItsSignals) {
  const auto watch = Watch({SIGUSR1, SIGUSR2});
  raise(SIGUSR2);
  raise(SIGUSR1);
  EXPECT_THAT(All(*watch), ElementsAre(SIGUSR1, SIGUSR2));
}

TEST_P(SignalWatchTest, TakesSignalsFromOtherThreads) {
  const auto watch = Watch({SIGUSR1});
  std::thread other([] { kill(getpid(), SIGUSR1); });
  AwaitReadable(watch->fd());
  other.join();
  EXPECT_EQ(watch->Next(), SIGUSR1);
}

TEST_P(SignalWatchTest, WhatWasNotToldHasNoEffectLater) {
  auto watch = Watch({SIGUSR1});
  raise(SIGUSR1);
  watch.reset();
  EXPECT_EQ(Disposition(SIGUSR1).sa_handler, SIG_DFL);  // It would have killed.
  EXPECT_FALSE(IsBlocked(SIGUSR1));
  const auto next = Watch({SIGUSR1});
  EXPECT_EQ(next->Next(), 0);
}

TEST_P(SignalWatchTest, WhatCannotBeCaughtIsAnError) {
  for (const int signal : {SIGKILL, SIGSTOP, -1, 0, NSIG}) {
    const absl::Status status =
        SignalWatch::Create({SIGUSR1, signal}, GetParam()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(std::to_string(signal)));
  }
  EXPECT_EQ(Disposition(SIGUSR1).sa_handler, SIG_DFL);
  EXPECT_FALSE(IsBlocked(SIGUSR1));
}

TEST_P(SignalWatchTest, ASignalNamedTwiceIsAnError) {
  const absl::Status twice =
      SignalWatch::Create({SIGUSR1, SIGUSR2, SIGUSR1}, GetParam()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(twice)) << twice;
  EXPECT_EQ(Disposition(SIGUSR1).sa_handler, SIG_DFL);
  EXPECT_FALSE(IsBlocked(SIGUSR1));
}

TEST_P(SignalWatchTest, AForkedChildTakesNothingFromItsParent) {
  auto watch = Watch({SIGUSR1});
  raise(SIGUSR1);
  EXPECT_TRUE(InForkedChild([&watch] {
    const bool silent = watch->Next() == 0;
    watch.reset();
    return silent && Disposition(SIGUSR1).sa_handler == SIG_DFL &&
           !IsBlocked(SIGUSR1);
  }));
  EXPECT_TRUE(IsReadable(watch->fd()));
  EXPECT_THAT(All(*watch), ElementsAre(SIGUSR1));
  raise(SIGUSR1);
  EXPECT_TRUE(IsReadable(watch->fd()));
  EXPECT_THAT(All(*watch), ElementsAre(SIGUSR1));
}

TEST_P(SignalWatchTest, ASignalOfAForkedChildIsNotTheParents) {
  auto watch = Watch({SIGUSR1});
  EXPECT_TRUE(InForkedChild([&watch] {
    raise(SIGUSR1);
    const bool silent = watch->Next() == 0;
    watch.reset();  // Nor does it kill the child now.
    return silent;
  }));
  EXPECT_FALSE(IsReadable(watch->fd()));
  EXPECT_EQ(watch->Next(), 0);
}

TEST_P(SignalHandlerTest, CountsWhatArrives) {
  const auto watch = Watch({SIGUSR1, SIGUSR2});
  raise(SIGUSR1);
  raise(SIGUSR1);
  raise(SIGUSR2);
  EXPECT_THAT(All(*watch), ElementsAre(SIGUSR1, SIGUSR1, SIGUSR2));
}

// More than a pipe has room for, so that the handler's write(2) fails.
TEST_P(SignalHandlerTest, LosesNothingAndKeepsErrnoWhenNobodyReads) {
  const auto watch = Watch({SIGUSR1});
  constexpr size_t kArrivals = 20'000;
  bool kept = true;
  for (size_t i = 0; i < kArrivals; ++i) {
    errno = ENOTTY;
    raise(SIGUSR1);
    kept = kept && errno == ENOTTY;
  }
  EXPECT_TRUE(kept);
  EXPECT_EQ(All(*watch).size(), kArrivals);
  EXPECT_FALSE(IsReadable(watch->fd()));
}

TEST_P(SignalHandlerTest, ReadableUntilAllIsTold) {
  const auto watch = Watch({SIGUSR1});
  raise(SIGUSR1);
  raise(SIGUSR1);
  EXPECT_EQ(watch->Next(), SIGUSR1);
  EXPECT_TRUE(IsReadable(watch->fd()));
  EXPECT_EQ(watch->Next(), SIGUSR1);
  EXPECT_EQ(watch->Next(), 0);
  EXPECT_FALSE(IsReadable(watch->fd()));
}

int g_user_handler_calls = 0;

TEST_P(SignalHandlerTest, OldHandlersRestored) {
  struct sigaction mine = {};
  mine.sa_handler = [](int) { ++g_user_handler_calls; };
  mine.sa_flags = SA_NODEFER;
  sigaddset(&mine.sa_mask, SIGUSR2);
  struct sigaction original;
  g_user_handler_calls = 0;
  ASSERT_EQ(sigaction(SIGUSR1, &mine, &original), 0);
  {
    const auto watch = Watch({SIGUSR1});
    raise(SIGUSR1);
    EXPECT_EQ(g_user_handler_calls, 0);
  }
  raise(SIGUSR1);
  EXPECT_EQ(g_user_handler_calls, 1);
  struct sigaction restored;
  ASSERT_EQ(sigaction(SIGUSR1, &original, &restored), 0);
  EXPECT_EQ(restored.sa_handler, mine.sa_handler);
  EXPECT_EQ(restored.sa_flags & SA_NODEFER, SA_NODEFER);
  EXPECT_EQ(restored.sa_flags & SA_RESTART, 0);
  EXPECT_EQ(sigismember(&restored.sa_mask, SIGUSR2), 1);
}

TEST_P(SignalHandlerTest, EachOfSeveralWatchesIsTold) {
  const auto first = Watch({SIGUSR1, SIGUSR2});
  const auto second = Watch({SIGUSR2});
  const auto third = fio::Watch({SIGUSR2}, SignalMechanism::kSelfPipe);
  raise(SIGUSR2);
  raise(SIGUSR1);
  EXPECT_THAT(All(*first), ElementsAre(SIGUSR1, SIGUSR2));
  EXPECT_TRUE(IsReadable(second->fd()));
  EXPECT_THAT(All(*second), ElementsAre(SIGUSR2));
  EXPECT_TRUE(IsReadable(third->fd()));
  EXPECT_THAT(All(*third), ElementsAre(SIGUSR2));
}

// In whatever order they go.
TEST_P(SignalHandlerTest, TheLastOfSeveralWatchesRestoresTheOldHandler) {
  constexpr size_t kWatches = 3;
  for (size_t first_to_go = 0; first_to_go < kWatches; ++first_to_go) {
    std::vector<std::unique_ptr<SignalWatch>> watches;
    while (watches.size() < kWatches) watches.push_back(Watch({SIGUSR1}));
    for (size_t i = 0; i < kWatches; ++i) {
      EXPECT_NE(Disposition(SIGUSR1).sa_handler, SIG_DFL);
      watches[(first_to_go + i) % kWatches].reset();
      for (const auto& left : watches) {
        if (left == nullptr) continue;
        raise(SIGUSR1);
        EXPECT_EQ(left->Next(), SIGUSR1);
        All(*left);
      }
    }
    EXPECT_EQ(Disposition(SIGUSR1).sa_handler, SIG_DFL);
  }
}

TEST_P(SignalHandlerTest, AFailedWatchLeavesOthersAlone) {
  const auto watch = Watch({SIGUSR1});
  const absl::Status failed =
      SignalWatch::Create({SIGUSR1, SIGUSR2, SIGKILL}, GetParam()).status();
  EXPECT_THAT(failed.message(), HasSubstr("sigaction 9"));
  raise(SIGUSR1);
  EXPECT_THAT(All(*watch), ElementsAre(SIGUSR1));
  EXPECT_EQ(Disposition(SIGUSR2).sa_handler, SIG_DFL);
}

TEST_P(SignalHandlerTest, AForkedChildHasWatchesOfItsOwn) {
  auto inherited = Watch({SIGUSR1});
  EXPECT_TRUE(InForkedChild([&inherited] {
    const auto own = Watch({SIGUSR1});
    raise(SIGUSR1);
    const bool told = own->Next() == SIGUSR1 && own->Next() == 0;
    inherited.reset();
    raise(SIGUSR1);
    return told && own->Next() == SIGUSR1;
  }));
  EXPECT_FALSE(IsReadable(inherited->fd()));
}

// Sends SIGUSR1 to itself from start to end.
class Sender {
 public:
  ~Sender() { Stop(); }
  // How many it has sent.
  size_t Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return sent_;
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<size_t> sent_{0};
  std::thread thread_{[this] {
    while (!stop_) {
      raise(SIGUSR1);
      ++sent_;
    }
  }};
};

TEST_P(SignalHandlerTest, WatchesComeAndGoWhileSignalsArrive) {
  const auto watch = Watch({SIGUSR1});
  Sender sender;
  for (int i = 0; i < 200; ++i) {
    const auto one = Watch({SIGUSR1});
    const auto other = Watch({SIGUSR2, SIGUSR1});
    AwaitReadable(one->fd());
    EXPECT_EQ(one->Next(), SIGUSR1);
    AwaitReadable(other->fd());
    EXPECT_EQ(other->Next(), SIGUSR1);
  }
  const size_t sent = sender.Stop();
  EXPECT_EQ(All(*watch).size(), sent);
}

// The handler that is under way on another thread is not there in the child.
TEST_P(SignalHandlerTest, AForkedChildDoesNotWaitForOtherThreads) {
  auto watch = Watch({SIGUSR1});
  Sender sender;
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(InForkedChild([&watch] {
      watch.reset();
      return Disposition(SIGUSR1).sa_handler == SIG_DFL;
    }));
  }
  const size_t sent = sender.Stop();
  EXPECT_EQ(All(*watch).size(), sent);
}

#if defined(__linux__)

TEST(SignalFdWatch, ChangesTheMaskAndNotTheDisposition) {
  const auto watch = Watch({SIGUSR1}, SignalMechanism::kSignalFd);
  EXPECT_TRUE(IsBlocked(SIGUSR1));
  EXPECT_FALSE(IsBlocked(SIGUSR2));
  EXPECT_EQ(Disposition(SIGUSR1).sa_handler, SIG_DFL);
}

TEST(SignalFdWatch, UnblocksWhatItBlocked) {
  sigset_t mine;
  sigemptyset(&mine);
  sigaddset(&mine, SIGUSR2);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &mine, nullptr), 0);
  auto watch = Watch({SIGUSR1, SIGUSR2}, SignalMechanism::kSignalFd);
  EXPECT_TRUE(IsBlocked(SIGUSR1));
  EXPECT_TRUE(IsBlocked(SIGUSR2));
  watch.reset();
  EXPECT_FALSE(IsBlocked(SIGUSR1));
  EXPECT_TRUE(IsBlocked(SIGUSR2));
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &mine, nullptr), 0);
}

TEST(SignalFdWatch, LeavesTheMaskOfAnotherThreadAlone) {
  auto watch = Watch({SIGUSR1}, SignalMechanism::kSignalFd);
  std::thread([&watch] {
    watch.reset();
    EXPECT_TRUE(IsBlocked(SIGUSR1));
  }).join();
  EXPECT_TRUE(IsBlocked(SIGUSR1));
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr), 0);
}

#endif

}  // namespace
}  // namespace fio
