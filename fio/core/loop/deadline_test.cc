// Connection::SetDeadline(): the bound that bytes do not move.

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::TcpPair;
using ::testing::ElementsAre;
using testing::LoopbackPair;

constexpr absl::Duration kInstant = absl::Nanoseconds(1);
constexpr absl::Duration kTick = absl::Milliseconds(1);
constexpr absl::Duration kSecond = absl::Seconds(1);

class Timeout : public LoopFixture {
 protected:
  Timeout() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}

  // One whose OnDeadline() does nothing, unless told otherwise.
  Connection& AdoptQuiet() {
    record_.on_deadline = Nothing;
    Connection& connection = Adopt(pair_.near, record_);
    Turn(2);
    return connection;
  }
  int told() const { return record_.Count("deadline"); }

  Record& record_ = NewRecord();
  LoopbackPair pair_ = TcpPair();
};

// A slow loris: bytes that come now and then keep off the idle timeout, but not
// the deadline, and by default the peer is gone then, with a reset.
TEST_F(Timeout, DeadlineIsNotExtendedByBytes) {
  Connection& connection = Adopt(pair_.near, record_);
  connection.SetTimeout(2 * kSecond);
  connection.SetDeadline(10 * kSecond);
  EXPECT_EQ(connection.deadline(), clock_.Now() + 10 * kSecond);
  for (int i = 0; i < 9; ++i) {
    Advance(kSecond);
    ASSERT_TRUE(pair_.far.TryWrite("x").ok());
    connection.Write("y");
    connection.Touch();
    Turn(2);
  }
  Advance(kSecond - kInstant);
  EXPECT_EQ(record_.data, "xxxxxxxxx");
  EXPECT_EQ(told(), 0);
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(kInstant);
  EXPECT_EQ(told(), 1);
  EXPECT_EQ(record_.Count("timeout"), 0);
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(record_.reason.origin, CloseReason::Origin::kLocal);
  EXPECT_EQ(loop_->stats().deadlines, 1u);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  std::string out(16, 0);
  IoResult end = pair_.far.Read(absl::MakeSpan(out));
  if (end.bytes > 0) end = pair_.far.Read(absl::MakeSpan(out));
  EXPECT_EQ(end.error, ECONNRESET);
}

TEST_F(Timeout, DeadlineComesOnce) {
  Connection& connection = AdoptQuiet();
  connection.SetDeadline(kSecond);
  Advance(kSecond);
  EXPECT_EQ(told(), 1);
  EXPECT_EQ(connection.deadline(), MonotonicTime::InfiniteFuture());
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  Advance(absl::Hours(24 * 365));
  EXPECT_EQ(told(), 1);
  EXPECT_TRUE(connection.is_open());
}

TEST_F(Timeout, DeadlineIsReplacedAndCleared) {
  Connection& connection = AdoptQuiet();
  connection.SetDeadline(kSecond);
  connection.SetDeadline(3 * kSecond);
  Advance(3 * kSecond - kTick);
  EXPECT_EQ(told(), 0);
  connection.SetDeadline(kSecond);
  Advance(kSecond - kTick);
  EXPECT_EQ(told(), 0);
  Advance(kTick);
  EXPECT_EQ(told(), 1);
  connection.SetDeadline(kSecond);
  connection.SetDeadline(absl::InfiniteDuration());
  EXPECT_EQ(connection.deadline(), MonotonicTime::InfiniteFuture());
  Advance(absl::Hours(24 * 365));
  EXPECT_EQ(told(), 1);
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  // The next request's.
  record_.on_deadline = [](Connection& told) { told.SetDeadline(kSecond); };
  connection.SetDeadline(kSecond);
  for (int i = 2; i < 5; ++i) {
    Advance(kSecond - kTick);
    EXPECT_EQ(told(), i - 1);
    Advance(kTick);
    EXPECT_EQ(told(), i);
  }
}

TEST_F(Timeout, DeadlineThatHasPassedIsToldInTheNextTurn) {
  Connection& connection = AdoptQuiet();
  for (const absl::Duration span :
       {absl::ZeroDuration(), -kSecond, -absl::InfiniteDuration()}) {
    SCOPED_TRACE(span);
    const int before = told();
    connection.SetDeadline(span);
    EXPECT_EQ(told(), before);
    Advance(absl::Milliseconds(1));
    EXPECT_EQ(told(), before + 1);
  }
}

// In a long turn, too, the time of which was read at its beginning.
TEST_F(Timeout, DeadlineCountsFromTheCall) {
  Connection& connection = AdoptQuiet();
  loop_->Defer([&] {
    clock_.Advance(5 * kSecond);
    connection.SetDeadline(kSecond);
  });
  Turn();
  Advance(kSecond - kInstant);
  EXPECT_EQ(told(), 0);
  Advance(kInstant);
  EXPECT_EQ(told(), 1);
}

