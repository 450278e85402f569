#include "fio/core/loop/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection_group.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/internal/serials.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();

using loop_internal::IsOverHandshake;
using loop_internal::IsOverTransport;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using ::testing::ElementsAre;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadToEnd;

// What a protocol was told, in order; it may do something then.
struct Record {
  std::vector<std::string> told;
  std::string data;
  CloseReason reason;
  std::function<void(Connection&)> on_data, on_ready, on_end, on_timeout,
      on_close;

  int Count(std::string_view what) const {
    int count = 0;
    for (const std::string& one : told) count += one == what;
    return count;
  }
};

class Recorder final : public Protocol {
 public:
  explicit Recorder(Record& record) : record_(record) {}
  ~Recorder() override { record_.told.push_back("destroyed"); }

  void OnData(Connection& connection) override {
    record_.told.push_back("data");
    if (record_.on_data) {
      record_.on_data(connection);
    } else {
      record_.data += connection.Received();
    }
  }
  void OnReady(Connection& connection) override {
    record_.told.push_back("ready");
    if (record_.on_ready) record_.on_ready(connection);
  }
  void OnEnd(Connection& connection) override {
    record_.told.push_back("end");
    record_.on_end ? record_.on_end(connection) : Protocol::OnEnd(connection);
  }
  void OnTimeout(Connection& connection) override {
    record_.told.push_back("timeout");
    record_.on_timeout ? record_.on_timeout(connection)
                       : Protocol::OnTimeout(connection);
  }
  void OnClose(Connection& connection, const CloseReason& reason) override {
    record_.told.push_back("close");
    record_.reason = reason;
    if (record_.on_close) record_.on_close(connection);
  }

 private:
  Record& record_;
};

class ConnectionTest : public ::testing::Test {
 protected:
  static constexpr size_t kBuffer = 4096;
  static constexpr size_t kHighWatermark = 64 * 1024;

  ConnectionTest() {
    absl::StatusOr<std::unique_ptr<Loop>> loop =
        Loop::Create({.clock = &clock_,
                      .poller = kPoller,
                      .receive_buffer_bytes = kBuffer,
                      .watermarks = {.high_bytes = kHighWatermark}});
    EXPECT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  void Turn(int count = 1) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
    }
  }
  // Turns until the record has `what`; waits for as long as that takes.
  void RunUntil(const Record& record, std::string_view what) {
    while (record.Count(what) == 0) {
      ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfiniteFuture()).ok());
    }
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn(2);  // One to read the clock, one to run what is due.
  }

  Connection& Adopt(Socket& socket, Record& record) {
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(socket), [&](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(record));
        });
    EXPECT_TRUE(id.ok()) << id.status();
    return *loop_->Find(*id);
  }

  testing::ManualClock clock_;
  Record record_, next_record_;
  LoopbackPair pair_ = UnixPair();
  std::unique_ptr<Loop> loop_;
};

// --- Bytes in ---

TEST_F(ConnectionTest, DeliversBytesAndSendsWhatIsWritten) {
  Adopt(pair_.near, record_);
  record_.on_data = [](Connection& connection) {
    connection.Write("<");
    connection.Write(connection.Received());
    connection.Write(absl::Cord(">"));
  };
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "<hello>");
}

TEST_F(ConnectionTest, BytesBeforeAdoptAreDelivered) {
  ASSERT_TRUE(pair_.far.TryWrite("early").ok());
  Adopt(pair_.near, record_);
  Turn();
  EXPECT_EQ(record_.data, "early");
}

TEST_F(ConnectionTest, ReadsMoreThanItsBufferOverSeveralTurns) {
  if (IsOverHandshake()) return;  // Reads records.
  Adopt(pair_.near, record_);
  std::string sent;
  for (size_t i = 0; i < 10 * kBuffer; ++i) sent += static_cast<char>(i % 251);
  ASSERT_EQ(pair_.far.TryWrite(sent).bytes, sent.size());
  Turn();
  EXPECT_EQ(record_.data.size(), kBuffer) << "one buffer a turn";
  Turn(10);
  EXPECT_TRUE(record_.data == sent);
}

TEST_F(ConnectionTest, WhatIsNotTakenIsToldAgain) {
  Adopt(pair_.near, record_);
  record_.on_data = [&](Connection& connection) {
    char buffer[2];
    const size_t n = connection.Read(absl::MakeSpan(buffer));
    record_.data.append(buffer, n);
  };
  ASSERT_TRUE(pair_.far.TryWrite("12345").ok());
  Turn(5);
  EXPECT_EQ(record_.data, "12345");
}

