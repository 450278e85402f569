// What is written to a Socket: order, ownership, files. The rest of Socket is
// tested in socket_test.cc.

#include <fcntl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"
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

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<char>(i * 31 + i / 251);
  }
  return bytes;
}

// Flushes until all is gone, while the peer reads.
std::string Deliver(LoopbackPair& pair) {
  std::string received;
  while (pair.near.Flush().would_block()) received += ReadAvailable(pair.far);
  return received + ReadAvailable(pair.far);
}

absl::Cord Counted(std::string_view bytes, int& released) {
  return absl::MakeCordFromExternal(
      bytes, [&released](std::string_view) { ++released; });
}

TEST(Write, CopyIsolated) {
  LoopbackPair pair = LoopbackPair::Unix();
  std::string bytes = "as it was";
  EXPECT_EQ(pair.near.Write(bytes).bytes, 9u);
  bytes.assign("changed!!");
  EXPECT_EQ(Deliver(pair), "as it was");
}

TEST(Write, NothingIsNoCall) {
  LoopbackPair pair = LoopbackPair::Unix();
  EXPECT_TRUE(pair.near.Write("").ok());
  EXPECT_TRUE(pair.near.Write(absl::Cord()).ok());
  EXPECT_TRUE(pair.near.Write(SharedBytes()).ok());
  EXPECT_TRUE(pair.near.Write(SharedBytes("sent"), 4).ok());
  EXPECT_EQ(pair.near.pending_calls(), 0u);
  FaultPlan plan;
  EXPECT_TRUE(pair.near.Flush().ok());
  EXPECT_EQ(plan.calls(), 0u);
}

// What was copied into one block leaves in parts, too.
TEST(Write, BudgetOfFewBytes) {
  const std::string bytes = Pattern(3000);
  for (const bool closes : {false, true}) {
    SCOPED_TRACE(closes);
    LoopbackPair pair = LoopbackPair::Unix();
    pair.near.HoldDescriptor(true);  // Close() leaves the rest to Flush().
    EXPECT_EQ(pair.near.Write(bytes).bytes, bytes.size());
    if (closes) pair.near.Close();
    std::string received;
    while (received.size() < bytes.size()) {
      const size_t left = bytes.size() - received.size();
      EXPECT_EQ(pair.near.pending_bytes(), left);
      EXPECT_TRUE(pair.near.wants_write());
      EXPECT_TRUE(pair.near.Flush(700).ok());
      const std::string part = ReadAvailable(pair.far);
      EXPECT_EQ(part.size(), std::min<size_t>(left, 700));
      ASSERT_FALSE(part.empty());
      received += part;
    }
    EXPECT_EQ(received, bytes);
    EXPECT_FALSE(pair.near.wants_write());
    EXPECT_EQ(pair.near.is_over(), closes);
    pair.near.HoldDescriptor(false);
  }
}

// One call of each kind of ownership, and how many of its owners it has
// released.
struct OwnedCall {
  const char* name;
  std::function<IoResult(Socket&)> write;
  std::function<int()> released;
  int expected;  // When it is gone.
};

