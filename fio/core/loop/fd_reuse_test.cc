// Descriptors that somebody closes behind the loop's back, so that their
// numbers come again.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using testing::LoopbackPair;
using testing::MemoryFile;
using testing::ReadAvailable;

// Alone on its page of the loop's table.
constexpr int kHigh = 700;

class FdReuse : public LoopFixture {
 protected:
  explicit FdReuse(LoopOptions options = {})
      : LoopFixture(WithPoller(std::move(options))) {}

  // Closes `fd`, and adopts another socket of that number.
  void Replace(int fd, Record& record) {
    LoopbackPair other = LoopbackPair::Unix();
    ASSERT_EQ(close(fd), 0);
    ASSERT_EQ(fcntl(other.near.fd(), F_DUPFD_CLOEXEC, fd), fd);
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(Socket(UniqueFd(fd)), [&record](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(record));
        });
    ASSERT_TRUE(id.ok()) << id.status();
    far_ = std::move(other.far);
  }

  Socket far_;

 private:
  static LoopOptions WithPoller(LoopOptions options) {
    options.poller = core_internal::PollerUnderTest();
    return options;
  }
};

// A turn moves little of each connection.
class FdReuseInParts : public FdReuse {
 protected:
  static constexpr size_t kBudget = 1024;

  FdReuseInParts()
      : FdReuse({.read_budget_bytes = kBudget, .write_budget_bytes = kBudget}) {
  }
};

TEST_F(FdReuse, InsideItsOwnCallback) {
  LoopbackPair pair = LoopbackPair::Unix();
  ASSERT_EQ(fcntl(pair.near.fd(), F_DUPFD_CLOEXEC, kHigh), kHigh);
  pair.near = Socket(UniqueFd(kHigh));
  Record& old = NewRecord();
  Record& fresh = NewRecord();
  old.on_data = [&](Connection& connection) {
    EXPECT_EQ(connection.Received(), "x");
    Replace(kHigh, fresh);
  };
  const ConnectionId id = Adopt(pair.near, old).id();
  ASSERT_TRUE(pair.far.TryWrite("x").ok());
  Turn(2);
  EXPECT_EQ(loop_->Find(id), nullptr);
  EXPECT_EQ(old.Count("close"), 1);
  EXPECT_EQ(old.reason.error, EBADF);
  ASSERT_TRUE(far_.TryWrite("hello").ok());
  Turn(2);
  EXPECT_EQ(fresh.data, "hello");
  EXPECT_EQ(loop_->connection_count(), 1u);
}

// OnClose() comes before those that asked to be told.
TEST_F(FdReuse, OnCloseComesFirst) {
  LoopbackPair pair = LoopbackPair::Unix();
  const int fd = pair.near.fd();
  Record& old = NewRecord();
  std::string order;
  old.on_close = [&](Connection&) { order += "close "; };
  Connection& connection = Adopt(pair.near, old);
  connection.NotifyGone([&](const CloseReason& reason) {
    EXPECT_EQ(reason.error, EBADF);
    order += "gone ";
  });
  Replace(fd, NewRecord());
  Turn(2);
  EXPECT_EQ(order, "close gone ");
}

// What it had to do in the next turn goes with it: its page of the table may
// have gone, or its number may have come again.
TEST_F(FdReuse, GoneWhileItsTurnWasStillToCome) {
  for (const bool comes_again : {false, true}) {
    LoopbackPair slow = LoopbackPair::Unix();
    LoopbackPair late = LoopbackPair::Unix();
    ASSERT_EQ(fcntl(late.near.fd(), F_DUPFD_CLOEXEC, kHigh), kHigh);
    late.near = Socket(UniqueFd(kHigh));
    Record& slow_record = NewRecord();
    Record& late_record = NewRecord();
    Connection& first = Adopt(slow.near, slow_record);
    Connection& second = Adopt(late.near, late_record);
    Turn();
    slow_record.on_data = [&](Connection& connection) {
      connection.Received();
      clock_.Advance(absl::Milliseconds(11));  // Nobody else is served.
      second.Abort();
    };
    ASSERT_TRUE(slow.far.TryWrite("x").ok());
    ASSERT_TRUE(late.far.TryWrite("x").ok());
    Turn();
    EXPECT_EQ(late_record.Count("data"), 0) << "the order of events is another";
    EXPECT_EQ(late_record.Count("close"), 1);
    Record& fresh = NewRecord();
    Connection* fresh_connection = nullptr;
    LoopbackPair other = LoopbackPair::Unix();
    if (comes_again) {
      ASSERT_EQ(fcntl(other.near.fd(), F_DUPFD_CLOEXEC, kHigh), kHigh);
      other.near = Socket(UniqueFd(kHigh));
      fresh_connection = &Adopt(other.near, fresh);
      ASSERT_TRUE(other.far.TryWrite("hello").ok());
    }
    Turn(2);
    EXPECT_EQ(fresh.data, comes_again ? "hello" : "");
    EXPECT_EQ(fresh.Count("data"), comes_again ? 1 : 0);
    EXPECT_EQ(loop_->connection_count(), comes_again ? 2u : 1u);
    first.Abort();
    if (comes_again) fresh_connection->Abort();
    Turn();
  }
}