TEST_F(ConnectionTest, ReceivedMayBeCalledUntilNothingIsLeft) {
  Adopt(pair_.near, record_);
  record_.on_data = [&](Connection& connection) {
    std::string_view bytes;
    while (!(bytes = connection.Received()).empty()) record_.data += bytes;
  };
  const std::string sent(3 * kBuffer, 'x');
  ASSERT_TRUE(pair_.far.TryWrite(sent).ok());
  Turn();
  EXPECT_EQ(record_.data, sent);
  EXPECT_EQ(record_.Count("data"), 1);
}

// --- Ends ---

TEST_F(ConnectionTest, BytesThenTheEndThenClose) {
  Adopt(pair_.near, record_);
  ASSERT_TRUE(pair_.far.TryWrite("last words").ok());
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(record_.data, "last words");
  if (!IsOverTransport()) {  // What it holds only OnData() finds out.
    EXPECT_THAT(record_.told,
                ElementsAre("data", "ready", "end", "close", "destroyed"));
  }
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kPeer);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

TEST_F(ConnectionTest, AnEndWithoutBytesIsNoData) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  Adopt(pair_.near, record_);
  Turn();
  pair_.far.Close();
  Turn(3);
  EXPECT_THAT(record_.told, ElementsAre("ready", "end", "close", "destroyed"));
}

// facil.io handled the hang-up first and lost all of these bytes.
TEST_F(ConnectionTest, DataThenFin200) {
  for (int i = 0; i < 200; ++i) {
    LoopbackPair pair = TcpPair();
    Record record;
    ASSERT_TRUE(pair.far.TryWrite("hello").ok());
    pair.far.Close();
    Adopt(pair.near, record);
    RunUntil(record, "close");
    ASSERT_EQ(record.data, "hello");
    ASSERT_EQ(record.Count("end"), 1);
  }
}

// As does uSockets when the client resets the connection.
TEST_F(ConnectionTest, BytesBeforeAResetAreDelivered) {
  LoopbackPair pair = TcpPair();
  Adopt(pair.near, record_);
  ASSERT_TRUE(pair.far.TryWrite("hello").ok());
  pair.far.Abort();
  RunUntil(record_, "close");
  EXPECT_EQ(record_.data, "hello");
  EXPECT_EQ(record_.Count("end"), 0);
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kError);
  EXPECT_EQ(record_.reason.error, ECONNRESET);
}

TEST_F(ConnectionTest, HalfCloseReply) {
  LoopbackPair pair = TcpPair();
  Adopt(pair.near, record_);
  const std::string reply(1 << 20, 'r');
  record_.on_end = [&](Connection& connection) {
    connection.Write(reply);
    connection.Close();
  };
  ASSERT_TRUE(pair.far.TryWrite("request").ok());
  ASSERT_TRUE(pair.far.ShutdownWrite().ok());
  std::string received;
  while (record_.Count("close") == 0) {
    Turn();
    received += ReadAvailable(pair.far);
  }
  received += ReadToEnd(pair.far);
  EXPECT_EQ(record_.data, "request");
  EXPECT_TRUE(received == reply);
}

TEST_F(ConnectionTest, AProtocolMayStayAfterTheEnd) {
  Connection& connection = Adopt(pair_.near, record_);
  record_.on_end = [](Connection&) {};
  ASSERT_TRUE(pair_.far.ShutdownWrite().ok());
  Turn(3);
  EXPECT_TRUE(connection.is_open());
  connection.Write("still here");
  Turn(3);
  EXPECT_EQ(ReadAvailable(pair_.far), "still here");
  EXPECT_EQ(record_.Count("end"), 1);
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
}

// To whoever stays after the end, only what is written would tell else.
TEST_F(ConnectionTest, AResetAfterTheEndIsNoticed) {
  if (kPoller == PollerKind::kPoll) return;  // Does not tell after the end.
  LoopbackPair pair = TcpPair();
  record_.on_end = [](Connection&) {};
  Adopt(pair.near, record_);
  ASSERT_TRUE(pair.far.ShutdownWrite().ok());
  RunUntil(record_, "end");
  pair.far.Abort();
  RunUntil(record_, "close");
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kError);
  EXPECT_EQ(record_.reason.error, EPIPE);
}

// Once for each turn, whichever connections write when.
TEST_F(ConnectionTest, ManyConnectionsThatWriteTwiceSendOnce) {
  constexpr size_t kConnections = 300;
  std::vector<Record> records(kConnections);
  std::vector<LoopbackPair> pairs;
  std::vector<Connection*> connections;
  for (Record& record : records) {
    pairs.push_back(UnixPair());
    connections.push_back(&Adopt(pairs.back().near, record));
  }
  Turn();
  const testing::FaultPlan plan;
  for (int i = 0; i < 3; ++i) {
    for (Connection* connection : connections) {
      connection->Write(absl::StrCat("<", i, ">"));
      EXPECT_EQ(connection->pending_bytes(), 3u * (i + 1));
    }
  }
  Turn();
  EXPECT_EQ(plan.calls(testing::FaultPlan::Call::kSend), kConnections);
  for (LoopbackPair& pair : pairs) {
    EXPECT_EQ(ReadAvailable(pair.far), "<0><1><2>");
  }
  loop_ = nullptr;  // Before the records.
}

