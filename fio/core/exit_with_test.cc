#include "fio/core/exit_with.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

TEST(ExitWith, OkIsZeroAndSilent) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(ExitWith(absl::OkStatus()), 0);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(ExitWith, AnErrorIsOneAndOneLine) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(ExitWith(absl::NotFoundError("listen: no such thing")), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "listen: no such thing\n");
}

}  // namespace
}  // namespace fio
