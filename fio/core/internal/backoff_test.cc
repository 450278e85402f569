#include "fio/core/internal/backoff.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

TEST(Backoff, IsVariedAndDecidedByItsSeed) {
  Backoff a(absl::Seconds(1), absl::Seconds(8), 7);
  Backoff same(absl::Seconds(1), absl::Seconds(8), 7);
  Backoff other(absl::Seconds(1), absl::Seconds(8), 8);
  int differ = 0;
  for (const int seconds : {1, 2, 4, 8, 8, 8, 8}) {
    const absl::Duration delay = a.Next();
    EXPECT_GE(delay, absl::Seconds(seconds) * 0.75);
    EXPECT_LE(delay, absl::Seconds(seconds) * 1.25);
    EXPECT_EQ(delay, same.Next());
    differ += delay != other.Next();
  }
  EXPECT_GT(differ, 3);
  a.Reset();
  EXPECT_LE(a.Next(), absl::Seconds(1.25));
}

TEST(Backoff, NeverOverflows) {
  Backoff backoff(absl::Hours(1), absl::InfiniteDuration(), 1);
  absl::Duration last;
  for (int i = 0; i < 200; ++i) last = backoff.Next();
  EXPECT_EQ(last, absl::InfiniteDuration());
}

}  // namespace
}  // namespace fio::core_internal