// A Unix socket that hangs up cannot be told to keep quiet; bun's fork of
// uSockets spun on it.
TEST_F(ConnectionTest, NothingSpinsAfterAHangUpThatIsIgnored) {
  for (const bool tcp : {false, true}) {
    Record record;
    LoopbackPair pair = tcp ? TcpPair() : UnixPair();
    record.on_end = [](Connection&) {};
    Connection& connection = Adopt(pair.near, record);
    pair.far = Socket();
    RunUntil(record, "end");
    Turn(3);
    const uint64_t events = loop_->stats().events;
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
      Turn();
    }
    EXPECT_EQ(loop_->stats().events, events);
    connection.Abort();
    Turn();
  }
}

// --- Bytes out ---

TEST_F(ConnectionTest, ManyWritesLeaveInOrder) {
  Connection& connection = Adopt(pair_.near, record_);
  std::string expected;
  for (int i = 0; i < 1'000; ++i) {
    const std::string one = absl::StrCat(i, ",");
    ASSERT_TRUE(connection.Write(one));
    expected += one;
  }
  EXPECT_EQ(connection.pending_bytes(), expected.size());
  Turn();
  EXPECT_EQ(connection.pending_bytes(), 0u);
  EXPECT_EQ(ReadAvailable(pair_.far), expected);
}

TEST_F(ConnectionTest, WritesBeforeAndAfterAFlushLeaveOnceAndInOrder) {
  Connection& connection = Adopt(pair_.near, record_);
  for (const std::string_view one : {"a", "b", "c"}) {
    connection.Write(one);
    connection.Flush();
    connection.Write("-");
  }
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "a-b-c-");
}

// Whoever suspends and is reset may still take what came before.
TEST_F(ConnectionTest, AFailedWriteWhileSuspendedEndsOnResumeOrStop) {
  for (const bool resume : {true, false}) {
    Record record;
    LoopbackPair pair = UnixPair();
    Connection& connection = Adopt(pair.near, record);
    connection.Suspend();
    ASSERT_TRUE(pair.far.TryWrite("unread").ok());
    pair.far.Close();
    Turn(2);
    connection.Write("to one who has gone");
    Turn(2);
    EXPECT_EQ(record.Count("close"), 0);
    resume ? connection.Resume() : loop_->Stop();
    Turn(3);
    EXPECT_EQ(record.data, resume ? "unread" : "");
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.error, EPIPE);
  }
}

TEST_F(ConnectionTest, TryWriteBehindAQueueDoesNotHoldItUp) {
  Connection& connection = Adopt(pair_.near, record_);
  Turn(2);
  connection.Write("a");
  EXPECT_TRUE(connection.TryWrite("b").would_block());
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "a");
  EXPECT_EQ(record_.Count("ready"), 2);
}

TEST_F(ConnectionTest, TryWriteGoesOnWhenTheKernelHasMemoryAgain) {
  if (IsOverHandshake()) return;  // It takes the bytes.
  Connection& connection = Adopt(pair_.near, record_);
  Turn(2);
  testing::FaultPlan plan;
  plan.FailNextOn(connection.id().fd(), testing::FaultPlan::Call::kSend,
                  ENOBUFS);
  plan.FailNextOn(connection.id().fd(), testing::FaultPlan::Call::kSendmsg,
                  ENOBUFS);
  EXPECT_TRUE(connection.TryWrite("a").out_of_memory());
  connection.Write("b");
  Turn();
  Advance(absl::Milliseconds(10));
  EXPECT_EQ(ReadAvailable(pair_.far), "b");
  EXPECT_EQ(record_.Count("ready"), 2);
}

TEST_F(ConnectionTest, TryWriteAfterShutdownWriteOnlyFails) {
  Connection& connection = Adopt(pair_.near, record_);
  connection.ShutdownWrite();
  EXPECT_EQ(connection.TryWrite("late").error, EPIPE);
  ASSERT_TRUE(pair_.far.TryWrite("still read").ok());
  Turn(3);
  EXPECT_TRUE(connection.is_open());
  EXPECT_EQ(record_.data, "still read");
}

TEST_F(ConnectionTest, AFailedFlushIsTheReasonOfTheClose) {
  Connection& connection = Adopt(pair_.near, record_);
  Turn(2);
  pair_.far.Close();
  connection.Write("to one who has gone");
  connection.Flush();
  Turn(3);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kError);
  EXPECT_EQ(record_.reason.error, EPIPE);
}