TEST(Write, OwnershipMatrix) {
  static const std::string kShared(SharedBytes::kMinSharedCord, 's');
  // What happens to the call, from when it is made.
  const std::pair<const char*, void (*)(LoopbackPair&)> before[] = {
      {"open", [](LoopbackPair&) {}},
      {"closed", [](LoopbackPair& pair) { pair.near.Close(); }},
      {"shut down",
       [](LoopbackPair& pair) { (void)pair.near.ShutdownWrite(); }},
      {"failed",
       [](LoopbackPair& pair) {
         pair.far = Socket();
         (void)pair.near.Write("x");
         (void)pair.near.Flush();
       }},
      {"over the limit",
       [](LoopbackPair& pair) { pair.near.SetWatermarks({.limit_calls = 0}); }},
  };
  const std::pair<const char*, void (*)(LoopbackPair&)> after[] = {
      {"sent", [](LoopbackPair& pair) { Deliver(pair); }},
      {"aborted", [](LoopbackPair& pair) { pair.near.Abort(); }},
      {"destroyed", [](LoopbackPair& pair) { pair.near = Socket(); }},
      {"released", [](LoopbackPair& pair) { (void)pair.near.Release(); }},
      {"peer gone",
       [](LoopbackPair& pair) {
         pair.far = Socket();
         EXPECT_EQ(pair.near.Flush().error, EPIPE);
       }},
  };
  for (const auto& [early, prepare] : before) {
    for (const auto& [late, finish] : after) {
      int released = 0;
      int owned_fd = -1;
      const UniqueFd borrowed = MemoryFile("borrowed");
      const OwnedCall calls[] = {
          {"cord",
           [&](Socket& socket) {
             return socket.Write(Counted("cord", released));
           },
           [&] { return released; }, 1},
          {"shared bytes",
           [&](Socket& socket) {
             return socket.Write(
                 SharedBytes::FromCord(Counted(kShared, released)));
           },
           [&] { return released; }, 1},
          {"owned file",
           [&](Socket& socket) {
             UniqueFd file = MemoryFile("owned");
             owned_fd = file.get();
             return socket.Write(*FileRange::Own(std::move(file)));
           },
           [&] { return IsOpen(owned_fd) ? 0 : 1; }, 1},
          {"borrowed file",
           [&](Socket& socket) {
             return socket.Write(*FileRange::Borrow(borrowed.get()));
           },
           [&] { return IsOpen(borrowed.get()) ? 0 : 1; }, 0},
      };
      for (const OwnedCall& call : calls) {
        SCOPED_TRACE(std::string(early) + ", " + late + ": " + call.name);
        LoopbackPair pair = LoopbackPair::Unix();
        prepare(pair);
        released = 0;
        const bool taken = call.write(pair.near).ok();
        EXPECT_EQ(taken, std::string_view(early) == "open");
        EXPECT_EQ(call.released(), taken ? 0 : call.expected);
        if (taken) finish(pair);
        EXPECT_EQ(call.released(), call.expected);
        EXPECT_EQ(pair.near.pending_calls(), 0u);
      }
    }
  }
}

TEST(Write, Offsets) {
  LoopbackPair pair = LoopbackPair::Unix();
  const std::string bytes = "0123456789";
  const UniqueFd file = MemoryFile(bytes);
  EXPECT_TRUE(pair.near.Write(std::string_view(bytes).substr(3, 4)).ok());
  EXPECT_TRUE(pair.near.Write(absl::Cord(bytes).Subcord(8, 2)).ok());
  EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get(), 7)).ok());
  EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get(), 2, 3)).ok());
  EXPECT_EQ(Deliver(pair),
            "3456"
            "89"
            "789"
            "234");
  EXPECT_FALSE(FileRange::Borrow(file.get(), 10).ok());
}

TEST(Write, KeepOpen) {
  LoopbackPair pair = LoopbackPair::Unix();
  const UniqueFd kept = MemoryFile("kept");
  UniqueFd given = MemoryFile("given");
  const int given_fd = given.get();
  EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(kept.get())).ok());
  EXPECT_TRUE(pair.near.Write(*FileRange::Own(std::move(given))).ok());
  EXPECT_TRUE(IsOpen(given_fd));
  EXPECT_EQ(Deliver(pair), "keptgiven");
  EXPECT_TRUE(IsOpen(kept.get()));
  EXPECT_FALSE(IsOpen(given_fd));
}

TEST(Write, StaticBuffer) {
  static constexpr std::string_view kStatic = "lives for ever";
  LoopbackPair pair = LoopbackPair::Unix();
  EXPECT_TRUE(pair.near.Write(absl::MakeCordFromExternal(kStatic, [] {})).ok());
  FaultPlan plan;
  EXPECT_EQ(Deliver(pair), kStatic);
}

