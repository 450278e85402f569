#include "fio/core/loop/protocol.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();

using loop_internal::IsOverHandshake;
using loop_internal::IsOverTransport;
using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using loop_internal::TcpPair;
using loop_internal::UnixPair;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::LoopbackPair;
using testing::ManualClock;
using testing::ReadAvailable;
using testing::ReadToEnd;
using Kind = ProtocolLock::Kind;

constexpr size_t kMuch = size_t{4} << 20;  // More than the kernel takes.

class Proto : public LoopFixture {
 protected:
  Proto()
      : LoopFixture(
            {.poller = kPoller, .watermarks = {.high_bytes = 64 << 10}}) {}

  LoopbackPair pair_ = UnixPair();
};

// --- Draining ---

// Counts how often it is told to drain.
class Drained final : public Protocol {
 public:
  explicit Drained(int& told) : told_(told) {}
  void OnData(Connection& /*connection*/) override {}
  void OnDrain(Connection& connection) override {
    ++told_;
    connection.Write("connect anew");
  }

 private:
  int& told_;
};

TEST_F(Proto, OnDrainOnceWhoIsOpenByThen) {
  LoopbackPair closing = UnixPair(), later = UnixPair();
  int told = 0, told_closing = 0, told_later = 0;
  const auto adopt = [this](LoopbackPair& pair, int& count) -> Connection& {
    return *loop_->Find(
        *loop_->Adopt(std::move(pair.near), [&count](Connection& connection) {
          connection.Attach(std::make_unique<Drained>(count));
        }));
  };
  adopt(pair_, told);
  adopt(closing, told_closing).Close();
  std::thread([this] { loop_->Drain(); }).join();
  EXPECT_EQ(told, 0);
  Turn();
  EXPECT_TRUE(loop_->draining());
  EXPECT_FALSE(loop_->stopping());
  adopt(later, told_later);
  loop_->Drain();
  Turn(2);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(told_closing, 0);
  EXPECT_EQ(told_later, 0);
  EXPECT_EQ(ReadAvailable(pair_.far), "connect anew");
  EXPECT_EQ(loop_->connection_count(), 2u);
}

// --- Opening and data ---

TEST_F(Proto, DataDuringOnOpen) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  Record& record = NewRecord();
  ASSERT_TRUE(pair_.far.TryWrite("before, ").ok());
  record.on_open = [&](Connection& connection) {
    ASSERT_TRUE(pair_.far.TryWrite("meanwhile").ok());
    connection.Force(Connection::Callback::kReady);
    connection.Write("hello");
    EXPECT_THAT(record.told, ElementsAre("open"));
  };
  Adopt(pair_.near, record);
  EXPECT_THAT(record.told, ElementsAre("open"));
  Turn(3);
  EXPECT_THAT(record.told, ElementsAre("open", "data", "ready"));
  EXPECT_EQ(record.data, "before, meanwhile");
  EXPECT_EQ(ReadAvailable(pair_.far), "hello");
}

TEST_F(Proto, OnDataRearm) {
  Record& record = NewRecord();
  Adopt(pair_.near, record);
  int inside = 0;
  record.on_data = [&](Connection& told) {
    EXPECT_EQ(inside++, 0);
    char bytes[2];
    record.data.append(bytes, told.Read(absl::MakeSpan(bytes)));
    // What comes now is for the next call.
    if (record.data.size() == 2) {
      EXPECT_TRUE(pair_.far.TryWrite("+").ok());
    }
    --inside;
  };
  ASSERT_TRUE(pair_.far.TryWrite("1234").ok());
  Turn();
  EXPECT_EQ(record.data, "12");
  Turn();
  EXPECT_EQ(record.data, "1234");
  Turn(4);
  EXPECT_EQ(record.data, "1234+");
  const int told = record.Count("data");
  Turn(4);
  EXPECT_EQ(record.Count("data"), told) << "nothing is there";
  ASSERT_TRUE(pair_.far.TryWrite("5").ok());
  Turn(2);
  EXPECT_EQ(record.data, "1234+5");
  // Not told any more once it closes, whatever is unread.
  record.on_data = [](Connection& closed) { closed.Close(); };
  const int before = record.Count("data");
  ASSERT_TRUE(pair_.far.TryWrite("unread").ok());
  Turn(4);
  EXPECT_EQ(record.Count("data"), before + 1);
}

TEST_F(Proto, OnReadyOncePerDrain) {
  Record& record = NewRecord();
  Connection& connection = Adopt(pair_.near, record);
  Turn(4);
  EXPECT_EQ(record.Count("ready"), 1) << "once after Attach()";
  connection.Write(std::string(kMuch, 'x'));
  connection.Write("y");
  size_t received = 0;
  while (received <= kMuch) {
    if (!IsOverHandshake()) {  // It holds bytes that left the queue.
      EXPECT_EQ(record.Count("ready"), connection.pending_bytes() == 0 ? 2 : 1)
          << "not for progress";
    }
    received += ReadAvailable(pair_.far).size();
    Turn();
  }
  Turn(4);
  EXPECT_EQ(record.Count("ready"), 2);
  EXPECT_EQ(received, kMuch + 1);
  connection.Write("z");
  connection.Close();
  Turn(4);
  EXPECT_EQ(record.Count("ready"), 2) << "never after Close()";
  EXPECT_EQ(record.Count("close"), 1);
}