TEST_F(ConnectionTest, NothingIsPendingAfterAbort) {
  Connection& connection = Adopt(pair_.near, record_);
  connection.Write("dropped");
  EXPECT_EQ(connection.pending_calls(), 1u);
  connection.Abort();
  EXPECT_EQ(connection.pending_bytes(), 0u);
  EXPECT_EQ(connection.pending_calls(), 0u);
}

TEST_F(ConnectionTest, ASlowReaderGetsEverything) {
  Connection& connection = Adopt(pair_.near, record_);
  std::string sent;
  for (int i = 0; i < 1 << 18; ++i) absl::StrAppend(&sent, i, " ");
  connection.Write(sent);
  std::string received;
  while (received.size() < sent.size()) {
    Turn();
    received += ReadAvailable(pair_.far);
  }
  EXPECT_TRUE(received == sent);
}

TEST_F(ConnectionTest, ReadyOnceAfterAttachAndOncePerDrain) {
  Connection& connection = Adopt(pair_.near, record_);
  Turn(3);
  EXPECT_EQ(record_.Count("ready"), 1);
  connection.Write("a");
  connection.Write("b");
  Turn(3);
  EXPECT_EQ(record_.Count("ready"), 2);
  connection.Write(std::string(8 << 20, 'x'));
  Turn(3);
  EXPECT_EQ(record_.Count("ready"), 2) << "the peer has not read yet";
  for (int i = 0; i < 1'000 && record_.Count("ready") == 2; ++i) {
    ReadAvailable(pair_.far);
    Turn();
  }
  EXPECT_EQ(record_.Count("ready"), 3);
}

TEST_F(ConnectionTest, OnReadyMayGoOnWritingWithoutEnd) {
  Adopt(pair_.near, record_);
  record_.on_ready = [](Connection& connection) { connection.Write("x"); };
  Turn(10);
  EXPECT_EQ(record_.Count("ready"), 10) << "one a turn";
  EXPECT_EQ(ReadAvailable(pair_.far), "xxxxxxxxx");
}

// In uSockets a write from inside its callback could stall for ever.
TEST_F(ConnectionTest, EightMiBWrittenFromOnReadyArriveWhole) {
  constexpr size_t kTotal = size_t{8} << 20;
  constexpr size_t kPiece = size_t{100} << 10;
  size_t written = 0;
  record_.on_ready = [&](Connection& connection) {
    const size_t size = std::min(kPiece, kTotal - written);
    if (size == 0) return;
    connection.Write(std::string(size, static_cast<char>(written / kPiece)));
    written += size;
  };
  LoopbackPair pair = TcpPair();
  Adopt(pair.near, record_);
  std::string received;
  while (received.size() < kTotal) {
    Turn();
    received += ReadAvailable(pair.far);
  }
  for (size_t i = 0; i < kTotal; ++i) {
    ASSERT_EQ(received[i], static_cast<char>(i / kPiece)) << i;
  }
}

// A peer that sends and never reads must not fill the memory.
TEST_F(ConnectionTest, AFullQueueStopsReadingUntilHalfHasLeft) {
  Connection& connection = Adopt(pair_.near, record_);
  connection.Write(std::string(8 << 20, 'x'));
  Turn();
  ASSERT_GT(connection.pending_bytes(), kHighWatermark);
  ASSERT_TRUE(pair_.far.TryWrite("request").ok());
  Turn(3);
  EXPECT_EQ(record_.data, "");
  while (connection.pending_bytes() > kHighWatermark / 2) {
    ASSERT_EQ(record_.data, "");
    ReadAvailable(pair_.far);
    Turn();
  }
  Turn();
  EXPECT_EQ(record_.data, "request");
}

TEST_F(ConnectionTest, AFailedWriteStillDeliversWhatCameBefore) {
  LoopbackPair pair = TcpPair();
  record_.on_data = [&](Connection& connection) {
    char buffer[4];
    const size_t n = connection.Read(absl::MakeSpan(buffer));
    record_.data.append(buffer, n);
    connection.Write("answer to one who has gone");
  };
  Adopt(pair.near, record_);
  ASSERT_TRUE(pair.far.TryWrite("0123456789").ok());
  pair.far.Abort();
  RunUntil(record_, "close");
  EXPECT_EQ(record_.data, "0123456789");
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kError);
}

// --- Closing ---

TEST_F(ConnectionTest, CloseDrainsThenCloses) {
  Connection& connection = Adopt(pair_.near, record_);
  const std::string sent(4 << 20, 'x');
  connection.Write(sent);
  connection.Close();
  EXPECT_FALSE(connection.Write("too late"));
  EXPECT_FALSE(connection.is_open());
  connection.Close();
  std::string received;
  while (record_.Count("close") == 0) {
    Turn();
    received += ReadAvailable(pair_.far);
  }
  received += ReadToEnd(pair_.far);
  EXPECT_TRUE(received == sent);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kLocal);
}

