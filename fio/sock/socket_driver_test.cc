// Sockets whose bytes a SocketDriver moves: what comes and what leaves does so
// when the test says.

#include "fio/sock/socket_driver.h"

#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
#include "fio/testing/memory_file.h"
#include "fio/testing/scripted_driver.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::ScriptedDriver;
using Ending = SocketDriver::Ending;

constexpr int kFd = 100'000;

class Driven : public ::testing::Test {
 protected:
  ~Driven() override {
    socket_ = std::nullopt;
    if (driver_.in_flight() > 0) driver_.Complete();
    for (const FaultPlan::Call call :
         {FaultPlan::Call::kRecv, FaultPlan::Call::kSend,
          FaultPlan::Call::kSendmsg, FaultPlan::Call::kShutdown,
          FaultPlan::Call::kSetsockopt, FaultPlan::Call::kGetsockopt,
          FaultPlan::Call::kSendfile}) {
      EXPECT_EQ(plan_.calls(call), 0u) << FaultPlan::NameOf(call);
    }
  }

  Socket& socket() { return *socket_; }
  std::string Read(size_t bytes = 100) {
    std::string out(bytes, '\0');
    read_ = socket().Read(absl::MakeSpan(out));
    out.resize(read_.bytes);
    return out;
  }
  // A cord that tells when it is released.
  absl::Cord Told(std::string_view bytes) {
    auto memory = std::make_unique<std::string>(bytes);
    const std::string_view view = *memory;
    return absl::MakeCordFromExternal(
        view, [this, memory = std::move(memory)] { ++released_; });
  }

  const FaultPlan plan_;
  ScriptedDriver driver_;
  std::optional<Socket> socket_ = driver_.MakeSocket(kFd);
  IoResult read_;
  int released_ = 0;
};

// --- Bytes that came ---

TEST_F(Driven, ReadsWhatHasComeInParts) {
  EXPECT_EQ(Read(), "");
  EXPECT_TRUE(read_.would_block());
  driver_.Bring("hel");
  driver_.Bring("lo, wor");
  EXPECT_EQ(Read(5), "hello");
  EXPECT_FALSE(socket().is_drained());
  driver_.Bring("ld");
  EXPECT_EQ(Read(), ", world");
  EXPECT_TRUE(socket().is_drained());
  EXPECT_EQ(Read(), "");
  EXPECT_TRUE(read_.would_block());
}

TEST_F(Driven, PeekTakesNothing) {
  EXPECT_TRUE(socket().Peek().would_block());
  driver_.Bring("ab");
  std::array<char, 10> out;
  EXPECT_EQ(socket().Peek(absl::MakeSpan(out)).bytes, 2u);
  EXPECT_EQ(Read(), "ab");
  driver_.BringEnd();
  EXPECT_TRUE(socket().Peek().ok());
}

TEST_F(Driven, WhatWasGivenBackComesFirst) {
  driver_.Bring("abcd");
  EXPECT_EQ(Read(3), "abc");
  socket().Unread("bc");
  EXPECT_EQ(Read(), "bc");
  EXPECT_EQ(Read(), "d");
}

TEST_F(Driven, TheEndIsBehindTheBytes) {
  socket().AllowHalfOpen();
  driver_.Bring("last");
  driver_.BringEnd();
  EXPECT_EQ(Read(4), "last");
  EXPECT_EQ(Read(), "");
  EXPECT_TRUE(read_.ok());
  EXPECT_TRUE(socket().is_open());
}

TEST_F(Driven, AnErrorIsBehindTheBytesAndEndsIt) {
  driver_.Bring("last");
  driver_.BringError(ECONNRESET);
  EXPECT_EQ(Read(), "last");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(read_.error, ECONNRESET);
  EXPECT_EQ(socket().fd(), -1);
  EXPECT_TRUE(driver_.is_closed());
}

// --- Bytes that leave ---

TEST_F(Driven, WhatIsWrittenIsPendingUntilItHasLeft) {
  ASSERT_TRUE(socket().Write("hello").ok());
  EXPECT_EQ(driver_.in_flight(), 0u) << "not before Flush()";
  EXPECT_TRUE(socket().Flush().would_block());
  EXPECT_EQ(driver_.in_flight(), 5u);
  EXPECT_EQ(socket().pending_bytes(), 5u);
  driver_.Complete(2);
  const IoResult flushed = socket().Flush();
  EXPECT_EQ(flushed.bytes, 2u);
  EXPECT_TRUE(flushed.would_block());
  EXPECT_EQ(socket().pending_bytes(), 3u);
  EXPECT_EQ(socket().pending_calls(), 1u);
  EXPECT_TRUE(socket().wants_write());
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 3u);
  EXPECT_FALSE(socket().has_pending());
  EXPECT_FALSE(socket().wants_write());
  EXPECT_EQ(driver_.sent(), "hello");
}

