#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/scripted_transport.h"
#include "fio/testing/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();

using loop_internal::IsOverHandshake;
using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::UnixPair;
using ::testing::ElementsAre;
using testing::FaultPlan;
using testing::LoopbackPair;
using testing::Peer;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ScriptedTransport;
using testing::World;

constexpr size_t kMuch = size_t{4} << 20;  // More than the kernel takes.
constexpr size_t kBudget = size_t{16} << 10;
constexpr size_t kHigh = size_t{64} << 10;

class ConnectionWrite : public LoopFixture {
 protected:
  ConnectionWrite()
      : LoopFixture({.poller = kPoller,
                     .receive_buffer_bytes = 4 << 10,
                     .read_budget_bytes = kBudget,
                     .watermarks = {.high_bytes = kHigh}}) {}

  Connection& Adopt(LoopbackPair& pair, Record& record) {
    Connection& connection = LoopFixture::Adopt(pair.near, record);
    Turn(2);
    return connection;
  }

  Record& record_ = NewRecord();
  LoopbackPair pair_ = UnixPair();
};

std::string Numbers(size_t bytes) {
  std::string numbers;
  for (int i = 0; numbers.size() < bytes; ++i) {
    absl::StrAppend(&numbers, i, " ");
  }
  numbers.resize(bytes);
  return numbers;
}

uint64_t Sends(const FaultPlan& plan) {
  return plan.calls(FaultPlan::Call::kSend) +
         plan.calls(FaultPlan::Call::kSendmsg);
}

// --- The end of the turn ---

TEST_F(ConnectionWrite, OneSendForEachConnectionAndTurn) {
  constexpr int kConnections = 10;
  std::deque<LoopbackPair> pairs;
  std::vector<Connection*> connections;
  for (int i = 0; i < kConnections; ++i) {
    pairs.push_back(UnixPair());
    connections.push_back(&Adopt(pairs.back(), NewRecord()));
  }
  const FaultPlan plan;
  for (int writes = 1; writes <= 3; ++writes) {
    for (int write = 0; write < writes; ++write) {
      for (Connection* connection : connections) connection->Write("hello ");
    }
    EXPECT_EQ(Sends(plan), (writes - 1) * kConnections) << "not before";
    Turn();
    EXPECT_EQ(Sends(plan), writes * kConnections);
    for (LoopbackPair& pair : pairs) {
      EXPECT_EQ(ReadAvailable(pair.far).size(), 6u * writes);
    }
  }
}

TEST_F(ConnectionWrite, AWriteBehindAFlushIsSentOnce) {
  Connection& connection = Adopt(pair_, record_);
  connection.Write("a");
  EXPECT_TRUE(connection.Flush());
  EXPECT_EQ(ReadAvailable(pair_.far), "a");
  connection.Write("b");
  EXPECT_EQ(connection.pending_bytes(), 1u);
  connection.Write("c");
  EXPECT_TRUE(connection.Flush());
  connection.Write("d");
  connection.Write("e");
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "bcde");
}