// --- Force ---

TEST_F(Proto, ForceEachEvent) {
  Record& record = NewRecord();
  record.on_timeout = Nothing;
  const ConnectionId id = Adopt(pair_.near, record).id();
  Turn(3);
  const std::pair<Connection::Callback, const char*> kinds[] = {
      {Connection::Callback::kData, "data"},
      {Connection::Callback::kReady, "ready"},
      {Connection::Callback::kTimeout, "timeout"}};
  for (const auto& [callback, what] : kinds) {
    for (const int times : {1, 1, 3}) {
      record.told.clear();
      for (int i = 0; i < times; ++i) loop_->Find(id)->Force(callback);
      EXPECT_THAT(record.told, ElementsAre());
      Turn(4);
      EXPECT_THAT(record.told, ElementsAre(what));
    }
    // From inside of itself: once more.
    int left = 2;
    (callback == Connection::Callback::kData ? record.on_data
     : callback == Connection::Callback::kReady
         ? record.on_ready
         : record.on_timeout) = [&left, callback = callback](Connection& told) {
      if (--left > 0) told.Force(callback);
    };
    record.told.clear();
    loop_->Find(id)->Force(callback);
    Turn(5);
    EXPECT_THAT(record.told, ElementsAre(what, what));
    record.on_data = record.on_ready = record.on_timeout = Nothing;
  }
  // A forced OnReady() waits until nothing is queued.
  record.told.clear();
  Connection* const connection = loop_->Find(id);
  connection->Write(std::string(kMuch, 'x'));
  connection->Force(Connection::Callback::kReady);
  Turn(3);
  EXPECT_EQ(record.Count("ready"), 0);
  while (connection->pending_bytes() > 0) {
    ReadAvailable(pair_.far);
    Turn();
  }
  ReadAvailable(pair_.far);
  Turn(3);
  EXPECT_EQ(record.Count("ready"), 1);
  // Of a connection that has gone, nothing.
  record.told.clear();
  connection->Abort();
  for (const auto& [callback, what] : kinds) connection->Force(callback);
  Turn(3);
  EXPECT_THAT(record.told, ElementsAre("close", "destroyed"));
}

// --- Suspend ---

TEST_F(Proto, SuspendResume) {
  Record& record = NewRecord();
  Connection& connection = Adopt(pair_.near, record);
  Turn();
  connection.Suspend();
  ASSERT_TRUE(pair_.far.TryWrite("1").ok());
  Turn(3);
  EXPECT_EQ(record.Count("data"), 0);
  connection.Resume();
  Turn();
  EXPECT_EQ(record.data, "1");
  // Inside of OnData(), with bytes left; Force() resumes as well.
  record.on_data = [&](Connection& told) {
    char byte;
    record.data.append(&byte, told.Read(absl::MakeSpan(&byte, 1)));
    told.Suspend();
  };
  ASSERT_TRUE(pair_.far.TryWrite("234").ok());
  Turn(3);
  EXPECT_EQ(record.data, "12");
  connection.Force(Connection::Callback::kData);
  Turn(3);
  EXPECT_EQ(record.data, "123");
  // Writing goes on meanwhile.
  connection.Write("out");
  Turn(2);
  EXPECT_EQ(ReadAvailable(pair_.far), "out");
  EXPECT_EQ(record.data, "123");
  record.on_data = nullptr;
  connection.Resume();
  connection.Resume();
  Turn(3);
  EXPECT_EQ(record.data, "1234");
}

TEST_F(Proto, SuspendedPeerClose) {
  // The end.
  Record& ended = NewRecord();
  Adopt(pair_.near, ended).Suspend();
  Turn();
  pair_.far.Close();
  Turn(4);
  EXPECT_EQ(ended.Count("data"), 0);
  EXPECT_EQ(ended.Count("end"), 1);
  EXPECT_EQ(ended.Count("close"), 1);
  // A reset.
  LoopbackPair tcp = TcpPair();
  Record& reset = NewRecord();
  Adopt(tcp.near, reset).Suspend();
  Turn();
  tcp.far.Abort();
  while (reset.Count("close") == 0) Turn();
  EXPECT_EQ(reset.Count("data"), 0);
  EXPECT_EQ(reset.reason.error, ECONNRESET);
  // Behind bytes, which are not lost.
  LoopbackPair late = UnixPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(late.near, record);
  connection.Suspend();
  ASSERT_TRUE(late.far.TryWrite("last words").ok());
  late.far.Close();
  Turn(4);
  EXPECT_EQ(record.Count("data"), 0);
  EXPECT_EQ(record.Count("end"), 0);
  connection.Resume();
  Turn(4);
  EXPECT_EQ(record.data, "last words");
  EXPECT_EQ(record.Count("close"), 1);
}

