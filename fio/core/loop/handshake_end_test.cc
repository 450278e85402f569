// How handshakes end that are not done, and what is told of it.

#include <sys/uio.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/proxy_transport.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::Recorder;
using ::testing::ElementsAre;
using testing::FaultPlan;
using ::testing::IsEmpty;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadToEnd;
using Origin = CloseReason::Origin;

// Is done when it has read `words` words, each with a ';' at its end. When it
// has read `suspends_after` of them, it waits for its owner.
class Words final : public Transport {
 public:
  explicit Words(int words, int suspends_after = -1)
      : words_(words), suspends_after_(suspends_after) {}

  bool resumed = false;

  Handshake Shake(Socket& socket) override {
    for (; read_ < words_; ++read_) {
      if (read_ == suspends_after_ && !resumed) return Handshake::kSuspended;
      char byte = 0;
      while (byte != ';') {
        const IoResult read = socket.ReadRaw(absl::MakeSpan(&byte, 1));
        if (read.bytes == 0) return Handshake::kMore;
      }
    }
    return Handshake::kDone;
  }

 private:
  const int words_;
  const int suspends_after_;
  int read_ = 0;
};

// Reads all that there is at once, as one with a buffer does: a short read is
// the last. Then it waits for its owner, or for more.
class Gulps final : public Transport {
 public:
  explicit Gulps(bool suspends) : suspends_(suspends) {}
  Handshake Shake(Socket& socket) override {
    char bytes[64];
    static_cast<void>(socket.ReadRaw(absl::MakeSpan(bytes)));
    return suspends_ ? Handshake::kSuspended : Handshake::kMore;
  }

 private:
  const bool suspends_;
};

class HandshakeEnd : public LoopFixture {
 protected:
  HandshakeEnd() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}
  // Who is not done is told so.
  ~HandshakeEnd() override { loop_ = nullptr; }

  // Attaches the protocol when it is done.
  Connection& Start(LoopbackPair& pair, std::unique_ptr<Transport> transport,
                    absl::Duration timeout = absl::InfiniteDuration()) {
    done_.clear();
    reason_.reset();
    const absl::StatusOr<ConnectionId> id =
        loop_->Adopt(std::move(pair.near), [&](Connection& connection) {
          connection.NotifyGone(
              [this](const CloseReason& why) { reason_ = why; });
          EXPECT_TRUE(connection.StartHandshake(
              std::move(transport), timeout,
              [this](Connection& shaken, const absl::Status& status) {
                done_.push_back(status);
                if (in_done_) in_done_(shaken);
                if (status.ok()) {
                  shaken.Attach(std::make_unique<Recorder>(record_));
                }
              }));
        });
    EXPECT_TRUE(id.ok()) << id.status();
    return *loop_->Find(*id);
  }
  void Send(std::string_view bytes) {
    ASSERT_EQ(pair_.far.TryWrite(bytes).bytes, bytes.size());
  }

  LoopbackPair pair_ = LoopbackPair::Tcp();
  Record& record_ = NewRecord();
  std::vector<absl::Status> done_;
  std::function<void(Connection&)> in_done_;
  std::optional<CloseReason> reason_;
};

// --- The peer has gone ---

// The end comes with the last bytes, so the poller tells of both at once.
TEST_F(HandshakeEnd, ThePeersEndMayComeWithItsBytes) {
  for (const bool suspends : {false, true}) {
    SCOPED_TRACE(suspends);
    LoopbackPair pair = LoopbackPair::Tcp();
    Start(pair, std::make_unique<Gulps>(suspends));
    if (!suspends) Turn(3);
    ASSERT_TRUE(pair.far.TryWrite("hello;").ok());
    pair.far.Close();
    Turn(5);
    ASSERT_EQ(done_.size(), 1u);
    EXPECT_TRUE(absl::IsUnavailable(done_[0])) << done_[0];
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
}

// Whether it waits for its owner or for bytes, and whatever it has read.
TEST_F(HandshakeEnd, ThePeersEndIsTheReason) {
  for (const bool suspends : {false, true}) {
    for (const bool hello : {false, true}) {
      for (const bool reset : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << "suspends " << suspends << " hello " << hello
                     << " reset " << reset);
        LoopbackPair pair = LoopbackPair::Tcp();
        auto transport =
            std::make_unique<Words>(2, suspends ? (hello ? 1 : 0) : -1);
        Start(pair, std::move(transport));
        Turn(2);
        if (hello) {
          ASSERT_TRUE(pair.far.TryWrite("hello;").ok());
        }
        Turn(3);
        ASSERT_THAT(done_, IsEmpty());
        reset ? pair.far.Abort() : pair.far.Close();
        Turn(4);
        ASSERT_EQ(done_.size(), 1u);
        EXPECT_TRUE(absl::IsUnavailable(done_[0])) << done_[0];
        EXPECT_EQ(loop_->connection_count(), 0u);
        ASSERT_TRUE(reason_.has_value());
        EXPECT_EQ(reason_->origin, reset ? Origin::kError : Origin::kPeer);
        EXPECT_EQ(reason_->error, reset ? ECONNRESET : 0);
        EXPECT_EQ(reason_->detail, done_[0]);
      }
    }
  }
}

