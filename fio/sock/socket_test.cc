#include "fio/sock/socket.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
#include <string>

#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::LoopbackPair;

class SocketTest : public ::testing::Test {
 protected:
  LoopbackPair pair_ = LoopbackPair::Unix();
  Socket& near_ = pair_.near;
  Socket& far_ = pair_.far;
  char buffer_[64];
};

TEST_F(SocketTest, MovesBytes) {
  EXPECT_EQ(near_.Write("hello").bytes, 5u);
  const IoResult read = far_.Read(absl::MakeSpan(buffer_));
  ASSERT_TRUE(read.ok()) << read.status("recv");
  EXPECT_EQ(std::string(buffer_, read.bytes), "hello");
}

TEST_F(SocketTest, GathersPieces) {
  char first[] = "one ";
  char second[] = "two";
  const iovec pieces[] = {{first, 4}, {second, 3}};
  EXPECT_EQ(near_.Write(absl::MakeConstSpan(pieces)).bytes, 7u);
  const IoResult read = far_.Read(absl::MakeSpan(buffer_));
  EXPECT_EQ(std::string(buffer_, read.bytes), "one two");
}

TEST_F(SocketTest, NothingThereWouldBlock) {
  const IoResult read = near_.Read(absl::MakeSpan(buffer_));
  EXPECT_TRUE(read.would_block());
  EXPECT_FALSE(read.ok());
  EXPECT_EQ(read.bytes, 0u);
}

TEST_F(SocketTest, FullKernelBufferWouldBlock) {
  const std::string block(1 << 16, 'x');
  IoResult write;
  do {
    write = near_.Write(block);
  } while (write.ok());
  EXPECT_TRUE(write.would_block()) << write.status("send");
}

TEST_F(SocketTest, PeekTellsBytesFromTheEndAndTakesNone) {
  EXPECT_TRUE(near_.Peek().would_block());
  EXPECT_EQ(far_.Write("x").bytes, 1u);
  EXPECT_EQ(near_.Peek().bytes, 1u);
  EXPECT_EQ(near_.Read(absl::MakeSpan(buffer_)).bytes, 1u);
  far_.Close();
  const IoResult end = near_.Peek();
  EXPECT_TRUE(end.ok());
  EXPECT_EQ(end.bytes, 0u);
}

TEST_F(SocketTest, ShutdownWriteEndsOneDirection) {
  EXPECT_TRUE(near_.ShutdownWrite().ok());
  const IoResult end = far_.Read(absl::MakeSpan(buffer_));
  EXPECT_TRUE(end.ok());
  EXPECT_EQ(end.bytes, 0u);
  EXPECT_EQ(far_.Write("reply").bytes, 5u);
  EXPECT_EQ(near_.Read(absl::MakeSpan(buffer_)).bytes, 5u);
}

TEST_F(SocketTest, WriteToAClosedPeerIsAnErrorAndNoSignal) {
  far_.Close();
  const IoResult write = near_.Write("x");
  EXPECT_EQ(write.error, EPIPE);
  EXPECT_FALSE(write.status("send").ok());
}

TEST_F(SocketTest, AClosedSocketAnswersEbadf) {
  near_.Close();
  EXPECT_EQ(near_.Read(absl::MakeSpan(buffer_)).error, EBADF);
  EXPECT_EQ(near_.Write("x").error, EBADF);
  EXPECT_FALSE(near_.ShutdownWrite().ok());
  near_.Abort();
  EXPECT_EQ(near_.peer_address(), SocketAddress());
}

TEST_F(SocketTest, ReleaseKeepsTheDescriptorOpen) {
  const UniqueFd fd = near_.Release();
  EXPECT_LT(near_.fd(), 0);
  EXPECT_GE(fcntl(fd.get(), F_GETFD), 0);
}

}  // namespace
}  // namespace fio
