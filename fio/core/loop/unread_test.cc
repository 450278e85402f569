// What OnData() does not consume.

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::IsOverHandshake;
using loop_internal::IsOverTransport;
using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using testing::LoopbackPair;

constexpr size_t kLimit = 100;

class Unread : public LoopFixture {
 protected:
  explicit Unread(size_t limit = kLimit)
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .unread_limit_bytes = limit}) {}

  void Send(std::string_view bytes) {
    ASSERT_EQ(pair_.far.TryWrite(bytes).bytes, bytes.size());
  }

  // A protocol of lines: consumes whole ones.
  void ReadLines(Record& record) {
    record.on_data = [this, &record](Connection& connection) {
      for (;;) {
        seen_ = connection.Unread();
        const size_t end = seen_.find('\n');
        if (end == std::string::npos) return;
        record.data.append(seen_, 0, end + 1);
        connection.Consume(end + 1);
      }
    };
  }

  LoopbackPair pair_ = UnixPair();
  Record& record_ = NewRecord();
  std::string seen_;
};

TEST_F(Unread, ComesBeforeWhatArrivesNext) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  ReadLines(record_);
  Adopt(pair_.near, record_);
  for (const std::string_view bytes :
       {"a", "b\nc", "\n", "d\ne\nf", "g", "", "h\n", "\n"}) {
    Send(bytes);
    Turn(3);
  }
  EXPECT_EQ(record_.data, "ab\nc\nd\ne\nfgh\n\n");
  EXPECT_EQ(record_.Count("data"), 7) << "once for each arrival";
}

TEST_F(Unread, IsNotReadAgainInTheSameCallback) {
  record_.on_data = [&](Connection& connection) {
    if (record_.Count("data") > 1) return;
    EXPECT_EQ(connection.Unread(), "ab");
    Send("cd");
    EXPECT_EQ(connection.Unread(), "ab");
    connection.Consume(1);
    EXPECT_EQ(connection.Unread(), "b");
    char byte;
    EXPECT_EQ(connection.Read(absl::MakeSpan(&byte, 1)), 1u);
    EXPECT_EQ(byte, 'b');
  };
  Connection& connection = Adopt(pair_.near, record_);
  Send("ab");
  Turn(2);
  record_.on_data = nullptr;
  connection.Force(Connection::Callback::kData);
  Turn(2);
  EXPECT_EQ(record_.data, "cd");
}

TEST_F(Unread, WhatIsConsumedCostsNothing) {
  if (IsOverHandshake()) return;  // It allocates.
  size_t total = 0;
  record_.on_data = [&](Connection& connection) {
    const size_t size = connection.Unread().size();
    connection.Consume(size / 2);
    connection.Consume(size - size / 2);
    total += size;
  };
  Adopt(pair_.near, record_);
  Send("warm up");
  Turn(2);
  record_.told.reserve(100);
  Send(std::string(50, 'x'));
  const testing::AllocationCounter counter;
  Turn(2);
  EXPECT_EQ(counter.allocations(), 0);
  EXPECT_EQ(total, 57u);
}

TEST_F(Unread, TheLimitMayBeItsOwn) {
  record_.on_data = [&](Connection& connection) {
    seen_ = connection.Unread();
  };
  Connection& connection = Adopt(pair_.near, record_);
  connection.SetUnreadLimit(10);
  Send(std::string(9, 'a'));
  Turn(2);
  Send("b");
  Turn(2);
  EXPECT_EQ(seen_, "aaaaaaaaab");
  Send("c");
  Turn(3);
  EXPECT_EQ(seen_, "aaaaaaaaab") << "at the limit";
  // A higher one lets it read on.
  connection.SetUnreadLimit(12);
  Turn(2);
  EXPECT_EQ(seen_, "aaaaaaaaabc");
  // None: nothing more is read while anything is unread.
  connection.SetUnreadLimit(0);
  Send("d");
  Turn(3);
  EXPECT_EQ(seen_, "aaaaaaaaabc");
  record_.on_data = nullptr;
  connection.Force(Connection::Callback::kData);
  Turn(3);
  EXPECT_EQ(record_.data, "aaaaaaaaabcd");
}

