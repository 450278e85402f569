// How reading stops at the limit of what is unread, and goes on.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::IsOverTransport;
using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::UnixPair;
using testing::LoopbackPair;

constexpr size_t kLimit = 1000;
constexpr size_t kMessage = 300;
constexpr size_t kMessages = 20;

class UnreadLimit : public LoopFixture {
 protected:
  explicit UnreadLimit(size_t limit = kLimit)
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .receive_buffer_bytes = kLimit,
                     .unread_limit_bytes = limit}) {}

  void Send(std::string_view bytes) {
    ASSERT_EQ(pair_.far.TryWrite(bytes).bytes, bytes.size());
  }
  // A peer that has sent much at once.
  void SendMessages() {
    const std::string message(kMessage, 'x');
    for (size_t i = 0; i < kMessages; ++i) Send(message);
  }
  // What a protocol with a parser does.
  static void ReadMessages(Record& record) {
    record.on_data = [&record](Connection& connection) {
      while (connection.Unread().size() >= kMessage) {
        record.data.append(connection.Unread(), 0, kMessage);
        connection.Consume(kMessage);
      }
    };
  }

  LoopbackPair pair_ = UnixPair();
  Record& record_ = NewRecord();
};

// The rest of a message is behind it, and nothing else tells of that.
TEST_F(UnreadLimit, ConsumingAPartAfterResumeGoesOn) {
  record_.on_data = [](Connection& connection) {
    EXPECT_EQ(connection.Unread().size(), kLimit);
    connection.Suspend();
  };
  Connection& connection = Adopt(pair_.near, record_);
  SendMessages();
  Turn(3);
  ASSERT_EQ(record_.Count("data"), 1);
  ReadMessages(record_);
  connection.Resume();
  Turn(2 * kMessages);
  EXPECT_EQ(record_.data.size(), kMessages * kMessage);
}

TEST_F(UnreadLimit, ConsumingAPartAfterAttachGoesOn) {
  record_.on_data = [](Connection& connection) {
    EXPECT_EQ(connection.Unread().size(), kLimit);
  };
  Connection& connection = Adopt(pair_.near, record_);
  SendMessages();
  Turn(3);
  Record& next = NewRecord();
  ReadMessages(next);
  connection.Attach(std::make_unique<Recorder>(next));
  Turn(2 * kMessages);
  EXPECT_EQ(next.data.size(), kMessages * kMessage);
}

// OnData() that reads nothing, with something unread: more is told of, on a
// poller without edges, too.
TEST_F(UnreadLimit, MoreIsToldOfThoughOnDataReadsNothing) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  record_.on_data = [this](Connection& connection) {
    if (record_.Count("data") > 1) return;
    EXPECT_EQ(connection.Unread(), "1234");
  };
  Adopt(pair_.near, record_);
  int times = 0;
  for (const std::string_view bytes : {"1234", "5678", "90ab", "cdef"}) {
    Send(bytes);
    Turn(3);
    EXPECT_EQ(record_.Count("data"), ++times);
  }
  record_.on_data = nullptr;
  Send("!");
  Turn(3);
  EXPECT_EQ(record_.data, "1234567890abcdef!");
  EXPECT_EQ(loop_->stats().bytes_read, 17u);
}

// --- The limit of one connection ---

TEST_F(UnreadLimit, IsThatOfTheLoopUntilItIsSet) {
  Connection& connection = Adopt(pair_.near, record_);
  EXPECT_EQ(connection.unread_limit_bytes(), kLimit);
  for (const size_t limit : {size_t{0}, size_t{10}, 2 * kLimit}) {
    connection.SetUnreadLimit(limit);
    EXPECT_EQ(connection.unread_limit_bytes(), limit);
  }
}

// Reads what there is into memory of its own, as TLS does.
class Holds final : public Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    if (held_.empty()) {
      held_.resize(4096);
      const IoResult read = Transport::Read(socket, absl::MakeSpan(held_));
      held_.resize(read.bytes);
      if (read.bytes == 0) return read;
    }
    const size_t bytes = held_.copy(out.data(), out.size());
    held_.erase(0, bytes);
    return {.bytes = bytes};
  }
  bool HasUnread() const override { return !held_.empty(); }

 private:
  std::string held_;
};

// Also for what is read to find the end behind it.
TEST_F(UnreadLimit, HoldsForWhoIsSuspended) {
  LoopbackPair pair = LoopbackPair::Unix();
  Connection& connection = Adopt(pair.near, record_);
  ASSERT_TRUE(connection.SetTransport(std::make_unique<Holds>()).ok());
  connection.SetUnreadLimit(10);
  Turn(3);
  connection.Suspend();
  ASSERT_TRUE(pair.far.TryWrite(std::string(100, 'x')).ok());
  static_cast<void>(pair.far.ShutdownWrite());
  Turn(4);
  EXPECT_EQ(loop_->stats().memory_bytes, 10u);
  connection.Resume();
  Turn(12);
  EXPECT_EQ(record_.data.size(), 100u);
  EXPECT_EQ(record_.Count("end"), 1);
}

class NoUnread : public UnreadLimit {
 protected:
  NoUnread() : UnreadLimit(0) {}
};

// A look at what the transport has is one at what comes before the end.
TEST_F(NoUnread, TheEndIsToldToWhoIsSuspended) {
  for (const bool bytes : {false, true}) {
    SCOPED_TRACE(bytes);
    LoopbackPair pair = LoopbackPair::Unix();
    Record& record = NewRecord();
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(connection.SetTransport(std::make_unique<Holds>()).ok());
    Turn(3);
    connection.Suspend();
    if (bytes) {
      ASSERT_TRUE(pair.far.TryWrite("data").ok());
    }
    static_cast<void>(pair.far.ShutdownWrite());
    Turn(4);
    EXPECT_EQ(record.Count("end"), bytes ? 0 : 1);
    if (bytes) connection.Resume();
    Turn(4);
    EXPECT_EQ(record.data, bytes ? "data" : "");
    EXPECT_EQ(record.Count("end"), 1);
  }
}

}  // namespace
}  // namespace fio
