// How connections end: slowly, at once, after an error, and by a transport.

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadToEnd;

constexpr absl::Duration kSecond = absl::Seconds(1);
constexpr size_t kMuch = size_t{32} << 20;

LoopOptions Options() {
  return {.poller = core_internal::PollerUnderTest(),
          .close_timeout = 8 * kSecond};
}

class Close : public LoopFixture {
 protected:
  Close() : LoopFixture(Options()) {}
};
class CloseLimit : public LoopFixture {
 protected:
  CloseLimit()
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .close_limit = 8 * kSecond}) {}
};
class Attach : public LoopFixture {
 protected:
  Attach() : LoopFixture(Options()) {}
};
class Fairness : public LoopFixture {
 protected:
  Fairness()
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .write_budget_bytes = 4096}) {}
};
class Pause : public LoopFixture {
 protected:
  Pause() : LoopFixture(Options()) {}
};
class Proxy : public LoopFixture {
 protected:
  Proxy() : LoopFixture(Options()) {}
};

// Reads up to `most` of what has arrived.
size_t ReadSome(Socket& socket, size_t most) {
  std::string buffer(size_t{64} << 10, ' ');
  size_t total = 0;
  while (total < most) {
    const IoResult read = socket.Read(absl::MakeSpan(buffer));
    if (read.bytes == 0) break;
    total += read.bytes;
  }
  return total;
}

// --- Close() ---

// 1 MiB a second: 32 s in all, with a close_timeout of 8.
TEST_F(Close, SlowButSteadyReaderGetsAll) {
  LoopbackPair pair = TcpPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  connection.SetWatermarks({});
  connection.Write(std::string(kMuch, 'x'));
  connection.Close();
  size_t received = 0;
  for (int seconds = 0; received < kMuch; ++seconds) {
    ASSERT_LT(seconds, 100) << "after " << received;
    Turn(8);
    received += ReadSome(pair.far, size_t{1} << 20);
    Advance(kSecond);
  }
  EXPECT_EQ(received, kMuch);
  Turn(2);
  EXPECT_EQ(ReadToEnd(pair.far), "");
  Turn(2);
  EXPECT_EQ(record.reason.ToString(), "closed here");
}

TEST_F(Close, ReaderThatStopsIsCutOff) {
  LoopbackPair pair = TcpPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  connection.SetWatermarks({});
  connection.Write(std::string(kMuch, 'x'));
  connection.Close();
  Turn(200);  // The kernel takes no more.
  for (int i = 0; i < 7; ++i) Advance(kSecond);
  EXPECT_EQ(record.Count("close"), 0);
  // It may have acknowledged some when the kernel was first asked.
  for (int i = 0; i < 9; ++i) Advance(kSecond);
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(record.reason.error, ETIMEDOUT);
}

TEST_F(CloseLimit, BoundsWhatProgresses) {
  LoopbackPair pair = TcpPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  connection.SetWatermarks({});
  connection.Write(std::string(kMuch, 'x'));
  connection.Close();
  for (int i = 0; i < 7; ++i) {
    Turn(8);
    ASSERT_GT(ReadSome(pair.far, size_t{1} << 20), 0u);
    Advance(kSecond);
  }
  EXPECT_EQ(record.Count("close"), 0);
  Advance(kSecond);
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(record.reason.error, ETIMEDOUT);
}

// The client goes on sending while the answer is on its way, and reads it when
// it has sent all.
TEST_F(Close, EarlyAnswerIsRead) {
  for (const bool unread : {false, true}) {
    SCOPED_TRACE(unread);
    LoopbackPair pair = LoopbackPair::Tcp();
    Record& record = NewRecord();
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite("the first part").ok());
    Turn(2);
    unread ? connection.Suspend() : connection.LingerAtClose();
    if (unread) {
      ASSERT_TRUE(pair.far.TryWrite("more").ok());
    }
    Turn(2);
    connection.Write("too large\n");
    connection.Close();
    for (int i = 0; i < 20; ++i) {
      Turn(2);
      EXPECT_TRUE(pair.far.TryWrite("another part").ok()) << i;
      Advance(kSecond / 20);
    }
    EXPECT_EQ(record.Count("close"), 0);
    EXPECT_EQ(ReadToEnd(pair.far), "too large\n");
    pair.far = Socket();
    Turn(3);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.ToString(), "closed here");
  }
}

