#include "fio/sock/socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/watermarks.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "fio/testing/scripted_transport.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::LoopbackPair;
using testing::ManualClock;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ReadUntil;
using testing::ScriptedTransport;

using Call = FaultPlan::Call;

class SocketTest : public ::testing::Test {
 protected:
  IoResult Read(Socket& socket) { return socket.Read(absl::MakeSpan(buffer_)); }

  LoopbackPair pair_ = LoopbackPair::Unix();
  Socket& near_ = pair_.near;
  Socket& far_ = pair_.far;
  char buffer_[64];
};

TEST_F(SocketTest, MovesBytes) {
  EXPECT_EQ(near_.Write("hello").bytes, 5u);
  EXPECT_TRUE(Read(far_).would_block()) << "not before the flush";
  EXPECT_EQ(near_.Flush().bytes, 5u);
  const IoResult read = Read(far_);
  ASSERT_TRUE(read.ok()) << read.status("recv");
  EXPECT_EQ(std::string(buffer_, read.bytes), "hello");
}

TEST_F(SocketTest, SixteenSmallWritesAreOneSystemCall) {
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(near_.Write("fifty bytes").ok());
  FaultPlan plan;
  EXPECT_TRUE(near_.Flush().ok());
  EXPECT_EQ(plan.calls(), 1u);
}

TEST_F(SocketTest, PeekTellsBytesFromTheEndAndTakesNone) {
  EXPECT_TRUE(near_.Peek().would_block());
  EXPECT_EQ(far_.TryWrite("x").bytes, 1u);
  EXPECT_EQ(near_.Peek().bytes, 1u);
  EXPECT_EQ(Read(near_).bytes, 1u);
  far_.Close();
  const IoResult end = near_.Peek();
  EXPECT_TRUE(end.ok());
  EXPECT_EQ(end.bytes, 0u);
}

TEST_F(SocketTest, HalfCloseInBothDirections) {
  near_.AllowHalfOpen();
  EXPECT_TRUE(near_.ShutdownWrite().ok());
  EXPECT_EQ(near_.Write("x").error, EPIPE);
  EXPECT_FALSE(near_.is_open());
  EXPECT_EQ(ReadToEnd(far_), "");
  EXPECT_EQ(far_.TryWrite("reply").bytes, 5u);
  EXPECT_EQ(Read(near_).bytes, 5u);

  LoopbackPair other = LoopbackPair::Unix();
  EXPECT_TRUE(other.near.ShutdownRead().ok());
  EXPECT_TRUE(Read(other.near).ok());
  EXPECT_EQ(other.near.TryWrite("still open").bytes, 10u);
  EXPECT_EQ(ReadAvailable(other.far), "still open");
}

TEST_F(SocketTest, ShutdownWriteComesAfterWhatIsQueued) {
  const std::string sent(4 << 20, 's');
  EXPECT_TRUE(near_.Write(sent).ok());
  EXPECT_TRUE(near_.ShutdownWrite().would_block());
  EXPECT_EQ(near_.Write("x").error, EPIPE);
  std::string received;
  while (near_.Flush().would_block()) received += ReadAvailable(far_);
  received += ReadToEnd(far_);
  EXPECT_TRUE(received == sent);
  EXPECT_GE(near_.fd(), 0);
}

TEST_F(SocketTest, AClosedSocketAnswersEbadf) {
  near_.Close();
  EXPECT_LT(near_.fd(), 0);
  EXPECT_EQ(Read(near_).error, EBADF);
  EXPECT_EQ(near_.Peek().error, EBADF);
  EXPECT_EQ(near_.Write("x").error, EBADF);
  EXPECT_EQ(near_.TryWrite("x").error, EBADF);
  EXPECT_EQ(near_.Flush().error, EBADF);
  EXPECT_EQ(near_.ShutdownWrite().error, EBADF);
  EXPECT_EQ(near_.ShutdownRead().error, EBADF);
  EXPECT_EQ(near_.FinishConnect().error, EBADF);
  near_.Abort();
  near_.Close();
  EXPECT_EQ(near_.peer_address(), SocketAddress());
  EXPECT_FALSE(near_.wants_read());
  EXPECT_FALSE(near_.wants_write());
}

