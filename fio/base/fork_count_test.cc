#include "fio/base/fork_count.h"

#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace fio {
namespace {

TEST(ForkCount, GrowsInTheChildOnly) {
  const int before = ForkCount();
  const pid_t child = fork();
  if (child == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(ForkCount() - before);
    int status = 0;
    waitpid(grandchild, &status, 0);
    _exit(WEXITSTATUS(status) == 2 ? ForkCount() - before : 99);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(ForkCount(), before);
}

TEST(ForkCount, ForksMadeCountsThoseOfThisProcess) {
  const int before = ForksMade();
  const pid_t child = fork();
  if (child == 0) _exit(ForksMade());
  EXPECT_EQ(ForksMade(), before + 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace fio