// Against a model: what each was given, in order, and nothing else.
TEST_F(ConnectionWrite, AnyMixOfWritesKeepsTheOrder) {
  constexpr size_t kConnections = 5;
  std::deque<LoopbackPair> pairs;
  std::vector<Connection*> connections;
  for (size_t i = 0; i < kConnections; ++i) {
    pairs.push_back(UnixPair());
    Record& record = NewRecord();
    connections.push_back(&Adopt(pairs.back(), record));
  }
  std::mt19937 random(5);
  const auto draw = [&](uint32_t below) { return random() % below; };
  std::string expected[kConnections];
  size_t calls[kConnections] = {};
  int count = 0;
  const auto act = [&] {
    const size_t i = draw(kConnections);
    Connection& connection = *connections[i];
    const std::string bytes =
        absl::StrCat(++count, std::string(draw(20), 'x'), ",");
    switch (draw(8)) {
      case 0:
        connection.Write(absl::Cord(bytes));
        expected[i] += bytes;
        ++calls[i];
        break;
      case 1:
        EXPECT_TRUE(connection.Flush());
        calls[i] = 0;
        break;
      case 2: {
        const bool queued = connection.pending_calls() > 0;
        const IoResult written = connection.TryWrite(bytes);
        EXPECT_EQ(written.ok(), !queued);
        if (written.ok()) expected[i] += bytes;
        break;
      }
      case 3:
        EXPECT_TRUE(connection.Write(""));
        break;
      default:
        connection.Write(bytes);
        expected[i] += bytes;
        ++calls[i];
    }
  };
  // In callbacks, too, of whichever connection.
  int left = 0;
  for (size_t i = 1; i < records_.size(); ++i) {
    records_[i].on_ready = [&](Connection&) {
      if (left-- > 0) act();
    };
  }
  for (int turn = 0; turn < 2'000; ++turn) {
    for (uint32_t n = draw(30); n > 0; --n) act();
    if (draw(20) == 0) {
      EXPECT_EQ(loop_->FlushAll(), 0u);
      std::fill(std::begin(calls), std::end(calls), 0);
    }
    std::string received[kConnections];
    for (size_t i = 0; i < kConnections; ++i) {
      received[i] = ReadAvailable(pairs[i].far);
      ASSERT_EQ(connections[i]->pending_calls(), calls[i]);
      ASSERT_EQ(connections[i]->pending_bytes(),
                expected[i].size() - received[i].size());
    }
    left = static_cast<int>(draw(10));
    // What they write in OnReady() leaves by the end of the next turn.
    Turn();
    left = 0;
    Turn();
    for (size_t i = 0; i < kConnections; ++i) {
      received[i] += ReadAvailable(pairs[i].far);
      ASSERT_EQ(received[i], expected[i]);
      ASSERT_EQ(connections[i]->pending_calls(), 0u);
      ASSERT_EQ(connections[i]->pending_bytes(), 0u);
      expected[i].clear();
      calls[i] = 0;
    }
  }
}

TEST_F(ConnectionWrite, CallbacksWriteToOneAnother) {
  LoopbackPair other_pair = UnixPair();
  Record& other_record = NewRecord();
  Connection& one = Adopt(pair_, record_);
  Connection& other = Adopt(other_pair, other_record);
  record_.on_data = [&](Connection& told) {
    const std::string bytes(told.Received());
    told.Write(bytes);
    other.Write("1" + bytes);
  };
  other_record.on_data = [&](Connection& told) {
    const std::string bytes(told.Received());
    one.Write("2" + bytes);
    told.Write(bytes);
    one.Write("!");
  };
  ASSERT_TRUE(pair_.far.TryWrite("a").ok());
  ASSERT_TRUE(other_pair.far.TryWrite("b").ok());
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "a2b!");
  EXPECT_EQ(ReadAvailable(other_pair.far), "1ab");
}

TEST_F(ConnectionWrite, MoreThanABlockHolds) {
  Connection& connection = Adopt(pair_, record_);
  LoopbackPair other_pair = UnixPair();
  Connection& other = Adopt(other_pair, NewRecord());
  const std::string much = Numbers(kMuch);
  connection.Write("<");
  connection.Write(much);
  connection.Write(">");
  other.Write(Numbers(200 << 10));
  EXPECT_EQ(connection.pending_bytes(), kMuch + 2);
  EXPECT_EQ(other.pending_bytes(), size_t{200} << 10);
  std::string received, other_received;
  while (received.size() < kMuch + 2) {
    Turn();
    received += ReadAvailable(pair_.far);
    other_received += ReadAvailable(other_pair.far);
  }
  EXPECT_TRUE(received == "<" + much + ">");
  EXPECT_TRUE(other_received == Numbers(200 << 10));
}

// --- What follows a write in the same turn ---

TEST_F(ConnectionWrite, CloseRightAfterAWriteLosesNothing) {
  Connection& connection = Adopt(pair_, record_);
  connection.Write("bye");
  connection.Close(3);
  EXPECT_EQ(connection.pending_bytes(), 3u);
  Turn(2);
  EXPECT_EQ(ReadToEnd(pair_.far), "bye");
  EXPECT_EQ(record_.reason.code, 3);
}