TEST_F(SocketTest, ReleaseKeepsTheDescriptorOpen) {
  const UniqueFd fd = near_.Release();
  EXPECT_LT(near_.fd(), 0);
  EXPECT_GE(fcntl(fd.get(), F_GETFD), 0);
}

TEST_F(SocketTest, MovesWithWhatIsQueued) {
  EXPECT_TRUE(near_.Write("queued").ok());
  Socket moved = std::move(near_);
  EXPECT_LT(near_.fd(), 0);
  EXPECT_EQ(near_.pending_calls(), 0u);
  EXPECT_TRUE(moved.Flush().ok());
  EXPECT_EQ(ReadAvailable(far_), "queued");
}

TEST_F(SocketTest, TakesNoMemoryWhileIdle) {
  EXPECT_TRUE(near_.Write("x").ok());
  EXPECT_TRUE(near_.Flush().ok());
  EXPECT_EQ(sizeof(Socket), 16u);
}

TEST_F(SocketTest, AHeldDescriptorStaysWhenTheSocketIsOver) {
  near_.HoldDescriptor(true);
  int closed = 0;
  EXPECT_TRUE(near_.SetEnv({}, nullptr, [&](void*) { ++closed; }).ok());
  EXPECT_TRUE(near_.Write("last").ok());
  const int fd = near_.fd();
  near_.Close();
  EXPECT_FALSE(near_.is_over()) << "the owner flushes";
  EXPECT_TRUE(near_.Flush().ok());
  EXPECT_TRUE(near_.is_over());
  EXPECT_EQ(near_.fd(), fd);
  EXPECT_GE(fcntl(fd, F_GETFD), 0);
  EXPECT_EQ(closed, 0);
  near_.Discard();
  EXPECT_EQ(closed, 1);
  EXPECT_EQ(near_.fd(), fd);
  near_ = Socket();
  EXPECT_EQ(closed, 1);
  EXPECT_EQ(ReadToEnd(far_), "last");
}

// --- Reading ---

TEST(Read, ReturnMatrix) {
  char buffer[8];
  const auto read = [&](Socket& socket) {
    return socket.Read(absl::MakeSpan(buffer));
  };
  LoopbackPair pair = LoopbackPair::Tcp();
  FaultPlan plan;
  // Nothing now.
  EXPECT_TRUE(read(pair.near).would_block());
  ASSERT_TRUE(pair.far.TryWrite("hello").ok());
  EXPECT_TRUE(pair.near.Read({}).would_block()) << "no room";
  // Bytes, whatever interrupts.
  plan.FailNext(Call::kRecv, EINTR, 3);
  EXPECT_EQ(read(pair.near).bytes, 5u);
  // No memory is no end.
  plan.FailNext(Call::kRecv, ENOMEM);
  EXPECT_TRUE(read(pair.near).out_of_memory());
  EXPECT_TRUE(pair.near.is_open());
  // Not connected yet.
  Socket unconnected(
      UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP)));
  EXPECT_TRUE(read(unconnected).would_block());
  EXPECT_GE(unconnected.fd(), 0);
  // A fatal error closes.
  plan.FailNext(Call::kRecv, ECONNRESET);
  EXPECT_EQ(read(pair.near).error, ECONNRESET);
  EXPECT_LT(pair.near.fd(), 0);
  EXPECT_EQ(read(pair.near).error, EBADF);
  // So does the end.
  LoopbackPair ends = LoopbackPair::Tcp();
  ends.far.Close();
  static_cast<void>(ReadToEnd(ends.near));
  EXPECT_LT(ends.near.fd(), 0);
  EXPECT_EQ(read(ends.near).error, EBADF);
}

// facil.io and its 0.8 lost all of it.
TEST(Read, DataThenFin200) {
  for (const bool reset : {false, true}) {
    for (int i = 0; i < 200; ++i) {
      LoopbackPair pair = LoopbackPair::Tcp();
      ASSERT_EQ(pair.far.TryWrite("hello").bytes, 5u);
      reset ? pair.far.Abort() : pair.far.Close();
      EXPECT_EQ(ReadToEnd(pair.near), "hello");
    }
  }
}

