#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();

using loop_internal::IsOverTransport;
using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using ::testing::ElementsAre;
using testing::LoopbackPair;
using testing::Peer;
using testing::ReadAvailable;
using testing::World;

constexpr absl::Duration kInstant = absl::Nanoseconds(1);
constexpr absl::Duration kTick = absl::Milliseconds(1);
constexpr size_t kMuch = size_t{4} << 20;  // More than the kernel takes.

class Timeout : public LoopFixture {
 protected:
  Timeout() : LoopFixture({.poller = kPoller}) {}

  // One whose OnTimeout() does nothing, unless told otherwise.
  Connection& AdoptIdle(absl::Duration timeout) {
    record_.on_timeout = Nothing;
    Connection& connection = Adopt(pair_.near, record_);
    Turn(2);
    connection.SetTimeout(timeout);
    return connection;
  }
  int told() const { return record_.Count("timeout"); }

  Record& record_ = NewRecord();
  LoopbackPair pair_ = UnixPair();
};

// However long the callback has run before the call.
TEST_F(Timeout, CountsFromTheCall) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  constexpr absl::Duration kLong = absl::Milliseconds(300);
  constexpr absl::Duration kShort = absl::Milliseconds(200);
  for (const bool touch : {false, true}) {
    SCOPED_TRACE(touch);
    LoopbackPair pair = UnixPair();
    Record& record = NewRecord();
    record.on_timeout = Nothing;
    record.on_data = [&](Connection& connection) {
      if (touch) connection.SetTimeout(kShort);
      connection.Received();
      clock_.Advance(kLong);
      touch ? connection.Touch() : connection.SetTimeout(kShort);
    };
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite("x").ok());
    Turn(2);
    ASSERT_EQ(record.Count("data"), 1);
    Advance(kShort - kInstant);
    EXPECT_EQ(record.Count("timeout"), 0);
    Advance(kInstant);
    EXPECT_EQ(record.Count("timeout"), 1);
    connection.Abort();
    Turn();
  }
}

// Bytes that came in time, while the loop was held up, are delivered first. The
// poller does not tell of all of them in one turn.
TEST_F(Timeout, BytesOutrankIt) {
  constexpr size_t kConnections = 600;
  std::vector<LoopbackPair> pairs(kConnections);
  std::vector<Record*> records;
  for (LoopbackPair& pair : pairs) {
    pair = UnixPair();
    records.push_back(&NewRecord());
    records.back()->on_timeout = Nothing;
    Adopt(pair.near, *records.back()).SetTimeout(absl::Milliseconds(200));
  }
  Turn(3);
  loop_->Defer([&] {
    clock_.Advance(absl::Milliseconds(100));
    for (LoopbackPair& pair : pairs) ASSERT_TRUE(pair.far.TryWrite("x").ok());
    clock_.Advance(absl::Milliseconds(300));
  });
  Turn(4);
  for (const Record* const record : records) {
    ASSERT_EQ(record->data, "x");
    ASSERT_EQ(record->Count("timeout"), 0);
  }
  for (LoopbackPair& pair : pairs) ASSERT_TRUE(pair.far.TryWrite("y").ok());
  Advance(absl::Seconds(1));
  Turn(2);
  for (const Record* const record : records) {
    ASSERT_EQ(record->data, "xy");
    ASSERT_EQ(record->Count("timeout"), 0);
  }
  Advance(absl::Milliseconds(200));
  Turn(2);
  for (const Record* const record : records) {
    ASSERT_EQ(record->Count("timeout"), 1);
  }
}

TEST_F(Timeout, Window) {
  for (const absl::Duration timeout :
       {kTick, absl::Milliseconds(7), absl::Milliseconds(999), absl::Seconds(1),
        absl::Milliseconds(1001), absl::Seconds(255), absl::Minutes(5),
        absl::Hours(24 * 25), absl::Hours(24 * 49)}) {
    SCOPED_TRACE(timeout);
    LoopbackPair pair = UnixPair();
    Record& record = NewRecord();
    record.on_timeout = Nothing;
    Connection& connection = Adopt(pair.near, record);
    connection.SetTimeout(timeout);
    EXPECT_EQ(connection.timeout(), timeout);
    Advance(timeout - kInstant);
    EXPECT_EQ(record.Count("timeout"), 0);
    Advance(kInstant);
    EXPECT_EQ(record.Count("timeout"), 1);
    // Then once a second, and no more often.
    for (int i = 2; i < 5; ++i) {
      Advance(absl::Seconds(1) - kInstant);
      EXPECT_EQ(record.Count("timeout"), i - 1);
      Advance(kInstant);
      EXPECT_EQ(record.Count("timeout"), i);
    }
    // However long the loop was kept away.
    Advance(absl::Hours(1));
    EXPECT_EQ(record.Count("timeout"), 5);
    connection.Abort();
    Turn();
  }
}