TEST_F(ConnectionWrite, ShutdownWriteRightAfterAWriteLosesNothing) {
  Connection& connection = Adopt(pair_, record_);
  connection.Write("bye");
  connection.ShutdownWrite();
  EXPECT_FALSE(connection.Write("late"));
  EXPECT_EQ(ReadToEnd(pair_.far), "bye");
  ASSERT_TRUE(pair_.far.TryWrite("still there?").ok());
  Turn(2);
  EXPECT_EQ(record_.data, "still there?");
  EXPECT_EQ(ReadAvailable(pair_.far), "");
}

TEST_F(ConnectionWrite, AfterShutdownWriteEachKindOfWriteIsRefused) {
  Connection& connection = Adopt(pair_, record_);
  EXPECT_TRUE(connection.can_write());
  EXPECT_TRUE(connection.Write(""));
  connection.ShutdownWrite();
  EXPECT_TRUE(connection.is_open());
  EXPECT_FALSE(connection.can_write());
  EXPECT_FALSE(connection.Write("late"));
  EXPECT_FALSE(connection.Write(absl::Cord("late")));
  EXPECT_FALSE(connection.Write(""));
  EXPECT_EQ(connection.pending_bytes(), 0u);
  EXPECT_EQ(ReadToEnd(pair_.far), "");
  connection.Close();
  EXPECT_FALSE(connection.can_write());
}

TEST_F(ConnectionWrite, WhatWasWrittenPassesATransportThatComesLater) {
  if (IsOverHandshake()) return;  // The far end would not follow.
  Connection& connection = Adopt(pair_, record_);
  ScriptedTransport::Script script;
  connection.Write("one ");
  ASSERT_TRUE(
      connection.SetTransport(std::make_unique<ScriptedTransport>(script))
          .ok());
  connection.Write("two");
  Turn(2);
  EXPECT_EQ(script.written, "one two");
  EXPECT_EQ(connection.ReplaceTransport(nullptr) == nullptr, false);
  connection.Write("three");
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "three");
}

TEST_F(ConnectionWrite, AbortRightAfterAWriteSendsNothing) {
  Connection& connection = Adopt(pair_, record_);
  LoopbackPair other = UnixPair();
  Connection& next = Adopt(other, NewRecord());
  connection.Write("dropped");
  next.Write("kept");
  connection.Abort();
  Turn(2);
  EXPECT_EQ(ReadToEnd(pair_.far), "");
  EXPECT_EQ(ReadAvailable(other.far), "kept");
}

// --- Releasing ---

TEST_F(ConnectionWrite, AReleasedSocketGoesOnInAnotherLoop) {
  Connection& connection = Adopt(pair_, record_);
  const ConnectionId id = connection.id();
  const std::string much = Numbers(kMuch);
  int object = 7;
  int env_closed = 0;
  ASSERT_TRUE(connection
                  .SetEnv({.type = 1, .name = "key"}, &object,
                          [&](void*) { ++env_closed; })
                  .ok());
  connection.Write(much);
  connection.Write("tail");
  Turn();
  std::string received = ReadAvailable(pair_.far);
  connection.Write(" corked");
  Socket socket;
  int taken = 0;
  ASSERT_TRUE(pair_.far.TryWrite("unread").ok());
  EXPECT_TRUE(connection.Release([&](Socket released) {
    ++taken;
    EXPECT_EQ(record_.Count("close"), 1) << "it was told before";
    EXPECT_EQ(loop_->Find(id), nullptr);
    socket = std::move(released);
  }));
  EXPECT_FALSE(connection.Release([](Socket) { FAIL(); }));
  EXPECT_FALSE(connection.Write("late"));
  connection.Close();
  EXPECT_EQ(taken, 0);
  Turn();
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kReleased);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(env_closed, 0);
  EXPECT_EQ(socket.GetEnv({.type = 1, .name = "key"}), &object);
  Record next;
  {
    const auto other = *Loop::Create({.clock = &clock_, .poller = kPoller});
    const ConnectionId next_id =
        *other->Adopt(std::move(socket), [&](Connection& adopted) {
          adopted.Attach(std::make_unique<Recorder>(next));
          adopted.Write("!");
        });
    EXPECT_NE(other->Find(next_id), nullptr);
    const std::string expected = much + "tail corked!";
    while (received.size() < expected.size()) {
      ASSERT_TRUE(other->RunOnce(MonotonicTime::InfinitePast()).ok());
      received += ReadAvailable(pair_.far);
    }
    EXPECT_TRUE(received == expected);
    EXPECT_EQ(next.data, "unread");
  }
  EXPECT_EQ(env_closed, 1);
  EXPECT_EQ(ReadToEnd(pair_.far), "");
}