// The write fails while bytes are unread, so it is not open any more, but what
// came before is still told.
TEST_F(Proto, ResumeAfterAFailedWrite) {
  LoopbackPair tcp = TcpPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(tcp.near, record);
  connection.Suspend();
  ASSERT_TRUE(tcp.far.TryWrite("hello").ok());
  tcp.far.Abort();
  while (connection.is_open()) {
    connection.Write("x");
    Turn();
  }
  Turn(3);
  EXPECT_EQ(record.Count("data"), 0);
  connection.Resume();
  Turn(4);
  EXPECT_EQ(record.data, "hello");
  EXPECT_EQ(record.Count("close"), 1);
}

// --- Closing ---

TEST_F(Proto, OnCloseOldUuidInvalid) {
  Record& record = NewRecord();
  const ConnectionId id = Adopt(pair_.near, record).id();
  Turn();
  bool posted_found = true;
  record.on_close = [&](Connection& closed) {
    EXPECT_EQ(closed.id(), id);
    EXPECT_EQ(closed.id().fd(), id.fd());
    EXPECT_EQ(loop_->Find(id), nullptr);
    EXPECT_EQ(loop_->FindByFd(id.fd()), nullptr);
    EXPECT_EQ(fcntl(id.fd(), F_GETFD), FD_CLOEXEC) << "not yet another's";
    EXPECT_FALSE(closed.is_open());
    EXPECT_FALSE(closed.Write("x"));
    EXPECT_FALSE(closed.Attach(std::make_unique<Recorder>(NewRecord())));
    EXPECT_FALSE(loop_->handle().TryLock(id, Kind::kTask).ok());
    loop_->Post(id, [&](Connection* connection) {
      posted_found = connection != nullptr;
    });
    EXPECT_EQ(record.told.back(), "close");
  };
  loop_->Find(id)->Abort();
  Turn(3);
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(record.told.back(), "destroyed");
  EXPECT_FALSE(posted_found);
  EXPECT_LT(fcntl(id.fd(), F_GETFD), 0);
  // The late one was told, too.
  EXPECT_THAT(records_.back().told, ElementsAre("close", "destroyed"));
}

TEST_F(Proto, OnCloseIsGivenTheCode) {
  Record& record = NewRecord();
  Connection& connection = Adopt(pair_.near, record);
  connection.Write("bye");
  connection.Close(4000);
  connection.Close(4001);
  Turn(3);
  EXPECT_EQ(record.reason.origin, CloseReason::Origin::kLocal);
  EXPECT_EQ(record.reason.code, 4000);
  EXPECT_EQ(record.reason.error, 0);
  EXPECT_EQ(ReadToEnd(pair_.far), "bye");
  // In answer to the peer's end.
  LoopbackPair other = UnixPair();
  Record& ended = NewRecord();
  ended.on_end = [](Connection& told) { told.Close(7); };
  Adopt(other.near, ended);
  ASSERT_TRUE(other.far.ShutdownWrite().ok());
  Turn(4);
  EXPECT_EQ(ended.reason.origin, CloseReason::Origin::kPeer);
  EXPECT_EQ(ended.reason.code, 7);
  // A code is no errno, and an errno no code.
  LoopbackPair stalled = UnixPair();
  Record& late = NewRecord();
  Connection& slow = Adopt(stalled.near, late);
  slow.Write(std::string(kMuch, 'x'));
  slow.Close(9);
  Turn(2);
  Advance(absl::Seconds(8));
  EXPECT_EQ(late.reason.origin, CloseReason::Origin::kError);
  EXPECT_EQ(late.reason.error, ETIMEDOUT);
  EXPECT_EQ(late.reason.code, 0);
}

// What was read to its end once may have bytes unread again; closing must not
// have the kernel reset, which could destroy the answer on its way.
TEST_F(Proto, ACloseWithUnreadBytesDoesNotReset) {
  LoopbackPair tcp = TcpPair();
  Record& record = NewRecord();
  Connection& connection = Adopt(tcp.near, record);
  ASSERT_TRUE(tcp.far.TryWrite("request").ok());
  while (record.data.empty()) Turn();
  connection.Suspend();
  ASSERT_TRUE(tcp.far.TryWrite("unread").ok());
  const uint64_t events = loop_->stats().events;
  while (loop_->stats().events == events) Turn();
  connection.Write("answer");
  connection.Close();
  Turn(3);
  EXPECT_EQ(testing::ReadUntil(tcp.far, 6), "answer");
  char byte;
  const IoResult end = tcp.far.Read(absl::MakeSpan(&byte, 1));
  EXPECT_EQ(end.error, 0) << "reset";
  tcp.far.Close();
  while (record.Count("close") == 0) Turn();
}

// --- State of an attachment ---