// What the earlier connections of a number had to do in a turn is not done for
// the next one.
TEST_F(FdReuseInParts, EachLifeIsServedOnceATurn) {
  const std::string bytes(16 * kBudget, 'x');
  const auto asks_for_turns = [&bytes](Connection& connection) {
    connection.Force(Connection::Callback::kData);
    EXPECT_TRUE(connection.Write(bytes));
  };
  LoopbackPair pair = LoopbackPair::Unix();
  const int fd = pair.near.fd();
  Record* last = &NewRecord();
  last->on_open = asks_for_turns;
  Adopt(pair.near, *last);
  for (int life = 1; life < 4; ++life) {
    last = &NewRecord();
    last->on_open = asks_for_turns;
    Replace(fd, *last);
  }
  ASSERT_TRUE(far_.TryWrite(bytes).ok());
  for (int turn = 1; turn <= 8; ++turn) {
    SCOPED_TRACE(turn);
    Turn();
    EXPECT_EQ(last->Count("data"), turn);
    EXPECT_EQ(last->data.size(), static_cast<size_t>(turn) * kBudget);
    EXPECT_EQ(ReadAvailable(far_).size(), kBudget);
  }
}

// Bytes that were read and not consumed, too.
TEST_F(FdReuse, WhatWasUnreadGoesWithTheOldOne) {
  LoopbackPair pair = LoopbackPair::Unix();
  const int fd = pair.near.fd();
  Record& old = NewRecord();
  Record& fresh = NewRecord();
  fresh.on_open = [](Connection& connection) {
    char out[8];
    EXPECT_EQ(connection.Read(absl::MakeSpan(out)), 0u);
  };
  old.on_data = [&](Connection& connection) {
    EXPECT_EQ(connection.Unread(), "secret");
    connection.Consume(1);
    Replace(fd, fresh);
    ASSERT_TRUE(far_.TryWrite("hello").ok());
    // All that this callback may still do.
    connection.Consume(1);
    EXPECT_EQ(connection.Unread(), "");
    EXPECT_EQ(connection.Received(), "");
  };
  Adopt(pair.near, old);
  ASSERT_TRUE(pair.far.TryWrite("secret").ok());
  Turn(3);
  EXPECT_EQ(old.Count("data"), 1);
  EXPECT_EQ(old.Count("close"), 1);
  EXPECT_EQ(fresh.data, "hello");
}

// Only its own: another connection, whose callback runs, keeps its bytes.
TEST_F(FdReuse, WhatIsUnreadOfAnotherStays) {
  LoopbackPair lost = LoopbackPair::Unix();
  LoopbackPair pair = LoopbackPair::Unix();
  const int fd = lost.near.fd();
  Record& record = NewRecord();
  record.on_data = [&](Connection& connection) {
    EXPECT_EQ(connection.Unread(), "kept");
    Replace(fd, NewRecord());
    connection.Consume(1);
    record.on_data = nullptr;
  };
  Adopt(lost.near, NewRecord());
  Adopt(pair.near, record);
  ASSERT_TRUE(pair.far.TryWrite("kept").ok());
  Turn(2);
  ASSERT_TRUE(pair.far.TryWrite(", and more").ok());
  Turn(2);
  EXPECT_EQ(record.data, "ept, and more");
}

// The outer one is gone when its on_open returns, and the inner one, of the
// same number, never came or is another.
TEST_F(FdReuse, AnAdoptThatFailsInsideOfAdopt) {
  for (const bool fails : {true, false}) {
    SCOPED_TRACE(fails);
    LoopbackPair pair = LoopbackPair::Unix();
    const int fd = pair.near.fd();
    Record& inner = NewRecord();
    const absl::StatusOr<ConnectionId> outer_id =
        loop_->Adopt(std::move(pair.near), [&](Connection& outer) {
          if (!fails) {
            Replace(fd, inner);
            return;
          }
          const UniqueFd file = MemoryFile("no socket");
          ASSERT_EQ(dup3(file.get(), fd, O_CLOEXEC), fd);
          EXPECT_FALSE(loop_->Adopt(Socket(UniqueFd(fd)), Nothing).ok());
          EXPECT_FALSE(outer.is_open());
        });
    ASSERT_TRUE(outer_id.ok()) << outer_id.status();
    EXPECT_EQ(loop_->Find(*outer_id), nullptr);
    EXPECT_EQ(loop_->connection_count(), fails ? 0u : 1u);
    Advance(2 * LoopOptions().attach_timeout);
    if (!fails) {
      ASSERT_TRUE(far_.TryWrite("hello").ok());
    }
    Turn(2);
    EXPECT_EQ(inner.data, fails ? "" : "hello");
  }
}

}  // namespace
}  // namespace fio
