#include "fio/testing/manual_clock.h"

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  const MonotonicTime start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Hours(24 * 25));
  EXPECT_EQ(clock.Now() - start, absl::Hours(24 * 25));
}

TEST(ManualClockDeathTest, RefusesToRunBackwards) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ManualClock clock;
  EXPECT_DEATH(clock.Advance(-absl::Nanoseconds(1)), "ManualClock::Advance");
}

}  // namespace
}  // namespace fio::testing