// They are for the transport, which may need no more than these.
TEST_F(HandshakeEnd, BytesComeBeforeThePeersEnd) {
  auto transport = std::make_unique<Words>(2, 1);
  Words& words = *transport;
  Connection& connection = Start(pair_, std::move(transport));
  Send("hello;ready;data");
  static_cast<void>(pair_.far.ShutdownWrite());
  Turn(5);
  EXPECT_THAT(done_, IsEmpty());
  words.resumed = true;
  connection.ResumeHandshake();
  Turn(5);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(record_.data, "data");
  EXPECT_EQ(record_.Count("end"), 1);
}

// So do those that were given back before: a protocol has read them.
TEST_F(HandshakeEnd, BytesBelowComeBeforeThePeersEnd) {
  auto transport = std::make_unique<Words>(2, 1);
  Words& words = *transport;
  record_.on_data = [&](Connection& connection) {
    EXPECT_EQ(connection.Unread(), "starttls;hello;ready;");
    connection.Consume(9);
    EXPECT_TRUE(connection.StartHandshake(
        std::move(transport), absl::InfiniteDuration(),
        [this](Connection&, const absl::Status& status) {
          record_.on_data = nullptr;
          done_.push_back(status);
        }));
  };
  Connection& connection = Adopt(pair_.near, record_);
  Send("starttls;hello;ready;");
  Turn(3);
  static_cast<void>(pair_.far.ShutdownWrite());
  Turn(3);
  EXPECT_THAT(done_, IsEmpty());
  words.resumed = true;
  connection.ResumeHandshake();
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
}

// A peer that is there, and silent, is waited for, without a turn for nothing.
TEST_F(HandshakeEnd, WhoIsSuspendedIsLeftAlone) {
  Start(pair_, std::make_unique<Words>(2, 1));
  Send("hello;");
  Turn(4);
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  Send("ready;");
  Turn(4);
  EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
  EXPECT_THAT(done_, IsEmpty());
  EXPECT_EQ(loop_->connection_count(), 1u);
}

// The look at a suspended one may meet a kernel without memory.
TEST_F(HandshakeEnd, ThePeersEndIsHeardThoughMemoryWasShort) {
  Connection& connection = Start(pair_, std::make_unique<Words>(1, 0));
  Turn(3);
  FaultPlan plan;
  plan.FailNextOn(connection.id().fd(), FaultPlan::Call::kRecv, ENOMEM);
  pair_.far.Close();
  Turn(3);
  EXPECT_THAT(done_, IsEmpty());
  Advance(absl::Milliseconds(10));
  Turn(3);
  EXPECT_EQ(done_.size(), 1u);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// Says something, and waits for an answer, even if nothing leaves.
class Says final : public Transport {
 public:
  Handshake Shake(Socket& socket) override {
    const iovec piece = {.iov_base = const_cast<char*>("x"), .iov_len = 1};
    static_cast<void>(socket.WriteRaw(absl::MakeConstSpan(&piece, 1)));
    return Handshake::kMore;
  }
};

TEST_F(HandshakeEnd, EndsIfNothingLeavesAnyMore) {
  FaultPlan plan;
  plan.FailNextOn(pair_.near.fd(), FaultPlan::Call::kSend, EPIPE);
  Start(pair_, std::make_unique<Says>());
  Turn(3);
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(done_[0])) << done_[0];
  pair_.far.Close();
  Turn(3);
  ASSERT_TRUE(reason_.has_value());
  EXPECT_EQ(reason_->error, EPIPE);
}

// --- It is ended here ---

TEST_F(HandshakeEnd, CloseGivesItsCode) {
  for (const uint16_t code : {0, 5}) {
    SCOPED_TRACE(code);
    LoopbackPair pair = LoopbackPair::Tcp();
    Connection& connection = Start(pair, std::make_unique<Words>(1));
    Turn(2);
    connection.Close(code);
    pair.far.Close();
    Turn(3);
    ASSERT_EQ(done_.size(), 1u);
    EXPECT_EQ(loop_->connection_count(), 0u);
    ASSERT_TRUE(reason_.has_value());
    EXPECT_EQ(reason_->origin, Origin::kLocal);
    EXPECT_EQ(reason_->code, code);
    EXPECT_EQ(reason_->error, 0);
    EXPECT_TRUE(absl::IsCancelled(reason_->detail)) << reason_->detail;
  }
}

