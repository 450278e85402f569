#include "fio/core/internal/connector_set.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/connector.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/resolver.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

constexpr auto kFirst = static_cast<ConnectorId>(1);

class ConnectorSetTest : public ::testing::Test {
 protected:
  // Nobody listens there; `reconnect` makes it try again for ever.
  absl::Status Start(bool reconnect) {
    ConnectorOptions options;
    options.on_open = [](Connection& connection) { connection.Close(); };
    options.on_finish = [this] { ++finished_; };
    options.reconnect = reconnect;
    return set_->Start(kFirst, "tcp://127.0.0.1:1", std::move(options));
  }

  void Turns(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
    }
  }

  testing::ManualClock clock_;
  std::unique_ptr<Loop> loop_ = *Loop::Create({.clock = &clock_});
  Resolver resolver_;
  int finished_ = 0;
  std::optional<ConnectorSet> set_{std::in_place, *loop_, resolver_};
};

TEST_F(ConnectorSetTest, CancelTellsOnce) {
  ASSERT_TRUE(Start(/*reconnect=*/true).ok());
  EXPECT_FALSE(set_->Cancel(static_cast<ConnectorId>(2)));
  EXPECT_TRUE(set_->Cancel(kFirst));
  EXPECT_EQ(finished_, 1);
  EXPECT_FALSE(set_->Cancel(kFirst));
  Turns(2);
  EXPECT_EQ(finished_, 1);
}

TEST_F(ConnectorSetTest, WhatHasFinishedIsNotFound) {
  ASSERT_TRUE(Start(/*reconnect=*/false).ok());
  while (finished_ == 0) {
    ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  }
  EXPECT_FALSE(set_->Cancel(kFirst));
  Turns(2);
  EXPECT_FALSE(set_->Cancel(kFirst));
  EXPECT_EQ(finished_, 1);
}

TEST_F(ConnectorSetTest, TheDestructorTells) {
  ASSERT_TRUE(Start(/*reconnect=*/true).ok());
  set_.reset();
  EXPECT_EQ(finished_, 1);
}

TEST_F(ConnectorSetTest, AnErrorTellsInsideOfTheCall) {
  ConnectorOptions options;
  options.on_finish = [this] { ++finished_; };
  EXPECT_TRUE(absl::IsInvalidArgument(
      set_->Start(kFirst, "tcp://127.0.0.1:1", std::move(options))));
  EXPECT_EQ(finished_, 1);
  EXPECT_FALSE(set_->Cancel(kFirst));
}

TEST_F(ConnectorSetTest, AForkedChildTellsNothing) {
  ASSERT_TRUE(Start(/*reconnect=*/true).ok());
  loop_->BeforeFork();
  const pid_t child = fork();
  loop_->AfterFork();
  if (child == 0) {
    set_.reset();
    _exit(finished_);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(finished_, 0);
}

}  // namespace
}  // namespace fio::core_internal