TEST_F(Proto, RsvResetOnAttach) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  Record& first = NewRecord();
  Record& second = NewRecord();
  first.on_timeout = second.on_timeout = Nothing;
  first.on_end = Nothing;
  Connection& connection = Adopt(pair_.near, first);
  const auto attach = [&](Record& record) {
    first.told.clear();
    second.told.clear();
    EXPECT_TRUE(connection.Attach(std::make_unique<Recorder>(record)));
    Turn(4);
  };
  Turn(3);
  // Forced.
  connection.Force(Connection::Callback::kData);
  connection.Force(Connection::Callback::kReady);
  connection.Force(Connection::Callback::kTimeout);
  attach(second);
  EXPECT_THAT(first.told, ElementsAre("close", "destroyed"));
  EXPECT_EQ(first.reason.origin, CloseReason::Origin::kReplaced);
  EXPECT_THAT(second.told, ElementsAre("open", "ready"));
  // Suspended.
  connection.Suspend();
  ASSERT_TRUE(pair_.far.TryWrite("unread").ok());
  Turn(2);
  attach(first);
  EXPECT_THAT(first.told, ElementsAre("open", "data", "ready"));
  EXPECT_EQ(first.data, "unread");
  // Above the high watermark.
  connection.Write(std::string(kMuch, 'x'));
  Turn(2);
  EXPECT_EQ(first.Count("high"), 1);
  attach(second);
  EXPECT_THAT(second.told, ElementsAre("open", "high"));
  while (connection.pending_bytes() > 0) {
    ReadAvailable(pair_.far);
    Turn();
  }
  Turn(2);
  EXPECT_THAT(second.told, ElementsAre("open", "high", "low", "ready"));
  // The end was told.
  attach(first);
  ASSERT_TRUE(pair_.far.ShutdownWrite().ok());
  Turn(3);
  EXPECT_EQ(first.Count("end"), 1);
  attach(second);
  EXPECT_EQ(second.Count("end"), 1);
  EXPECT_EQ(second.reason.origin, CloseReason::Origin::kPeer);
  EXPECT_EQ(second.told.back(), "destroyed");
}

// --- Locks ---

// Which lock holds up which callback, and that it then runs once.
TEST_F(Proto, LockMatrix) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  struct Row {
    const char* what;
    bool held_by_task;
    bool held_by_write;
  };
  const Row rows[] = {
      {"data", true, false},     {"end", true, false},
      {"shutdown", true, false}, {"task", true, false},
      {"ready", false, true},    {"high", false, true},
      {"low", false, true},      {"timeout", false, true},
      {"close", true, true},     {"none", false, false},
  };
  for (const Row& row : rows) {
    for (const Kind kind : {Kind::kTask, Kind::kWrite}) {
      const std::string what = row.what;
      const bool held =
          kind == Kind::kTask ? row.held_by_task : row.held_by_write;
      SCOPED_TRACE(
          absl::StrCat(what, kind == Kind::kTask ? " task" : " write"));
      ManualClock clock;
      Record record;
      record.on_end = record.on_timeout = Nothing;
      record.stay = absl::Hours(1);
      const auto loop = *Loop::Create({.clock = &clock,
                                       .poller = kPoller,
                                       .watermarks = {.high_bytes = 1 << 10}});
      const auto turn = [&] {
        for (int i = 0; i < 3; ++i) {
          ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
        }
      };
      LoopbackPair pair = UnixPair();
      const ConnectionId id =
          *loop->Adopt(std::move(pair.near), [&](Connection& connection) {
            connection.Attach(std::make_unique<Recorder>(record));
            connection.SetTimeout(absl::Seconds(5));
          });
      turn();
      Connection& connection = *loop->Find(id);
      if (what == "low") {
        connection.Write(std::string(kMuch, 'x'));
        turn();
      }
      std::optional<ProtocolLock> lock;
      std::thread([&] { lock = *loop->handle().TryLock(id, kind); }).join();
      record.told.clear();
      if (what == "data") {
        ASSERT_TRUE(pair.far.TryWrite("x").ok());
      } else if (what == "end") {
        ASSERT_TRUE(pair.far.ShutdownWrite().ok());
      } else if (what == "shutdown") {
        loop->Stop();
      } else if (what == "task") {
        loop->Post(id, [&](Connection*) { record.told.push_back("task"); });
      } else if (what == "ready") {
        connection.Write("x");
      } else if (what == "high") {
        connection.Write(std::string(kMuch, 'x'));
      } else if (what == "low") {
        while (connection.pending_bytes() > 0) {
          ReadAvailable(pair.far);
          turn();
        }
      } else if (what == "timeout") {
        clock.Advance(absl::Seconds(5));
      } else if (what == "close") {
        connection.Abort();
      }
      turn();
      turn();
      EXPECT_EQ(record.Count(what), held || what == "none" ? 0 : 1);
      std::thread([&] { lock.reset(); }).join();
      turn();
      turn();
      EXPECT_EQ(record.Count(what), what == "none" ? 0 : 1);
      EXPECT_EQ(loop->stats().timeouts, what == "timeout" ? 1u : 0u);
    }
  }
}

