#include "fio/base/signals_blocked.h"

#include <pthread.h>
#include <signal.h>

#include <optional>
#include <thread>
#include <utility>

#include "gtest/gtest.h"

namespace fio {
namespace {

bool IsBlocked(int signal) {
  sigset_t blocked;
  EXPECT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &blocked), 0);
  return sigismember(&blocked, signal) == 1;
}

TEST(SignalsBlocked, BlocksForAsLongAsItLives) {
  {
    const SignalsBlocked blocked;
    EXPECT_TRUE(IsBlocked(SIGTERM));
    EXPECT_TRUE(IsBlocked(SIGUSR1));
  }
  EXPECT_FALSE(IsBlocked(SIGTERM));
  EXPECT_FALSE(IsBlocked(SIGUSR1));
}

TEST(SignalsBlocked, LeavesBlockedWhatWas) {
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &usr1, nullptr), 0);
  std::optional<SignalsBlocked> blocked(std::in_place);
  blocked.reset();
  EXPECT_TRUE(IsBlocked(SIGUSR1));
  EXPECT_FALSE(IsBlocked(SIGUSR2));
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr), 0);
}

TEST(SignalsBlocked, AThreadThatItStartsHasThemBlocked) {
  bool blocked_there = false;
  std::optional<SignalsBlocked> blocked(std::in_place);
  std::thread thread([&blocked_there] { blocked_there = IsBlocked(SIGTERM); });
  blocked.reset();
  thread.join();
  EXPECT_TRUE(blocked_there);
}

}  // namespace
}  // namespace fio
