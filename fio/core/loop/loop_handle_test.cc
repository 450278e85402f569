#include "fio/core/loop/loop_handle.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/defer/task.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

const PollerKind kPoller = core_internal::PollerUnderTest();
constexpr int kThreads = 4;

using loop_internal::LoopFixture;
using loop_internal::Nothing;
using loop_internal::Record;
using loop_internal::Recorder;
using ::testing::ElementsAre;
using testing::LoopbackPair;
using testing::ReadAvailable;
using testing::ReadToEnd;
using Kind = ProtocolLock::Kind;

class LoopHandleTest : public LoopFixture {
 protected:
  LoopHandleTest() : LoopFixture({.poller = kPoller}) {}

  Record& record_ = NewRecord();
  LoopbackPair pair_ = LoopbackPair::Unix();
};

// Every call of the handle that names a connection.
void CallAll(const LoopHandle& handle, ConnectionId id) {
  handle.Write(id, "text");
  handle.Write(id, absl::Cord("cord"));
  handle.Touch(id);
  handle.SetTimeout(id, absl::Seconds(1));
  handle.Resume(id);
  handle.Force(id, Connection::Callback::kData);
  handle.Close(id, 3);
  handle.Abort(id);
  EXPECT_TRUE(
      absl::IsFailedPrecondition(handle.TryLock(id, Kind::kTask).status()));
}

TEST_F(LoopHandleTest, CallsReachTheConnection) {
  const ConnectionId id = Adopt(pair_.near, record_).id();
  const LoopHandle handle = loop_->handle();
  Turn(2);
  record_.told.clear();
  handle.Write(id, "one ");
  handle.Write(id, absl::Cord("two"));
  Turn(2);
  EXPECT_EQ(ReadAvailable(pair_.far), "one two");
  loop_->Find(id)->Suspend();
  ASSERT_TRUE(pair_.far.TryWrite("x").ok());
  Turn(2);
  EXPECT_EQ(record_.Count("data"), 0);
  handle.Resume(id);
  Turn(2);
  EXPECT_EQ(record_.data, "x");
  record_.told.clear();
  handle.Force(id, Connection::Callback::kReady);
  Turn(2);
  EXPECT_THAT(record_.told, ElementsAre("ready"));
  record_.on_timeout = Nothing;
  handle.SetTimeout(id, absl::Seconds(5));
  Turn();
  Advance(absl::Seconds(4));
  handle.Touch(id);
  Turn();
  Advance(absl::Seconds(4));
  EXPECT_EQ(record_.Count("timeout"), 0);
  Advance(absl::Seconds(1));
  EXPECT_EQ(record_.Count("timeout"), 1);
  handle.Write(id, "bye");
  handle.Close(id, 42);
  Turn(2);
  EXPECT_EQ(record_.reason.code, 42);
  EXPECT_EQ(ReadToEnd(pair_.far), "bye");
  LoopbackPair other = LoopbackPair::Unix();
  Record& record = NewRecord();
  const ConnectionId other_id = Adopt(other.near, record).id();
  handle.Write(other_id, "dropped");
  handle.Abort(other_id);
  Turn(2);
  EXPECT_EQ(record.Count("close"), 1);
  EXPECT_EQ(ReadToEnd(other.far), "");
}

TEST_F(LoopHandleTest, StaleIdsAreNoOps) {
  const ConnectionId stale = Adopt(pair_.near, record_).id();
  loop_->Find(stale)->Abort();
  Turn();
  LoopbackPair next = LoopbackPair::Unix();
  Record& record = NewRecord();
  const ConnectionId id =
      Adopt(next.near.fd() == stale.fd() ? next.near : next.far, record).id();
  ASSERT_EQ(id.fd(), stale.fd());
  Turn(2);
  record.told.clear();
  for (const ConnectionId none :
       {stale, ConnectionId(), ConnectionId(1 << 30, 1),
        ConnectionId(id.fd(), id.serial() + 1)}) {
    CallAll(loop_->handle(), none);
  }
  Turn(3);
  Advance(absl::Hours(1));
  EXPECT_THAT(record.told, ElementsAre());
  EXPECT_EQ(loop_->Find(id)->timeout(), absl::ZeroDuration());
  EXPECT_TRUE(loop_->Find(id)->is_open());
}

