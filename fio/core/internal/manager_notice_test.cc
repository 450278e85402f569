#include "fio/core/internal/manager_notice.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::_;
using ::testing::HasSubstr;

// A service manager, and a process that notifies it.
class ManagerNoticeTest : public ::testing::Test {
 protected:
  ManagerNoticeTest()
      : socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    address_.sun_family = AF_UNIX;  // Without a name: the kernel picks one.
    size_ = sizeof(sa_family_t);
    auto* const generic = reinterpret_cast<sockaddr*>(&address_);
    EXPECT_EQ(bind(socket_.get(), generic, size_), 0);
    size_ = sizeof(address_);
    EXPECT_EQ(getsockname(socket_.get(), generic, &size_), 0);
    const std::string name(address_.sun_path + 1,
                           size_ - offsetof(sockaddr_un, sun_path) - 1);
    EXPECT_EQ(setenv("NOTIFY_SOCKET", absl::StrCat("@", name).c_str(), 1), 0);
  }
  ~ManagerNoticeTest() override { unsetenv("NOTIFY_SOCKET"); }

  // Empty if nothing was sent.
  std::string Read() {
    std::array<char, 256> bytes;
    const ssize_t got = recv(socket_.get(), bytes.data(), bytes.size(), 0);
    return got < 0 ? "" : std::string(bytes.data(), static_cast<size_t>(got));
  }

  // Until nothing more can be sent.
  void FillQueue() {
    const UniqueFd filler(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    while (sendto(filler.get(), "x", 1, 0,
                  reinterpret_cast<const sockaddr*>(&address_), size_) == 1) {
    }
    EXPECT_EQ(errno, EAGAIN);
  }
  void EmptyQueue() {
    while (!Read().empty()) {
    }
  }

  void Advance(absl::Duration span) {
    clock_.Advance(span);
    ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  }

  UniqueFd socket_;
  sockaddr_un address_ = {};
  socklen_t size_;
  testing::ManualClock clock_;
  std::unique_ptr<Loop> loop_ = *Loop::Create({.clock = &clock_});
  std::optional<ManagerNotice> notice_{std::in_place, *loop_};
};

TEST_F(ManagerNoticeTest, IsSentAtOnce) {
  notice_->Tell("READY=1");
  EXPECT_EQ(Read(), "READY=1");
  notice_->Finish();
  EXPECT_EQ(Read(), "");
}

TEST_F(ManagerNoticeTest, IsSentAgainWhileTheQueueIsFull) {
  FillQueue();
  notice_->Tell("READY=1");
  Advance(absl::Milliseconds(150));
  EmptyQueue();
  Advance(absl::Milliseconds(150));
  EXPECT_EQ(Read(), "READY=1");
  Advance(absl::Seconds(1));
  EXPECT_EQ(Read(), "");
}

TEST_F(ManagerNoticeTest, ANewerOneReplacesIt) {
  FillQueue();
  notice_->Tell("READY=1");
  EmptyQueue();
  notice_->Tell("STOPPING=1");
  Advance(absl::Seconds(1));
  EXPECT_EQ(Read(), "STOPPING=1");
  EXPECT_EQ(Read(), "");
}

TEST_F(ManagerNoticeTest, FinishTriesOnceMore) {
  FillQueue();
  notice_->Tell("READY=1");
  EmptyQueue();
  notice_->Finish();
  EXPECT_EQ(Read(), "READY=1");

  FillQueue();
  notice_->Tell("STOPPING=1");
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(log,
              Log(absl::LogSeverity::kWarning, _,
                  HasSubstr("the service manager is not told STOPPING=1")));
  log.StartCapturingLogs();
  notice_->Finish();
  EmptyQueue();
  Advance(absl::Seconds(1));
  EXPECT_EQ(Read(), "");
}

TEST_F(ManagerNoticeTest, GivesUpAfter90Seconds) {
  FillQueue();
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       HasSubstr("the service manager is not told READY=1")));
  log.StartCapturingLogs();
  notice_->Tell("READY=1");
  for (int i = 0; i < 901; ++i) Advance(absl::Milliseconds(101));
  EmptyQueue();
  Advance(absl::Seconds(1));
  EXPECT_EQ(Read(), "");
}

TEST_F(ManagerNoticeTest, TheDestructorDropsIt) {
  FillQueue();
  notice_->Tell("READY=1");
  notice_.reset();
  EmptyQueue();
  Advance(absl::Seconds(1));
  EXPECT_EQ(Read(), "");
}

}  // namespace
}  // namespace fio::core_internal
