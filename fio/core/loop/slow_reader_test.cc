// A peer that reads slowly is not idle, whoever holds the bytes: the queue or
// the kernel.

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/world.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using testing::FaultPlan;
using testing::LoopbackPair;
using testing::Peer;
using testing::ReadAvailable;
using testing::ReadUntil;
using testing::World;

constexpr absl::Duration kTick = absl::Milliseconds(1);
constexpr absl::Duration kTimeout = absl::Seconds(5);
constexpr size_t kMuch = size_t{16} << 20;  // More than the kernel takes.

int Unacknowledged(int fd) {
  int bytes = 0;
  ABSL_CHECK_EQ(ioctl(fd, SIOCOUTQ, &bytes), 0);
  return bytes;
}

// Reads at `far` until the kernel of `near_fd` knows that bytes have arrived;
// returns how many.
size_t ReadALittle(Socket& far, int near_fd) {
  const int before = Unacknowledged(near_fd);
  size_t total = 0;
  while (Unacknowledged(near_fd) >= before) {
    char buffer[1024];
    const IoResult read = far.Read(absl::MakeSpan(buffer));
    total += read.bytes;
    if (!read.would_block()) continue;
    // What has left `near` is on its way.
    pollfd ready = {.fd = far.fd(), .events = POLLIN, .revents = 0};
    poll(&ready, 1, -1);
  }
  return total;
}

class Timeout : public LoopFixture {
 protected:
  Timeout() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}

  Connection& AdoptWith(LoopbackPair& pair, Record& record) {
    record.on_timeout = Nothing;
    Connection& connection = Adopt(pair.near, record);
    Turn(2);
    connection.SetTimeout(kTimeout);
    return connection;
  }
};

TEST_F(Timeout, SlowReaderIsNotIdle) {
  for (const bool tcp : {false, true}) {
    SCOPED_TRACE(tcp ? "TCP" : "Unix");
    LoopbackPair pair = tcp ? TcpPair() : UnixPair();
    Record& record = NewRecord();
    Connection& connection = AdoptWith(pair, record);
    connection.Write(std::string(kMuch, 'x'));
    Turn(2);
    ASSERT_GT(connection.pending_bytes(), 0u);
    size_t received = 0;
    int rounds_without_room = 0;
    for (int i = 0; i < 40; ++i) {
      Advance(kTimeout - kTick);
      ASSERT_EQ(record.Count("timeout"), 0) << "in round " << i;
      const uint64_t pending = connection.pending_bytes();
      received += ReadALittle(pair.far, connection.id().fd());
      Turn(2);
      rounds_without_room += connection.pending_bytes() == pending;
    }
    EXPECT_GT(rounds_without_room, 10) << "the test shows nothing";
    // Nothing is lost.
    while (connection.pending_bytes() > 0) {
      received += ReadAvailable(pair.far).size();
      Turn();
    }
    received += ReadUntil(pair.far, kMuch - received).size();
    EXPECT_EQ(received, kMuch);
    connection.Abort();
    Turn(2);
  }
}

TEST_F(Timeout, SlowReaderThatStopsIsIdle) {
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = AdoptWith(pair, record);
  const int fd = connection.id().fd();
  connection.Write(std::string(kMuch, 'x'));
  Turn(2);
  Advance(kTimeout / 2);
  ReadALittle(pair.far, fd);
  Advance(kTimeout / 2);
  EXPECT_EQ(record.Count("timeout"), 0);
  Advance(kTimeout);
  EXPECT_EQ(record.Count("timeout"), 0) << "counts from when it was noticed";
  Advance(kTick);
  EXPECT_EQ(record.Count("timeout"), 1);
  // And is told again each second, as ever, until it reads on.
  Advance(absl::Seconds(1));
  EXPECT_EQ(record.Count("timeout"), 2);
  ReadALittle(pair.far, fd);
  Advance(absl::Seconds(1));
  EXPECT_EQ(record.Count("timeout"), 2);
  Advance(kTimeout + kTick);
  EXPECT_EQ(record.Count("timeout"), 3);
}