// Beside an idle timeout that is shorter, longer, or set later.
TEST_F(Timeout, DeadlineAndIdleTimeoutAreIndependent) {
  Connection& connection = AdoptQuiet();
  record_.on_timeout = Nothing;
  connection.SetTimeout(2 * kSecond);
  connection.SetDeadline(3 * kSecond);
  record_.told.clear();
  Advance(2 * kSecond);
  EXPECT_THAT(record_.told, ElementsAre("timeout"));
  Advance(kSecond);
  EXPECT_EQ(told(), 1) << "and OnTimeout() again after a second";
  EXPECT_EQ(record_.Count("timeout"), 2);
  connection.SetDeadline(kSecond);
  connection.SetTimeout(absl::Hours(1));
  Advance(kSecond);
  EXPECT_EQ(told(), 2);
  connection.SetDeadline(kSecond);
  connection.SetTimeout(absl::ZeroDuration());
  Advance(kSecond);
  EXPECT_EQ(told(), 3);
  EXPECT_EQ(record_.Count("timeout"), 2);
}

// It belongs to the connection: set before the first protocol, and kept when
// that is replaced or taken off.
TEST_F(Timeout, DeadlineOutlivesTheProtocol) {
  Record& successor = NewRecord();
  const ConnectionId id =
      *loop_->Adopt(std::move(pair_.near), [&](Connection& connection) {
        connection.SetDeadline(2 * kSecond);
        connection.Attach(std::make_unique<Recorder>(record_));
      });
  Advance(kSecond);
  loop_->Find(id)->Attach(std::make_unique<Recorder>(successor));
  Advance(kSecond - kInstant);
  EXPECT_EQ(successor.Count("deadline"), 0);
  successor.on_deadline = Nothing;
  Advance(kInstant);
  EXPECT_EQ(told(), 0);
  EXPECT_EQ(successor.Count("deadline"), 1);
  // Nobody to tell: aborted.
  loop_->Find(id)->SetDeadline(kSecond);
  loop_->Find(id)->Detach();
  Advance(kSecond - kInstant);
  EXPECT_NE(loop_->Find(id), nullptr);
  Advance(kInstant);
  EXPECT_EQ(loop_->Find(id), nullptr);
  EXPECT_EQ(successor.Count("deadline"), 1);
}

TEST_F(Timeout, DeadlineOfAConnectionThatHasNoProtocolYetAbortsIt) {
  const ConnectionId id = *loop_->Adopt(
      std::move(pair_.near),
      [](Connection& connection) { connection.SetDeadline(kSecond); });
  Advance(kSecond - kInstant);
  EXPECT_NE(loop_->Find(id), nullptr);
  Advance(kInstant);
  EXPECT_EQ(loop_->Find(id), nullptr);
}

// Its end has a time of its own.
TEST_F(Timeout, DeadlineEndsWithClose) {
  Connection& connection = AdoptQuiet();
  connection.SetDeadline(kSecond);
  connection.Write(std::string(16 << 20, 'x'));
  connection.Close();
  connection.SetDeadline(kSecond);
  EXPECT_EQ(connection.deadline(), MonotonicTime::InfiniteFuture());
  Turn();
  Advance(2 * kSecond);
  EXPECT_EQ(told(), 0);
  EXPECT_EQ(record_.Count("close"), 0);
  connection.Abort();
  connection.SetDeadline(kSecond);
  Turn();
  EXPECT_EQ(record_.Count("close"), 1);
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
}

// As any callback that another thread keeps out.
TEST_F(Timeout, DeadlineWaitsForTheProtocolsLock) {
  Connection& connection = AdoptQuiet();
  connection.SetDeadline(kSecond);
  std::optional<ProtocolLock> lock =
      LockElsewhere(connection.id(), ProtocolLock::Kind::kWrite);
  ASSERT_TRUE(lock.has_value());
  Advance(2 * kSecond);
  EXPECT_EQ(told(), 0);
  UnlockElsewhere(lock);
  Turn(2);
  EXPECT_EQ(told(), 1);
  // Cleared meanwhile.
  connection.SetDeadline(kSecond);
  lock = LockElsewhere(connection.id(), ProtocolLock::Kind::kWrite);
  Advance(2 * kSecond);
  connection.SetDeadline(absl::InfiniteDuration());
  UnlockElsewhere(lock);
  Turn(2);
  EXPECT_EQ(told(), 1);
}

// It is not what keeps RunWhileBusy().
TEST_F(Timeout, DeadlineOfAnUnrefConnectionKeepsNobodyBusy) {
  Connection& connection = AdoptQuiet();
  connection.SetDeadline(absl::Hours(1));
  connection.Unref();
  EXPECT_TRUE(loop_->RunWhileBusy().ok());
  EXPECT_EQ(told(), 0);
}

}  // namespace
}  // namespace fio