// A write that fails does not take what the peer said before with it.
TEST(Read, AfterAWriteThatFailed) {
  LoopbackPair pair = LoopbackPair::Tcp();
  ASSERT_TRUE(pair.far.TryWrite("last words").ok());
  pair.far.Abort();
  EXPECT_TRUE(pair.near.Write("x").ok());
  EXPECT_TRUE(pair.near.Flush().failed());
  EXPECT_EQ(pair.near.pending_calls(), 0u) << "it is dropped all the same";
  EXPECT_FALSE(pair.near.is_open());
  EXPECT_TRUE(pair.near.Flush().failed());
  EXPECT_TRUE(pair.near.Write("y").failed());
  EXPECT_EQ(ReadToEnd(pair.near), "last words");
  EXPECT_LT(pair.near.fd(), 0);
}

TEST(Read, HalfCloseReply) {
  const std::string reply(1 << 20, 'r');
  for (const bool half_open : {false, true}) {
    LoopbackPair pair = LoopbackPair::Tcp();
    if (half_open) pair.near.AllowHalfOpen();
    ASSERT_TRUE(pair.far.TryWrite("request").ok());
    ASSERT_TRUE(pair.far.ShutdownWrite().ok());
    EXPECT_EQ(ReadUntil(pair.near, 7), "request");
    // Without half-open streams the reply must be written before the end is
    // read; it is then delivered all the same.
    if (!half_open) {
      EXPECT_TRUE(pair.near.Write(reply).ok());
    }
    EXPECT_EQ(ReadToEnd(pair.near), "");
    EXPECT_EQ(pair.near.is_open(), half_open);
    if (half_open) {
      EXPECT_TRUE(pair.near.Write(reply).ok());
      pair.near.Close();
    }
    std::string received;
    while (pair.near.Flush().would_block()) {
      received += ReadAvailable(pair.far);
    }
    received += ReadToEnd(pair.far);
    EXPECT_TRUE(received == reply);
    EXPECT_LT(pair.near.fd(), 0);
  }
}

// --- Flushing ---

TEST(Flush, ReturnMatrix) {
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  FaultPlan plan;
  EXPECT_TRUE(socket.Flush().ok()) << "nothing to do";
  EXPECT_TRUE(socket.Write("hello").ok());
  // Data left.
  plan.FailNext(Call::kSend, EAGAIN);
  EXPECT_TRUE(socket.Flush().would_block());
  EXPECT_TRUE(socket.wants_write());
  // Data left, and nothing will tell when to go on.
  for (const int error : {ENOBUFS, ENOMEM}) {
    plan.FailNext(Call::kSend, error);
    EXPECT_TRUE(socket.Flush().out_of_memory());
    EXPECT_EQ(socket.pending_bytes(), 5u);
    EXPECT_TRUE(socket.is_open());
  }
  // Drained.
  plan.FailNext(Call::kSend, EINTR, 2);
  EXPECT_TRUE(socket.Flush().ok());
  EXPECT_FALSE(socket.wants_write());
  // Busy.
  EXPECT_TRUE(socket
                  .Write(absl::MakeCordFromExternal(
                      "x",
                      [&](std::string_view) {
                        EXPECT_TRUE(socket.Flush().would_block());
                      }))
                  .ok());
  EXPECT_TRUE(socket.Flush().ok());
  // Errors close.
  for (const int error : {EPIPE, ECONNRESET, ENOTCONN, EIO}) {
    LoopbackPair dies = LoopbackPair::Unix();
    EXPECT_TRUE(dies.near.Write("x").ok());
    plan.FailNext(Call::kSend, error);
    EXPECT_EQ(dies.near.Flush().error, error);
    EXPECT_LT(dies.near.fd(), 0);
    EXPECT_EQ(dies.near.Flush().error, EBADF);
  }
}