TEST_F(ConnectionTest, APeerThatTakesNothingIsCutOffAfterTheCloseTimeout) {
  Connection& connection = Adopt(pair_.near, record_);
  connection.Write(std::string(4 << 20, 'x'));
  connection.Close();
  Turn(3);
  Advance(absl::Seconds(8) - absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.error, ETIMEDOUT);
}

TEST_F(ConnectionTest, AbortResetsAndDropsWhatIsQueued) {
  LoopbackPair pair = TcpPair();
  Connection& connection = Adopt(pair.near, record_);
  connection.Write("never sent");
  connection.Abort();
  EXPECT_FALSE(connection.Write("nor this"));
  connection.Close();
  Turn();
  EXPECT_EQ(record_.Count("close"), 1);
  char byte;
  EXPECT_EQ(pair.far.Read(absl::MakeSpan(&byte, 1)).error, ECONNRESET);
}

TEST_F(ConnectionTest, OnCloseSeesAnIdThatNamesNothing) {
  Connection& connection = Adopt(pair_.near, record_);
  const ConnectionId id = connection.id();
  bool found = true;
  bool wrote = true;
  record_.on_close = [&](Connection& closed) {
    EXPECT_EQ(closed.id(), id);
    found = loop_->Find(id) != nullptr;
    wrote = closed.Write("x");
    closed.Close();
    closed.Abort();
    closed.SetTimeout(absl::Seconds(1));
  };
  connection.Close();
  Turn(3);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_FALSE(found);
  EXPECT_FALSE(wrote);
}

TEST_F(ConnectionTest, AStaleIdDoesNotHitTheNextConnection) {
  const ConnectionId old_id = Adopt(pair_.near, record_).id();
  loop_->Find(old_id)->Close();
  Turn(2);
  ASSERT_EQ(record_.Count("close"), 1);
  LoopbackPair next = UnixPair();
  ConnectionId next_id;
  // The kernel hands out the lowest number, so one end has the old one.
  for (Socket* end : {&next.near, &next.far}) {
    if (end->fd() == old_id.fd()) next_id = Adopt(*end, next_record_).id();
  }
  ASSERT_EQ(next_id.fd(), old_id.fd());
  EXPECT_NE(next_id, old_id);
  EXPECT_EQ(loop_->Find(old_id), nullptr);
  EXPECT_NE(loop_->Find(next_id), nullptr);
}

TEST_F(ConnectionTest, ANewConnectionInOnCloseIsAnother) {
  LoopbackPair next = UnixPair();
  ConnectionId next_id;
  record_.on_close = [&](Connection&) {
    next_id = Adopt(next.near, next_record_).id();
  };
  Adopt(pair_.near, record_).Close();
  Turn(2);
  ASSERT_NE(loop_->Find(next_id), nullptr);
  ASSERT_TRUE(next.far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(next_record_.data, "hello");
}

// Every callback may close its own connection and another one, whose callbacks
// may be due in the same turn.
TEST_F(ConnectionTest, CloseInsideEveryCallback) {
  for (const bool abort : {false, true}) {
    for (const std::string callback :
         {"data", "ready", "end", "timeout", "close"}) {
      SCOPED_TRACE(absl::StrCat(callback, abort ? " abort" : " close"));
      LoopbackPair pairs[2] = {UnixPair(), UnixPair()};
      Record records[2];
      ConnectionId ids[2];
      const auto close_both = [&](Connection&) {
        for (const ConnectionId id : ids) {
          if (Connection* connection = loop_->Find(id)) {
            abort ? connection->Abort() : connection->Close();
          }
        }
      };
      for (int i = 0; i < 2; ++i) {
        Connection& connection = Adopt(pairs[i].near, records[i]);
        ids[i] = connection.id();
        if (callback != "ready") Turn();  // The first OnReady() is over then.
        connection.SetTimeout(absl::Seconds(1));
        (callback == "data"      ? records[i].on_data
         : callback == "ready"   ? records[i].on_ready
         : callback == "end"     ? records[i].on_end
         : callback == "timeout" ? records[i].on_timeout
                                 : records[i].on_close) = close_both;
      }
      if (callback == "close") loop_->Find(ids[0])->Close();
      for (LoopbackPair& pair : pairs) {
        if (callback == "data") {
          ASSERT_TRUE(pair.far.TryWrite("x").ok());
        } else if (callback == "end") {
          ASSERT_TRUE(pair.far.ShutdownWrite().ok());
        }
      }
      Turn(2);
      if (callback == "timeout") Advance(absl::Seconds(1));
      Turn(2);
      // What closes with bytes unread waits for the peer to close.
      for (LoopbackPair& pair : pairs) pair.far.Close();
      Turn(2);
      for (const Record& record : records) {
        EXPECT_EQ(record.Count("close"), 1);
        EXPECT_EQ(record.told.back(), "destroyed");
      }
      EXPECT_EQ(loop_->connection_count(), 0u);
    }
  }
}

// --- Timeouts ---

TEST_F(ConnectionTest, TimeoutIsNeverEarlyThenOnceASecond) {
  record_.on_timeout = [](Connection&) {};
  Adopt(pair_.near, record_).SetTimeout(absl::Seconds(5));
  Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 0);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1);
  Advance(absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 2);
}

