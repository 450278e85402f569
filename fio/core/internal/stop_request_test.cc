#include "fio/core/internal/stop_request.h"

#include <optional>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

constexpr MonotonicTime At(int64_t seconds) {
  return MonotonicTime::FromNanoseconds(seconds * 1'000'000'000);
}

TEST(StopRequest, IsTakenOnce) {
  StopRequest request;
  request.Open();
  EXPECT_EQ(request.TakeStop(), std::nullopt);
  EXPECT_FALSE(request.TakeRestart());
  EXPECT_FALSE(request.TakeReload());
  EXPECT_TRUE(request.Stop(MonotonicTime::InfiniteFuture()));
  EXPECT_TRUE(request.Restart());
  EXPECT_TRUE(request.Reload());
  EXPECT_EQ(request.TakeStop(), MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(request.TakeRestart());
  EXPECT_TRUE(request.TakeReload());
  EXPECT_EQ(request.TakeStop(), std::nullopt);
  EXPECT_FALSE(request.TakeRestart());
  EXPECT_FALSE(request.TakeReload());
}

TEST(StopRequest, ALaterOneOnlyShortens) {
  StopRequest request;
  request.Open();
  EXPECT_TRUE(request.Stop(At(20)));
  EXPECT_TRUE(request.Stop(At(30)));
  EXPECT_EQ(request.TakeStop(), At(20));
  EXPECT_TRUE(request.Stop(At(25)));
  EXPECT_EQ(request.TakeStop(), At(20));
  EXPECT_TRUE(request.Stop(At(10)));
  EXPECT_EQ(request.TakeStop(), At(10));
}

TEST(StopRequest, DropsWhatIsAskedWhileItIsClosed) {
  StopRequest request;
  EXPECT_FALSE(request.Stop(At(1)));
  EXPECT_FALSE(request.Restart());
  EXPECT_FALSE(request.Reload());
  request.Open();
  EXPECT_EQ(request.TakeStop(), std::nullopt);
  request.Close();
  EXPECT_FALSE(request.Stop(At(1)));
  EXPECT_FALSE(request.Restart());
}

TEST(StopRequest, OpenForgetsTheLastRun) {
  StopRequest request;
  request.Open();
  EXPECT_TRUE(request.Stop(At(1)));
  EXPECT_TRUE(request.Restart());
  EXPECT_TRUE(request.Reload());
  request.Close();
  request.Open();
  EXPECT_EQ(request.TakeStop(), std::nullopt);
  EXPECT_FALSE(request.TakeRestart());
  EXPECT_FALSE(request.TakeReload());
  EXPECT_TRUE(request.Stop(At(5)));
  EXPECT_EQ(request.TakeStop(), At(5));
}

TEST(StopRequest, TheEarliestOfManyThreadsWins) {
  StopRequest request;
  request.Open();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&request, i] {
      for (int k = 100; k > 0; --k) request.Stop(At(4 * k + i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(request.TakeStop(), At(4));
}

}  // namespace
}  // namespace fio::core_internal