// The socket goes on without it.
TEST_F(HandshakeEnd, ReleaseCancelsIt) {
  Connection& connection = Start(pair_, std::make_unique<Words>(1));
  Turn(2);
  Socket socket;
  EXPECT_TRUE(
      connection.Release([&](Socket taken) { socket = std::move(taken); }));
  Turn();
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_TRUE(absl::IsCancelled(done_[0])) << done_[0];
  EXPECT_TRUE(socket.SetTransport(nullptr).ok());
  Adopt(socket, record_).Write("plain");
  Turn(2);
  EXPECT_EQ(ReadAvailable(pair_.far), "plain");
}

// By the socket, as a transport may in each of its calls.
class Closes final : public Transport {
 public:
  explicit Closes(Handshake result) : result_(result) {}
  Handshake Shake(Socket& socket) override {
    socket.Close();
    return result_;
  }

 private:
  const Handshake result_;
};

TEST_F(HandshakeEnd, ItsTransportMayCloseTheSocket) {
  using State = Transport::Handshake;
  for (const State result :
       {State::kDone, State::kMore, State::kSuspended, State::kFailed}) {
    SCOPED_TRACE(static_cast<int>(result));
    LoopbackPair pair = LoopbackPair::Tcp();
    Start(pair, std::make_unique<Closes>(result));
    Turn(2);
    ASSERT_EQ(done_.size(), 1u);
    EXPECT_FALSE(done_[0].ok());
    EXPECT_EQ(ReadToEnd(pair.far), "");
    pair.far.Close();
    Turn(3);
    EXPECT_EQ(loop_->connection_count(), 0u);
  }
}

// --- What `done` may do after a failure ---

TEST_F(HandshakeEnd, NoOtherBeginsWhenOneHasFailed) {
  int others = 0;
  in_done_ = [&](Connection& shaken) {
    EXPECT_FALSE(shaken.StartHandshake(
        std::make_unique<Words>(1), absl::Seconds(1),
        [&others](Connection&, const absl::Status&) { ++others; }));
  };
  Start(pair_, std::make_unique<Words>(1), absl::Seconds(10));
  Turn(2);
  Advance(absl::Seconds(10));
  EXPECT_EQ(done_.size(), 1u);
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(others, 0);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// Whatever it does, the peer gets nothing that was meant to be passed on.
TEST_F(HandshakeEnd, NothingOfTheApplicationPassesAfterAFailure) {
  in_done_ = [](Connection& shaken) {
    shaken.Write("secret");
    shaken.Flush();
    EXPECT_EQ(shaken.TryWrite("secret").bytes, 0u);
    shaken.ShutdownWrite();
    shaken.Close();
    shaken.Flush();
  };
  Connection& connection =
      Start(pair_, std::make_unique<Words>(1), absl::Seconds(10));
  connection.Write("secret");
  Turn(2);
  Advance(absl::Seconds(10));
  EXPECT_EQ(done_.size(), 1u);
  EXPECT_EQ(ReadToEnd(pair_.far), "");
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// --- What it says ---

TEST_F(HandshakeEnd, ATimeoutNamesWhatHasNotCome) {
  for (const bool proxy : {false, true}) {
    LoopbackPair pair = LoopbackPair::Tcp();
    std::unique_ptr<Transport> transport = std::make_unique<Words>(1);
    if (proxy) transport = std::make_unique<ProxyTransport>();
    Start(pair, std::move(transport), absl::Seconds(10));
    Turn(2);
    Advance(absl::Seconds(10));
    EXPECT_THAT(done_, ElementsAre(absl::DeadlineExceededError(
                           proxy ? "the PROXY header has timed out"
                                 : "the handshake has timed out")));
    pair.far.Close();
    Turn(3);
  }
}

TEST_F(HandshakeEnd, AStoppingLoopSaysSo) {
  const absl::Status stops = absl::CancelledError("the loop is stopping");
  Start(pair_, std::make_unique<Words>(1));
  Turn(2);
  loop_->Stop(absl::Seconds(1));
  Turn(2);
  EXPECT_THAT(done_, ElementsAre(stops));
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(loop_->connection_count(), 0u);
  loop_->Finish();
  // So does one that ends at once.
  LoopbackPair pair = LoopbackPair::Tcp();
  Start(pair, std::make_unique<Words>(1));
  loop_ = nullptr;
  EXPECT_THAT(done_, ElementsAre(stops));
}

}  // namespace
}  // namespace fio
