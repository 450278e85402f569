#include "fio/sock/write_queue.h"

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

class WriteQueueTest : public ::testing::Test {
 protected:
  WriteQueueTest() {
    int fds[2];
    EXPECT_EQ(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
        0);
    near_ = Socket(UniqueFd(fds[0]));
    far_ = Socket(UniqueFd(fds[1]));
  }

  // All that is there now.
  std::string Receive() {
    std::string received;
    char buffer[1 << 16];
    for (;;) {
      const IoResult read = far_.Read(absl::MakeSpan(buffer));
      if (!read.ok() || read.bytes == 0) return received;
      received.append(buffer, read.bytes);
    }
  }

  // Flushes as far as the kernel takes it.
  void FlushAll() {
    while (!queue_.empty() && queue_.Flush(near_).ok()) {
    }
  }

  Socket near_, far_;
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
  EXPECT_EQ(Receive(), "copied cord end");
}

TEST_F(WriteQueueTest, KeepsWhatTheKernelDoesNotTake) {
  std::string expected;
  for (int i = 0; i < 64; ++i) expected.append(1 << 16, 'a' + i % 26);
  queue_.Append(expected);
  std::string received;
  while (!queue_.empty()) {
    FlushAll();
    received += Receive();
  }
  received += Receive();
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
    received += Receive();
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