// facil.io took an errno that it did not know for success.
TEST(Flush, UnknownErrnoCloses) {
  for (const int error : {EUCLEAN, ENETDOWN, EPERM, 4000}) {
    LoopbackPair pair = LoopbackPair::Unix();
    int released = 0;
    EXPECT_TRUE(pair.near
                    .Write(absl::MakeCordFromExternal(
                        "x", [&](std::string_view) { ++released; }))
                    .ok());
    FaultPlan plan;
    plan.FailNext(Call::kSend, error);
    EXPECT_EQ(pair.near.Flush().error, error);
    EXPECT_EQ(released, 1);
    EXPECT_EQ(pair.near.pending_calls(), 0u);
    EXPECT_LT(pair.near.fd(), 0);
  }
}

TEST(Flush, StrongBounded) {
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  ManualClock clock;
  std::optional<FaultPlan> faults(std::in_place);
  FaultPlan& plan = *faults;
  const std::string sent(1 << 20, 's');
  std::string received;
  // A peer that reads: until all is gone.
  EXPECT_TRUE(socket.Write(sent).ok());
  plan.OnPoll([&](pollfd* ready, nfds_t count, int timeout_ms) {
    EXPECT_EQ(count, 1u);
    EXPECT_EQ(ready->fd, socket.fd());
    EXPECT_EQ(ready->events, POLLOUT);
    EXPECT_EQ(timeout_ms, 5'000);
    received += ReadAvailable(pair.far);
    return 1;
  });
  EXPECT_TRUE(socket.FlushUntil(clock, clock.Now() + absl::Seconds(5)).ok());
  received += ReadAvailable(pair.far);
  EXPECT_TRUE(received == sent);
  // One that does not: until the deadline, without spinning.
  EXPECT_TRUE(socket.Write(sent).ok());
  int waits = 0;
  plan.OnPoll([&](pollfd*, nfds_t, int timeout_ms) {
    ++waits;
    clock.Advance(absl::Milliseconds(timeout_ms));
    return 0;
  });
  EXPECT_EQ(socket
                .FlushUntil(clock, clock.Now() + absl::Seconds(5) +
                                       absl::Nanoseconds(1))
                .error,
            ETIMEDOUT);
  EXPECT_EQ(waits, 1);
  EXPECT_TRUE(socket.is_open());
  // Want of memory ends without a word of the descriptor.
  plan.OnPoll([&](pollfd* ready, nfds_t, int timeout_ms) {
    EXPECT_LT(ready->fd, 0);
    EXPECT_EQ(timeout_ms, 10);
    clock.Advance(absl::Milliseconds(timeout_ms));
    return 0;
  });
  plan.FailNext(Call::kSendmsg, ENOBUFS, 1'000);
  EXPECT_EQ(socket.FlushUntil(clock, clock.Now() + absl::Seconds(5)).error,
            ETIMEDOUT);
  // A dead one: at once.
  faults.reset();
  pair.far = Socket();
  EXPECT_TRUE(
      socket.FlushUntil(clock, MonotonicTime::InfiniteFuture()).failed());
  EXPECT_EQ(socket.FlushUntil(clock, clock.Now()).error, EBADF);
}

// --- Closing ---

TEST(Close, DrainsThenCloses) {
  for (const bool tcp : {false, true}) {
    LoopbackPair pair = tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix();
    const std::string sent(8 << 20, 's');
    int closed = 0;
    EXPECT_TRUE(pair.near.SetEnv({}, nullptr, [&](void*) { ++closed; }).ok());
    EXPECT_TRUE(pair.near.Write(sent).ok());
    pair.near.Close();
    pair.near.Close();
    EXPECT_TRUE(pair.near.is_closing());
    EXPECT_GE(pair.near.fd(), 0);
    EXPECT_EQ(closed, 0);
    std::string received;
    while (pair.near.Flush().would_block()) {
      EXPECT_TRUE(pair.near.wants_write());
      received += ReadAvailable(pair.far);
    }
    EXPECT_LT(pair.near.fd(), 0);
    EXPECT_EQ(closed, 1);
    received += ReadToEnd(pair.far);
    EXPECT_TRUE(received == sent);
  }
}

TEST(Close, AtOnceIfNothingIsPending) {
  LoopbackPair pair = LoopbackPair::Unix();
  pair.near.Close();
  EXPECT_LT(pair.near.fd(), 0);
  EXPECT_EQ(ReadToEnd(pair.far), "");
}

// Closing over unread bytes has the kernel send a reset, which would destroy
// the reply on its way.
TEST(Close, UnreadInputDoesNotCostTheReply) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const std::string reply(1 << 20, 'r');
  ASSERT_TRUE(pair.far.TryWrite(std::string(100'000, 'u')).ok());
  EXPECT_TRUE(pair.near.Write(reply).ok());
  pair.near.Close();
  std::string received;
  while (pair.near.wants_write()) {
    static_cast<void>(pair.near.Flush());
    received += ReadAvailable(pair.far);
  }
  EXPECT_TRUE(pair.near.wants_read()) << "it waits for the peer";
  received += ReadToEnd(pair.far);
  EXPECT_TRUE(received == reply);
  ASSERT_TRUE(pair.far.TryWrite("more that nobody reads").ok());
  EXPECT_TRUE(pair.near.Flush().would_block());
  pair.far.Close();
  EXPECT_TRUE(pair.near.Flush().ok());
  EXPECT_LT(pair.near.fd(), 0);
}

TEST(Close, ForceSkipsHook) {
  ScriptedTransport::Script script;
  LoopbackPair pair = LoopbackPair::Tcp();
  script.writes = {{.error = EAGAIN}};
  ASSERT_TRUE(
      pair.near.SetTransport(std::make_unique<ScriptedTransport>(script)).ok());
  EXPECT_TRUE(pair.near.Write("never sent").ok());
  EXPECT_TRUE(pair.near.Flush().would_block());
  pair.near.Abort();
  EXPECT_LT(pair.near.fd(), 0);
  EXPECT_EQ(script.calls, (std::vector<std::string>{"write", "destroyed"}));
  char byte;
  EXPECT_EQ(pair.far.Read(absl::MakeSpan(&byte, 1)).error, ECONNRESET);
}

TEST(Close, AbortEndsWhatCloseBegan) {
  LoopbackPair pair = LoopbackPair::Tcp();
  EXPECT_TRUE(pair.near.Write(std::string(32 << 20, 's')).ok());
  pair.near.Close();
  EXPECT_GE(pair.near.fd(), 0);
  pair.near.Abort();
  EXPECT_LT(pair.near.fd(), 0);
  EXPECT_EQ(pair.near.pending_bytes(), 0u);
}

TEST(Close, WriteAfterClose) {
  LoopbackPair pair = LoopbackPair::Tcp();
  int released = 0;
  const auto write = [&] {
    return pair.near
        .Write(absl::MakeCordFromExternal(
            "late", [&](std::string_view) { ++released; }))
        .error;
  };
  EXPECT_TRUE(pair.near.Write(std::string(32 << 20, 's')).ok());
  pair.near.Close();
  EXPECT_EQ(write(), EPIPE);
  EXPECT_EQ(released, 1);
  EXPECT_EQ(pair.near.pending_calls(), 1u);
  pair.near.Abort();
  EXPECT_EQ(write(), EBADF);
  EXPECT_EQ(released, 2);
}

// --- Watermarks ---

TEST(Slow, HardLimitClosesFd) {
  for (const Watermarks& limit :
       {Watermarks{.limit_bytes = 1 << 20}, Watermarks{.limit_calls = 16}}) {
    LoopbackPair pair = LoopbackPair::Tcp();
    int released = 0;
    int closed = 0;
    pair.near.SetWatermarks(limit);
    EXPECT_TRUE(pair.near.SetEnv({}, nullptr, [&](void*) { ++closed; }).ok());
    const std::string part(64 << 10, 'p');
    int writes = 0;
    const int fd = pair.near.fd();
    for (; pair.near.is_open(); ++writes) {
      const IoResult written = pair.near.Write(absl::MakeCordFromExternal(
          part, [&](std::string_view) { ++released; }));
      EXPECT_EQ(written.error, writes < 16 ? 0 : ENOBUFS);
    }
    EXPECT_EQ(writes, 17);
    EXPECT_EQ(released, 17);
    EXPECT_EQ(closed, 1);
    EXPECT_EQ(fcntl(fd, F_GETFD), -1) << "really closed";
  }
}

TEST(Slow, AboveTheHighMarkItWantsNoInputUntilHalfHasLeft) {
  ScriptedTransport::Script script;
  LoopbackPair pair = LoopbackPair::Unix();
  Socket& socket = pair.near;
  socket.SetWatermarks({.high_bytes = 1000});
  EXPECT_TRUE(socket.Write(std::string(1000, 'a')).ok());
  EXPECT_TRUE(socket.wants_read());
  EXPECT_TRUE(socket.Write("b").ok());
  EXPECT_EQ(socket.level(), Watermarks::Level::kHigh);
  EXPECT_FALSE(socket.wants_read());
  script.writes = {
      {.bytes = 500}, {.error = EAGAIN}, {.bytes = 1}, {.error = EAGAIN}};
  ASSERT_TRUE(
      socket.SetTransport(std::make_unique<ScriptedTransport>(script)).ok());
  EXPECT_TRUE(socket.Flush().would_block());
  EXPECT_FALSE(socket.wants_read()) << socket.pending_bytes();
  EXPECT_TRUE(socket.Flush().would_block());
  EXPECT_TRUE(socket.wants_read()) << socket.pending_bytes();
}

// --- Connecting ---

// A connection in its first steps.
Socket StartConnectTo(const SocketAddress& address) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK, 0));
  const int result = connect(fd.get(), address.data(), address.size());
  EXPECT_TRUE(result == 0 || errno == EINPROGRESS);
  return Socket(std::move(fd));
}

TEST(Socket, FinishConnectTellsOnceItIsEstablished) {
  absl::StatusOr<ListenSocket> listener =
      ListenSocket::Listen(*SocketAddress::FromIp("127.0.0.1", 0), {});
  ASSERT_TRUE(listener.ok()) << listener.status();
  Socket socket = StartConnectTo(listener->local_address());
  pollfd ready = {.fd = socket.fd(), .events = POLLOUT, .revents = 0};
  ASSERT_EQ(poll(&ready, 1, -1), 1);
  EXPECT_TRUE(socket.FinishConnect().ok());
  EXPECT_EQ(socket.peer_address(), listener->local_address());
}

TEST(Socket, FinishConnectTellsWhyNot) {
  SocketAddress nobody;
  {
    absl::StatusOr<ListenSocket> listener =
        ListenSocket::Listen(*SocketAddress::FromIp("127.0.0.1", 0), {});
    ASSERT_TRUE(listener.ok()) << listener.status();
    nobody = listener->local_address();
  }
  Socket socket = StartConnectTo(nobody);
  pollfd ready = {.fd = socket.fd(), .events = POLLOUT, .revents = 0};
  ASSERT_EQ(poll(&ready, 1, -1), 1);
  EXPECT_EQ(socket.FinishConnect().error, ECONNREFUSED);
  EXPECT_LT(socket.fd(), 0);
}

TEST(Socket, FinishConnectWaitsForOneInProgress) {
  absl::StatusOr<ListenSocket> listener = ListenSocket::Listen(
      *SocketAddress::FromIp("127.0.0.1", 0), {.backlog = 0});
  ASSERT_TRUE(listener.ok()) << listener.status();
  // Beyond its backlog the kernel answers nobody.
  std::vector<Socket> sockets;
  bool in_progress = false;
  for (int i = 0; i < 8 && !in_progress; ++i) {
    sockets.push_back(StartConnectTo(listener->local_address()));
    const IoResult result = sockets.back().FinishConnect();
    in_progress = result.would_block();
    EXPECT_TRUE(in_progress || result.ok());
  }
  EXPECT_TRUE(in_progress);
  char byte;
  EXPECT_TRUE(sockets.back().Read(absl::MakeSpan(&byte, 1)).would_block());
}

}  // namespace
}  // namespace fio