TEST_F(Proto, TryLockErrno) {
  Record& record = NewRecord();
  const ConnectionId id = Adopt(pair_.near, record).id();
  const LoopHandle handle = loop_->handle();
  Turn();
  for (const Kind kind : {Kind::kTask, Kind::kWrite}) {
    absl::StatusOr<ProtocolLock> lock = handle.TryLock(id, kind);
    ASSERT_TRUE(lock.ok()) << lock.status();
    EXPECT_EQ(&lock->protocol(), loop_->Find(id)->protocol());
    EXPECT_TRUE(absl::IsUnavailable(handle.TryLock(id, kind).status()));
    const Kind other = kind == Kind::kTask ? Kind::kWrite : Kind::kTask;
    EXPECT_TRUE(handle.TryLock(id, other).ok()) << "and released at once";
    lock->Unlock();
    lock->Unlock();
    EXPECT_TRUE(handle.TryLock(id, kind).ok());
    // A moved lock is one lock.
    lock = handle.TryLock(id, kind);
    ASSERT_TRUE(lock.ok()) << lock.status();
    ProtocolLock moved = *std::move(lock);
    lock = absl::CancelledError();
    EXPECT_TRUE(absl::IsUnavailable(handle.TryLock(id, kind).status()));
    moved = *handle.TryLock(id, other);
    EXPECT_TRUE(handle.TryLock(id, kind).ok());
  }
  // While a callback runs.
  record.on_data = [&](Connection& connection) {
    record.data += connection.Received();
    EXPECT_FALSE(LockElsewhere(id, Kind::kTask).has_value());
    EXPECT_TRUE(LockElsewhere(id, Kind::kWrite).has_value());
  };
  record.on_ready = [&](Connection&) {
    EXPECT_TRUE(LockElsewhere(id, Kind::kTask).has_value());
    EXPECT_FALSE(LockElsewhere(id, Kind::kWrite).has_value());
  };
  loop_->Find(id)->Force(Connection::Callback::kData);
  loop_->Find(id)->Force(Connection::Callback::kReady);
  record.told.clear();
  Turn(3);
  EXPECT_THAT(record.told, ElementsAre("data", "ready"));
  // Without a protocol, or a connection, or a loop.
  loop_->Find(id)->Detach();
  EXPECT_TRUE(
      absl::IsFailedPrecondition(handle.TryLock(id, Kind::kTask).status()));
  Turn();
  EXPECT_EQ(record.Count("close"), 1) << "the attempt left no lock";
  loop_->Find(id)->Abort();
  Turn();
  EXPECT_TRUE(
      absl::IsFailedPrecondition(handle.TryLock(id, Kind::kTask).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      handle.TryLock(ConnectionId(), Kind::kTask).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      LoopHandle().TryLock(id, Kind::kTask).status()));
  loop_ = nullptr;
  EXPECT_TRUE(
      absl::IsFailedPrecondition(handle.TryLock(id, Kind::kTask).status()));
}

// In facil.io a callback that met a lock was queued again and again.
TEST(ProtoNoSpin, SleepsWhileALockHoldsUpWhatIsDue) {
  Record record;
  record.on_timeout = Nothing;
  const auto loop = *Loop::Create({.poller = kPoller});
  LoopbackPair pair = UnixPair();
  const ConnectionId id =
      *loop->Adopt(std::move(pair.near), [&](Connection& connection) {
        connection.Attach(std::make_unique<Recorder>(record));
      });
  const auto turn = [&] {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  };
  turn();
  std::optional<ProtocolLock> task = *loop->handle().TryLock(id, Kind::kTask);
  std::optional<ProtocolLock> write = *loop->handle().TryLock(id, Kind::kWrite);
  ASSERT_TRUE(pair.far.TryWrite("x").ok());
  loop->Find(id)->Write("y");
  loop->Find(id)->Force(Connection::Callback::kTimeout);
  loop->Post(id, [](Connection*) {});
  for (int i = 0; i < 3; ++i) turn();
  EXPECT_EQ(loop->next_deadline(), MonotonicTime::InfiniteFuture());
  const LoopStats before = loop->stats();
  const MonotonicTime deadline = Clock::System().Now() + absl::Milliseconds(20);
  ASSERT_TRUE(loop->RunOnce(deadline).ok());
  EXPECT_GE(Clock::System().Now(), deadline) << "something was due";
  EXPECT_EQ(loop->stats().turns, before.turns + 1);
  EXPECT_EQ(loop->stats().events, before.events);
  EXPECT_EQ(record.data, "");
  // The unlock ends the wait.
  std::thread unlocks([&] { task.reset(); });
  while (record.data.empty()) {
    ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
  }
  unlocks.join();
  EXPECT_EQ(record.Count("data"), 1);
}

TEST_F(Proto, SleepInOnDataNoSpin) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  Record& record = NewRecord();
  const ConnectionId id = Adopt(pair_.near, record).id();
  Turn(2);
  std::optional<ProtocolLock> lock = LockElsewhere(id, Kind::kTask);
  ASSERT_TRUE(lock.has_value());
  ASSERT_TRUE(pair_.far.TryWrite("x").ok());
  Turn(2);
  const LoopStats before = loop_->stats();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(loop_->next_deadline(), MonotonicTime::InfiniteFuture());
    Turn();
  }
  const LoopStats after = loop_->stats();
  EXPECT_EQ(after.events, before.events);
  EXPECT_EQ(after.tasks, before.tasks);
  EXPECT_EQ(after.system_calls - before.system_calls, 10u) << "the waits";
  EXPECT_EQ(record.Count("data"), 0);
  UnlockElsewhere(lock);
  Turn(2);
  EXPECT_EQ(record.Count("data"), 1);
}