TEST_F(ConnectionWrite, AReleasedSocketThatNobodyTakesIsClosed) {
  Connection& connection = Adopt(pair_, record_);
  EXPECT_TRUE(connection.Release(nullptr));
  Turn();
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(ReadToEnd(pair_.far), "");
}

TEST_F(ConnectionWrite, ReleaseInsideOnData) {
  Socket socket;
  record_.on_data = [&](Connection& told) {
    char bytes[3];
    record_.data.append(bytes, told.Read(absl::MakeSpan(bytes)));
    told.Release([&](Socket released) { socket = std::move(released); });
  };
  Adopt(pair_, record_);
  ASSERT_TRUE(pair_.far.TryWrite("GET rest").ok());
  Turn(3);
  EXPECT_EQ(record_.data, "GET");
  EXPECT_EQ(ReadAvailable(socket), " rest");
}

// --- Partial sends ---

TEST_F(ConnectionWrite, PartialSendsKeepTheOrder) {
  if (IsOverHandshake()) return;  // It holds bytes that left the queue.
  FaultPlan plan({.seed = 3, .short_write = 0.5, .would_block = 0.2});
  Connection& connection = Adopt(pair_, record_);
  plan.Target(connection.id().fd());
  std::string expected, received;
  int count = 0;
  for (int turn = 0; turn < 500; ++turn) {
    for (int i = 0; i < turn % 4; ++i) {
      ++count;
      const std::string bytes = absl::StrCat(
          count, std::string(static_cast<size_t>(count * 37 % 3'000), 'x'));
      EXPECT_TRUE(connection.Write(bytes));
      expected += bytes;
    }
    Turn();
    received += ReadAvailable(pair_.far);
    ASSERT_EQ(connection.pending_bytes(), expected.size() - received.size());
  }
  EXPECT_TRUE(received == expected.substr(0, received.size()));
  EXPECT_GT(plan.faults(), 0u);
}

TEST(ConnectionWriteWorld, PartialSendsLeaveNothingBehind) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Record record;
    World world({.seed = seed,
                 .network = {.window_bytes = 5'000,
                             .short_write = 0.4,
                             .would_block = 0.2,
                             .interrupted = 0.2,
                             .no_buffers = 0.05}});
    ConnectionId id;
    Peer peer = world.Connect([&](Connection& connection) {
      id = connection.id();
      connection.Attach(std::make_unique<Recorder>(record));
    });
    std::string expected;
    for (int turn = 0; turn < 50; ++turn) {
      for (int i = 0; i < turn % 4; ++i) {
        const std::string bytes = Numbers(static_cast<size_t>(turn) * 100 + 1);
        EXPECT_TRUE(world.loop().Find(id)->Write(bytes));
        expected += bytes;
      }
      world.Turn();
    }
    world.Advance(absl::Seconds(1));
    EXPECT_EQ(world.loop().Find(id)->pending_bytes(), 0u);
    EXPECT_TRUE(peer.received() == expected) << seed;
  }
}

// --- TryWrite and Flush ---

TEST_F(ConnectionWrite, TryWriteOffersBytesPastTheQueue) {
  Connection& connection = Adopt(pair_, record_);
  EXPECT_EQ(connection.TryWrite("now").bytes, 3u);
  EXPECT_EQ(ReadAvailable(pair_.far), "now");
  connection.Write("queued");
  EXPECT_TRUE(connection.TryWrite("past").would_block());
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "queued");
  // What it does not take is the caller's; OnReady() tells when to go on.
  const std::string much = Numbers(kMuch);
  std::string_view left = much;
  record_.told.clear();
  std::string received;
  record_.on_ready = [&](Connection& told) {
    left.remove_prefix(told.TryWrite(left).bytes);
  };
  left.remove_prefix(connection.TryWrite(left).bytes);
  EXPECT_FALSE(left.empty());
  EXPECT_EQ(connection.pending_calls(), 0u);
  Turn(2);
  EXPECT_EQ(record_.Count("ready"), 0);
  while (received.size() < kMuch) {
    received += ReadAvailable(pair_.far);
    Turn();
  }
  EXPECT_TRUE(received == much);
  connection.Close();
  EXPECT_FALSE(connection.TryWrite("late").ok());
}

