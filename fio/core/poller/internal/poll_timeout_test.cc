#include "fio/core/poller/internal/poll_timeout.h"

#include <limits>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/testing/manual_clock.h"
#include "gtest/gtest.h"

namespace fio::poller_internal {
namespace {

class PollTimeoutTest : public ::testing::Test {
 protected:
  int After(absl::Duration wait) {
    return PollTimeout(clock_.Now() + wait, clock_);
  }

  testing::ManualClock clock_;
};

TEST_F(PollTimeoutTest, ZeroIsExactlyZero) {
  EXPECT_EQ(After(absl::ZeroDuration()), 0);
  EXPECT_EQ(After(-absl::Seconds(1)), 0);
  EXPECT_EQ(PollTimeout(MonotonicTime::InfinitePast(), clock_), 0);
}

TEST_F(PollTimeoutTest, LessThanAMillisecondRoundsUp) {
  EXPECT_EQ(After(absl::Nanoseconds(1)), 1);
  EXPECT_EQ(After(absl::Microseconds(999)), 1);
  EXPECT_EQ(After(absl::Milliseconds(1)), 1);
  EXPECT_EQ(After(absl::Milliseconds(1) + absl::Nanoseconds(1)), 2);
  EXPECT_EQ(After(absl::Seconds(5)), 5000);
}

TEST_F(PollTimeoutTest, HugeIsClamped) {
  constexpr int kMost = std::numeric_limits<int>::max();
  EXPECT_EQ(After(absl::Milliseconds(kMost) - absl::Milliseconds(1)),
            kMost - 1);
  EXPECT_EQ(After(absl::Milliseconds(kMost)), kMost);
  EXPECT_EQ(After(absl::Hours(24 * 25)), kMost);
  EXPECT_EQ(After(absl::Hours(24 * 365 * 200)), kMost);
}

TEST_F(PollTimeoutTest, NoDeadlineIsForEver) {
  EXPECT_EQ(PollTimeout(MonotonicTime::InfiniteFuture(), clock_), -1);
}

}  // namespace
}  // namespace fio::poller_internal