TEST_F(Proto, UnlockLetsOnCloseRun) {
  for (const Kind kind : {Kind::kTask, Kind::kWrite}) {
    // Of a connection that closes.
    LoopbackPair pair = UnixPair();
    Record& record = NewRecord();
    const ConnectionId id = Adopt(pair.near, record).id();
    Turn();
    std::optional<ProtocolLock> lock = LockElsewhere(id, kind);
    ASSERT_TRUE(lock.has_value());
    loop_->Find(id)->Close(5);
    Turn(3);
    EXPECT_EQ(record.Count("close"), 0);
    EXPECT_EQ(loop_->Find(id), nullptr);
    Advance(absl::Seconds(8) - absl::Nanoseconds(1));
    EXPECT_EQ(record.Count("close"), 0);
    UnlockElsewhere(lock);
    Turn(2);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.reason.code, 5);
    EXPECT_EQ(ReadToEnd(pair.far), "");
    // Of a protocol that is replaced.
    LoopbackPair next = UnixPair();
    Record& replaced = NewRecord();
    Record& successor = NewRecord();
    Connection& connection = Adopt(next.near, replaced);
    Turn();
    lock = LockElsewhere(connection.id(), kind);
    connection.Attach(std::make_unique<Recorder>(successor));
    Turn(3);
    EXPECT_EQ(replaced.Count("close"), 0);
    UnlockElsewhere(lock);
    Turn(2);
    EXPECT_EQ(replaced.told.back(), "destroyed");
    EXPECT_EQ(successor.Count("ready"), 1);
  }
}

TEST_F(Proto, ALockThatIsNeverReleasedIsLoggedAndBroken) {
  Record& record = NewRecord();
  const ConnectionId id = Adopt(pair_.near, record).id();
  Turn();
  std::optional<ProtocolLock> lock = LockElsewhere(id, Kind::kTask);
  loop_->Find(id)->Close();
  Turn(3);
  absl::ScopedMockLog log(absl::MockLogDefault::kIgnoreUnexpected);
  EXPECT_CALL(log,
              Log(absl::LogSeverity::kError, _, HasSubstr("never unlocked")))
      .Times(1);
  log.StartCapturingLogs();
  Advance(absl::Seconds(8) - absl::Nanoseconds(1));
  EXPECT_EQ(record.Count("close"), 0);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(loop_->connection_count(), 0u);
  // The number is another's by now, whose lock is not this one.
  LoopbackPair next = UnixPair();
  Record& other = NewRecord();
  const ConnectionId other_id =
      Adopt(next.near.fd() == id.fd() ? next.near : next.far, other).id();
  std::optional<ProtocolLock> held = LockElsewhere(other_id, Kind::kTask);
  ASSERT_TRUE(held.has_value());
  UnlockElsewhere(lock);
  EXPECT_FALSE(LockElsewhere(other_id, Kind::kTask).has_value());
}

// One that is never told OnShutdown() must not keep the loop for ever.
TEST_F(Proto, ALockThatIsNeverReleasedDoesNotKeepTheLoopFromStopping) {
  Record& record = NewRecord();
  const ConnectionId id = Adopt(pair_.near, record).id();
  Turn();
  std::optional<ProtocolLock> lock = LockElsewhere(id, Kind::kTask);
  loop_->Stop();
  Turn(3);
  for (int i = 0; i < 3; ++i) Advance(absl::Seconds(8));
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(loop_->connection_count(), 0u);
}

// Another protocol waits for its lock; this one has had its turn long ago, and
// a lock that is taken now is a good one.
TEST_F(Proto, OnlyTheLockThatWasForgottenIsBroken) {
  Record& first = NewRecord();
  Record& second = NewRecord();
  LoopbackPair other_pair = UnixPair();
  Connection& connection = Adopt(pair_.near, first);
  Connection& other = Adopt(other_pair.near, second);
  Turn();
  std::optional<ProtocolLock> lock =
      LockElsewhere(connection.id(), Kind::kTask);
  connection.Attach(std::make_unique<Recorder>(NewRecord()));
  Turn(2);
  UnlockElsewhere(lock);
  Turn(2);
  ASSERT_EQ(first.Count("close"), 1);
  // Now the other, which lasts longer.
  Advance(absl::Seconds(4));
  std::optional<ProtocolLock> held = LockElsewhere(other.id(), Kind::kTask);
  other.Attach(std::make_unique<Recorder>(NewRecord()));
  Turn(2);
  std::optional<ProtocolLock> good =
      LockElsewhere(connection.id(), Kind::kTask);
  ASSERT_TRUE(good.has_value());
  Advance(absl::Seconds(4));  // Eight after the first, four after the other.
  EXPECT_EQ(second.Count("close"), 0);
  EXPECT_FALSE(LockElsewhere(connection.id(), Kind::kTask).has_value())
      << "the good one was broken";
}