TEST_F(ConnectionWrite, FlushTellsWhetherSomethingIsLeft) {
  Connection& connection = Adopt(pair_, record_);
  EXPECT_TRUE(connection.Flush());
  connection.Write("x");
  EXPECT_TRUE(connection.Flush());
  EXPECT_EQ(connection.pending_calls(), 0u);
  record_.told.clear();
  Turn(2);
  EXPECT_EQ(record_.Count("ready"), 1) << "not by Flush(), but once";
  connection.Write(std::string(kMuch, 'x'));
  EXPECT_FALSE(connection.Flush());
  EXPECT_GT(connection.pending_bytes(), 0u);
  EXPECT_LT(connection.pending_bytes(), kMuch);
  EXPECT_EQ(connection.pending_calls(), 1u);
  while (!connection.Flush()) ReadAvailable(pair_.far);
  EXPECT_EQ(connection.pending_calls(), 0u);
}

// --- Reading ---

TEST_F(ConnectionWrite, WhatIsReceivedMayBeChangedWithItsSurroundings) {
  if (IsOverHandshake()) return;  // Reads records.
  record_.on_data = [&](Connection& told) {
    const absl::Span<char> bytes = told.MutableReceived();
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] ^= 0x20;
    std::fill_n(bytes.data() - 32, 32, '<');
    std::fill_n(bytes.data() + bytes.size(), 32, '>');
    record_.data.append(bytes.data() - 32, bytes.size() + 64);
  };
  Adopt(pair_, record_);
  const std::string before(32, '<');
  const std::string after(32, '>');
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(record_.data, before + "HELLO" + after);
  record_.data.clear();
  ASSERT_TRUE(pair_.far.TryWrite(std::string(4 << 10, 'x')).ok());
  Turn();
  EXPECT_EQ(record_.data, before + std::string(4 << 10, 'X') + after);
}

// Others have their turn, whatever one callback would like to read.
TEST_F(ConnectionWrite, ASenderThatNeverStopsGetsItsBudgetAndNoMore) {
  LoopbackPair other_pair = UnixPair();
  Record& other = NewRecord();
  size_t read = 0;
  record_.on_data = [&](Connection& told) {
    read = 0;
    size_t bytes;
    while ((bytes = told.Received().size()) > 0) {
      read += bytes;
      static_cast<void>(pair_.far.TryWrite(std::string(kBudget, 'x')));
    }
    char byte;
    EXPECT_EQ(told.Read(absl::MakeSpan(&byte, 1)), 0u);
  };
  Adopt(pair_, record_);
  Adopt(other_pair, other);
  ASSERT_TRUE(pair_.far.TryWrite(std::string(2 * kBudget, 'x')).ok());
  for (int turn = 1; turn <= 5; ++turn) {
    ASSERT_TRUE(other_pair.far.TryWrite("x").ok());
    Turn();
    EXPECT_EQ(read, kBudget);
    EXPECT_EQ(record_.Count("data"), turn) << "once a turn";
    EXPECT_EQ(other.Count("data"), turn);
  }
}