// A client that never ends is waited for no longer than close_linger.
TEST_F(Close, LingersForABoundTime) {
  LoopbackPair pair = LoopbackPair::Tcp();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  connection.LingerAtClose();
  connection.Write("bye");
  connection.Close();
  Turn(2);
  Advance(kSecond);
  EXPECT_EQ(record.Count("close"), 0);
  Advance(kSecond + absl::Milliseconds(2));
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(record.reason.ToString(), "closed here");
}

// One that sends on and on does not change that.
TEST_F(Close, LingersForABoundTimeThoughThePeerSends) {
  LoopbackPair pair = LoopbackPair::Tcp();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  connection.LingerAtClose();
  connection.Write("bye");
  connection.Close();
  Turn(2);
  for (int i = 0; i < 19; ++i) {
    static_cast<void>(pair.far.TryWrite(std::string(10'000, 'x')));
    Advance(kSecond / 10);
  }
  EXPECT_EQ(record.Count("close"), 0);
  static_cast<void>(pair.far.TryWrite(std::string(10'000, 'x')));
  Advance(kSecond / 10 + absl::Milliseconds(2));
  EXPECT_EQ(record.Count("close"), 1);
}

// A message of which more is to come, and that is refused.
TEST_F(Close, LingersIfSomethingIsUnread) {
  for (const bool inside : {false, true}) {
    SCOPED_TRACE(inside);
    LoopbackPair pair = LoopbackPair::Tcp();
    Record& record = NewRecord();
    const auto refuse = [](Connection& connection) {
      connection.Write("too large\n");
      connection.Close();
    };
    record.on_data = [&](Connection& connection) {
      EXPECT_EQ(connection.Unread(), "the first part");
      if (inside) refuse(connection);
    };
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite("the first part").ok());
    Turn(2);
    if (!inside) refuse(connection);
    Turn(2);
    EXPECT_EQ(record.Count("close"), 0);
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(pair.far.TryWrite("another part").ok());
      Turn(2);
    }
    EXPECT_EQ(ReadToEnd(pair.far), "too large\n");
    pair.far.Close();
    Turn(3);
    EXPECT_EQ(record.Count("close"), 1);
  }
}

// The bytes that wait would keep Close() waiting for the peer.
TEST_F(Close, NowEndsThisTurn) {
  for (const bool unread : {false, true}) {
    SCOPED_TRACE(unread);
    LoopbackPair pair = TcpPair();
    Record& record = NewRecord();
    Connection& connection = Adopt(pair.near, record);
    Turn(2);
    connection.Suspend();
    if (unread) {
      ASSERT_TRUE(pair.far.TryWrite("unread").ok());
      Turn(2);
    }
    connection.Write("bye");
    connection.CloseNow(7);
    Turn();
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.code, 7);
    EXPECT_EQ(loop_->connection_count(), 0u);
    if (!unread) {
      EXPECT_EQ(ReadToEnd(pair.far), "bye");
    }
  }
}

TEST_F(Close, NowDropsWhatTheKernelDoesNotTake) {
  LoopbackPair pair = TcpPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  connection.SetWatermarks({});
  connection.Write(std::string(kMuch, 'x'));
  connection.CloseNow();
  Turn();
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_LT(ReadToEnd(pair.far).size(), kMuch);
}

// --- An error of writing ---

// An upgrade whose answer meets a reset: the bytes, then the error, are for the
// new protocol.
TEST_F(Attach, AfterAFailedWrite) {
  LoopbackPair pair = UnixPair();
  Record& old = NewRecord();
  Record& fresh = NewRecord();
  bool attached = false;
  old.on_data = [&](Connection& connection) {
    if (old.Count("data") > 1) return;
    EXPECT_FALSE(connection.TryWrite("101").ok());
    attached = connection.Attach(std::make_unique<Recorder>(fresh));
  };
  Adopt(pair.near, old);
  ASSERT_TRUE(pair.far.TryWrite("upgrade").ok());
  pair.far = Socket();
  for (int turn = 0; turn < 5; ++turn) Turn();
  EXPECT_TRUE(attached);
  EXPECT_EQ(old.Count("data"), 1);
  EXPECT_EQ(old.Count("close"), 1);
  EXPECT_EQ(fresh.Count("open"), 1);
  EXPECT_EQ(fresh.data, "upgrade");
  EXPECT_EQ(fresh.Count("close"), 1);
  EXPECT_EQ(fresh.reason.error, EPIPE);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// Fails to send bytes, or only its farewell.
class Failing final : public Transport {
 public:
  explicit Failing(bool sends) : sends_(sends) {}

  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    return sends_ ? Transport::Write(socket, pieces) : IoResult{.error = EPIPE};
  }
  IoResult Flush(Socket& /*socket*/) override {
    return {.error = says_farewell_ ? EPIPE : 0};
  }
  bool BeforeClose(Socket& /*socket*/) override {
    return says_farewell_ = true;
  }

 private:
  const bool sends_;
  bool says_farewell_ = false;
};

// A peer that has closed takes no farewell, and misses nothing. Only what the
// protocol has written is lost.
TEST_F(Close, AFarewellThatFailsLeavesThePeersEnd) {
  for (const bool sends : {true, false}) {
    SCOPED_TRACE(sends);
    LoopbackPair pair = LoopbackPair::Tcp();
    Record& record = NewRecord();
    record.on_end = [](Connection& connection) {
      connection.Write("answer");
      connection.Close(5);
    };
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(connection.SetTransport(std::make_unique<Failing>(sends)).ok());
    Turn(2);
    static_cast<void>(pair.far.ShutdownWrite());
    Turn(3);
    ASSERT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.origin,
              sends ? CloseReason::Origin::kPeer : CloseReason::Origin::kError);
    EXPECT_EQ(record.reason.code, sends ? 5 : 0);
    EXPECT_EQ(record.reason.error, sends ? 0 : EPIPE);
  }
}

// --- Others have their turn ---

TEST_F(Fairness, FlushHasABudget) {
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair.near, record);
  Turn(2);
  connection.Write(std::string(size_t{64} << 10, 'x'));
  for (uint64_t sent = 4096; sent <= 64 << 10; sent += 4096) {
    EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfinitePast());
    Turn();
    EXPECT_EQ(loop_->stats().bytes_written, sent);
  }
  EXPECT_EQ(ReadAvailable(pair.far).size(), size_t{64} << 10);
}