TEST_F(ConnectionTest, ActivityStartsTheTimeoutAnew) {
  Connection& connection = Adopt(pair_.near, record_);
  record_.on_timeout = [](Connection&) {};
  connection.SetTimeout(absl::Seconds(5));
  const auto read = [&] { ASSERT_TRUE(pair_.far.TryWrite("x").ok()); };
  const auto write = [&] { connection.Write("x"); };
  const auto touch = [&] { connection.Touch(); };
  for (const std::function<void()>& activity :
       std::vector<std::function<void()>>{read, write, touch}) {
    Advance(absl::Seconds(4));
    activity();
    Turn();
  }
  Advance(absl::Seconds(5) - absl::Milliseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 0);
  Advance(absl::Milliseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1);
}

TEST_F(ConnectionTest, AnAnswerInOnTimeoutCountsAsActivity) {
  record_.on_timeout = [](Connection& connection) {
    connection.Write("Are you there?");
  };
  Adopt(pair_.near, record_).SetTimeout(absl::Seconds(5));
  Advance(absl::Seconds(5));
  Advance(absl::Seconds(5) - absl::Milliseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1);
  Advance(absl::Milliseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 2);
}

TEST_F(ConnectionTest, ProgressOfALongAnswerCounts) {
  Connection& connection = Adopt(pair_.near, record_);
  connection.SetTimeout(absl::Seconds(2));
  connection.Write(std::string(4 << 20, 'x'));
  while (connection.pending_bytes() > 0) {
    Advance(absl::Seconds(1));
    ReadAvailable(pair_.far);
    Turn();
  }
  EXPECT_EQ(record_.Count("timeout"), 0);
}

TEST_F(ConnectionTest, NoTimeoutMeansNever) {
  Connection& connection = Adopt(pair_.near, record_);
  EXPECT_EQ(connection.timeout(), absl::ZeroDuration());
  connection.SetTimeout(absl::Seconds(1));
  EXPECT_EQ(connection.timeout(), absl::Seconds(1));
  for (const absl::Duration never :
       {absl::InfiniteDuration(), absl::ZeroDuration(), -absl::Seconds(1),
        absl::Hours(24 * 50)}) {
    connection.SetTimeout(never);
    EXPECT_EQ(connection.timeout(), absl::ZeroDuration());
    Advance(absl::Hours(24 * 60));
  }
  EXPECT_EQ(record_.Count("timeout"), 0);
}

TEST_F(ConnectionTest, ATimeoutOf25DaysIsNotEarly) {
  Adopt(pair_.near, record_).SetTimeout(absl::Hours(24 * 25));
  Advance(absl::Hours(24 * 25) - absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 0);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1);
}

TEST_F(ConnectionTest, TimeoutClosesByDefault) {
  Adopt(pair_.near, record_).SetTimeout(absl::Milliseconds(1));
  Advance(absl::Milliseconds(1));
  Turn();
  EXPECT_THAT(record_.told, ElementsAre("timeout", "close", "destroyed"));
}

// --- Attaching ---

TEST_F(ConnectionTest, WithoutAProtocolItIsClosedAfterTenSeconds) {
  ASSERT_TRUE(loop_->Adopt(std::move(pair_.near), [](Connection&) {}).ok());
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  Turn(3);
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(loop_->connection_count(), 1u);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(loop_->connection_count(), 0u);
}

TEST_F(ConnectionTest, ALateProtocolGetsTheBytesThatWaited) {
  const absl::StatusOr<ConnectionId> id = loop_->Adopt(
      std::move(pair_.near),
      [](Connection& connection) { connection.SetTimeout(absl::Seconds(60)); });
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  Turn(3);
  loop_->Find(*id)->Attach(std::make_unique<Recorder>(record_));
  Turn();
  EXPECT_EQ(record_.data, "hello");
  Advance(absl::Seconds(59));
  EXPECT_EQ(record_.Count("timeout"), 0) << "the ten seconds are over";
  Advance(absl::Seconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1) << "its own timeout holds";
}