TEST_F(ConnectionWrite, TheBudgetIsNotSpentByOtherConnections) {
  if (IsOverHandshake()) return;  // Reads records.
  LoopbackPair other_pair = UnixPair();
  Record& other_record = NewRecord();
  Connection& other = Adopt(other_pair, other_record);
  other.Suspend();
  ASSERT_TRUE(other_pair.far.TryWrite(std::string(2 * kBudget, 'x')).ok());
  size_t read = 0;
  record_.on_data = [&](Connection& told) {
    std::string out(kBudget, ' ');
    EXPECT_EQ(other.Read(absl::MakeSpan(out)), kBudget);
    read = told.Received().size();
  };
  Adopt(pair_, record_);
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(read, 5u);
}

// --- Watermarks ---

TEST_F(ConnectionWrite, HighWaterOnceUntilLowWater) {
  Connection& connection = Adopt(pair_, record_);
  record_.told.clear();
  record_.on_high = [&](Connection& told) {
    EXPECT_GT(told.pending_bytes(), kHigh);
  };
  record_.on_low = [&](Connection& told) {
    EXPECT_LE(told.pending_bytes(), kHigh / 2);
  };
  for (int round = 0; round < 3; ++round) {
    record_.told.clear();
    connection.Write(std::string(kMuch, 'x'));
    Turn(3);
    connection.Write("more");
    Turn(3);
    EXPECT_THAT(record_.told, ElementsAre("high"));
    while (connection.pending_bytes() > 0) {
      ReadAvailable(pair_.far);
      Turn();
    }
    ReadAvailable(pair_.far);
    Turn(2);
    EXPECT_THAT(record_.told, ElementsAre("high", "low", "ready"));
    ReadAvailable(pair_.far);
  }
}

TEST_F(ConnectionWrite, AWriteThatLeavesAtOnceIsNotHighWater) {
  Connection& connection = Adopt(pair_, record_);
  record_.told.clear();
  connection.Write(std::string(kHigh + 1, 'x'));
  Turn(2);
  EXPECT_THAT(record_.told, ElementsAre("ready"));
}

TEST_F(ConnectionWrite, PastTheLimitItIsAborted) {
  for (const bool by_calls : {false, true}) {
    LoopbackPair pair = UnixPair();
    LoopbackPair other_pair = UnixPair();
    Record& record = NewRecord();
    Connection& connection = Adopt(pair, record);
    Connection& other = Adopt(other_pair, NewRecord());
    const uint64_t before = loop_->stats().over_limit;
    Watermarks watermarks;
    if (by_calls) {
      watermarks.limit_calls = 3;
    } else {
      watermarks.limit_bytes = 3;
    }
    connection.SetWatermarks(watermarks);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(connection.Write("x"));
      EXPECT_TRUE(other.Write("0123456789"));
    }
    EXPECT_FALSE(connection.Write("x"));
    EXPECT_FALSE(connection.is_open());
    EXPECT_FALSE(connection.Write("x"));
    Turn(2);
    EXPECT_EQ(loop_->stats().over_limit, before + 1);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.origin, CloseReason::Origin::kError);
    EXPECT_EQ(record.reason.error, ENOBUFS);
    EXPECT_TRUE(other.is_open()) << "its own only";
  }
}

// Also what would leave at the end of the turn.
TEST(ConnectionWriteLimits, PastTheLimitOfTheLoopItIsAborted) {
  class Limited : public LoopFixture {
   public:
    explicit Limited(const Watermarks& watermarks)
        : LoopFixture({.poller = kPoller, .watermarks = watermarks}) {}
    void TestBody() override {
      LoopbackPair pair = UnixPair();
      Record& record = NewRecord();
      Connection& connection = Adopt(pair.near, record);
      Turn(2);
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(connection.Write("x"));
      EXPECT_FALSE(connection.Write("x"));
      EXPECT_FALSE(connection.is_open());
      Turn(2);
      EXPECT_EQ(loop_->stats().over_limit, 1u);
      EXPECT_EQ(record.reason.error, ENOBUFS);
    }
  };
  Limited({.limit_bytes = 3}).TestBody();
  Limited({.limit_calls = 3}).TestBody();
}

