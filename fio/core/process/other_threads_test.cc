#include "fio/core/process/other_threads.h"

#include <pthread.h>

#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(OtherThreads, AreNamedUntilTheyHaveEnded) {
  EXPECT_THAT(FindOtherThreads(), IsEmpty());
  std::latch named(3), end(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      pthread_setname_np(pthread_self(), "mine");
      named.count_down();
      end.wait();
    });
  }
  named.wait();
  const std::vector<std::string> names = FindOtherThreads();
  end.count_down();
  EXPECT_THAT(names, SizeIs(3));
  EXPECT_THAT(names, Each("mine"));
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(FindOtherThreads(), IsEmpty());
}

// The kernel may list a thread for a moment after it was joined.
TEST(OtherThreads, JoinedOnesAreNotTold) {
  for (int i = 0; i < 200; ++i) {
    std::thread([] {}).join();
    ASSERT_THAT(FindOtherThreads(), IsEmpty());
  }
}

}  // namespace
}  // namespace fio