TEST_F(LoopHandleTest, OnceTheLoopHasGoneEverythingDoesNothing) {
  const ConnectionId id = Adopt(pair_.near, record_).id();
  const LoopHandle handle = loop_->handle();
  int nulls = 0;
  const auto count = [&](Connection* connection) {
    EXPECT_EQ(connection, nullptr);
    ++nulls;
  };
  bool destroyed = false;
  struct Flag {
    explicit Flag(bool& set) : set(set) {}
    ~Flag() { set = true; }
    bool& set;
  };
  EXPECT_TRUE(handle.Post(
      [flag = std::make_unique<Flag>(destroyed)] { ADD_FAILURE(); }));
  handle.Post(id, count);
  // One that waits for a lock, too.
  std::optional<ProtocolLock> lock;
  {
    Turn(0);
    lock = *handle.TryLock(id, Kind::kTask);
  }
  loop_ = nullptr;
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(nulls, 1);
  EXPECT_FALSE(handle.Post(id, count));
  EXPECT_FALSE(handle.Post(id, nullptr));
  EXPECT_FALSE(handle.Post([] { ADD_FAILURE(); }));
  EXPECT_FALSE(handle.Post(nullptr));
  handle.Wake();
  CallAll(handle, id);
  lock.reset();
  // Of no loop.
  const LoopHandle none;
  EXPECT_FALSE(none.Post(id, count));
  EXPECT_EQ(nulls, 1);
  EXPECT_FALSE(none.Post([] { ADD_FAILURE(); }));
  none.Wake();
  CallAll(none, id);
}

TEST_F(LoopHandleTest, ATaskThatWaitsForALockGetsNullAtTheEnd) {
  for (const bool loop_ends : {false, true}) {
    LoopbackPair pair = LoopbackPair::Unix();
    const ConnectionId id = Adopt(pair.near, NewRecord()).id();
    Turn(2);
    std::optional<ProtocolLock> lock = LockElsewhere(id, Kind::kTask);
    int nulls = 0;
    for (int i = 0; i < 3; ++i) {
      loop_->Post(id, [&](Connection* connection) {
        EXPECT_EQ(connection, nullptr);
        ++nulls;
      });
    }
    Turn(2);
    EXPECT_EQ(nulls, 0);
    if (loop_ends) {
      loop_ = nullptr;
    } else {
      loop_->Find(id)->Abort();
      Turn(2);
      EXPECT_EQ(nulls, 0);
      UnlockElsewhere(lock);
      Turn(2);
    }
    EXPECT_EQ(nulls, 3);
  }
}

// Tasks for a connection run in the order of posting, also when a lock held the
// first of them up and had been released when the second came.
TEST_F(LoopHandleTest, ALockDoesNotChangeTheOrder) {
  const ConnectionId id = Adopt(pair_.near, record_).id();
  const LoopHandle handle = loop_->handle();
  Turn(2);
  std::optional<ProtocolLock> lock = LockElsewhere(id, Kind::kTask);
  handle.Write(id, "1");
  handle.Write(id, "2");
  Turn();
  handle.Write(id, "3");
  UnlockElsewhere(lock);
  handle.Write(id, "4");
  Turn(3);
  EXPECT_EQ(ReadAvailable(pair_.far), "1234");
  // And locked anew, before the loop has come again.
  lock = LockElsewhere(id, Kind::kTask);
  handle.Write(id, "5");
  Turn();
  UnlockElsewhere(lock);
  lock = LockElsewhere(id, Kind::kTask);
  handle.Write(id, "6");
  Turn(2);
  EXPECT_EQ(ReadAvailable(pair_.far), "");
  UnlockElsewhere(lock);
  Turn(2);
  EXPECT_EQ(ReadAvailable(pair_.far), "56");
}

// --- Sockets ---