// That the transport could not go on then is no reason.
TEST_F(ConnectionWrite, AbortInsideATransportKeepsItsReason) {
  for (const bool past_limit : {false, true}) {
    LoopbackPair pair = UnixPair();
    Record& record = NewRecord();
    Connection& connection = Adopt(pair, record);
    connection.SetWatermarks({.limit_bytes = 3});
    ScriptedTransport::Script script;
    script.on_call = [&](Socket&, std::string_view call) {
      if (call != "flush") return;
      if (past_limit) {
        EXPECT_FALSE(connection.Write("more"));
      } else {
        connection.Abort();
      }
    };
    ASSERT_TRUE(
        connection.SetTransport(std::make_unique<ScriptedTransport>(script))
            .ok());
    Turn(2);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.error, past_limit ? ENOBUFS : 0);
    EXPECT_EQ(record.reason.origin, past_limit ? CloseReason::Origin::kError
                                               : CloseReason::Origin::kLocal);
  }
}

TEST_F(ConnectionWrite, ItsOwnHighWatermarkPausesReading) {
  Connection& connection = Adopt(pair_, record_);
  connection.SetWatermarks({.high_bytes = 8 * kMuch});
  connection.Write(std::string(kMuch, 'x'));
  Turn();
  ASSERT_TRUE(pair_.far.TryWrite("a").ok());
  Turn();
  EXPECT_EQ(record_.data, "a");
  connection.SetWatermarks({.high_bytes = 10});
  ASSERT_TRUE(pair_.far.TryWrite("b").ok());
  Turn(3);
  EXPECT_EQ(record_.data, "a");
  EXPECT_EQ(record_.Count("high"), 1);
  connection.SetWatermarks({.high_bytes = 8 * kMuch});
  Turn(3);
  EXPECT_EQ(record_.data, "ab");
}

// --- Links ---

// What one reads, the other is sent.
class Proxied final : public Protocol {
 public:
  explicit Proxied(Connection*& other) : other_(other) {}
  void OnData(Connection& connection) override {
    other_->Write(connection.Received());
  }
  void OnEnd(Connection&) override { other_->Close(); }

 private:
  Connection*& other_;
};

TEST(ConnectionLink, AStalledReaderBoundsWhatIsQueued) {
  constexpr size_t kTotal = size_t{8} << 20;
  Connection* ends[2];
  World world({.loop = {.read_budget_bytes = kBudget,
                        .watermarks = {.high_bytes = kHigh}}});
  Peer peers[2];
  for (int i = 0; i < 2; ++i) {
    peers[i] = world.Connect([&](Connection& connection) {
      ends[i] = &connection;
      connection.Attach(std::make_unique<Proxied>(ends[1 - i]));
    });
  }
  ends[0]->LinkWith(*ends[1]);
  peers[1].SetAutoRead(false);
  const std::string sent = Numbers(kTotal);
  peers[0].Send(sent);
  world.RunUntilIdle();
  EXPECT_GT(ends[1]->pending_bytes(), kHigh);
  EXPECT_LE(ends[1]->pending_bytes(), kHigh + kBudget);
  EXPECT_GT(peers[0].in_flight_bytes(), kTotal / 2);
  // The other direction is not held up.
  peers[1].Send("answer");
  world.RunUntilIdle();
  EXPECT_EQ(peers[0].received(), "answer");
  std::string received;
  uint64_t most = 0;
  while (received.size() < kTotal) {
    const std::string taken = peers[1].TakeReceived();
    ASSERT_FALSE(taken.empty()) << "it does not go on";
    received += taken;
    world.RunUntilIdle();
    most = std::max(most, ends[1]->pending_bytes());
  }
  EXPECT_LE(most, kHigh + kBudget);
  EXPECT_TRUE(received == sent);
}

TEST(ConnectionLink, TheOtherReadsOnWhenOneCloses) {
  Record records[2];
  Connection* ends[2];
  World world({.loop = {.watermarks = {.high_bytes = kHigh}}});
  Peer peers[2];
  for (int i = 0; i < 2; ++i) {
    peers[i] = world.Connect([&](Connection& connection) {
      ends[i] = &connection;
      connection.Attach(std::make_unique<Recorder>(records[i]));
    });
  }
  ends[0]->LinkWith(*ends[1]);
  peers[1].SetWindow(0);
  ends[1]->Write(std::string(kMuch, 'x'));
  world.RunUntilIdle();
  peers[0].Send("hello");
  world.RunUntilIdle();
  EXPECT_EQ(records[0].data, "");
  ends[1]->Abort();
  world.RunUntilIdle();
  EXPECT_EQ(records[0].data, "hello");
  EXPECT_EQ(records[1].Count("close"), 1);
  // Its own queue counts again.
  peers[0].SetWindow(0);
  ends[0]->Write(std::string(kMuch, 'x'));
  world.RunUntilIdle();
  peers[0].Send("again");
  world.RunUntilIdle();
  EXPECT_EQ(records[0].data, "hello");
}