TEST_F(Proto, ALockThatOutlivesTheLoopIsHarmless) {
  Record& record = NewRecord();
  const ConnectionId id = Adopt(pair_.near, record).id();
  Turn();
  std::optional<ProtocolLock> task = LockElsewhere(id, Kind::kTask);
  std::optional<ProtocolLock> write = LockElsewhere(id, Kind::kWrite);
  loop_->Find(id)->Abort();
  Turn();
  loop_ = nullptr;
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(record.told.back(), "destroyed");
  UnlockElsewhere(task);
  write->Unlock();
}

// Taken when the loop has begun to end.
TEST_F(Proto, ALockTakenWhileTheLoopEndsHoldsNothingUp) {
  Record& first = NewRecord();
  Record& second = NewRecord();
  LoopbackPair other = UnixPair();
  const ConnectionId ids[] = {Adopt(pair_.near, first).id(),
                              Adopt(other.near, second).id()};
  Turn();
  std::vector<ProtocolLock> locks;
  const auto lock_all = [&, handle = loop_->handle()](Connection&) {
    for (const ConnectionId id : ids) {
      absl::StatusOr<ProtocolLock> lock = handle.TryLock(id, Kind::kTask);
      if (lock.ok()) locks.push_back(*std::move(lock));
    }
  };
  first.on_close = second.on_close = lock_all;
  loop_ = nullptr;
  EXPECT_EQ(first.told.back(), "destroyed");
  EXPECT_EQ(second.told.back(), "destroyed");
}

// --- Attaching ---

class Attach : public Proto {};