// A loop like that of the fixture.
std::unique_ptr<Loop> NewLoop(const testing::ManualClock& clock) {
  absl::StatusOr<std::unique_ptr<Loop>> loop =
      Loop::Create({.clock = &clock, .poller = kPoller});
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

TEST_F(LoopHandleTest, AdoptsWhatItIsHanded) {
  const LoopHandle handle = loop_->handle();
  std::thread::id opened_on;
  ASSERT_TRUE(handle.Adopt(std::move(pair_.near), [&](Connection& connection) {
    opened_on = std::this_thread::get_id();
    connection.Attach(std::make_unique<Recorder>(record_));
    connection.Write("hello");
  }));
  EXPECT_EQ(handle.connection_count(), 1u);
  EXPECT_EQ(loop_->connection_count(), 0u);
  Turn();
  EXPECT_EQ(opened_on, std::this_thread::get_id());
  EXPECT_EQ(handle.connection_count(), 1u);
  EXPECT_EQ(loop_->connection_count(), 1u);
  EXPECT_EQ(ReadAvailable(pair_.far), "hello");
  pair_.far.Close();
  Turn(3);
  EXPECT_EQ(handle.connection_count(), 0u);
  EXPECT_EQ(record_.Count("close"), 1);
}

TEST_F(LoopHandleTest, WhatNobodyAdoptsIsClosed) {
  const auto never = [](Connection&) { ADD_FAILURE(); };
  const LoopHandle handle = loop_->handle();
  // Without a callback.
  EXPECT_FALSE(handle.Adopt(std::move(pair_.near), nullptr));
  EXPECT_EQ(ReadToEnd(pair_.far), "");
  EXPECT_EQ(handle.connection_count(), 0u);
  // Without a socket.
  EXPECT_TRUE(handle.Adopt(Socket(), never));
  Turn();
  EXPECT_EQ(handle.connection_count(), 0u);
  // The loop stops, then goes before it has adopted, then has gone.
  LoopbackPair stops = LoopbackPair::Unix();
  loop_->Stop();
  EXPECT_TRUE(handle.Adopt(std::move(stops.near), never));
  Turn();
  EXPECT_EQ(ReadToEnd(stops.far), "");
  EXPECT_EQ(handle.connection_count(), 0u);
  LoopbackPair goes = LoopbackPair::Unix();
  EXPECT_TRUE(handle.Adopt(std::move(goes.near), never));
  EXPECT_EQ(handle.connection_count(), 1u);
  EXPECT_FALSE(handle.expired());
  loop_ = nullptr;
  EXPECT_TRUE(handle.expired());
  EXPECT_EQ(ReadToEnd(goes.far), "");
  EXPECT_EQ(handle.connection_count(), 0u);
  LoopbackPair gone = LoopbackPair::Unix();
  EXPECT_FALSE(handle.Adopt(std::move(gone.near), never));
  EXPECT_EQ(ReadToEnd(gone.far), "");
  EXPECT_EQ(handle.connection_count(), 0u);
  // Of no loop.
  const LoopHandle none;
  LoopbackPair nobody = LoopbackPair::Unix();
  EXPECT_FALSE(none.Adopt(std::move(nobody.near), never));
  EXPECT_EQ(ReadToEnd(nobody.far), "");
  EXPECT_EQ(none.connection_count(), 0u);
  EXPECT_TRUE(none.expired());
}

TEST_F(LoopHandleTest, CountsWhateverWayAConnectionEnds) {
  const LoopHandle handle = loop_->handle();
  std::vector<LoopbackPair> pairs;
  std::vector<ConnectionId> ids;
  for (int i = 0; i < 5; ++i) {
    pairs.push_back(LoopbackPair::Unix());
    ids.push_back(Adopt(pairs.back().near, NewRecord()).id());
  }
  EXPECT_EQ(handle.connection_count(), 5u);
  loop_->Find(ids[0])->Close();
  loop_->Find(ids[1])->Abort();
  std::optional<Socket> released;
  loop_->Find(ids[2])->Release(
      [&](Socket socket) { released = std::move(socket); });
  EXPECT_EQ(handle.connection_count(), 5u);
  Turn(2);
  EXPECT_EQ(handle.connection_count(), 2u);
  // Closed by somebody else: its number comes again.
  const int stolen = ids[3].fd();
  Adopt(*released, NewRecord());
  LoopbackPair again = LoopbackPair::Unix();
  ASSERT_EQ(dup2(again.near.fd(), stolen), stolen);
  Socket same_number{UniqueFd(stolen)};
  Adopt(same_number, NewRecord());
  EXPECT_EQ(handle.connection_count(), loop_->connection_count());
  Turn(2);
  EXPECT_EQ(handle.connection_count(), loop_->connection_count());
  loop_ = nullptr;
  EXPECT_EQ(handle.connection_count(), 0u);
}

TEST_F(LoopHandleTest, EqualsThoseOfTheSameLoop) {
  const std::unique_ptr<Loop> other = NewLoop(clock_);
  const LoopHandle copy = loop_->handle();
  EXPECT_EQ(copy, loop_->handle());
  EXPECT_NE(copy, other->handle());
  EXPECT_NE(copy, LoopHandle());
  EXPECT_EQ(LoopHandle(), LoopHandle());
}

// --- Ids of several loops ---

TEST_F(LoopHandleTest, HasTellsWhoseConnectionItIs) {
  const std::unique_ptr<Loop> other = NewLoop(clock_);
  const ConnectionId id = Adopt(pair_.near, record_).id();
  EXPECT_TRUE(loop_->handle().Has(id));
  EXPECT_FALSE(other->handle().Has(id));
  EXPECT_FALSE(loop_->handle().Has(ConnectionId()));
  EXPECT_FALSE(LoopHandle().Has(id));
  bool in_on_close = false;
  record_.on_close = [&](Connection&) {
    in_on_close = loop_->handle().Has(id);
  };
  loop_->Find(id)->Abort();
  Turn();
  EXPECT_TRUE(in_on_close);
  EXPECT_FALSE(loop_->handle().Has(id));
  const LoopHandle handle = loop_->handle();
  loop_ = nullptr;
  EXPECT_FALSE(handle.Has(id));
}

// One number goes from loop to loop; an id of before is nobody's.
TEST_F(LoopHandleTest, AnIdOfOneLoopIsNoIdOfAnother) {
  const std::unique_ptr<Loop> other = NewLoop(clock_);
  Loop* const loops[] = {loop_.get(), other.get()};
  std::vector<ConnectionId> stale;
  std::set<uint64_t> serials;
  UniqueFd fd = pair_.near.Release();
  const int number = fd.get();
  for (int i = 0; i < 20; ++i) {
    Loop& loop = *loops[i % 2];
    std::optional<Socket> released;
    const absl::StatusOr<ConnectionId> id =
        loop.Adopt(Socket(std::move(fd)), [this](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(record_));
        });
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_EQ(id->fd(), number);
    EXPECT_TRUE(serials.insert(id->serial()).second);
    for (const ConnectionId old : stale) {
      for (Loop* const each : loops) {
        EXPECT_EQ(each->Find(old), nullptr);
        EXPECT_FALSE(each->handle().Has(old));
        each->handle().Abort(old);
      }
    }
    for (Loop* const each : loops) {
      EXPECT_EQ(each->handle().Has(*id), each == &loop);
      EXPECT_EQ(each->Find(*id) != nullptr, each == &loop);
      ASSERT_TRUE(each->RunOnce(MonotonicTime::InfinitePast()).ok());
    }
    ASSERT_NE(loop.Find(*id), nullptr);
    loop.Find(*id)->Release(
        [&](Socket socket) { released = std::move(socket); });
    ASSERT_TRUE(loop.RunOnce(MonotonicTime::InfinitePast()).ok());
    ASSERT_TRUE(released.has_value());
    fd = released->Release();
    stale.push_back(*id);
  }
}