TEST_F(ConnectionTest, AttachToAClosedConnectionTellsOnlyOfItsEnd) {
  ASSERT_TRUE(loop_
                  ->Adopt(std::move(pair_.near),
                          [&](Connection& connection) {
                            connection.Close();
                            connection.Attach(
                                std::make_unique<Recorder>(record_));
                          })
                  .ok());
  Turn(2);
  EXPECT_THAT(record_.told, ElementsAre("close", "destroyed"));
  EXPECT_EQ(record_.reason.error, EBADF);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

TEST_F(ConnectionTest, CloseInsideOnOpenSendsWhatWasWritten) {
  ASSERT_TRUE(loop_
                  ->Adopt(std::move(pair_.near),
                          [&](Connection& connection) {
                            connection.Write("go away");
                            connection.Close();
                          })
                  .ok());
  Turn();
  EXPECT_EQ(ReadToEnd(pair_.far), "go away");
}

TEST_F(ConnectionTest, KnowsItsAddresses) {
  LoopbackPair pair = TcpPair();
  const Connection& connection = Adopt(pair.near, record_);
  EXPECT_EQ(connection.peer_address(), pair.far.local_address());
  EXPECT_EQ(connection.local_address(), pair.far.peer_address());
}

TEST_F(ConnectionTest, ManyConnectionsComeAndGo) {
  constexpr int kConnections = 2'000;
  std::vector<LoopbackPair> pairs;
  std::vector<Record> records(kConnections);
  for (int i = 0; i < kConnections; ++i) {
    pairs.push_back(UnixPair());
    Adopt(pairs[i].near, records[i]);
  }
  EXPECT_EQ(loop_->connection_count(), size_t{kConnections});
  for (int i = 0; i < kConnections; ++i) {
    ASSERT_TRUE(pairs[i].far.TryWrite(absl::StrCat(i)).ok());
    pairs[i].far.Close();
  }
  while (loop_->connection_count() > 0) Turn();
  for (int i = 0; i < kConnections; ++i) {
    ASSERT_EQ(records[i].data, absl::StrCat(i));
    ASSERT_EQ(records[i].Count("close"), 1);
  }
}

using ConnectionDeathTest = ConnectionTest;

TEST_F(ConnectionDeathTest, MisuseNamesTheCall) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Connection& connection = Adopt(pair_.near, record_);
  EXPECT_DEATH(connection.Received(), "Connection::Received: not in OnData");
  EXPECT_DEATH(connection.LinkWith(connection),
               "Connection::LinkWith: not another connection");
}

// --- Names ---

// Connections by hand, without the fixture's.
class Pairs {
 public:
  ConnectionId Adopt() {
    pairs_.push_back(UnixPair());
    records_.emplace_back();
    const absl::StatusOr<ConnectionId> id = loop_->Adopt(
        std::move(pairs_.back().near), [this](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(records_.back()));
        });
    EXPECT_TRUE(id.ok()) << id.status();
    return *id;
  }
  Socket& far(size_t i) { return pairs_[i].far; }
  Loop& loop() { return *loop_; }
  void Turn() {
    ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  }

 private:
  std::deque<LoopbackPair> pairs_;
  std::deque<Record> records_;
  const std::unique_ptr<Loop> loop_ = *Loop::Create({.poller = kPoller});
};

TEST(Uuid, RoundTrip) {
  Pairs pairs;
  const ConnectionId id = pairs.Adopt();
  EXPECT_GE(id.fd(), 0);
  EXPECT_EQ(ConnectionId(id.fd(), id.serial()), id);
  EXPECT_EQ(pairs.loop().FindByFd(id.fd())->id(), id);
  EXPECT_EQ(ConnectionId().fd(), -1);
  EXPECT_EQ(ConnectionId(5, 0), ConnectionId());
  EXPECT_EQ(pairs.loop().Find(ConnectionId()), nullptr);
}

TEST(Uuid, Fd2UuidUnknown) {
  Pairs pairs;
  for (const int fd : {-1, 0, 1'000'000, INT_MAX, INT_MIN}) {
    EXPECT_EQ(pairs.loop().FindByFd(fd), nullptr);
  }
  EXPECT_EQ(pairs.loop().connection_count(), 0u) << "no side effect";
}

TEST(Uuid, ValidClosedStates) {
  Pairs pairs;
  Loop& loop = pairs.loop();
  const ConnectionId id = pairs.Adopt();
  EXPECT_TRUE(loop.Find(id)->is_open());
  // Closing: still there, with something to get rid of.
  EXPECT_TRUE(loop.Find(id)->Write(std::string(8 << 20, 'x')));
  loop.Find(id)->Close();
  pairs.Turn();
  ASSERT_NE(loop.Find(id), nullptr);
  EXPECT_FALSE(loop.Find(id)->is_open());
  loop.Find(id)->Abort();
  pairs.Turn();
  EXPECT_EQ(loop.Find(id), nullptr);
  EXPECT_EQ(loop.FindByFd(id.fd()), nullptr);
  // Never opened, though the number is in use.
  const ConnectionId next = pairs.Adopt();
  EXPECT_EQ(loop.Find({next.fd(), next.serial() + 1}), nullptr);
}

