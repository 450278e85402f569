// What a Connection gives to the kernel at once, and SharedBytes.

#include <limits.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();

using loop_internal::IsOverHandshake;
using loop_internal::IsOverTransport;
using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using testing::FaultPlan;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadUntil;

using Call = FaultPlan::Call;
using More = Socket::More;

class ConnectionTryWrite : public LoopFixture {
 protected:
  ConnectionTryWrite() : LoopFixture({.poller = kPoller}) {}

  Connection& Adopt(LoopbackPair& pair, Record& record) {
    Connection& connection = LoopFixture::Adopt(pair.near, record);
    Turn(2);
    record.told.clear();
    return connection;
  }
};

iovec Piece(std::string_view bytes) {
  return {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
}

TEST_F(ConnectionTryWrite, TakesPiecesInOneSystemCall) {
  if (IsOverHandshake()) return;  // Makes records of them.
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair, record);
  const std::string body(20'000, 'b');
  const iovec pieces[] = {Piece("head "), Piece(""), Piece(body)};
  {
    const FaultPlan plan;
    EXPECT_EQ(connection.TryWrite(pieces).bytes, 20'005u);
    EXPECT_EQ(plan.calls(Call::kSendmsg), 1u);
    EXPECT_TRUE(connection.TryWrite(absl::Span<const iovec>()).ok());
    const iovec nothing[] = {Piece(""), Piece("")};
    EXPECT_TRUE(connection.TryWrite(nothing).ok());
    EXPECT_EQ(plan.calls(), 1u);
  }
  EXPECT_TRUE(ReadAvailable(pair.far) == "head " + body);
  // Not past the queue.
  connection.Write("queued ");
  EXPECT_TRUE(connection.TryWrite(pieces).would_block());
  Turn();
  EXPECT_EQ(ReadAvailable(pair.far), "queued ");
  connection.Close();
  EXPECT_EQ(connection.TryWrite(pieces).error, EBADF);
}

// What the kernel does not take is the caller's; OnReady() tells when to go on.
TEST_F(ConnectionTryWrite, TellsHowManyBytesOfThePiecesWereTaken) {
  if (IsOverHandshake()) return;  // Takes what it holds, too.
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair, record);
  const std::string much(4 << 20, 'm');
  const iovec pieces[] = {Piece("head "), Piece(much)};
  const IoResult written = connection.TryWrite(pieces);
  EXPECT_GT(written.bytes, 5u);
  EXPECT_LT(written.bytes, much.size());
  EXPECT_EQ(connection.pending_bytes(), 0u);
  Turn(2);
  EXPECT_EQ(record.Count("ready"), 0);
  EXPECT_EQ(ReadUntil(pair.far, written.bytes).size(), written.bytes);
  Turn(2);
  EXPECT_EQ(record.Count("ready"), 1);
}

// That some were not offered does not mean that the kernel has no room, of
// which it would tell.
TEST_F(ConnectionTryWrite, OffersAtMostIovMaxPieces) {
  if (IsOverHandshake()) return;  // It takes what it may hold.
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(pair, record);
  const std::vector<iovec> pieces(3 * IOV_MAX, Piece("12"));
  EXPECT_EQ(connection.TryWrite(pieces).bytes, size_t{2 * IOV_MAX});
  EXPECT_EQ(
      connection.TryWrite(absl::MakeConstSpan(pieces).subspan(IOV_MAX)).bytes,
      size_t{2 * IOV_MAX});
  connection.Write("end");
  Turn();
  EXPECT_TRUE(ReadAvailable(pair.far).ends_with("1212end"));
}

// --- More::kYes ---

// What the kernel has not sent.
int Unsent(const Connection& connection) {
  int bytes = -1;
  EXPECT_EQ(ioctl(connection.id().fd(), SIOCOUTQNSD, &bytes), 0);
  return bytes;
}

class OnALoop : public ConnectionTryWrite {
 public:
  using ConnectionTryWrite::Adopt;
  using ConnectionTryWrite::NewRecord;
  using ConnectionTryWrite::Turn;
  void TestBody() override {}
};

TEST(Connection, FlushPushesWhatMoreHeldBack) {
  if (IsOverTransport()) return;  // A transport is not told of More.
  OnALoop on;
  LoopbackPair pair = TcpPair();
  Record& record = on.NewRecord();
  Connection& connection = on.Adopt(pair, record);
  {
    const FaultPlan plan;
    EXPECT_EQ(connection.TryWrite("head ", More::kYes).bytes, 5u);
    EXPECT_TRUE(connection.Flush());
    EXPECT_EQ(Unsent(connection), 0);
    EXPECT_EQ(plan.calls(), 2u);
    EXPECT_TRUE(connection.Flush());
    on.Turn();
    EXPECT_EQ(plan.calls(Call::kSetsockopt), 1u) << "once";
  }
  EXPECT_EQ(ReadUntil(pair.far, 5), "head ");
  // The end of the turn does the same,
  const iovec pieces[] = {Piece("more "), Piece("pieces ")};
  EXPECT_EQ(connection.TryWrite(pieces, More::kYes).bytes, 12u);
  on.Turn();
  EXPECT_EQ(Unsent(connection), 0);
  EXPECT_EQ(ReadUntil(pair.far, 12), "more pieces ");
  // also if it was said in a callback.
  record.on_data = [](Connection& told) {
    told.Received();
    EXPECT_TRUE(told.TryWrite("reply", More::kYes).ok());
  };
  EXPECT_TRUE(pair.far.TryWrite("request").ok());
  while (record.Count("data") == 0) on.Turn();
  EXPECT_EQ(Unsent(connection), 0);
  EXPECT_EQ(ReadUntil(pair.far, 5), "reply");
  // What follows pushes it, without another call.
  const FaultPlan plan;
  EXPECT_TRUE(connection.TryWrite("head ", More::kYes).ok());
  EXPECT_TRUE(connection.TryWrite("body ").ok());
  EXPECT_TRUE(connection.TryWrite("head ", More::kYes).ok());
  EXPECT_TRUE(connection.Write("queued"));
  on.Turn();
  EXPECT_TRUE(connection.TryWrite("head ", More::kYes).ok());
  EXPECT_TRUE(connection.Write(absl::Cord("cord")));
  EXPECT_TRUE(connection.Write("behind it"));
  on.Turn();
  EXPECT_TRUE(connection.TryWrite("head ", More::kYes).ok());
  EXPECT_TRUE(connection.Write(SharedBytes("shared")));
  on.Turn();
  EXPECT_EQ(plan.calls(Call::kSetsockopt), 0u);
  constexpr std::string_view kAll =
      "head body head queuedhead cordbehind ithead shared";
  EXPECT_EQ(ReadUntil(pair.far, kAll.size()), kAll);
}

// --- SharedBytes ---

TEST_F(ConnectionTryWrite, SharesOneBlockWithManyConnections) {
  constexpr int kConnections = 10;
  std::deque<LoopbackPair> pairs;
  std::vector<Connection*> connections;
  std::vector<Record*> records;
  for (int i = 0; i < kConnections; ++i) {
    pairs.push_back(UnixPair());
    records.push_back(&NewRecord());
    connections.push_back(&Adopt(pairs.back(), *records.back()));
  }
  const std::string bytes(SharedBytes::kMinSharedCord, 's');
  int released = 0;
  {
    const SharedBytes shared = SharedBytes::FromCord(absl::MakeCordFromExternal(
        bytes, [&](std::string_view) { ++released; }));
    for (Connection* connection : connections) {
      EXPECT_TRUE(connection->Write(shared));
      EXPECT_EQ(connection->pending_bytes(), bytes.size());
    }
    EXPECT_TRUE(connections[0]->Write("behind it"));
    EXPECT_TRUE(connections[0]->Write(shared, bytes.size() - 1));
    EXPECT_TRUE(connections[0]->Write(shared, bytes.size())) << "nothing";
  }
  const FaultPlan plan;
  Turn();
  if (!IsOverHandshake()) {  // Makes records of them.
    EXPECT_EQ(plan.calls(Call::kSend) + plan.calls(Call::kSendmsg),
              uint64_t{kConnections});
  }
  EXPECT_EQ(released, 1);
  EXPECT_TRUE(ReadAvailable(pairs[0].far) == bytes + "behind it" + "s");
  for (int i = 1; i < kConnections; ++i) {
    EXPECT_TRUE(ReadAvailable(pairs[i].far) == bytes);
    EXPECT_EQ(records[i]->Count("ready"), 1);
  }
}

}  // namespace
}  // namespace fio
