#include "fio/core/process/descriptor_limit.h"

#include <sys/resource.h>

#include <cstddef>

#include "gtest/gtest.h"

namespace fio {
namespace {

rlimit Limit() {
  rlimit limit;
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  return limit;
}

TEST(DescriptorLimit, RaisesUpToWhatIsWantedAndNeverLowers) {
  rlimit low = Limit();
  low.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(*RaiseDescriptorLimit(100), 100u);
  EXPECT_EQ(Limit().rlim_cur, 100u);
  EXPECT_EQ(*RaiseDescriptorLimit(50), 100u);
  EXPECT_EQ(Limit().rlim_cur, 100u);
}

TEST(DescriptorLimit, StopsAtTheHardLimit) {
  const rlim_t hard = Limit().rlim_max;
  EXPECT_EQ(*RaiseDescriptorLimit(static_cast<size_t>(-1)), hard);
  EXPECT_EQ(Limit().rlim_cur, hard);
}

}  // namespace
}  // namespace fio