TEST(Write, PendingCountsCalls) {
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  EXPECT_EQ(socket.pending_calls(), 0u);
  EXPECT_TRUE(socket.Write(Pattern(200 << 10)).ok());
  EXPECT_EQ(socket.pending_calls(), 1u) << "however large";
  EXPECT_TRUE(socket.Write("small").ok());
  EXPECT_TRUE(socket.Write("small").ok());
  EXPECT_EQ(socket.pending_calls(), 3u);
  EXPECT_EQ(socket.pending_bytes(), (200u << 10) + 10);
  Deliver(pair);
  EXPECT_EQ(socket.pending_calls(), 0u);
  EXPECT_EQ(socket.pending_bytes(), 0u);
  EXPECT_TRUE(socket.Write("x").ok());
  socket.Abort();
  EXPECT_EQ(socket.pending_calls(), 0u);
  EXPECT_EQ(Socket().pending_calls(), 0u);
}

// facil.io reset the count only at 0.
TEST(Write, PendingMonotone) {
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  const std::string part = Pattern(64 << 10);
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(socket.Write(part).ok());
  size_t calls = socket.pending_calls();
  uint64_t bytes = socket.pending_bytes();
  std::string received;
  for (int turn = 0; socket.Flush().would_block(); ++turn) {
    EXPECT_LE(socket.pending_calls(), calls);
    EXPECT_LT(socket.pending_bytes(), bytes);
    calls = socket.pending_calls();
    bytes = socket.pending_bytes();
    EXPECT_EQ(calls, (bytes + part.size() - 1) / part.size());
    if (turn < 10) {
      EXPECT_TRUE(socket.Write(part).ok());
      EXPECT_EQ(socket.pending_calls(), ++calls);
      bytes += part.size();
    }
    received += ReadAvailable(pair.far);
  }
  EXPECT_EQ(socket.pending_calls(), 0u);
}

TEST(Write, 64MiBSlowReader) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const std::string sent = Pattern(64 << 20);
  EXPECT_TRUE(pair.near.Write(sent).ok());
  std::string received;
  std::string buffer(1000, '\0');
  // Sips, and now and then a gulp.
  for (int i = 0; pair.near.wants_write(); ++i) {
    static_cast<void>(pair.near.Flush());
    const IoResult sip = pair.far.Read(absl::MakeSpan(buffer));
    received.append(buffer, 0, sip.bytes);
    if (i % 16 == 0) received += ReadAvailable(pair.far);
  }
  received += testing::ReadUntil(pair.far, sent.size() - received.size());
  EXPECT_TRUE(received == sent);
}

// The socket dies under a write that was already under way: by what releasing
// the call before it does.
TEST(Write, DiesBetweenCheckAndLock) {
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  int released = 0;
  int late = 0;
  EXPECT_TRUE(socket
                  .Write(absl::MakeCordFromExternal(
                      "first",
                      [&](std::string_view) {
                        socket.Abort();
                        EXPECT_EQ(socket.Write(Counted("late", late)).error,
                                  EBADF);
                        EXPECT_EQ(late, 1);
                      }))
                  .ok());
  UniqueFd file = MemoryFile("file");
  const int fd = file.get();
  EXPECT_TRUE(socket.Write(*FileRange::Own(std::move(file))).ok());
  EXPECT_TRUE(socket.Write(Counted("second", released)).ok());
  EXPECT_EQ(socket.Flush().error, ECONNABORTED);
  EXPECT_LT(socket.fd(), 0);
  EXPECT_EQ(released, 1);
  EXPECT_EQ(late, 1);
  EXPECT_FALSE(IsOpen(fd));
  EXPECT_EQ(ReadAvailable(pair.far), "first");
}

TEST(Write, TryWriteGoesPastAnEmptyQueueOnly) {
  LoopbackPair pair = LoopbackPair::Tcp();
  Socket& socket = pair.near;
  EXPECT_EQ(socket.TryWrite("head ", Socket::More::kYes).bytes, 5u);
  EXPECT_EQ(socket.TryWrite("body").bytes, 4u);
  EXPECT_EQ(testing::ReadUntil(pair.far, 9), "head body");
  EXPECT_TRUE(socket.Write("queued ").ok());
  EXPECT_TRUE(socket.TryWrite("overtakes").would_block());
  EXPECT_TRUE(socket.Flush().ok());
  EXPECT_EQ(socket.TryWrite("follows").bytes, 7u);
  EXPECT_EQ(testing::ReadUntil(pair.far, 14), "queued follows");
  socket.Close();
  EXPECT_EQ(socket.TryWrite("x").error, EBADF);
}