// --- Threads ---

TEST_F(LoopHandleTest, FourThreadsHandOverAndCountExactly) {
  constexpr int kEach = 50;
  const LoopHandle handle = loop_->handle();
  std::vector<std::vector<Socket>> far(kThreads);
  std::atomic<int> opened = 0;
  std::atomic<int> running = kThreads;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t, handle] {
      for (int i = 0; i < kEach; ++i) {
        LoopbackPair pair = LoopbackPair::Unix();
        far[static_cast<size_t>(t)].push_back(std::move(pair.far));
        EXPECT_TRUE(
            handle.Adopt(std::move(pair.near), [&](Connection& connection) {
              ++opened;
              if (opened % 2 == 0) connection.Abort();
            }));
        EXPECT_LE(handle.connection_count(), size_t{kThreads * kEach});
        handle.Has(ConnectionId(3, static_cast<uint64_t>(i)));
      }
      --running;
    });
  }
  while (running > 0) Turn();
  for (std::thread& thread : threads) thread.join();
  Turn(2);
  EXPECT_EQ(opened, kThreads * kEach);
  EXPECT_EQ(handle.connection_count(), size_t{kThreads * kEach / 2});
  EXPECT_EQ(loop_->connection_count(), size_t{kThreads * kEach / 2});
}