TEST_F(Attach, ForeignFd) {
  if (IsOverHandshake()) return;  // A descriptor has no transport.
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  Socket far((UniqueFd(fds[1])));
  ASSERT_EQ(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
  Record& record = NewRecord();
  const absl::StatusOr<ConnectionId> id =
      loop_->Adopt(UniqueFd(fds[0]), std::make_unique<Recorder>(record));
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->fd(), fds[0]);
  EXPECT_NE(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
  ASSERT_TRUE(far.TryWrite("hello").ok());
  Turn();
  EXPECT_EQ(record.data, "hello");
  loop_->Find(*id)->Write("old");
  // Closed behind our back, and the number comes again.
  ASSERT_EQ(close(fds[0]), 0);
  ASSERT_EQ(dup2(pair_.near.fd(), fds[0]), fds[0]);
  pair_.near.Close();
  Record& next = NewRecord();
  const absl::StatusOr<ConnectionId> next_id =
      loop_->Adopt(UniqueFd(fds[0]), std::make_unique<Recorder>(next));
  ASSERT_TRUE(next_id.ok()) << next_id.status();
  EXPECT_EQ(next_id->fd(), fds[0]);
  EXPECT_EQ(loop_->connection_count(), 1u);
  EXPECT_EQ(loop_->Find(*id), nullptr);
  ASSERT_GE(fcntl(fds[0], F_GETFD), 0) << "it was not the old one's to close";
  ASSERT_TRUE(pair_.far.TryWrite("again").ok());
  Turn(2);
  EXPECT_EQ(record.told.back(), "destroyed");
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(record.reason.origin, CloseReason::Origin::kError);
  EXPECT_EQ(record.reason.error, EBADF);
  EXPECT_EQ(next.data, "again");
  EXPECT_EQ(next.Count("close"), 0);
  loop_->Find(*next_id)->Write("new");
  loop_->Find(*next_id)->Close();
  Turn(2);
  EXPECT_EQ(ReadToEnd(pair_.far), "new");
}

TEST_F(Attach, NegativeFdNullProtocol) {
  if (IsOverHandshake()) return;  // A descriptor has no transport.
  Record& record = NewRecord();
  record.on_close = [&](Connection& connection) {
    EXPECT_EQ(connection.id(), ConnectionId()) << "it has none";
    EXPECT_EQ(connection.id().fd(), -1);
    EXPECT_FALSE(connection.is_open());
    EXPECT_FALSE(connection.Write("x"));
    EXPECT_EQ(connection.pending_bytes(), 0u);
    connection.Close();
    connection.Abort();
    connection.Suspend();
    connection.Resume();
    connection.Detach();
    connection.Touch();
    connection.SetTimeout(absl::Seconds(1));
    connection.Force(Connection::Callback::kData);
    connection.ShutdownWrite();
    EXPECT_FALSE(connection.Release([](Socket) { FAIL(); }));
    EXPECT_EQ(&connection.loop(), loop_.get());
  };
  EXPECT_TRUE(absl::IsInvalidArgument(
      loop_->Adopt(UniqueFd(), std::make_unique<Recorder>(record)).status()));
  EXPECT_EQ(record.Count("close"), 0) << "not under the caller's feet";
  Turn();
  EXPECT_THAT(record.told, ElementsAre("close", "destroyed"));
  EXPECT_EQ(record.reason.error, EBADF);
  EXPECT_TRUE(
      absl::IsInvalidArgument(loop_->Adopt(UniqueFd(), nullptr).status()));
  Turn();
  EXPECT_EQ(loop_->connection_count(), 0u);
  // Without a protocol it is detached, for as long as one likes.
  UniqueFd fd(fcntl(pair_.near.fd(), F_DUPFD_CLOEXEC, 0));
  pair_.near.Close();
  const absl::StatusOr<ConnectionId> id = loop_->Adopt(std::move(fd), nullptr);
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(pair_.far.TryWrite("hello").ok());
  Turn(2);
  Advance(absl::Hours(1));
  Connection* const connection = loop_->Find(*id);
  ASSERT_NE(connection, nullptr);
  EXPECT_EQ(connection->protocol(), nullptr);
  EXPECT_TRUE(connection->Attach(nullptr));
  connection->Write("answer");
  Turn();
  EXPECT_EQ(ReadAvailable(pair_.far), "answer");
  char bytes[10];
  EXPECT_EQ(connection->Read(absl::MakeSpan(bytes)), 5u);
}

TEST_F(Attach, NoTaskBeforeOpenEnds) {
  if (IsOverTransport()) return;  // What it holds only OnData() finds out.
  Record& record = NewRecord();
  record.on_open = [&](Connection& connection) {
    const ConnectionId id = connection.id();
    std::thread([&] {
      loop_->Post(id, [&](Connection* found) {
        EXPECT_NE(found, nullptr);
        record.told.push_back("task");
      });
    }).join();
    loop_->Post(id, [&](Connection*) { record.told.push_back("task"); });
    record.told.push_back("opened");
  };
  ASSERT_TRUE(pair_.far.TryWrite("x").ok());
  loop_->Post([&] { Adopt(pair_.near, record); });
  Turn(4);
  EXPECT_THAT(record.told,
              ElementsAre("open", "opened", "ready", "task", "task", "data"));
}

TEST_F(Attach, SwapHijackInvalid) {
  Record& first = NewRecord();
  Record& second = NewRecord();
  Connection& connection = Adopt(pair_.near, first);
  const ConnectionId id = connection.id();
  connection.SetTimeout(absl::Seconds(5));
  Turn();
  // A swap, from inside of a callback of the one that goes.
  first.on_data = [&](Connection& told) {
    EXPECT_TRUE(told.Attach(std::make_unique<Recorder>(second)));
    EXPECT_EQ(first.Count("destroyed"), 0);
    EXPECT_THAT(second.told, ElementsAre("open"));
  };
  first.on_close = [&](Connection& told) {
    EXPECT_EQ(told.id(), id);
    EXPECT_EQ(loop_->Find(id), &told) << "it lives on";
    EXPECT_TRUE(told.is_open());
  };
  ASSERT_TRUE(pair_.far.TryWrite("for the second").ok());
  Turn(3);
  EXPECT_EQ(first.told.back(), "destroyed");
  EXPECT_EQ(first.Count("close"), 1);
  EXPECT_EQ(first.reason.origin, CloseReason::Origin::kReplaced);
  EXPECT_EQ(second.data, "for the second");
  // A hijack: what is queued leaves, nothing is told, nothing times out.
  connection.Write("queued");
  connection.Detach();
  connection.Detach();
  second.told.clear();
  ASSERT_TRUE(pair_.far.TryWrite("mine").ok());
  Turn(3);
  EXPECT_THAT(second.told, ElementsAre("close", "destroyed"));
  Advance(absl::Hours(1));
  EXPECT_EQ(loop_->Find(id), &connection);
  EXPECT_GE(fcntl(id.fd(), F_GETFD), 0);
  EXPECT_EQ(ReadAvailable(pair_.far), "queued");
  char bytes[10];
  EXPECT_EQ(connection.Read(absl::MakeSpan(bytes)), 4u);
  // Its timeout holds again with the next protocol.
  Record& third = NewRecord();
  connection.Attach(std::make_unique<Recorder>(third));
  Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(third.Count("timeout"), 0);
  Advance(absl::Nanoseconds(1));
  EXPECT_EQ(third.Count("timeout"), 1);
  EXPECT_EQ(third.Count("close"), 1);
  // To one that is closed.
  LoopbackPair other = UnixPair();
  Record& record = NewRecord();
  Connection& closing = Adopt(other.near, record);
  closing.Close();
  Record& late = NewRecord();
  EXPECT_FALSE(closing.Attach(std::make_unique<Recorder>(late)));
  EXPECT_THAT(late.told, ElementsAre());
  Turn(2);
  EXPECT_THAT(late.told, ElementsAre("close", "destroyed"));
  EXPECT_EQ(late.reason.error, EBADF);
  EXPECT_EQ(record.reason.origin, CloseReason::Origin::kLocal);
}

TEST_F(Attach, AHijackedConnectionIsClosedWhenTheLoopStops) {
  Record& record = NewRecord();
  Connection& connection = Adopt(pair_.near, record);
  Turn();
  connection.Detach();
  Turn();
  loop_->Stop();
  Turn(3);
  EXPECT_EQ(loop_->connection_count(), 0u);
  EXPECT_EQ(ReadToEnd(pair_.far), "");
}

}  // namespace
}  // namespace fio
