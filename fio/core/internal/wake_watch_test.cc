#include "fio/core/internal/wake_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

class WakeWatchTest : public ::testing::Test {
 protected:
  WakeWatchTest() {
    absl::StatusOr<std::unique_ptr<Loop>> loop = Loop::Create({});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    std::array<int, 2> ends;
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    read_end_ = UniqueFd(ends[0]);
    write_end_ = UniqueFd(ends[1]);
  }

  void Write() { EXPECT_EQ(write(write_end_.get(), "x", 1), 1); }
  void Read() {
    char byte;
    EXPECT_EQ(read(read_end_.get(), &byte, 1), 1);
  }
  void Turn() {
    EXPECT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  }

  std::unique_ptr<Loop> loop_;
  UniqueFd read_end_, write_end_;
};

TEST_F(WakeWatchTest, TellsUntilItWasRead) {
  WakeWatch watch(*loop_);
  EXPECT_TRUE(watch.TakeWoken());  // Something may be there already.
  ASSERT_TRUE(watch.Add({read_end_.get()}).ok());
  Turn();
  EXPECT_FALSE(watch.TakeWoken());
  Write();
  for (int i = 0; i < 2; ++i) {
    Turn();
    EXPECT_TRUE(watch.TakeWoken());
    EXPECT_FALSE(watch.TakeWoken());
  }
  Read();
  Turn();
  EXPECT_FALSE(watch.TakeWoken());
  watch.NoteWoken();
  EXPECT_TRUE(watch.TakeWoken());
}

TEST_F(WakeWatchTest, ClearEndsIt) {
  WakeWatch watch(*loop_);
  EXPECT_TRUE(watch.TakeWoken());
  ASSERT_TRUE(watch.Add({read_end_.get()}).ok());
  watch.Clear();
  Write();
  Turn();
  EXPECT_FALSE(watch.TakeWoken());
}

TEST_F(WakeWatchTest, TheDestructorEndsIt) {
  Write();
  for (int i = 0; i < 2; ++i) {
    WakeWatch watch(*loop_);
    ASSERT_TRUE(watch.Add({read_end_.get()}).ok());
  }
  Turn();
}

TEST_F(WakeWatchTest, ABadDescriptorIsAnError) {
  WakeWatch watch(*loop_);
  EXPECT_FALSE(watch.Add({read_end_.get(), -1}).ok());
}

}  // namespace
}  // namespace fio::core_internal