// What facil.io's fiobj_send_free() does for its own objects.
TEST(Fiobj, SendFreeReleases) {
  struct Object {
    explicit Object(int& freed) : freed(freed) {}
    ~Object() { ++freed; }
    int& freed;
    std::string text = "an object's text";
  };
  int freed = 0;
  const auto send = [&](Socket& socket) {
    auto object = std::make_unique<Object>(freed);
    const std::string_view text = object->text;
    return socket.Write(
        absl::MakeCordFromExternal(text, [object = std::move(object)] {}));
  };
  LoopbackPair pair = LoopbackPair::Unix();
  EXPECT_TRUE(send(pair.near).ok());
  EXPECT_EQ(freed, 0);
  EXPECT_EQ(Deliver(pair), "an object's text");
  EXPECT_EQ(freed, 1);
  pair.near.Abort();
  EXPECT_EQ(send(pair.near).error, EBADF);
  EXPECT_EQ(freed, 2);
}

// --- Files, by each way they can take ---

class File : public ::testing::Test {
 protected:
  // sendfile(2); pread(2), where that is refused; and through a transport.
  void ForEachBackend(const std::function<void(LoopbackPair&)>& test) {
    {
      SCOPED_TRACE("sendfile");
      LoopbackPair pair = LoopbackPair::Tcp();
      FaultPlan plan;
      test(pair);
      EXPECT_GT(plan.calls(FaultPlan::Call::kSendfile), 0u);
      EXPECT_EQ(plan.calls(FaultPlan::Call::kPread), 0u);
    }
    {
      SCOPED_TRACE("pread");
      LoopbackPair pair = LoopbackPair::Tcp();
      FaultPlan plan;
      plan.FailNext(FaultPlan::Call::kSendfile, EINVAL, 1'000);
      test(pair);
      EXPECT_GT(plan.calls(FaultPlan::Call::kPread), 0u);
    }
    {
      SCOPED_TRACE("transport");
      LoopbackPair pair = LoopbackPair::Tcp();
      ASSERT_TRUE(pair.near.SetTransport(std::make_unique<Transport>()).ok());
      FaultPlan plan;
      test(pair);
      EXPECT_EQ(plan.calls(FaultPlan::Call::kSendfile), 0u);
    }
  }

  // Ends the stream and returns all of it.
  static std::string All(LoopbackPair& pair) {
    std::string received;
    pair.near.Close();
    while (pair.near.Flush().would_block()) {
      received += ReadAvailable(pair.far);
    }
    return received + testing::ReadToEnd(pair.far);
  }
};

// facil.io sent 65,536 bytes for these ten: memory of the server's.
TEST_F(File, ShortFileNoGarbage) {
  ForEachBackend([](LoopbackPair& pair) {
    EXPECT_TRUE(
        pair.near.Write(*FileRange::Own(MemoryFile("0123456789"), 0, 100))
            .ok());
    EXPECT_TRUE(pair.near.Write("next").ok());
    EXPECT_EQ(All(pair), "0123456789next");
  });
}

TEST_F(File, InvalidUuidCloses) {
  UniqueFd file = MemoryFile("file");
  const int fd = file.get();
  Socket none;
  EXPECT_EQ(none.Write(*FileRange::Own(std::move(file))).error, EBADF);
  EXPECT_FALSE(IsOpen(fd));
  UniqueFd empty = MemoryFile("");
  const int empty_fd = empty.get();
  EXPECT_FALSE(FileRange::Own(std::move(empty)).ok());
  EXPECT_FALSE(IsOpen(empty_fd));
}

// facil.io waited for the rest for ever.
TEST_F(File, TruncatedWhileSending) {
  const std::string contents = Pattern(16 << 20);
  ForEachBackend([&](LoopbackPair& pair) {
    UniqueFd file = MemoryFile(contents);
    const int fd = file.get();
    FileRange range = *FileRange::Own(std::move(file));
    range.set_if_truncated(FileRange::IfTruncated::kSendWhatIsThere);
    EXPECT_TRUE(pair.near.Write(std::move(range)).ok());
    EXPECT_TRUE(pair.near.Write("next").ok());
    EXPECT_TRUE(pair.near.Flush().would_block());
    const uint64_t sent = contents.size() + 4 - pair.near.pending_bytes();
    ASSERT_LT(sent, contents.size());
    // The kernel may hold pages of what was sent by reference: it is what was
    // not sent that goes.
    ASSERT_EQ(ftruncate(fd, static_cast<off_t>(sent + 1000)), 0);
    EXPECT_TRUE(All(pair) == contents.substr(0, sent + 1000) + "next");
    EXPECT_FALSE(IsOpen(fd));
  });
}

TEST_F(File, GoneBeforeItsTurn) {
  ForEachBackend([](LoopbackPair& pair) {
    const UniqueFd file = MemoryFile("gone");
    EXPECT_TRUE(pair.near.Write("before ").ok());
    FileRange range = *FileRange::Borrow(file.get());
    range.set_if_truncated(FileRange::IfTruncated::kSendWhatIsThere);
    EXPECT_TRUE(pair.near.Write(std::move(range)).ok());
    EXPECT_TRUE(pair.near.Write("after").ok());
    ASSERT_EQ(ftruncate(file.get(), 0), 0);
    EXPECT_EQ(All(pair), "before after");
  });
}

// Offsets and lengths that no 31 or 32 bits hold.
TEST_F(File, LargeEachBackend) {
  constexpr uint64_t kStart = (uint64_t{4} << 30) - 1000;
  const std::string contents = Pattern(3 << 20);
  const UniqueFd file = MemoryFile("");
  ASSERT_EQ(pwrite(file.get(), contents.data(), contents.size(),
                   static_cast<off_t>(kStart)),
            static_cast<ssize_t>(contents.size()));
  ForEachBackend([&](LoopbackPair& pair) {
    EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get(), kStart)).ok());
    EXPECT_TRUE(
        pair.near.Write(*FileRange::Borrow(file.get(), kStart + 1, 7)).ok());
    EXPECT_TRUE(All(pair) == contents + contents.substr(1, 7));
  });
  // 4 GiB in one call.
  LoopbackPair pair = LoopbackPair::Unix();
  EXPECT_EQ(pair.near.Write(*FileRange::Borrow(file.get())).bytes,
            kStart + contents.size());
  EXPECT_EQ(pair.near.pending_bytes(), kStart + contents.size());
  EXPECT_TRUE(pair.near.Flush().would_block());
  EXPECT_LT(pair.near.pending_bytes(), kStart + contents.size());
}