TEST_F(Timeout, DefaultCloses) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  Adopt(pair_.near, record_).SetTimeout(absl::Seconds(3));
  ASSERT_TRUE(pair_.far.TryWrite("x").ok());
  Turn(2);
  Advance(absl::Seconds(3) - kInstant);
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(kInstant);
  EXPECT_THAT(record_.told, ElementsAre("open", "data", "ready", "timeout",
                                        "close", "destroyed"));
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kLocal);
}

// Whatever number the kernel has given it.
TEST_F(Timeout, HighestFdReviewed) {
  for (const int lowest : {100, 255, 256, 900}) {
    LoopbackPair pair = UnixPair();
    UniqueFd fd(fcntl(pair.near.fd(), F_DUPFD_CLOEXEC, lowest));
    ASSERT_GE(fd.get(), lowest);
    pair.near.Close();
    Record& record = NewRecord();
    const ConnectionId id =
        *loop_->Adopt(std::move(fd), std::make_unique<Recorder>(record));
    loop_->Find(id)->SetTimeout(absl::Seconds(1));
    Turn();
    Advance(absl::Seconds(1));
    EXPECT_EQ(record.Count("timeout"), 1) << id.fd();
    EXPECT_EQ(record.Count("close"), 1);
  }
}

TEST_F(Timeout, NoPingAfterWrite) {
  Connection& connection = AdoptIdle(absl::Seconds(5));
  Advance(absl::Seconds(5) - kTick);
  connection.Write("x");
  Turn();
  Advance(kTick);
  EXPECT_EQ(told(), 0);
  Advance(absl::Seconds(5) - 2 * kTick);
  EXPECT_EQ(told(), 0);
  Advance(kTick);
  EXPECT_EQ(told(), 1);
}

// A write behind others that do not leave is no sign of life of the peer.
TEST_F(Timeout, WritesToAPeerThatTakesNothingAreNoActivity) {
  Connection& connection = AdoptIdle(absl::Seconds(5));
  connection.Write(std::string(kMuch, 'x'));
  Turn(2);
  for (int i = 0; i < 4; ++i) {
    Advance(absl::Seconds(1));
    connection.Write("more");
    Turn();
  }
  EXPECT_EQ(told(), 0);
  Advance(absl::Seconds(1));
  EXPECT_EQ(told(), 1);
}

TEST_F(Timeout, PingEternal) {
  Connection& connection = AdoptIdle(absl::Seconds(5));
  record_.on_timeout = [](Connection& told) { told.Touch(); };
  for (int i = 1; i <= 100; ++i) {
    Advance(absl::Seconds(5) - kInstant);
    EXPECT_EQ(told(), i - 1);
    Advance(kInstant);
    EXPECT_EQ(told(), i);
  }
  EXPECT_TRUE(connection.is_open());
  EXPECT_EQ(ReadAvailable(pair_.far), "");
  EXPECT_EQ(loop_->stats().timeouts, 100u);
}

// A long answer to a slow reader, in which no call of Write() happens.
TEST_F(Timeout, ProgressCounts) {
  Connection& connection = AdoptIdle(absl::Seconds(2));
  connection.Write(std::string(kMuch, 'x'));
  while (connection.pending_bytes() > 0) {
    Advance(absl::Seconds(2) - kTick);
    ASSERT_EQ(told(), 0);
    ReadAvailable(pair_.far);
    Turn();
  }
  Advance(absl::Seconds(2) - kTick);
  EXPECT_EQ(told(), 0);
  Advance(kTick);
  EXPECT_EQ(told(), 1);
}