// An upgrade: the bytes behind the request are for the next protocol.
TEST_F(Unread, IsForTheNextProtocol) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  for (const bool inside : {true, false}) {
    SCOPED_TRACE(inside);
    LoopbackPair pair = UnixPair();
    Record& old = NewRecord();
    Record& fresh = NewRecord();
    const auto attach = [&](Connection& connection) {
      EXPECT_TRUE(connection.Attach(std::make_unique<Recorder>(fresh)));
    };
    old.on_data = [&](Connection& connection) {
      EXPECT_EQ(connection.Unread(), "upgrade;frame");
      connection.Consume(8);
      if (inside) attach(connection);
    };
    Connection& connection = Adopt(pair.near, old);
    ASSERT_TRUE(pair.far.TryWrite("upgrade;frame").ok());
    Turn(2);
    if (!inside) {
      EXPECT_EQ(fresh.data, "");
      attach(connection);
    }
    Turn(2);
    EXPECT_EQ(fresh.data, "frame");
    EXPECT_EQ(old.Count("data"), 1);
    ASSERT_TRUE(pair.far.TryWrite(" more").ok());
    Turn(2);
    EXPECT_EQ(fresh.data, "frame more");
  }
}

TEST_F(Unread, AtTheLimitTheKernelHoldsThePeer) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  record_.on_data = [this](Connection& connection) {
    seen_ = connection.Unread();
  };
  Connection& connection = Adopt(pair_.near, record_);
  Send(std::string(kLimit - 1, 'x'));
  Turn(2);
  EXPECT_EQ(seen_.size(), kLimit - 1);
  Send("yz");
  Turn(2);
  EXPECT_EQ(seen_, std::string(kLimit - 1, 'x') + "yz");
  Send("not read");
  Turn(3);
  EXPECT_EQ(record_.Count("data"), 2);
  // Whoever consumes some, in whatever callback, lets it go on.
  char some[kLimit];
  EXPECT_EQ(connection.Read(absl::MakeSpan(some)), kLimit);
  Turn(2);
  EXPECT_EQ(seen_, "znot read");
  record_.on_data = nullptr;
  connection.Force(Connection::Callback::kData);
  Turn();
  EXPECT_EQ(record_.data, "znot read");
}

// The kernel has nothing before it.
TEST_F(Unread, AtTheLimitTheEndIsTold) {
  if (IsOverTransport()) return;  // It may have more.
  for (const bool reset : {false, true}) {
    LoopbackPair pair = LoopbackPair::Tcp();
    Record& record = NewRecord();
    record.on_data = [](Connection& connection) {
      static_cast<void>(connection.Unread());
    };
    Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite(std::string(kLimit, 'x')).ok());
    Turn(3);
    ASSERT_EQ(record.Count("data"), 1);
    reset ? pair.far.Abort() : pair.far.Close();
    Turn(4);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.error, reset ? ECONNRESET : 0);
  }
}

TEST_F(Unread, WaitsForResume) {
  record_.on_data = [](Connection& connection) {
    EXPECT_EQ(connection.Unread(), "ab");
    connection.Consume(1);
    connection.Suspend();
  };
  Connection& connection = Adopt(pair_.near, record_);
  Send("ab");
  Turn(3);
  EXPECT_EQ(record_.Count("data"), 1);
  record_.on_data = nullptr;
  connection.Resume();
  Turn(2);
  EXPECT_EQ(record_.data, "b");
  EXPECT_EQ(record_.Count("data"), 2);
}

TEST_F(Unread, IsThereAtTheEnd) {
  record_.on_data = [this](Connection& connection) {
    seen_ = connection.Unread();
  };
  std::string rest(10, ' ');
  record_.on_end = [&](Connection& connection) {
    rest.resize(connection.Read(absl::MakeSpan(rest)));
    connection.Close();
  };
  Adopt(pair_.near, record_);
  Send("half");
  Turn(2);
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(rest, "half");
  EXPECT_EQ(record_.Count("close"), 1);
}

// It has asked for a pause between messages, not for their end.
TEST_F(Unread, ComesBeforeTheEndForWhoIsSuspended) {
  for (const bool reset : {false, true}) {
    SCOPED_TRACE(reset);
    LoopbackPair pair = TcpPair();
    Record& record = NewRecord();
    record.on_data = [&record](Connection& connection) {
      const size_t line = connection.Unread().find('\n') + 1;
      record.data.append(connection.Unread(), 0, line);
      connection.Consume(line);
      if (line > 0) connection.Suspend();
    };
    Connection& connection = Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite("one\ntwo\n").ok());
    Turn(3);
    reset ? pair.far.Abort() : static_cast<void>(pair.far.ShutdownWrite());
    Turn(3);
    EXPECT_EQ(record.data, "one\n");
    EXPECT_EQ(record.Count("end") + record.Count("close"), 0);
    connection.Resume();
    Turn(3);
    EXPECT_EQ(record.data, "one\ntwo\n");
    // Nothing is before it any more.
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.error, reset ? ECONNRESET : 0);
  }
}

