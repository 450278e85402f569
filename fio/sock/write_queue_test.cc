#include "fio/sock/write_queue.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using testing::MemoryFile;
using testing::ReadAvailable;

// `size` bytes of which no two neighbours within a page look alike.
std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<char>(i * 31 + i / 251);
  }
  return bytes;
}

class WriteQueueTest : public ::testing::Test {
 protected:
  // Flushes until the kernel takes no more, or all is gone.
  void FlushSome() {
    while (!queue_.empty() && queue_.Flush(fd()).ok()) {
    }
  }

  std::string FlushAll() {
    std::string received;
    while (!queue_.empty()) {
      FlushSome();
      received += ReadAvailable(far_);
    }
    return received + ReadAvailable(far_);
  }

  // Bytes whose release is counted.
  absl::Cord Owned(std::string_view bytes) {
    return absl::MakeCordFromExternal(
        bytes, [this](std::string_view) { ++released_; });
  }

  int fd() const { return pair_.near.fd(); }

  LoopbackPair pair_ = LoopbackPair::Unix();
  Socket& far_ = pair_.far;
  WriteQueue queue_;
  int released_ = 0;
};

TEST_F(WriteQueueTest, KeepsTheOrderOfCopiesCordsAndFiles) {
  std::string copied = "copied ";
  queue_.Append(copied);
  copied.assign("changed");
  queue_.Append(absl::Cord("cord "));
  queue_.Append(*FileRange::Own(MemoryFile("file ")));
  queue_.Append("end");
  EXPECT_EQ(queue_.pending_bytes(), 20u);
  EXPECT_EQ(queue_.pending_calls(), 4u);
  EXPECT_EQ(FlushAll(), "copied cord file end");
  EXPECT_EQ(queue_.pending_bytes(), 0u);
  EXPECT_EQ(queue_.pending_calls(), 0u);
}

TEST_F(WriteQueueTest, KeepsWhatTheKernelDoesNotTake) {
  const std::string sent = Pattern(4 << 20);
  queue_.Append(sent);
  EXPECT_EQ(queue_.pending_calls(), 1u);
  EXPECT_TRUE(FlushAll() == sent);
}

TEST_F(WriteQueueTest, ManySmallCallsLeaveInOneSystemCall) {
  std::string expected;
  for (int i = 0; i < 16; ++i) {
    const std::string message = Pattern(50 + i);
    queue_.Append(message);
    expected += message;
  }
  FaultPlan plan;
  EXPECT_EQ(queue_.Flush(fd()).bytes, expected.size());
  EXPECT_EQ(plan.calls(), 1u);
  EXPECT_TRUE(ReadAvailable(far_) == expected);
}

TEST_F(WriteQueueTest, CountsCallsAcrossBlocksWhereverTheKernelStops) {
  // Sizes that end before, at and after the ends of blocks.
  std::vector<size_t> sizes;
  for (size_t size = 1; size < 6000; size += 397) sizes.push_back(size);
  for (const size_t step :
       {1, 2, 3, 255, 999, 1000, 1001, 4071, 4072, 4073, 20'000}) {
    std::string expected;
    std::vector<size_t> ends;
    for (const size_t size : sizes) {
      const std::string bytes = Pattern(size);
      queue_.Append(bytes);
      expected += bytes;
      ends.push_back(expected.size());
    }
    std::string taken;
    while (!queue_.empty()) {
      const IoResult flushed =
          queue_.Flush([&](absl::Span<const iovec> pieces) {
            const size_t n = std::min(pieces[0].iov_len, step);
            taken.append(static_cast<const char*>(pieces[0].iov_base), n);
            return IoResult{.bytes = n};
          });
      ASSERT_TRUE(flushed.ok());
      ASSERT_EQ(queue_.pending_bytes(), expected.size() - taken.size());
      ASSERT_EQ(queue_.pending_calls(),
                ends.end() -
                    std::upper_bound(ends.begin(), ends.end(), taken.size()));
    }
    EXPECT_TRUE(taken == expected);
  }
}

TEST_F(WriteQueueTest, OffersAtMostIovMaxPieces) {
  const std::string piece = Pattern(3);
  std::string expected;
  for (int i = 0; i < 3 * IOV_MAX; ++i) {
    queue_.Append(Owned(piece));
    expected += piece;
  }
  FaultPlan plan;
  EXPECT_EQ(queue_.Flush(fd()).bytes, IOV_MAX * piece.size());
  EXPECT_EQ(plan.calls(FaultPlan::Call::kSendmsg), 1u);
  EXPECT_EQ(released_, IOV_MAX);
  EXPECT_TRUE(FlushAll() == expected);
  EXPECT_EQ(released_, 3 * IOV_MAX);
}

TEST_F(WriteQueueTest, WalksACordOfManyChunks) {
  absl::Cord cord;
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string chunk = Pattern(300 + i % 7);
    cord.Append(absl::Cord(chunk));
    expected += chunk;
  }
  queue_.Append(cord.Subcord(11, cord.size() - 20));
  EXPECT_EQ(queue_.pending_calls(), 1u);
  EXPECT_TRUE(FlushAll() == expected.substr(11, expected.size() - 20));
}

