// What passes a transport before its handshake is done: nothing but that.

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
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
using ::testing::ElementsAre;
using testing::FaultPlan;
using ::testing::IsEmpty;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadToEnd;
using testing::ReadUntil;

constexpr absl::Duration kTimeout = absl::Seconds(10);

// Waits for "hello;", answers "welcome;", and is done. Then it passes bytes on.
// No other call may come before.
class Welcomes final : public Transport {
 public:
  // Whether it answers only when it has seen that the kernel has no more.
  explicit Welcomes(bool reads_all = false) : reads_all_(reads_all) {}

  Handshake Shake(Socket& socket) override {
    while (received_ != "hello;" || (reads_all_ && !seen_empty_)) {
      char bytes[16];
      const IoResult read = socket.ReadRaw(absl::MakeSpan(bytes));
      seen_empty_ = read.would_block();
      if (read.failed()) return Handshake::kFailed;
      received_.append(bytes, read.bytes);
      if (read.bytes == 0 && received_ != "hello;") return Handshake::kMore;
    }
    while (!answer_.empty()) {
      const iovec piece = {.iov_base = const_cast<char*>(answer_.data()),
                           .iov_len = answer_.size()};
      const IoResult sent = socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
      if (sent.failed()) return Handshake::kFailed;
      if (!sent.ok()) return Handshake::kMore;
      answer_.remove_prefix(sent.bytes);
    }
    done_ = true;
    return Handshake::kDone;
  }
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    EXPECT_TRUE(done_) << "Read()";
    return Transport::Read(socket, out);
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    EXPECT_TRUE(done_) << "Write()";
    return Transport::Write(socket, pieces);
  }
  IoResult Flush(Socket& socket) override {
    EXPECT_TRUE(done_) << "Flush()";
    return Transport::Flush(socket);
  }
  bool BeforeClose(Socket& socket) override {
    EXPECT_TRUE(done_) << "BeforeClose()";
    return Transport::BeforeClose(socket);
  }

 private:
  const bool reads_all_;
  bool seen_empty_ = false;
  bool done_ = false;
  std::string received_;
  std::string_view answer_ = "welcome;";
};

class HandshakeBytes : public LoopFixture {
 protected:
  HandshakeBytes()
      : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}
  // Who is not done is told so.
  ~HandshakeBytes() override { loop_ = nullptr; }

  // Of a connection that has its protocol, as STARTTLS does.
  void Start(Connection& connection, bool reads_all = false) {
    EXPECT_TRUE(connection.StartHandshake(
        std::make_unique<Welcomes>(reads_all), kTimeout,
        [this](Connection&, const absl::Status& status) {
          done_.push_back(status);
        }));
  }
  void Send(std::string_view bytes) {
    ASSERT_EQ(pair_.far.TryWrite(bytes).bytes, bytes.size());
  }

  LoopbackPair pair_ = LoopbackPair::Tcp();
  Record& record_ = NewRecord();
  std::vector<absl::Status> done_;
};

TEST_F(HandshakeBytes, FlushSendsNothing) {
  Connection& connection = Adopt(pair_.near, record_);
  Turn(2);
  Start(connection);
  connection.Write("secret");
  EXPECT_FALSE(connection.Flush());
  EXPECT_EQ(loop_->FlushAll(), 1u);
  ASSERT_EQ(ReadAvailable(pair_.far), "");
  Send("hello;");
  Turn(3);
  ASSERT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(ReadUntil(pair_.far, 14), "welcome;secret");
}

TEST_F(HandshakeBytes, ShutdownWriteWaits) {
  Connection& connection = Adopt(pair_.near, record_);
  Turn(2);
  Start(connection);
  connection.Write("secret");
  connection.ShutdownWrite();
  EXPECT_FALSE(connection.can_write());
  Turn(3);
  EXPECT_EQ(ReadAvailable(pair_.far), "");
  Send("hello;");
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(ReadToEnd(pair_.far), "welcome;secret");
  EXPECT_TRUE(connection.is_open());
}

TEST_F(HandshakeBytes, ReadTakesNothing) {
  Connection& connection = Adopt(pair_.near, record_);
  Turn(2);
  Start(connection);
  Turn(2);
  Send("hello;");
  loop_->handle().Post(connection.id(), [](Connection* shaken) {
    char bytes[10];
    EXPECT_EQ(shaken->Read(absl::MakeSpan(bytes)), 0u);
  });
  Turn(3);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
}