// --- Paused by its own queue, or by its partner's ---

TEST_F(Pause, EndIsToldThrough) {
  for (const bool reset : {false, true}) {
    SCOPED_TRACE(reset);
    LoopbackPair pair = TcpPair();
    Record& record = NewRecord();
    record.on_end = Nothing;
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite("x").ok());
    Turn(3);
    ASSERT_EQ(record.data, "x");
    connection.SetWatermarks({.high_bytes = 1});
    connection.Write(std::string(kMuch, 'x'));
    Turn(3);
    reset ? pair.far.Abort() : static_cast<void>(pair.far.ShutdownWrite());
    Turn(3);
    EXPECT_EQ(record.Count(reset ? "close" : "end"), 1);
    if (loop_->connection_count() > 0) connection.Abort();
    Turn(2);
  }
}

TEST_F(Proxy, ClientGoneIsNoticed) {
  for (const bool reset : {false, true}) {
    SCOPED_TRACE(reset);
    LoopbackPair client = TcpPair();
    LoopbackPair server = TcpPair();
    Record& record = NewRecord();
    record.on_end = Nothing;
    Connection& near = Adopt(client.near, record);
    Connection& upstream = Adopt(server.near, NewRecord());
    near.LinkWith(upstream);
    upstream.SetWatermarks({.high_bytes = 1});
    upstream.Write(std::string(kMuch, 'x'));
    Turn(3);
    ASSERT_GT(upstream.pending_bytes(), 1u);
    reset ? client.far.Abort() : static_cast<void>(client.far.ShutdownWrite());
    Turn(3);
    EXPECT_EQ(record.Count(reset ? "close" : "end"), 1);
    loop_->Stop(absl::ZeroDuration());
    Turn(3);
    ASSERT_EQ(loop_->connection_count(), 0u);
    loop_->Finish();
  }
}

}  // namespace
}  // namespace fio
