#include "fio/core/poller/signal_watch.h"

#include <poll.h>

#include <csignal>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

bool IsReadable(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&ready, 1, 0) == 1;
}

TEST(SignalWatch, TellsASignalOnce) {
  const auto watch = SignalWatch::Create({SIGUSR1, SIGUSR2});
  ASSERT_TRUE(watch.ok()) << watch.status();
  EXPECT_EQ((*watch)->Next(), 0);
  EXPECT_FALSE(IsReadable((*watch)->fd()));
  raise(SIGUSR2);
  EXPECT_TRUE(IsReadable((*watch)->fd()));
  EXPECT_EQ((*watch)->Next(), SIGUSR2);
  EXPECT_EQ((*watch)->Next(), 0);
  EXPECT_FALSE(IsReadable((*watch)->fd()));
}

TEST(SignalWatch, CountsWhatArrives) {
  const auto watch = SignalWatch::Create({SIGUSR1, SIGUSR2});
  ASSERT_TRUE(watch.ok()) << watch.status();
  raise(SIGUSR1);
  raise(SIGUSR1);
  raise(SIGUSR2);
  EXPECT_EQ((*watch)->Next(), SIGUSR1);
  EXPECT_EQ((*watch)->Next(), SIGUSR1);
  EXPECT_EQ((*watch)->Next(), SIGUSR2);
  EXPECT_EQ((*watch)->Next(), 0);
}

TEST(SignalWatch, TakesSignalsFromOtherThreads) {
  const auto watch = SignalWatch::Create({SIGUSR1});
  ASSERT_TRUE(watch.ok()) << watch.status();
  std::thread other([] { raise(SIGUSR1); });
  pollfd ready = {.fd = (*watch)->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ready, 1, -1), 1);
  other.join();
  EXPECT_EQ((*watch)->Next(), SIGUSR1);
}

int g_user_handler_calls = 0;

TEST(SignalWatch, OldHandlersRestored) {
  struct sigaction mine = {};
  mine.sa_handler = [](int) { ++g_user_handler_calls; };
  mine.sa_flags = SA_NODEFER;
  sigaddset(&mine.sa_mask, SIGUSR2);
  struct sigaction original;
  ASSERT_EQ(sigaction(SIGUSR1, &mine, &original), 0);
  {
    const auto watch = SignalWatch::Create({SIGUSR1});
    ASSERT_TRUE(watch.ok()) << watch.status();
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

TEST(SignalWatch, ASignalHasOneWatchAtATime) {
  auto first = SignalWatch::Create({SIGUSR1});
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = SignalWatch::Create({SIGUSR2, SIGUSR1}).status();
  EXPECT_TRUE(absl::IsAlreadyExists(second)) << second;
  first->reset();
  EXPECT_TRUE(SignalWatch::Create({SIGUSR2, SIGUSR1}).ok());
}

TEST(SignalWatch, WhatCannotBeCaughtIsAnError) {
  const absl::Status kill = SignalWatch::Create({SIGKILL}).status();
  EXPECT_THAT(kill.message(), HasSubstr("sigaction 9"));
  EXPECT_TRUE(absl::IsInvalidArgument(SignalWatch::Create({-1}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SignalWatch::Create({NSIG}).status()));
}

}  // namespace
}  // namespace fio
