#include "fio/sock/write_queue.h"

#include <cerrno>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;
using testing::ReadAvailable;

class WriteQueueTest : public ::testing::Test {
 protected:
  // Flushes as far as the kernel takes it.
  void FlushAll() {
    while (!queue_.empty() && queue_.Flush(near_).ok()) {
    }
  }

  LoopbackPair pair_ = LoopbackPair::Unix();
  Socket& near_ = pair_.near;
  Socket& far_ = pair_.far;
  WriteQueue queue_;
};

TEST_F(WriteQueueTest, KeepsTheOrderOfCopiesAndCords) {
  std::string copied = "copied ";
  queue_.Append(copied);
  copied.assign("changed");
  queue_.Append(absl::Cord("cord "));
  queue_.Append("end");
  EXPECT_EQ(queue_.size(), 15u);
  FlushAll();
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(ReadAvailable(far_), "copied cord end");
}

TEST_F(WriteQueueTest, KeepsWhatTheKernelDoesNotTake) {
  std::string expected;
  for (int i = 0; i < 64; ++i) expected.append(1 << 16, 'a' + i % 26);
  queue_.Append(expected);
  std::string received;
  while (!queue_.empty()) {
    FlushAll();
    received += ReadAvailable(far_);
  }
  received += ReadAvailable(far_);
  EXPECT_TRUE(received == expected);
}

TEST_F(WriteQueueTest, SendsMorePiecesThanOneCallTakes) {
  std::string expected;
  int released = 0;
  const std::string piece(4096, 'p');
  for (int i = 0; i < 200; ++i) {
    queue_.Append(absl::MakeCordFromExternal(
        piece, [&](std::string_view) { ++released; }));
    expected += piece;
  }
  std::string received;
  while (!queue_.empty()) {
    FlushAll();
    received += ReadAvailable(far_);
  }
  EXPECT_TRUE(received == expected);
  EXPECT_EQ(released, 200);
}

TEST_F(WriteQueueTest, ReleasesOwnedBytesOnce) {
  static constexpr char kBytes[] = "owned";
  int released = 0;
  const auto owned = [&] {
    return absl::MakeCordFromExternal(kBytes,
                                      [&](std::string_view) { ++released; });
  };
  queue_.Append(owned());
  FlushAll();
  EXPECT_EQ(released, 1);
  queue_.Append(owned());
  queue_.Clear();
  EXPECT_EQ(released, 2);
  {
    WriteQueue dies;
    dies.Append(owned());
  }
  EXPECT_EQ(released, 3);
}

TEST_F(WriteQueueTest, ErrorsPassThroughAndKeepTheBytes) {
  far_.Close();
  queue_.Append("x");
  EXPECT_EQ(queue_.Flush(near_).error, EPIPE);
  EXPECT_EQ(queue_.size(), 1u);
}

}  // namespace
}  // namespace fio