TEST_F(File, OneDescriptorServesManyPeersAndKeepsItsPosition) {
  const std::string contents = Pattern(1 << 20);
  const UniqueFd file = MemoryFile(contents);
  ASSERT_EQ(lseek(file.get(), 17, SEEK_SET), 17);
  ForEachBackend([&](LoopbackPair& pair) {
    EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get())).ok());
    EXPECT_TRUE(All(pair) == contents);
  });
  LoopbackPair pairs[] = {LoopbackPair::Tcp(), LoopbackPair::Tcp()};
  for (LoopbackPair& pair : pairs) {
    EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get())).ok());
    static_cast<void>(pair.near.Flush());
  }
  for (LoopbackPair& pair : pairs) EXPECT_TRUE(All(pair) == contents);
  EXPECT_EQ(lseek(file.get(), 0, SEEK_CUR), 17);
}

// What follows the file must not be taken for its missing bytes.
TEST(Socket, TruncatedFileFails) {
  constexpr int64_t kSize = 16 << 20;
  for (const bool with_transport : {false, true}) {
    SCOPED_TRACE(with_transport ? "pread" : "sendfile");
    LoopbackPair pair = LoopbackPair::Tcp();
    if (with_transport) {
      ASSERT_TRUE(pair.near.SetTransport(std::make_unique<Transport>()).ok());
    }
    const std::string contents = Pattern(kSize);
    const UniqueFd file = MemoryFile(contents);
    EXPECT_TRUE(pair.near.Write(*FileRange::Borrow(file.get())).ok());
    EXPECT_TRUE(pair.near.Write("what follows").ok());
    EXPECT_TRUE(pair.near.Flush().would_block());
    const uint64_t sent = kSize + 12 - pair.near.pending_bytes();
    ASSERT_LT(sent, kSize);
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(sent + 1000)), 0);
    std::string received;
    IoResult flushed;
    do {
      received += ReadAvailable(pair.far);
      flushed = pair.near.Flush();
    } while (flushed.would_block());
    EXPECT_EQ(flushed.error, EIO);
    EXPECT_FALSE(pair.near.is_open());
    EXPECT_EQ(pair.near.Write("more").error, EBADF);
    received += ReadAvailable(pair.far);
    EXPECT_EQ(contents.compare(0, received.size(), received), 0);
    EXPECT_LE(received.size(), sent + 1000);
  }
}