TEST_F(LoopHandleTest, FourThreadsUseIt) {
  constexpr int kRounds = 500;
  Connection& connection = Adopt(pair_.near, record_);
  const ConnectionId id = connection.id();
  record_.on_timeout = Nothing;
  record_.on_data = [](Connection& told) { told.Received(); };
  int inside = 0;  // TSan looks on.
  record_.on_ready = [&](Connection&) { ++inside; };
  std::atomic<int> running = kThreads;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t, handle = loop_->handle()] {
      for (int i = 0; i < kRounds; ++i) {
        if (i % 2 == 0) {
          handle.Write(id, absl::StrCat(t, ":", i, " "));
        } else {
          handle.Write(id, absl::Cord(absl::StrCat(t, ":", i, " ")));
        }
        handle.Touch(id);
        handle.SetTimeout(id, absl::Seconds(1 + i));
        handle.Force(id, Connection::Callback::kReady);
        handle.Resume(id);
        absl::StatusOr<ProtocolLock> lock = handle.TryLock(id, Kind::kWrite);
        if (lock.ok()) ++inside;
        handle.Wake();
      }
      --running;
      handle.Wake();
    });
  }
  std::string received;
  while (running > 0) {
    Turn();
    received += ReadAvailable(pair_.far);
  }
  for (std::thread& thread : threads) thread.join();
  Turn(3);
  received += ReadAvailable(pair_.far);
  std::array<int, kThreads> next = {};
  for (const absl::string_view one :
       absl::StrSplit(received, ' ', absl::SkipEmpty())) {
    const int t = one[0] - '0';
    ASSERT_EQ(one, absl::StrCat(t, ":", next[t]));
    ++next[t];
  }
  for (const int count : next) EXPECT_EQ(count, kRounds);
}

// Each task that was posted is called once, whatever becomes of the loop.
TEST(LoopHandleThreads, TheLoopDiesWhileTheyPost) {
  constexpr int kRounds = 50;
  constexpr int kTasks = 200;
  for (int round = 0; round < kRounds; ++round) {
    Record record;
    LoopbackPair pair = LoopbackPair::Unix();
    auto loop = *Loop::Create({.poller = kPoller});
    const ConnectionId id =
        *loop->Adopt(std::move(pair.near), [&](Connection& connection) {
          connection.Attach(std::make_unique<Recorder>(record));
        });
    std::array<std::atomic<int>, size_t{kThreads}* kTasks> calls = {};
    std::latch start(kThreads + 1);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, handle = loop->handle()] {
        start.arrive_and_wait();
        for (int i = 0; i < kTasks; ++i) {
          const auto index = static_cast<size_t>(t * kTasks + i);
          const bool posted =
              handle.Post(id, [&, index](Connection*) { ++calls[index]; });
          if (!posted) ++calls[index];  // And that is all.
          handle.Write(id, "x");
          absl::StatusOr<ProtocolLock> lock =
              handle.TryLock(id, i % 2 == 0 ? Kind::kTask : Kind::kWrite);
        }
      });
    }
    start.arrive_and_wait();
    for (int i = 0; i < round % 5; ++i) {
      ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
    }
    loop = nullptr;
    for (std::thread& thread : threads) thread.join();
    for (const std::atomic<int>& count : calls) ASSERT_EQ(count, 1);
    EXPECT_EQ(record.Count("close"), 1);
    EXPECT_EQ(record.told.back(), "destroyed");
  }
}

