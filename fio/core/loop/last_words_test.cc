// A transport that fails after its handshake, and what it has to say to the
// peer then.

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
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
using loop_internal::Record;
using Origin = CloseReason::Origin;
using testing::LoopbackPair;
using testing::ReadAvailable;

const absl::Status kWhy = absl::DataLossError("a '!' has come");

// Passes bytes on, 8 at once so that others stay unread. If the first of them
// is a '!', which must not come, it says "alert" and fails.
class Alarm final : public Transport {
 public:
  // Whether the alert is sent in Read(), as far as there is room, as TLS does;
  // otherwise it waits for Flush().
  explicit Alarm(bool says_at_once) : says_at_once_(says_at_once) {}

  absl::Status status() const override {
    return failed_ ? kWhy : absl::OkStatus();
  }
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read =
        socket.ReadRaw(out.first(std::min(out.size(), size_t{8})));
    if (!std::string_view(out.data(), read.bytes).starts_with('!')) return read;
    failed_ = true;
    held_ = "alert";
    if (says_at_once_) static_cast<void>(Flush(socket));
    return {.error = EPROTO};
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    EXPECT_FALSE(failed_);
    return socket.WriteRaw(pieces);
  }
  IoResult Flush(Socket& socket) override {
    if (held_.empty()) return {};
    const iovec piece = {.iov_base = held_.data(), .iov_len = held_.size()};
    const IoResult sent = socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
    held_.erase(0, sent.bytes);
    return {.bytes = held_.size(), .error = sent.error};
  }
  bool BeforeClose(Socket&) override {
    ADD_FAILURE() << "it has nothing to add to its last words";
    return false;
  }

 private:
  const bool says_at_once_;
  bool failed_ = false;
  std::string held_;
};

// Waits for the end of the stream. Returns its errno; 0 if it was no reset.
int ErrorAtEnd(Socket& socket) {
  char byte;
  for (;;) {
    const IoResult read = socket.Read(absl::MakeSpan(&byte, 1));
    if (!read.would_block()) {
      EXPECT_EQ(read.bytes, 0u) << byte;
      return read.error;
    }
    pollfd ready = {.fd = socket.fd(), .events = POLLIN, .revents = 0};
    poll(&ready, 1, -1);
  }
}

class LastWords : public LoopFixture {
 protected:
  LastWords() : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}

  Connection& Start(bool says_at_once = true) {
    Connection& connection = Adopt(pair_.near, record_);
    EXPECT_TRUE(
        connection.SetTransport(std::make_unique<Alarm>(says_at_once)).ok());
    Turn(2);
    return connection;
  }
  void Send(std::string_view bytes) {
    ASSERT_EQ(pair_.far.TryWrite(bytes).bytes, bytes.size());
  }
  // So much that the kernel has no room left.
  void FillKernel(Connection& connection) {
    const int small = 4096;
    ASSERT_EQ(setsockopt(connection.id().fd(), SOL_SOCKET, SO_SNDBUF, &small,
                         sizeof(small)),
              0);
    const std::string many(size_t{64} << 10, 'x');
    while (connection.pending_bytes() < many.size()) {
      ASSERT_TRUE(connection.Write(many));
      Turn();
    }
  }
  void ExpectToldWhy() {
    EXPECT_EQ(record_.Count("close"), 1);
    EXPECT_EQ(record_.reason.origin, Origin::kError);
    EXPECT_EQ(record_.reason.error, EPROTO);
    EXPECT_EQ(record_.reason.code, 0);
    EXPECT_EQ(record_.reason.detail, kWhy);
    EXPECT_EQ(loop_->connection_count(), 0u);
  }

  LoopbackPair pair_ = LoopbackPair::Tcp();
  Record& record_ = NewRecord();
};

// Without a reset, though bytes of the peer are unread.
TEST_F(LastWords, ReachThePeer) {
  for (const bool says_at_once : {true, false}) {
    SCOPED_TRACE(says_at_once);
    pair_ = LoopbackPair::Tcp();
    record_ = Record();
    Connection& connection = Start(says_at_once);
    Send("eight by!" + std::string(1000, 'x'));
    Turn(3);
    EXPECT_EQ(record_.data, "eight by");
    EXPECT_FALSE(connection.is_open());
    EXPECT_FALSE(connection.Write("more"));
    connection.Close(5);
    EXPECT_EQ(testing::ReadUntil(pair_.far, 5), "alert");
    EXPECT_EQ(ErrorAtEnd(pair_.far), 0);
    EXPECT_EQ(record_.Count("close"), 0);
    pair_.far.Close();
    Turn(3);
    ExpectToldWhy();
  }
}