TEST_F(Driven, WhatIsWrittenMeanwhileLeavesBehind) {
  ASSERT_TRUE(socket().Write("a").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  ASSERT_TRUE(socket().Write("b").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  ASSERT_TRUE(socket().Write(Told("c")).ok());
  EXPECT_TRUE(socket().Flush().would_block());
  EXPECT_EQ(driver_.in_flight(), 1u);
  EXPECT_EQ(socket().pending_calls(), 3u);
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 1u);
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 2u);
  EXPECT_EQ(driver_.sent(), "abc");
  EXPECT_EQ(released_, 1);
}

TEST_F(Driven, ACordIsReleasedOnceItHasLeft) {
  ASSERT_TRUE(socket().Write(Told("abc")).ok());
  EXPECT_TRUE(socket().Flush().would_block());
  driver_.Complete(2);
  EXPECT_TRUE(socket().Flush().would_block());
  EXPECT_EQ(released_, 0);
  driver_.Complete();
  EXPECT_TRUE(socket().Flush().ok());
  EXPECT_EQ(released_, 1);
}

// Inside of Left().
TEST_F(Driven, WhatIsReleasedMayWriteAndClose) {
  auto memory = std::make_unique<std::string>("a");
  const std::string_view view = *memory;
  ASSERT_TRUE(socket()
                  .Write(absl::MakeCordFromExternal(
                      view,
                      [this, memory = std::move(memory)] {
                        ASSERT_TRUE(socket().Write("b").ok());
                        socket().Close();
                      }))
                  .ok());
  EXPECT_TRUE(socket().Flush().would_block());
  driver_.Complete();
  EXPECT_TRUE(socket().Flush().would_block());
  EXPECT_EQ(driver_.in_flight(), 1u);
  EXPECT_FALSE(driver_.ending().has_value());
  driver_.Complete();
  EXPECT_TRUE(socket().Flush().ok());
  EXPECT_EQ(driver_.sent(), "ab");
  EXPECT_EQ(driver_.ending(), Ending::kClose);
}

TEST_F(Driven, AFileLeavesInPieces) {
  std::string bytes;
  while (bytes.size() < 40'000) bytes += std::to_string(bytes.size()) + ' ';
  const UniqueFd file = testing::MemoryFile(bytes);
  ASSERT_TRUE(socket().Write("<").ok());
  ASSERT_TRUE(socket().Write(*FileRange::Borrow(file.get())).ok());
  ASSERT_TRUE(socket().Write(">").ok());
  static_cast<void>(socket().Flush());
  EXPECT_EQ(socket().pending().memory_bytes, 2u);
  while (driver_.in_flight() > 0) {
    driver_.Complete((driver_.in_flight() + 1) / 2);
    static_cast<void>(socket().Flush());
  }
  EXPECT_EQ(driver_.sent(), "<" + bytes + ">");
  EXPECT_FALSE(socket().has_pending());
}

TEST_F(Driven, TryWriteCopiesAndIsReportedOnce) {
  auto bytes = std::make_unique<std::string>("try");
  EXPECT_EQ(socket().TryWrite(*bytes).bytes, 3u);
  bytes = nullptr;
  EXPECT_TRUE(socket().TryWrite("again").would_block());
  ASSERT_TRUE(socket().Write("queued").ok());
  EXPECT_EQ(socket().Flush().bytes, 0u);
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 0u);
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 6u);
  EXPECT_EQ(driver_.sent(), "tryqueued");
}

