#include "fio/core/internal/root_thread_check.h"

#include <pthread.h>

#include <thread>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "fio/core/reactor_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::_;
using ::testing::HasSubstr;

class OtherThread {
 public:
  OtherThread() : thread_([this] { over_.WaitForNotification(); }) {
    pthread_setname_np(thread_.native_handle(), "other");
  }
  OtherThread(const OtherThread&) = delete;
  OtherThread& operator=(const OtherThread&) = delete;
  ~OtherThread() {
    over_.Notify();
    thread_.join();
  }

 private:
  absl::Notification over_;
  std::thread thread_;
};

TEST(RootThreadCheck, WithoutThreadsAllMayFork) {
  for (const RootThreads asked : {RootThreads::kDefault, RootThreads::kRefuse,
                                  RootThreads::kWarn, RootThreads::kAllow}) {
    RootThreadCheck check(asked);
    EXPECT_TRUE(check.MayFork(0).ok());
  }
}

TEST(RootThreadCheck, RefusesAndNamesTheThread) {
  RootThreadCheck check(RootThreads::kRefuse);
  {
    const OtherThread other;
    for (int i = 0; i < 2; ++i) {
      const absl::Status refused = check.MayFork(3);
      EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
      EXPECT_THAT(
          refused.message(),
          HasSubstr("fork worker 3: the root has 1 other thread (other)"));
    }
  }
  EXPECT_TRUE(check.MayFork(3).ok());
}

TEST(RootThreadCheck, WarnsOnce) {
  RootThreadCheck check(RootThreads::kWarn);
  const OtherThread other;
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       HasSubstr("fork worker 1: the root has")));
  log.StartCapturingLogs();
  EXPECT_TRUE(check.MayFork(1).ok());
  EXPECT_TRUE(check.MayFork(2).ok());
}

TEST(RootThreadCheck, AllowsWithoutAWord) {
  RootThreadCheck check(RootThreads::kAllow);
  const OtherThread other;
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  log.StartCapturingLogs();
  EXPECT_TRUE(check.MayFork(0).ok());
}

}  // namespace
}  // namespace fio::core_internal