// What the kernel has taken comes before them, and what was queued does not
// come: it cannot pass the transport.
TEST_F(LastWords, WaitForRoom) {
  for (const bool says_at_once : {true, false}) {
    SCOPED_TRACE(says_at_once);
    pair_ = LoopbackPair::Tcp();
    record_ = Record();
    Connection& connection = Start(says_at_once);
    FillKernel(connection);
    Send("!" + std::string(1000, 'y'));
    Turn(3);
    EXPECT_EQ(connection.pending_bytes(), 0u);
    EXPECT_EQ(record_.Count("close"), 0);
    std::string got;
    while (!got.ends_with("alert")) {
      const std::string more = testing::ReadUntil(pair_.far, 1);
      ASSERT_NE(more, "") << "the stream has ended";
      got += more;
      got += ReadAvailable(pair_.far);
      Turn();
    }
    EXPECT_EQ(got.find_first_not_of('x'), got.size() - 5);
    Turn();
    EXPECT_EQ(ErrorAtEnd(pair_.far), 0);
    pair_.far.Close();
    Turn(3);
    ExpectToldWhy();
  }
}

// A peer that goes on sending is not listening.
TEST_F(LastWords, AreOverWhenThePeerSendsMuch) {
  Start();
  Send("!");
  Turn(2);
  const std::string many(size_t{64} << 10, 'x');
  size_t sent = 0;
  while (loop_->connection_count() > 0 && sent < size_t{64} << 20) {
    const IoResult wrote = pair_.far.TryWrite(many);
    sent += wrote.bytes;
    Turn();
  }
  ExpectToldWhy();
  EXPECT_LT(sent, size_t{16} << 20);  // The buffers of the kernel.
}

TEST_F(LastWords, WaitForThePeersEndForAWhile) {
  Start();
  Send("!");
  Turn(2);
  Advance(loop_->options().close_linger - absl::Milliseconds(10));
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(absl::Seconds(1));
  ExpectToldWhy();
}

TEST_F(LastWords, AreGivenUpIfThePeerTakesNothing) {
  Connection& connection = Start();
  FillKernel(connection);
  Send("!");
  Turn(3);
  EXPECT_EQ(record_.Count("close"), 0);
  Advance(loop_->options().close_timeout);
  Advance(loop_->options().close_timeout);
  ExpectToldWhy();
}

// What a suspended one reads of its peer's end.
TEST_F(LastWords, OfOneThatIsSuspended) {
  Connection& connection = Start();
  connection.Suspend();
  Send("!" + std::string(1000, 'x'));
  static_cast<void>(pair_.far.ShutdownWrite());
  Turn(4);
  EXPECT_EQ(testing::ReadUntil(pair_.far, 5), "alert");
  EXPECT_EQ(ErrorAtEnd(pair_.far), 0);
  pair_.far.Close();
  Turn(3);
  ExpectToldWhy();
}

// It was reset already.
TEST_F(LastWords, MayReachNobody) {
  Start(/*says_at_once=*/false);
  Send("!");
  pair_.far.Abort();
  Turn(5);
  ExpectToldWhy();
}

// Fails as it is told to.
class Fails final : public Transport {
 public:
  Fails(int read, int write) : read_(read), write_(write) {}
  absl::Status status() const override { return kWhy; }
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = Transport::Read(socket, out);
    return read_ != 0 && read.bytes > 0 ? IoResult{.error = read_} : read;
  }
  IoResult Write(Socket& socket, absl::Span<const iovec> pieces) override {
    return write_ != 0 ? IoResult{.error = write_}
                       : Transport::Write(socket, pieces);
  }

 private:
  const int read_, write_;
};

TEST_F(LastWords, AReasonHasWhatTheTransportSays) {
  enum class Call : uint8_t { kRead, kWrite, kTryWrite };
  for (const Call call : {Call::kRead, Call::kWrite, Call::kTryWrite}) {
    SCOPED_TRACE(static_cast<int>(call));
    const bool reads = call == Call::kRead;
    LoopbackPair pair = LoopbackPair::Tcp();
    Record& record = NewRecord();
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(connection
                    .SetTransport(std::make_unique<Fails>(reads ? EIO : 0,
                                                          reads ? 0 : EPROTO))
                    .ok());
    Turn(2);
    if (reads) {
      ASSERT_TRUE(pair.far.TryWrite("x").ok());
    } else if (call == Call::kWrite) {
      connection.Write("x");
    } else {
      EXPECT_EQ(connection.TryWrite("x").error, EPROTO);
    }
    Turn(3);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.origin, Origin::kError);
    EXPECT_EQ(record.reason.error, reads ? EIO : EPROTO);
    EXPECT_EQ(record.reason.detail, kWhy);
  }
}

}  // namespace
}  // namespace fio
