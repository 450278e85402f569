#include "fio/core/exit_with.h"

#include <unistd.h>

#include <csignal>

#include "absl/log/absl_check.h"
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

// Prints a line into a pipe that nobody reads, and then ends.
[[noreturn]] void ExitWithBrokenPipes(const absl::Status& status) {
  int fds[2];
  ABSL_CHECK_EQ(pipe(fds), 0);
  close(fds[0]);
  std::signal(SIGPIPE, SIG_DFL);
  dup2(fds[1], STDERR_FILENO);
  const int code = ExitWith(status);
  // As a callback for kAtExit would.
  if (write(fds[1], "at exit\n", 8) > 0) _exit(2);
  _exit(code);
}

TEST(ExitWithDeathTest, ABrokenPipeDoesNotChangeTheExitCode) {
  EXPECT_EXIT(ExitWithBrokenPipes(absl::OkStatus()),
              ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(ExitWithBrokenPipes(absl::NotFoundError("x")),
              ::testing::ExitedWithCode(1), "");
}

}  // namespace
}  // namespace fio