// It has begun in the OnData() that reads on.
TEST_F(HandshakeBytes, OnDataReadsNoFurther) {
  record_.on_data = [this](Connection& connection) {
    EXPECT_EQ(connection.Unread(), "starttls;hel");
    connection.Consume(9);
    Start(connection);
    Send("lo;");
    EXPECT_EQ(connection.Received(), "");
    EXPECT_EQ(connection.Unread(), "");
    record_.on_data = nullptr;
  };
  Adopt(pair_.near, record_);
  Send("starttls;hel");
  Turn(4);
  EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(record_.data, "");
  Send("data");
  Turn(3);
  EXPECT_EQ(record_.data, "data");
}

// Nothing tells when there is memory again.
TEST_F(HandshakeBytes, AnAnswerThatMeetsNoMemoryLeavesLater) {
  for (const int error : {ENOBUFS, ENOMEM}) {
    for (const bool reads_all : {false, true}) {
      SCOPED_TRACE(::testing::Message() << error << " " << reads_all);
      done_.clear();
      LoopbackPair pair = LoopbackPair::Tcp();
      Connection& connection = Adopt(pair.near, record_);
      Turn(2);
      Start(connection, reads_all);
      Turn(3);
      FaultPlan plan;
      plan.FailNextOn(connection.id().fd(), FaultPlan::Call::kSend, error);
      ASSERT_TRUE(pair.far.TryWrite("hello;").ok());
      Turn(3);
      EXPECT_THAT(done_, IsEmpty());
      Advance(absl::Milliseconds(10));
      ASSERT_THAT(done_, ElementsAre(absl::OkStatus()));
      EXPECT_EQ(ReadUntil(pair.far, 8), "welcome;");
    }
  }
}

// --- A handshake begins inside a call of the transport before it ---

// Has a handshake begin in a call. In kWrite it sends one byte of what it is
// given, otherwise all.
class Upgrades final : public Transport {
 public:
  enum class Where : uint8_t { kWrite, kWriteAll, kFlush, kBeforeClose };

  Upgrades(Where where, std::function<void()> upgrade)
      : where_(where), upgrade_(std::move(upgrade)) {}

  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    In(Where::kWrite);
    In(Where::kWriteAll);
    if (where_ != Where::kWrite) return Transport::Write(socket, pieces);
    const iovec first = {.iov_base = pieces[0].iov_base, .iov_len = 1};
    return Transport::Write(socket, absl::MakeConstSpan(&first, 1));
  }
  IoResult Flush(Socket& socket) override {
    In(Where::kFlush);
    return Transport::Flush(socket);
  }
  bool BeforeClose(Socket& /*socket*/) override {
    In(Where::kBeforeClose);
    return true;
  }

 private:
  void In(Where where) {
    if (where == where_) upgrade_();
  }

  const Where where_;
  const std::function<void()> upgrade_;
};

TEST_F(HandshakeBytes, MayBeginInsideACall) {
  using Where = Upgrades::Where;
  for (const Where where :
       {Where::kWrite, Where::kWriteAll, Where::kFlush, Where::kBeforeClose}) {
    SCOPED_TRACE(static_cast<int>(where));
    done_.clear();
    LoopbackPair pair = LoopbackPair::Tcp();
    Connection& connection = Adopt(pair.near, record_);
    Turn(2);
    ASSERT_TRUE(connection
                    .SetTransport(std::make_unique<Upgrades>(
                        where, [&] { Start(connection); }))
                    .ok());
    connection.Write("some words");
    connection.ShutdownWrite();
    const size_t plain = where == Where::kWrite ? 1 : 10;
    EXPECT_EQ(ReadUntil(pair.far, plain), std::string("some words", plain));
    Turn(3);
    EXPECT_EQ(ReadAvailable(pair.far), "") << "before the handshake";
    ASSERT_TRUE(pair.far.TryWrite("hello;").ok());
    Turn(4);
    EXPECT_THAT(done_, ElementsAre(absl::OkStatus()));
    EXPECT_EQ(ReadToEnd(pair.far),
              std::string("welcome;") + &"some words"[plain]);
    pair.far.Close();
    Turn(3);
  }
}

}  // namespace
}  // namespace fio