TEST_F(WriteQueueTest, ReleasesOwnedBytesOnce) {
  static constexpr char kBytes[] = "owned";
  queue_.Append(Owned(kBytes));
  EXPECT_EQ(
      queue_.Flush([](absl::Span<const iovec>) { return IoResult{.bytes = 4}; })
          .bytes,
      4u);
  EXPECT_EQ(released_, 0) << "before the last byte has left";
  EXPECT_EQ(FlushAll(), "d");
  EXPECT_EQ(released_, 1);
  queue_.Append(Owned(kBytes));
  queue_.Clear();
  EXPECT_EQ(released_, 2);
  {
    WriteQueue dies;
    dies.Append(Owned(kBytes));
  }
  EXPECT_EQ(released_, 3);
}

// A shared block between everything else, left by the kernel at every byte.
TEST_F(WriteQueueTest, SharesOneBlockWhereverTheKernelStops) {
  const std::string bytes = Pattern(SharedBytes::kMinSharedCord + 7);
  SharedBytes shared = SharedBytes::FromCord(Owned(bytes));
  const std::string expected =
      "copied" + bytes + bytes.substr(3) + "cord" + bytes + "file" + bytes;
  for (size_t step = 1; step <= expected.size(); ++step) {
    queue_.Append("copied");
    queue_.Append(shared);
    queue_.Append(shared, 3);
    queue_.Append(absl::Cord("cord"));
    queue_.Append(shared);
    queue_.Append(*FileRange::Own(MemoryFile("file")));
    queue_.Append(shared);
    queue_.Append(shared, shared.size());
    queue_.Append(SharedBytes());
    ASSERT_EQ(queue_.pending_calls(), 7u);
    ASSERT_EQ(queue_.pending().memory_bytes, expected.size() - 4);
    std::string taken;
    while (!queue_.empty()) {
      const IoResult flushed =
          queue_.Flush([&](absl::Span<const iovec> pieces) {
            size_t left = step;
            for (const iovec& piece : pieces) {
              const size_t n = std::min(piece.iov_len, left);
              taken.append(static_cast<const char*>(piece.iov_base), n);
              left -= n;
            }
            return IoResult{.bytes = step - left};
          });
      ASSERT_TRUE(flushed.ok());
      ASSERT_EQ(queue_.pending_bytes(), expected.size() - taken.size());
    }
    ASSERT_TRUE(taken == expected) << step;
  }
  EXPECT_EQ(released_, 0) << "one reference is left here";
  shared = SharedBytes();
  EXPECT_EQ(released_, 1);
}