// Half a message, of which no more comes.
TEST_F(Unread, TheEndFollowsThoughNothingIsRead) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  record_.on_data = [this](Connection& connection) {
    if (record_.Count("data") > 1) return;
    EXPECT_EQ(connection.Unread(), "half");
    connection.Suspend();
  };
  Connection& connection = Adopt(pair_.near, record_);
  Send("half");
  Turn(3);
  static_cast<void>(pair_.far.ShutdownWrite());
  Turn(3);
  EXPECT_EQ(record_.Count("end"), 0);
  connection.Resume();
  Turn(3);
  EXPECT_EQ(record_.Count("data"), 2);
  EXPECT_EQ(record_.Count("end"), 1);
}

// A protocol that does nothing in OnData() is not called again and again.
TEST_F(Unread, NobodyIsToldTwiceOfTheSameBytes) {
  record_.on_data = Nothing;
  Connection& connection = Adopt(pair_.near, record_);
  Send("x");
  Turn(10);
  EXPECT_EQ(record_.Count("data"), 1);
  record_.on_data = nullptr;
  Send("y");
  Turn(2);
  EXPECT_EQ(record_.data, "xy");
  EXPECT_TRUE(connection.is_open());
}

TEST_F(Unread, GoesWithTheSocket) {
  Socket socket;
  record_.on_data = [&](Connection& connection) {
    EXPECT_EQ(connection.Unread(), "ab");
    connection.Consume(1);
    EXPECT_TRUE(
        connection.Release([&](Socket taken) { socket = std::move(taken); }));
  };
  Adopt(pair_.near, record_);
  Send("ab");
  Turn(2);
  Send("c");
  EXPECT_EQ(socket.unread_bytes(), 1u);
  Record& next = NewRecord();
  Adopt(socket, next);
  Turn(2);
  EXPECT_EQ(next.data, "bc");
}

// STARTTLS: the bytes behind the command are for the transport.
class Upper final : public fio::Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = fio::Transport::Read(socket, out);
    for (char& byte : out.first(read.bytes))
      byte = static_cast<char>(byte - 32);
    return read;
  }
};

TEST_F(Unread, IsForTheNextTransport) {
  if (IsOverHandshake()) return;  // The far end would not follow.
  record_.on_data = [&](Connection& connection) {
    if (record_.Count("data") > 1) {
      record_.data += connection.Received();
      return;
    }
    EXPECT_EQ(connection.Unread(), "starttls;hello");
    connection.Consume(9);
    ASSERT_TRUE(connection.SetTransport(std::make_unique<Upper>()).ok());
  };
  Adopt(pair_.near, record_);
  Send("starttls;hello");
  Turn(3);
  EXPECT_EQ(record_.data, "HELLO");
  Send("again");
  Turn(2);
  EXPECT_EQ(record_.data, "HELLOAGAIN");
}

// Reads one byte at a time.
class OneByOne final : public fio::Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    return fio::Transport::Read(socket, out.first(1));
  }
};

// What lies below a transport is not what the protocol has left unread.
TEST_F(Unread, BelowATransportNoLimitHoldsIt) {
  if (IsOverHandshake()) return;  // The far end would not follow.
  record_.on_data = [&](Connection& connection) {
    EXPECT_EQ(connection.Unread().size(), kLimit);
    ASSERT_TRUE(connection.SetTransport(std::make_unique<OneByOne>()).ok());
    connection.SetUnreadLimit(0);
    record_.on_data = nullptr;
  };
  Adopt(pair_.near, record_);
  Send(std::string(kLimit, 'x'));
  Turn();
  EXPECT_EQ(loop_->stats().memory_bytes, kLimit);
  Turn(2 * kLimit);
  EXPECT_EQ(record_.data, std::string(kLimit, 'x'));
  EXPECT_EQ(loop_->stats().memory_bytes, 0u);
}

// Is given what it cannot understand.
class Refuses final : public fio::Transport {
 public:
  IoResult Read(Socket& socket, absl::Span<char> out) override {
    const IoResult read = fio::Transport::Read(socket, out);
    refuses_ = refuses_ || read.bytes > 0;
    return refuses_ ? IoResult{.error = EPROTO} : read;
  }

 private:
  bool refuses_ = false;
};

TEST_F(Unread, ATransportThatRefusesItEndsTheConnection) {
  if (IsOverHandshake()) return;  // The far end would not follow.
  for (const bool unread : {true, false}) {
    SCOPED_TRACE(unread);
    LoopbackPair pair = UnixPair();
    Record& record = NewRecord();
    record.on_data = [&](Connection& connection) {
      if (unread) {
        EXPECT_EQ(connection.Unread(), "garbage");
      }
      ASSERT_TRUE(connection.SetTransport(std::make_unique<Refuses>()).ok());
      record.on_data = nullptr;
    };
    Adopt(pair.near, record);
    ASSERT_TRUE(pair.far.TryWrite("garbage").ok());
    Turn(4);
    pair.far.Close();
    Turn(3);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.error, EPROTO);
  }
}

}  // namespace
}  // namespace fio
