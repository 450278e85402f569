#include "fio/base/monotonic_time.h"

#include <limits>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

TEST(MonotonicTime, AddsAndSubtractsSpans) {
  const MonotonicTime start = MonotonicTime::FromNanoseconds(1'000);
  const MonotonicTime later = start + absl::Seconds(2);
  EXPECT_EQ(later.nanoseconds(), 2'000'001'000);
  EXPECT_EQ(later - start, absl::Seconds(2));
  EXPECT_EQ(later - absl::Seconds(2), start);
  EXPECT_LT(start, later);
}

TEST(MonotonicTime, InfiniteFutureStaysInfinite) {
  const MonotonicTime never = MonotonicTime::InfiniteFuture();
  EXPECT_EQ(never - absl::Hours(1), never);
  EXPECT_EQ(never - MonotonicTime(), absl::InfiniteDuration());
  EXPECT_EQ(MonotonicTime() - never, -absl::InfiniteDuration());
  EXPECT_EQ(never - never, absl::ZeroDuration());
  EXPECT_EQ(MonotonicTime() + absl::InfiniteDuration(), never);
}

TEST(MonotonicTime, InfinitePastStaysInfinite) {
  const MonotonicTime past = MonotonicTime::InfinitePast();
  EXPECT_LT(past, MonotonicTime());
  EXPECT_EQ(past + absl::Hours(1), past);
  EXPECT_EQ(past - MonotonicTime(), -absl::InfiniteDuration());
  EXPECT_EQ(MonotonicTime() - past, absl::InfiniteDuration());
}

TEST(MonotonicTime, SaturatesInsteadOfWrapping) {
  const MonotonicTime late =
      MonotonicTime::FromNanoseconds(std::numeric_limits<int64_t>::max() - 10);
  EXPECT_EQ(late + absl::Seconds(1), MonotonicTime::InfiniteFuture());
  const MonotonicTime early =
      MonotonicTime::FromNanoseconds(std::numeric_limits<int64_t>::min() + 10);
  EXPECT_EQ(early - absl::Seconds(1), MonotonicTime::InfinitePast());
}

TEST(MonotonicTime, HoldsADifferenceOf25Days) {
  const absl::Duration span = absl::Hours(24 * 25) + absl::Nanoseconds(1);
  EXPECT_EQ((MonotonicTime() + span) - MonotonicTime(), span);
}

}  // namespace
}  // namespace fio