TEST_F(Timeout, SetGetZero) {
  Connection& connection = AdoptIdle(absl::ZeroDuration());
  EXPECT_EQ(connection.timeout(), absl::ZeroDuration());
  Advance(absl::Hours(24 * 365));
  EXPECT_EQ(told(), 0);
  // Rounded up to 1 ms.
  connection.SetTimeout(kInstant);
  EXPECT_EQ(connection.timeout(), kTick);
  connection.SetTimeout(kTick + kInstant);
  EXPECT_EQ(connection.timeout(), 2 * kTick);
  // An armed one is disarmed.
  Advance(kTick);
  connection.SetTimeout(absl::ZeroDuration());
  Advance(absl::Hours(24 * 365));
  EXPECT_EQ(told(), 0);
  // To set it counts as activity.
  connection.SetTimeout(absl::Seconds(5));
  Advance(absl::Seconds(4));
  connection.SetTimeout(absl::Seconds(5));
  Advance(absl::Seconds(5) - kTick);
  EXPECT_EQ(told(), 0);
  // Shorter than what has been armed.
  connection.SetTimeout(absl::Milliseconds(3));
  Advance(absl::Milliseconds(3) - kInstant);
  EXPECT_EQ(told(), 0);
  Advance(kInstant);
  EXPECT_EQ(told(), 1);
  // By id: of none, nothing.
  const ConnectionId id = connection.id();
  connection.Abort();
  Turn();
  connection.SetTimeout(absl::Seconds(1));
  loop_->handle().SetTimeout(id, absl::Seconds(1));
  loop_->handle().Touch(id);
  Turn();
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
}

TEST_F(Timeout, TouchDelays) {
  Connection& connection = AdoptIdle(absl::Seconds(5));
  for (int i = 0; i < 10; ++i) {
    Advance(absl::Seconds(5) - kTick);
    if (i % 2 == 0) {
      connection.Touch();
    } else {
      loop_->handle().Touch(connection.id());
      Turn();
    }
  }
  EXPECT_EQ(told(), 0);
  Advance(absl::Seconds(5));
  EXPECT_EQ(told(), 1);
  // Between two that are a second apart, too.
  Advance(absl::Milliseconds(500));
  connection.Touch();
  Advance(absl::Seconds(5) - kTick);
  EXPECT_EQ(told(), 1);
  Advance(kTick);
  EXPECT_EQ(told(), 2);
}

TEST_F(Timeout, BelowASecondTouchMakesTheNextOneComeSooner) {
  Connection& connection = AdoptIdle(absl::Milliseconds(100));
  Advance(absl::Milliseconds(100));
  ASSERT_EQ(told(), 1);
  connection.Touch();
  Advance(absl::Milliseconds(100) - kInstant);
  EXPECT_EQ(told(), 1);
  Advance(kInstant);
  EXPECT_EQ(told(), 2) << "idle for its timeout since it was touched";
}

TEST_F(Timeout, SetTimeoutInsideOnTimeout) {
  Connection& connection = AdoptIdle(absl::Seconds(5));
  absl::Duration next = absl::Milliseconds(20);
  record_.on_timeout = [&](Connection& told) { told.SetTimeout(next); };
  Advance(absl::Seconds(5));
  ASSERT_EQ(told(), 1);
  Advance(absl::Milliseconds(20) - kInstant);
  EXPECT_EQ(told(), 1);
  next = absl::Hours(1);
  Advance(kInstant);
  EXPECT_EQ(told(), 2);
  Advance(absl::Hours(1) - kInstant);
  EXPECT_EQ(told(), 2);
  next = absl::ZeroDuration();
  Advance(kInstant);
  EXPECT_EQ(told(), 3);
  Advance(absl::Hours(24 * 365));
  EXPECT_EQ(told(), 3);
  EXPECT_TRUE(connection.is_open());
}

TEST_F(Timeout, AClosingConnectionIsToldNothing) {
  Connection& connection = AdoptIdle(absl::Seconds(5));
  connection.Write(std::string(kMuch, 'x'));
  Turn();
  Advance(absl::Seconds(4));
  connection.Close();
  Turn();
  Advance(absl::Seconds(8) - kInstant);
  EXPECT_EQ(told(), 0);
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(kInstant);
  EXPECT_EQ(record_.Count("close"), 1);
  // One that is gone is in no wheel.
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
}

TEST_F(Timeout, ClosingFromOnTimeoutHasItsOwnTime) {
  Connection& connection = AdoptIdle(absl::Milliseconds(10));
  connection.Write(std::string(kMuch, 'x'));
  Turn();
  record_.on_timeout = nullptr;  // Closes.
  Advance(absl::Milliseconds(10));
  ASSERT_EQ(told(), 1);
  Advance(absl::Seconds(8) - kInstant);
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(kInstant);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.error, ETIMEDOUT);
  EXPECT_EQ(told(), 1);
}

// --- While the loop stops ---

class Linger : public LoopFixture {
 protected:
  Linger()
      : LoopFixture(
            {.poller = kPoller, .stop_linger = absl::Milliseconds(500)}) {
    Adopt(pair_.near, record_).Write("last");
    Turn();
    loop_->Stop();
    Turn(3);
  }

  Record& record_ = NewRecord();
  LoopbackPair pair_ = TcpPair();
};

