#include "fio/core/internal/run_guard.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

TEST(RunGuard, IsInsideBetweenEnterAndLeave) {
  RunGuard guard;
  EXPECT_FALSE(guard.is_inside());
  for (int run = 0; run < 2; ++run) {
    guard.Enter();
    EXPECT_TRUE(guard.is_inside());
    guard.Leave();
    EXPECT_FALSE(guard.is_inside());
  }
  EXPECT_FALSE(RunGuard::ProcessExits());
}

// What was registered before Enter() runs after it, as the destructor of an
// object that was constructed before.
TEST(RunGuard, KnowsThatTheProcessExits) {
  const pid_t child = fork();
  if (child == 0) {
    std::atexit([] { _exit(RunGuard::ProcessExits() ? 7 : 8); });
    RunGuard guard;
    guard.Enter();
    std::exit(1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

}  // namespace
}  // namespace fio::core_internal