TEST_F(WriteQueueTest, GivesUpItsReferenceWithTheLastByte) {
  const std::string bytes = Pattern(SharedBytes::kMinSharedCord);
  queue_.Append(SharedBytes::FromCord(Owned(bytes)));
  const auto take = [](size_t count) {
    return
        [count](absl::Span<const iovec>) { return IoResult{.bytes = count}; };
  };
  EXPECT_TRUE(queue_.Flush(take(bytes.size() - 1)).ok());
  EXPECT_EQ(released_, 0);
  EXPECT_EQ(queue_.pending_calls(), 1u);
  EXPECT_TRUE(queue_.Flush(take(1)).ok());
  EXPECT_EQ(released_, 1);
  EXPECT_TRUE(queue_.empty());
  queue_.Append(SharedBytes::FromCord(Owned(bytes)));
  queue_.Clear();
  EXPECT_EQ(released_, 2);
  {
    WriteQueue dies;
    dies.Append(SharedBytes::FromCord(Owned(bytes)), 1);
  }
  EXPECT_EQ(released_, 3);
}

TEST_F(WriteQueueTest, MovesWithItsContents) {
  queue_.Append("a");
  queue_.Append(Owned("b"));
  WriteQueue moved = std::move(queue_);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(moved.pending_bytes(), 2u);
  queue_ = std::move(moved);
  EXPECT_EQ(FlushAll(), "ab");
  EXPECT_EQ(released_, 1);
}

TEST_F(WriteQueueTest, SplicesAnotherBehindItself) {
  const UniqueFd file = MemoryFile("file");
  WriteQueue other;
  queue_.Splice(WriteQueue());
  EXPECT_TRUE(queue_.empty());
  other.Append("a");
  queue_.Splice(std::move(other));
  other = WriteQueue();
  other.Append(Owned("b"));
  other.Append(*FileRange::Borrow(file.get()));
  queue_.Splice(std::move(other));
  queue_.Append("c");
  EXPECT_EQ(queue_.pending_calls(), 4u);
  EXPECT_EQ(queue_.pending_bytes(), 7u);
  EXPECT_EQ(queue_.pending().memory_bytes, 3u);
  EXPECT_EQ(FlushAll(), "abfilec");
  EXPECT_EQ(released_, 1);
}

TEST_F(WriteQueueTest, WhatIsGatheredStaysUntilItIsForgotten) {
  const UniqueFd file = MemoryFile("file");
  queue_.Append("copied");
  queue_.Append(Owned("owned"));
  queue_.Append(*FileRange::Borrow(file.get()));
  iovec pieces[4];
  ASSERT_EQ(queue_.Gather(absl::MakeSpan(pieces)), 2u);
  WriteQueue moved = std::move(queue_);
  moved.Append("more");
  const std::string_view copied(static_cast<const char*>(pieces[0].iov_base),
                                pieces[0].iov_len);
  EXPECT_EQ(copied, "copied");
  moved.Forget(7);
  ASSERT_EQ(moved.Gather(absl::MakeSpan(pieces)), 1u);
  EXPECT_EQ(pieces[0].iov_len, 4u);
  moved.Forget(4);
  EXPECT_EQ(released_, 1);
  EXPECT_EQ(moved.Gather(absl::MakeSpan(pieces)), 0u) << "a file is the head";
  EXPECT_EQ(moved.pending_calls(), 2u);
}

TEST_F(WriteQueueTest, ReleasingMayAppendAndClear) {
  const auto owned = [](auto release) {
    return absl::MakeCordFromExternal(
        "x", [release](std::string_view) { release(); });
  };
  queue_.Append(owned([this] { queue_.Append("appended"); }));
  EXPECT_EQ(FlushAll(), "xappended");
  queue_.Append(owned([this] { queue_.Clear(); }));
  queue_.Append(Owned("dropped"));
  EXPECT_EQ(
      queue_.Flush([](absl::Span<const iovec>) { return IoResult{.bytes = 1}; })
          .bytes,
      1u);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(released_, 1);
  EXPECT_EQ(queue_.pending_calls(), 0u);
  // Dropping a whole queue whose objects write as they go.
  queue_.Append(owned([this] { queue_.Append(Owned("late")); }));
  queue_.Append(owned([this] { queue_.Append(Owned("late")); }));
  queue_.Clear();
  EXPECT_EQ(queue_.pending_calls(), 2u);
}