// The last handle dies elsewhere while the loop dies here.
TEST(LoopHandle, LastOneDiesWithTheLoop) {
  for (int round = 0; round < 2'000; ++round) {
    auto loop = *Loop::Create({.poller = kPoller, .receive_buffer_bytes = 64});
    std::latch start(2);
    std::thread other(
        [&start, round,
         handle = std::make_unique<LoopHandle>(loop->handle())]() mutable {
          start.arrive_and_wait();
          // At another moment of the loop's end each time.
          for (int i = 0; i < round % 600; ++i) handle->Wake();
          handle = nullptr;
        });
    start.arrive_and_wait();
    loop = nullptr;
    other.join();
  }
}

// The caller may hold a lock that the task takes.
TEST(LoopHandle, PostNeverRunsTheTask) {
  auto loop = *Loop::Create({.poller = kPoller});
  const LoopHandle handle = loop->handle();
  const ConnectionId none(5, 7);
  bool inside = false;
  int ran = 0;
  const auto post = [&](ConnectionTask task) {
    inside = true;
    const bool posted = handle.Post(none, std::move(task));
    inside = false;
    return posted;
  };
  const auto run = [&](Connection* connection) {
    EXPECT_FALSE(inside);
    EXPECT_EQ(connection, nullptr);
    ++ran;
  };
  EXPECT_TRUE(post(run));
  EXPECT_EQ(ran, 0);
  ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfinitePast()).ok());
  EXPECT_EQ(ran, 1);
  // What waits when the loop ends gets null; what it posts then is refused.
  EXPECT_TRUE(post([&](Connection* connection) {
    run(connection);
    EXPECT_FALSE(post(run));
  }));
  loop = nullptr;
  EXPECT_EQ(ran, 2);
  // It is destroyed, and the caller is told.
  const auto owned = std::make_shared<int>();
  EXPECT_FALSE(
      post([&run, owned](Connection* connection) { run(connection); }));
  EXPECT_EQ(owned.use_count(), 1);
  EXPECT_EQ(ran, 2);
}

// Descriptors come again at once, and locks of the old connections meet the
// new ones: none may be left behind on one of these.
TEST(LoopHandleThreads, LocksOfConnectionsThatCloseHoldNobodyUp) {
  constexpr int kConnections = 3'000;
  const auto loop = *Loop::Create({.poller = kPoller});
  std::atomic<uint64_t> current = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads - 1; ++t) {
    threads.emplace_back([&, t, handle = loop->handle()] {
      while (!done) {
        const uint64_t now = current;
        const ConnectionId id(static_cast<int>(now & 0xffff), now >> 16);
        absl::StatusOr<ProtocolLock> lock =
            handle.TryLock(id, t % 2 == 0 ? Kind::kTask : Kind::kWrite);
      }
    });
  }
  for (int i = 0; i < kConnections; ++i) {
    Record record;
    LoopbackPair pair = LoopbackPair::Unix();
    const ConnectionId id =
        *loop->Adopt(std::move(pair.near), [&](Connection& connection) {
          current = connection.id().serial() << 16 | connection.id().fd();
          connection.Attach(std::make_unique<Recorder>(record));
        });
    ASSERT_TRUE(pair.far.TryWrite("x").ok());
    while (record.data.empty() || record.Count("ready") == 0) {
      ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
    }
    loop->Find(id)->Abort();
    while (record.Count("destroyed") == 0) {
      ASSERT_TRUE(loop->RunOnce(MonotonicTime::InfiniteFuture()).ok());
    }
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fio
