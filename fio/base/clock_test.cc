#include "fio/base/clock.h"

#include "fio/base/monotonic_time.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

TEST(Clock, SystemNeverRunsBackwards) {
  const Clock& clock = Clock::System();
  MonotonicTime last = clock.Now();
  for (int i = 0; i < 10'000; ++i) {
    const MonotonicTime now = clock.Now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, SystemIsOneObject) {
  EXPECT_EQ(&Clock::System(), &Clock::System());
}

TEST(Clock, TheCoarseTimeIsNeverAheadNorRunsBackwards) {
  const Clock& clock = Clock::System();
  MonotonicTime last = clock.CoarseNow();
  for (int i = 0; i < 10'000; ++i) {
    const MonotonicTime coarse = clock.CoarseNow();
    ASSERT_GE(coarse, last);
    ASSERT_LE(coarse, clock.Now());
    last = coarse;
  }
}

}  // namespace
}  // namespace fio