// The last bytes count as those before them.
TEST_F(Timeout, SlowReaderThatHasReadAllIsIdleFromThenOn) {
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = AdoptWith(pair, record);
  connection.Write(std::string(4096, 'x'));
  Turn(2);
  ASSERT_EQ(connection.pending_bytes(), 0u);
  Advance(kTimeout / 2);
  ReadUntil(pair.far, 4096);
  ASSERT_EQ(Unacknowledged(connection.id().fd()), 0);
  Advance(kTimeout / 2);
  EXPECT_EQ(record.Count("timeout"), 0);
  Advance(kTimeout);
  EXPECT_EQ(record.Count("timeout"), 0) << "counts from when it was noticed";
  Advance(kTick);
  EXPECT_EQ(record.Count("timeout"), 1);
}

// All is in the kernel, and the queue is empty.
TEST_F(Timeout, SlowReaderOfWhatTheKernelHoldsIsNotIdle) {
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = AdoptWith(pair, record);
  for (int i = 0; i < 12; ++i) {
    connection.Write(std::string(4096, 'x'));
    Turn();
  }
  ASSERT_EQ(connection.pending_bytes(), 0u);
  for (int i = 0; i < 10; ++i) {
    Advance(kTimeout - kTick);
    ASSERT_EQ(record.Count("timeout"), 0) << "in round " << i;
    ReadUntil(pair.far, 4096);  // A transport may read a little more.
  }
  ReadUntil(pair.far, size_t{2} * 4096);
  // It has read all: from when that was noticed on it is idle.
  Advance(kTimeout + kTick);
  Advance(kTimeout);
  EXPECT_EQ(record.Count("timeout"), 0);
  Advance(kTick);
  EXPECT_EQ(record.Count("timeout"), 1);
}

// The kernel is asked when half of the timeout is over, and at its end; and not
// for who has sent nothing.
TEST_F(Timeout, AsksTheKernelTwiceInATimeout) {
  FaultPlan plan;
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = AdoptWith(pair, record);
  connection.Write(std::string(kMuch, 'x'));
  for (int i = 0; i < 100; ++i) {
    Advance(kTimeout / 2 - kTick);
    connection.Touch();
  }
  EXPECT_EQ(plan.calls(FaultPlan::Call::kIoctl), 0u);
  Advance(kTimeout / 2);
  EXPECT_EQ(plan.calls(FaultPlan::Call::kIoctl), 1u);
  Advance(kTimeout / 2 - kTick);
  EXPECT_EQ(plan.calls(FaultPlan::Call::kIoctl), 1u);
  EXPECT_EQ(record.Count("timeout"), 0);
  Advance(kTick);
  EXPECT_EQ(record.Count("timeout"), 1) << "in time, since nothing was taken";
  EXPECT_EQ(plan.calls(FaultPlan::Call::kIoctl), 2u);
}

// What cannot be asked is no progress.
TEST_F(Timeout, AKernelThatKnowsNothing) {
  FaultPlan plan;
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = AdoptWith(pair, record);
  connection.Write("unread");
  plan.FailNext(FaultPlan::Call::kIoctl, ENOTTY, 1);
  Turn();
  Advance(kTimeout);
  EXPECT_EQ(record.Count("timeout"), 1);
}

TEST(TimeoutWorld, SlowReaderIsNotIdle) {
  Record record;
  record.on_timeout = Nothing;
  World world;
  Peer peer = world.Connect([&](Connection& connection) {
    connection.SetTimeout(kTimeout);
    connection.Attach(std::make_unique<Recorder>(record));
    connection.Write(std::string(10'000, 'x'));
  });
  peer.SetAutoRead(false);
  world.RunUntilIdle();
  for (int i = 0; i < 10; ++i) {
    world.Advance(kTimeout - kTick);
    ASSERT_EQ(record.Count("timeout"), 0) << "in round " << i;
    EXPECT_EQ(peer.TakeReceived(500).size(), 500u);
  }
  world.Advance(2 * kTimeout);
  EXPECT_GE(record.Count("timeout"), 1);
}

}  // namespace
}  // namespace fio
