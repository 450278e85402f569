#include "fio/base/spin_wait.h"

#include <sys/resource.h>

#include <cstdint>

#include "gtest/gtest.h"

namespace fio {
namespace {

// How often this thread has slept in the kernel. A yield is no sleep.
int64_t Sleeps() {
  rusage usage;
  EXPECT_EQ(getrusage(RUSAGE_THREAD, &usage), 0);
  return usage.ru_nvcsw;
}

TEST(SpinWait, SleepsAfterItsYields) {
  SpinWait wait;
  for (int i = 0; i < SpinWait::kYields; ++i) wait.Pause();
  const int64_t before = Sleeps();
  constexpr int kCalls = 10;
  for (int i = 0; i < kCalls; ++i) wait.Pause();
  EXPECT_GE(Sleeps() - before, kCalls);
}

}  // namespace
}  // namespace fio