TEST_F(WriteQueueTest, TheWriterMayAppend) {
  queue_.Append("first ");
  std::string taken;
  const auto write = [&](absl::Span<const iovec> pieces) {
    if (taken.empty()) queue_.Append("second");
    taken.append(static_cast<const char*>(pieces[0].iov_base),
                 pieces[0].iov_len);
    return IoResult{.bytes = pieces[0].iov_len};
  };
  while (!queue_.empty()) EXPECT_TRUE(queue_.Flush(write).ok());
  EXPECT_EQ(taken, "first second");
}

TEST_F(WriteQueueTest, ErrorsPassThroughAndKeepTheBytes) {
  far_.Close();
  queue_.Append("x");
  EXPECT_EQ(queue_.Flush(fd()).error, EPIPE);
  EXPECT_EQ(queue_.pending_bytes(), 1u);
}

// sendfile(2) has no flag against it.
TEST_F(WriteQueueTest, SendingAFileToAClosedPeerRaisesNoSignal) {
  far_.Close();
  queue_.Append(*FileRange::Own(MemoryFile("file")));
  EXPECT_EQ(queue_.Flush(fd()).error, EPIPE);
  sigset_t pending;
  ASSERT_EQ(sigpending(&pending), 0);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

TEST_F(WriteQueueTest, AnErrorOfTheFileIsToldAndKeepsTheCall) {
  queue_.Append(*FileRange::Own(MemoryFile("file")));
  FaultPlan plan;
  plan.FailNext(FaultPlan::Call::kSendfile, EINVAL);
  plan.FailNext(FaultPlan::Call::kPread, EIO);
  EXPECT_EQ(queue_.Flush(fd()).error, EIO);
  EXPECT_EQ(queue_.pending_calls(), 1u);
  EXPECT_EQ(FlushAll(), "file") << "what sendfile refuses is read";
}

// --- FileRange ---

TEST(FileRange, HoldsWhatTheFileHas) {
  const UniqueFd file = MemoryFile("0123456789");
  const auto length = [&](uint64_t offset, uint64_t asked) {
    return FileRange::Borrow(file.get(), offset, asked)->length();
  };
  EXPECT_EQ(length(0, FileRange::kToEnd), 10u);
  EXPECT_EQ(length(3, FileRange::kToEnd), 7u);
  EXPECT_EQ(length(3, 2), 2u);
  EXPECT_EQ(length(3, 1'000), 7u);
  EXPECT_EQ(length(9, UINT64_MAX), 1u);
}

TEST(FileRange, MustBeReadable) {
  const UniqueFd file = MemoryFile("contents");
  const std::string path = absl::StrCat("/proc/self/fd/", file.get());
  for (const int flags : {O_WRONLY, O_PATH, O_WRONLY | O_APPEND}) {
    UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC));
    ASSERT_TRUE(fd);
    const int number = fd.get();
    const absl::Status borrowed = FileRange::Borrow(number).status();
    EXPECT_EQ(borrowed, absl::InvalidArgumentError(absl::StrCat(
                            "fd ", number, " is not open for reading")));
    EXPECT_EQ(FileRange::Own(std::move(fd)).status(), borrowed);
    EXPECT_LT(fcntl(number, F_GETFD), 0);
  }
  for (const int flags : {O_RDONLY, O_RDWR}) {
    const UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC));
    EXPECT_TRUE(FileRange::Borrow(fd.get()).ok());
  }
}

TEST(FileRange, RefusesWhatHoldsNothingAndClosesWhatItOwns) {
  const UniqueFd empty = MemoryFile("");
  const UniqueFd file = MemoryFile("0123456789");
  EXPECT_TRUE(absl::IsOutOfRange(FileRange::Borrow(empty.get()).status()));
  EXPECT_TRUE(absl::IsOutOfRange(FileRange::Borrow(file.get(), 10).status()));
  EXPECT_TRUE(
      absl::IsOutOfRange(FileRange::Borrow(file.get(), UINT64_MAX).status()));
  EXPECT_FALSE(FileRange::Borrow(-1).ok());
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const UniqueFd writing(pipe_ends[1]);
  EXPECT_TRUE(
      absl::IsInvalidArgument(FileRange::Own(UniqueFd(pipe_ends[0])).status()));
  EXPECT_EQ(fcntl(pipe_ends[0], F_GETFD), -1);
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace fio