TEST(ConnectionLink, ANewLinkEndsTheOneBefore) {
  Record records[3];
  Connection* ends[3];
  World world({.loop = {.watermarks = {.high_bytes = kHigh}}});
  Peer peers[3];
  for (int i = 0; i < 3; ++i) {
    peers[i] = world.Connect([&](Connection& connection) {
      ends[i] = &connection;
      connection.Attach(std::make_unique<Recorder>(records[i]));
    });
  }
  ends[0]->LinkWith(*ends[1]);
  ends[0]->LinkWith(*ends[1]);
  peers[1].SetWindow(0);
  ends[1]->Write(std::string(kMuch, 'x'));
  world.RunUntilIdle();
  peers[0].Send("hello");
  peers[1].Send("hello");
  world.RunUntilIdle();
  EXPECT_EQ(records[0].data, "");
  EXPECT_EQ(records[1].data, "hello");
  ends[2]->LinkWith(*ends[0]);
  world.RunUntilIdle();
  EXPECT_EQ(records[0].data, "hello") << "the full one is not its partner";
  peers[1].Send(", again");
  world.RunUntilIdle();
  EXPECT_EQ(records[1].data, "hello") << "it is full, and alone";
}

// --- For logs and maps ---

TEST(ConnectionIdText, NamesDescriptorAndGeneration) {
  EXPECT_EQ(absl::StrCat(ConnectionId(7, 12)), "fd 7 (connection 12)");
  EXPECT_EQ(absl::StrCat(ConnectionId()), "no connection");
}

TEST(ConnectionIdHash, IsAKeyOfAMap) {
  absl::flat_hash_map<ConnectionId, int> map;
  map[ConnectionId(7, 12)] = 1;
  map[ConnectionId(7, 13)] = 2;
  EXPECT_EQ(map.at(ConnectionId(7, 12)), 1);
  EXPECT_EQ(map.at(ConnectionId(7, 13)), 2);
  EXPECT_FALSE(map.contains(ConnectionId(8, 12)));
}

TEST(ConnectionIdOrder, IsAKeyOfAnOrderedMap) {
  const std::set<ConnectionId> ids = {ConnectionId(7, 13), ConnectionId(),
                                      ConnectionId(7, 12), ConnectionId(6, 14)};
  EXPECT_THAT(ids, ElementsAre(ConnectionId(), ConnectionId(7, 12),
                               ConnectionId(7, 13), ConnectionId(6, 14)));
}

TEST(CloseReasonText, SaysWhoEndedItAndHow) {
  using Origin = CloseReason::Origin;
  EXPECT_EQ(absl::StrCat(CloseReason()), "closed here");
  EXPECT_EQ(absl::StrCat(CloseReason{.code = 3}), "closed here, code 3");
  EXPECT_EQ(absl::StrCat(CloseReason{.origin = Origin::kPeer}),
            "ended by the peer");
  EXPECT_EQ(
      absl::StrCat(CloseReason{.origin = Origin::kError, .error = ECONNRESET}),
      "failed: ECONNRESET (Connection reset by peer)");
  EXPECT_EQ(
      absl::StrCat(CloseReason{.origin = Origin::kError, .error = 100'000}),
      "failed: errno 100000");
  EXPECT_EQ(absl::StrCat(CloseReason{.origin = Origin::kReplaced}),
            "protocol replaced");
  EXPECT_EQ(absl::StrCat(CloseReason{.origin = Origin::kReleased}),
            "socket released");
}

}  // namespace
}  // namespace fio