TEST_F(Driven, TryWriteIsBounded) {
  const std::string much(200'000, 'x');
  EXPECT_EQ(socket().TryWrite(much).bytes, size_t{64} << 10);
}

TEST_F(Driven, WatermarksCountWhatIsInFlight) {
  socket().SetWatermarks({.high_bytes = 4, .limit_bytes = 8});
  ASSERT_TRUE(socket().Write("12345").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  EXPECT_EQ(socket().level(), Watermarks::Level::kHigh);
  EXPECT_EQ(socket().Write("6789").error, ENOBUFS);
}

// --- How it ends ---

TEST_F(Driven, CloseWaitsUntilAllHasLeft) {
  ASSERT_TRUE(socket().Write("bye").ok());
  socket().Close();
  EXPECT_EQ(driver_.in_flight(), 3u);
  EXPECT_FALSE(driver_.ending().has_value());
  driver_.Complete();
  EXPECT_TRUE(socket().Flush().ok());
  EXPECT_EQ(driver_.ending(), Ending::kClose);
  EXPECT_TRUE(driver_.is_closed());
  EXPECT_EQ(socket().fd(), -1);
}

TEST_F(Driven, ShutdownWriteWaitsUntilAllHasLeft) {
  ASSERT_TRUE(socket().Write("bye").ok());
  EXPECT_TRUE(socket().ShutdownWrite().would_block());
  EXPECT_FALSE(driver_.write_shut());
  driver_.Complete();
  EXPECT_TRUE(socket().Flush().ok());
  EXPECT_TRUE(driver_.write_shut());
  driver_.Bring("still read");
  EXPECT_EQ(Read(), "still read");
}

// With unread bytes a close would be a reset.
TEST_F(Driven, CloseWithUnreadBytesWaitsForThePeer) {
  driver_.Bring("nobody reads it");
  socket().Close();
  EXPECT_TRUE(driver_.write_shut());
  EXPECT_TRUE(socket().is_lingering());
  EXPECT_FALSE(driver_.ending().has_value());
  driver_.Bring("nor this");
  EXPECT_TRUE(socket().Flush().would_block());
  driver_.BringEnd();
  EXPECT_TRUE(socket().Flush().ok());
  EXPECT_EQ(driver_.ending(), Ending::kClose);
}

TEST_F(Driven, ShutdownReadIsPassedOn) {
  EXPECT_TRUE(socket().ShutdownRead().ok());
  EXPECT_TRUE(driver_.read_shut());
}

TEST_F(Driven, AFailureOfSendingLeavesWhatCameToBeRead) {
  ASSERT_TRUE(socket().Write(Told("lost")).ok());
  EXPECT_TRUE(socket().Flush().would_block());
  driver_.Bring("came before");
  driver_.Fail(EPIPE);
  EXPECT_EQ(socket().Flush().error, EPIPE);
  EXPECT_EQ(released_, 1);
  EXPECT_FALSE(socket().has_pending());
  EXPECT_EQ(Read(), "came before");
  EXPECT_FALSE(driver_.ending().has_value()) << "more may have come";
  driver_.BringError(ECONNRESET);
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(driver_.ending(), Ending::kReset);
}

// The buffers are the driver's until the operation is complete, and so is the
// descriptor. It reads them in Complete().
TEST_F(Driven, AnAbortWhileAWriteIsInFlightKeepsItsMemory) {
  const std::string large(100'000, 'l');
  ASSERT_TRUE(socket().Write("copied,").ok());
  ASSERT_TRUE(socket().Write(SharedBytes("shared,")).ok());
  ASSERT_TRUE(socket().Write(Told("cord,")).ok());
  ASSERT_TRUE(socket().Write(large).ok());
  EXPECT_TRUE(socket().Flush().would_block());
  ASSERT_TRUE(socket().Write(Told("never handed down")).ok());
  const size_t in_flight = driver_.in_flight();
  ASSERT_GT(in_flight, 20u);
  socket().Abort();
  EXPECT_EQ(released_, 1) << "what was queued goes at once";
  EXPECT_EQ(driver_.ending(), Ending::kReset);
  EXPECT_FALSE(driver_.is_closed());
  EXPECT_EQ(socket().fd(), -1);
  driver_.Complete();
  EXPECT_TRUE(driver_.is_closed());
  EXPECT_EQ(released_, 2);
  EXPECT_EQ(driver_.sent().size(), in_flight);
  EXPECT_EQ(driver_.sent().substr(0, 20), "copied,shared,cord,l");
}

TEST_F(Driven, DestroyingItWhileAWriteIsInFlightKeepsItsMemory) {
  ASSERT_TRUE(socket().Write("alone").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  socket_ = std::nullopt;
  EXPECT_EQ(driver_.ending(), Ending::kDrop);
  EXPECT_FALSE(driver_.is_closed());
  driver_.Complete();
  EXPECT_EQ(driver_.sent(), "alone");
  EXPECT_TRUE(driver_.is_closed());
}

// As a loop does it: what is queued goes first, then the descriptor.
TEST_F(Driven, DiscardLeavesTheDriverToTheEnd) {
  socket().HoldDescriptor(true);
  ASSERT_TRUE(socket().Write("sent").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  socket().Abort();
  socket().Discard();
  EXPECT_FALSE(driver_.ending().has_value());
  EXPECT_EQ(socket().fd(), kFd);
  socket_ = std::nullopt;
  EXPECT_EQ(driver_.ending(), Ending::kReset);
  driver_.Complete();
  EXPECT_EQ(driver_.sent(), "sent");
}

TEST_F(Driven, AMovedSocketTakesItsDriverAlong) {
  ASSERT_TRUE(socket().Write("a").ok());
  Socket moved = std::move(socket());
  EXPECT_TRUE(moved.Flush().would_block());
  driver_.Complete();
  EXPECT_TRUE(moved.Flush().ok());
  moved.Close();
  EXPECT_EQ(driver_.ending(), Ending::kClose);
}

// --- Transports ---

// Sends and receives each byte with its case changed, from memory of its own.
class CaseChanger : public Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = socket.ReadRaw(out);
    for (char& c : out.first(read.bytes)) c ^= 32;
    return read;
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    std::string changed(static_cast<const char*>(pieces[0].iov_base),
                        pieces[0].iov_len);
    for (char& c : changed) c ^= 32;
    const iovec piece = {.iov_base = changed.data(), .iov_len = changed.size()};
    return socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
  }
  bool BeforeClose(Socket& socket) override {
    std::string farewell = "BYE";
    const iovec piece = {.iov_base = farewell.data(),
                         .iov_len = farewell.size()};
    static_cast<void>(socket.WriteRaw(absl::MakeConstSpan(&piece, 1)));
    return true;
  }
};

TEST_F(Driven, ATransportReadsAndWritesThroughIt) {
  ASSERT_TRUE(socket().SetTransport(std::make_unique<CaseChanger>()).ok());
  driver_.Bring("HEL");
  driver_.Bring("LO");
  EXPECT_EQ(Read(), "hello");
  ASSERT_TRUE(socket().Write("out").ok());
  const IoResult flushed = socket().Flush();
  EXPECT_EQ(flushed.bytes, 3u);
  EXPECT_TRUE(flushed.would_block()) << "it has not left";
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 0u);
  EXPECT_EQ(driver_.sent(), "OUT");
  socket().Close();
  EXPECT_FALSE(driver_.ending().has_value()) << "the farewell is in flight";
  driver_.Complete();
  EXPECT_TRUE(socket().Flush().ok());
  EXPECT_EQ(driver_.sent(), "OUTBYE");
  EXPECT_EQ(driver_.ending(), Ending::kClose);
}

TEST_F(Driven, MuchThroughATransportLeavesInOrder) {
  ASSERT_TRUE(socket().SetTransport(std::make_unique<CaseChanger>()).ok());
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string part(3'000, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(socket().Write(part).ok());
    expected += part;
  }
  static_cast<void>(socket().Flush());
  while (driver_.in_flight() > 0) {
    driver_.Complete();
    static_cast<void>(socket().Flush());
  }
  for (char& c : expected) c ^= 32;
  EXPECT_TRUE(driver_.sent() == expected) << driver_.sent().size();
  EXPECT_FALSE(socket().has_pending());
}

// Greets in two parts, and expects "ok".
class Greeter : public Transport {
 public:
  Handshake Shake(Socket& socket) override {
    for (std::string part : {"hel", "lo"}) {
      if (greeted_) break;
      const iovec piece = {.iov_base = part.data(), .iov_len = part.size()};
      EXPECT_EQ(socket.WriteRaw(absl::MakeConstSpan(&piece, 1)).bytes,
                part.size());
    }
    greeted_ = true;
    std::array<char, 2> answer;
    const IoResult read = socket.ReadRaw(absl::MakeSpan(answer));
    return read.bytes == 2 ? Handshake::kDone : Handshake::kMore;
  }

 private:
  bool greeted_ = false;
};

// While no other call is made.
TEST_F(Driven, AHandshakeLeavesInParts) {
  ASSERT_TRUE(socket().SetTransport(std::make_unique<Greeter>()).ok());
  using Handshake = Transport::Handshake;
  EXPECT_EQ(socket().Shake(), Handshake::kMore);
  EXPECT_TRUE(socket().raw_is_empty());
  driver_.Complete(1);
  EXPECT_EQ(socket().Shake(), Handshake::kMore);
  driver_.Complete();
  EXPECT_EQ(driver_.sent(), "hello");
  driver_.Bring("ok");
  EXPECT_EQ(socket().Shake(), Handshake::kDone);
  EXPECT_EQ(socket().Flush().bytes, 0u);
  ASSERT_TRUE(socket().SetTransport(nullptr).ok());
  ASSERT_TRUE(socket().Write("!").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  driver_.Complete();
  EXPECT_EQ(socket().Flush().bytes, 1u);
}

TEST_F(Driven, AnAbortKeepsWhatATransportHasWritten) {
  ASSERT_TRUE(socket().SetTransport(std::make_unique<CaseChanger>()).ok());
  ASSERT_TRUE(socket().Write("out").ok());
  EXPECT_TRUE(socket().Flush().would_block());
  socket().Abort();
  driver_.Complete();
  EXPECT_EQ(driver_.sent(), "OUT");
  EXPECT_TRUE(driver_.is_closed());
}

}  // namespace
}  // namespace fio