// An id whose serial number differs by 2^32, as when a process has opened so
// many connections, on the same descriptor.
TEST(ConnectionId, NeverComesBack) {
  constexpr uint64_t kWrapOf32Bits = uint64_t{1} << 32;
  Pairs pairs;
  Loop& loop = pairs.loop();
  ConnectionId first;
  {
    const core_internal::SerialsFrom low(0, 7);
    first = pairs.Adopt();
  }
  loop.Find(first)->Abort();
  pairs.Turn();
  const core_internal::SerialsFrom high(0, kWrapOf32Bits + 7);
  const ConnectionId second = pairs.Adopt();
  ASSERT_EQ(second.fd(), first.fd());
  EXPECT_EQ(second.serial(), kWrapOf32Bits + 7);
  EXPECT_NE(second, first);
  EXPECT_LT(first, second) << "the order is that of opening";
  EXPECT_EQ(loop.Find(first), nullptr);
  EXPECT_FALSE(loop.handle().Has(first));
  EXPECT_FALSE(loop.handle().TryLock(first, ProtocolLock::Kind::kTask).ok());
  ConnectionGroup group(loop);
  group.Add(*loop.Find(second));
  group.ForEach(
      [second](Connection& connection) { EXPECT_EQ(connection.id(), second); });
  EXPECT_EQ(absl::StrCat(second),
            absl::StrCat("fd ", second.fd(), " (connection 4294967303)"));
  // The largest that there is.
  const ConnectionId last(first.fd(), (uint64_t{1} << 48) - 1);
  EXPECT_EQ(loop.Find(last), nullptr);
}

// facil.io's generation had 8 bits.
TEST(Uuid, Stale300Reuses) {
  Pairs pairs;
  Loop& loop = pairs.loop();
  const ConnectionId first = pairs.Adopt();
  ConnectionId last = first;
  for (int i = 0; i < 300; ++i) {
    loop.Find(last)->Abort();
    pairs.Turn();
    do {
      last = pairs.Adopt();
    } while (last.fd() != first.fd());
    EXPECT_EQ(loop.Find(first), nullptr);
    EXPECT_NE(last, first);
  }
}

// Whatever protocol it has by then, and last of all.
TEST_F(ConnectionTest, NotifyGone) {
  LoopbackPair pair = UnixPair();
  Record first, second;
  Connection& connection = Adopt(pair.near, first);
  const auto gone = [&second](std::string_view what) {
    return [&second, what](const CloseReason& reason) {
      EXPECT_EQ(reason.origin, CloseReason::Origin::kLocal);
      EXPECT_EQ(reason.code, 7);
      second.told.emplace_back(what);
    };
  };
  EXPECT_TRUE(connection.NotifyGone(gone("gone")));
  EXPECT_TRUE(connection.NotifyGone(gone("gone, too")));
  EXPECT_FALSE(connection.NotifyGone(nullptr));
  connection.Attach(std::make_unique<Recorder>(second));
  Turn();
  EXPECT_EQ(second.Count("gone"), 0);
  connection.Close(7);
  EXPECT_FALSE(connection.NotifyGone(gone("too late")));
  Turn();
  ASSERT_GE(second.told.size(), 4u);
  EXPECT_THAT(
      std::vector<std::string>(second.told.end() - 4, second.told.end()),
      ElementsAre("close", "destroyed", "gone", "gone, too"));
}

TEST_F(ConnectionTest, NotifyGoneOfRelease) {
  LoopbackPair pair = UnixPair();
  Record record;
  Connection& connection = Adopt(pair.near, record);
  CloseReason told;
  int count = 0;
  connection.NotifyGone([&](const CloseReason& reason) {
    told = reason;
    ++count;
  });
  Socket taken;
  connection.Release([&](Socket socket) { taken = std::move(socket); });
  Turn();
  EXPECT_EQ(count, 1);
  EXPECT_EQ(told.origin, CloseReason::Origin::kReleased);
}

TEST(Flush, AllCounts) {
  Pairs pairs;
  EXPECT_EQ(pairs.loop().FlushAll(), 0u);
  std::vector<ConnectionId> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(pairs.Adopt());
  pairs.Turn();
  const auto write = [&](int i, size_t bytes) {
    EXPECT_TRUE(pairs.loop().Find(ids[i])->Write(std::string(bytes, 'x')));
  };
  write(0, 8 << 20);
  write(1, 5);
  write(2, 8 << 20);
  EXPECT_EQ(pairs.loop().FlushAll(), 2u);
  EXPECT_EQ(ReadAvailable(pairs.far(1)), "xxxxx");
  size_t received = 0;
  while (pairs.loop().FlushAll() > 1) {
    received += ReadAvailable(pairs.far(0)).size();
  }
  received += ReadAvailable(pairs.far(0)).size();
  EXPECT_EQ(received, size_t{8} << 20);
  EXPECT_EQ(pairs.loop().FlushAll(), 1u);
}

}  // namespace
}  // namespace fio