// The limits are of memory, and a file takes none.
TEST(Socket, FileLargerThanTheLimit) {
  constexpr uint64_t kLimit = uint64_t{256} << 20;  // LoopOptions' default.
  constexpr uint64_t kSize = uint64_t{300} << 20;
  const UniqueFd file = MemoryFile("");
  ASSERT_EQ(ftruncate(file.get(), kSize), 0);  // A hole: no memory.
  LoopbackPair pair = LoopbackPair::Unix();
  pair.near.SetWatermarks({.limit_bytes = kLimit});
  EXPECT_EQ(pair.near.Write(*FileRange::Borrow(file.get())).bytes, kSize);
  EXPECT_EQ(pair.near.Write("the end").bytes, 7u);
  EXPECT_EQ(pair.near.pending().memory_bytes, 7u);
  EXPECT_EQ(pair.near.level(), Watermarks::Level::kHigh);
  uint64_t received = 0;
  std::string last;
  const auto take = [&] {
    last = ReadAvailable(pair.far);
    received += last.size();
  };
  while (pair.near.Flush().would_block()) take();
  take();
  EXPECT_EQ(received, kSize + 7);
  EXPECT_TRUE(last.ends_with("the end"));
  EXPECT_EQ(pair.near.pending().bytes, 0u);
  // Bytes in memory count as before, whatever lies beside them.
  EXPECT_EQ(pair.near.Write(*FileRange::Borrow(file.get())).bytes, kSize);
  EXPECT_TRUE(pair.near.Write(std::string(1 << 20, 'x')).ok());
  pair.near.SetWatermarks({.limit_bytes = 1 << 20});
  EXPECT_EQ(pair.near.Write("x").error, ENOBUFS);
}

TEST(Write, TryWriteTakesPieces) {
  LoopbackPair pair = LoopbackPair::Unix();
  std::string head = "head ";
  std::string body = "body";
  const iovec pieces[] = {
      {head.data(), head.size()}, {nullptr, 0}, {body.data(), body.size()}};
  {
    FaultPlan plan;
    EXPECT_EQ(pair.near.TryWrite(pieces).bytes, 9u);
    EXPECT_EQ(plan.calls(), 1u);
    EXPECT_TRUE(pair.near.TryWrite(absl::Span<const iovec>()).ok());
    EXPECT_EQ(plan.calls(), 1u);
  }
  EXPECT_EQ(ReadAvailable(pair.far), "head body");
  EXPECT_TRUE(pair.near.Write("queued").ok());
  EXPECT_TRUE(pair.near.TryWrite(pieces).would_block());
}

// A stream with a hole must not look complete.
TEST_F(File, AnUnreadableFileResetsTheStream) {
  LoopbackPair pair = LoopbackPair::Tcp();
  EXPECT_TRUE(pair.near.Write(*FileRange::Own(MemoryFile("file"))).ok());
  FaultPlan plan;
  plan.FailNext(FaultPlan::Call::kSendfile, EIO);
  EXPECT_EQ(pair.near.Flush().error, EIO);
  EXPECT_LT(pair.near.fd(), 0);
  char byte;
  EXPECT_EQ(pair.far.Read(absl::MakeSpan(&byte, 1)).error, ECONNRESET);
}

}  // namespace
}  // namespace fio
