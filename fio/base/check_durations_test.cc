#include "fio/base/check_durations.h"

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

TEST(CheckNotNegative, NamesTheFirstThatIs) {
  EXPECT_EQ(CheckNotNegative("Options", {}), absl::OkStatus());
  EXPECT_EQ(CheckNotNegative("Options", {{"none", absl::ZeroDuration()},
                                         {"ever", absl::InfiniteDuration()}}),
            absl::OkStatus());
  EXPECT_EQ(CheckNotNegative("Options", {{"good", absl::Seconds(1)},
                                         {"bad", absl::Milliseconds(-1)},
                                         {"worse", -absl::InfiniteDuration()}}),
            absl::InvalidArgumentError("Options::bad: -1ms is negative"));
}

}  // namespace
}  // namespace fio
