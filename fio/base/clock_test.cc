#include "fio/base/clock.h"

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

}  // namespace
}  // namespace fio