// A request that crosses the stop is not answered with a reset.
TEST_F(Linger, ThePeerMaySendUntilItNoticesTheEnd) {
  EXPECT_EQ(record_.Count("close"), 0);
  ASSERT_TRUE(pair_.far.Write("a request").ok());
  ASSERT_TRUE(pair_.far.Flush().ok());
  Turn(3);
  EXPECT_EQ(record_.Count("data"), 0);
  EXPECT_EQ(ReadAvailable(pair_.far), "last");
  char byte;
  const IoResult end = pair_.far.Read(absl::MakeSpan(&byte, 1));
  EXPECT_EQ(end.error, 0);
  EXPECT_EQ(end.bytes, 0);
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.error, 0);
  EXPECT_TRUE(loop_->stopped());
}

TEST_F(Linger, ItIsBounded) {
  Advance(absl::Milliseconds(500) - kInstant);
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(kInstant);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.error, 0);
  EXPECT_TRUE(loop_->stopped());
}

TEST_F(Linger, AStopWithoutGraceCutsItOff) {
  loop_->Stop(absl::ZeroDuration());
  Turn(3);
  EXPECT_TRUE(loop_->stopped());
}

// --- Many, in memory ---

// Each of very many is told at its time: at most one tick late, never early.
TEST(TimeoutWorld, RandomPhases) {
  constexpr int kConnections = 10'000;
  std::mt19937_64 random(7);
  const auto draw = [&](int64_t below) {
    return std::uniform_int_distribution<int64_t>(0, below - 1)(random);
  };
  class Idle final : public Protocol {
   public:
    Idle(World& world, MonotonicTime& told) : world_(world), told_(told) {}
    void OnData(Connection& connection) override { connection.Received(); }
    void OnTimeout(Connection& connection) override {
      told_ = world_.clock().Now();
      connection.SetTimeout(absl::ZeroDuration());
    }

   private:
    World& world_;
    MonotonicTime& told_;
  };
  std::vector<MonotonicTime> told(kConnections), due(kConnections);
  std::vector<Peer> peers;
  World world;
  std::vector<ConnectionId> ids;
  std::vector<absl::Duration> timeouts;
  for (int i = 0; i < kConnections; ++i) {
    if (i % 16 == 0) world.Advance(absl::Microseconds(draw(2'000)));
    // From below a second to days.
    const absl::Duration timeout =
        absl::Milliseconds(1 + draw(int64_t{1} << (1 + draw(32))));
    timeouts.push_back(std::min<absl::Duration>(timeout, absl::Hours(1100)));
    peers.push_back(world.Connect([&](Connection& connection) {
      connection.Attach(std::make_unique<Idle>(world, told[i]));
      connection.SetTimeout(timeouts.back());
      ids.push_back(connection.id());
    }));
    due[i] = world.loop().now() + timeouts.back();
  }
  // Some are active.
  for (int round = 0; round < 20; ++round) {
    world.Advance(absl::Microseconds(draw(20'000'000)));
    for (int n = 0; n < 500; ++n) {
      const auto i = static_cast<size_t>(draw(kConnections));
      if (told[i] != MonotonicTime()) continue;
      peers[i].Send("x");
      world.Turn();
      due[i] = world.clock().Now() + timeouts[i];
    }
  }
  world.Advance(absl::Hours(1200));
  for (int i = 0; i < kConnections; ++i) {
    ASSERT_GE(told[i], due[i]) << i << " of " << timeouts[i];
    ASSERT_LE(told[i], due[i] + kTick) << i << " of " << timeouts[i];
  }
}

// The wheel is on its own when there are more at once than a turn looks at.
TEST(TimeoutWorld, AHundredThousandAtOnce) {
  constexpr int kConnections = 100'000;
  class Counting final : public Protocol {
   public:
    explicit Counting(int& told) : told_(told) {}
    void OnData(Connection&) override {}
    void OnTimeout(Connection&) override { ++told_; }

   private:
    int& told_;
  };
  int told = 0;
  std::vector<Peer> peers;
  World world;
  for (int i = 0; i < kConnections; ++i) {
    peers.push_back(world.Connect([&](Connection& connection) {
      connection.Attach(std::make_unique<Counting>(told));
      connection.SetTimeout(absl::Seconds(60));
    }));
  }
  world.RunUntilIdle();
  world.Advance(absl::Seconds(60) - kInstant);
  EXPECT_EQ(told, 0);
  world.Advance(kInstant);
  EXPECT_EQ(told, kConnections);
}

}  // namespace
}  // namespace fio
