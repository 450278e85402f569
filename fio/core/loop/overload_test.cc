// What a loop does when its peers do not read.

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_options.h"
#include "fio/core/loop/memory_budget.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/socket.h"
#include "fio/sock/watermarks.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::IsOverHandshake;
using loop_internal::IsOverTls;
using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::UnixPair;
using testing::LoopbackPair;
using testing::ReadAvailable;

constexpr uint64_t kLimit = uint64_t{8} << 20;
constexpr size_t kAnswer = size_t{512} << 10;

class Overload : public LoopFixture {
 protected:
  Overload()
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .memory_limit_bytes = kLimit,
                     .process_memory = &process_}) {}

  // Each byte that it sends is answered by half a megabyte.
  struct Client {
    LoopbackPair pair = UnixPair();
    Record* record;
    Connection* connection;
    size_t received = 0;
  };
  Client& AddClient() {
    Client& client = clients_.emplace_back();
    client.record = &NewRecord();
    client.record->on_data = [](Connection& connection) {
      for (size_t i = connection.Received().size(); i > 0; --i) {
        connection.Write(std::string(kAnswer, 'x'));
      }
    };
    client.connection = &Adopt(client.pair.near, *client.record);
    client.connection->SetWatermarks({.high_bytes = uint64_t{64} << 20});
    return client;
  }
  static void Ask(Client& client) {
    ASSERT_TRUE(client.pair.far.TryWrite("?").ok());
  }
  bool gone(const Client& client) const {
    return client.record->Count("close") > 0;
  }
  uint64_t used() const { return loop_->stats().memory_bytes; }

  MemoryBudget process_{uint64_t{1} << 40};
  std::deque<Client> clients_;
};

TEST_F(Overload, TotalMemoryIsBounded) {
  constexpr int kClients = 50;
  for (int i = 0; i < kClients; ++i) AddClient();
  Turn(2);
  uint64_t most = 0;
  for (int round = 0; round < 4; ++round) {
    for (Client& client : clients_) {
      if (!gone(client)) Ask(client);
    }
    for (int i = 0; i < 3; ++i) {
      Turn();
      most = std::max(most, used());
    }
  }
  EXPECT_GT(most, kLimit / 2);
  EXPECT_LE(most, kLimit + kLimit / 4);
  EXPECT_GE(loop_->stats().overloads, 1u);
  EXPECT_EQ(process_.used_bytes(), used());
  // Once the peers read, all that were not shed get what they asked for.
  for (int round = 0; round < 4000; ++round) {
    for (Client& client : clients_) {
      client.received += ReadAvailable(client.pair.far).size();
    }
    Turn();
    ASSERT_LE(used(), kLimit + kLimit / 4);
  }
  for (const Client& client : clients_) {
    if (!gone(client)) {
      EXPECT_EQ(client.received, 4 * kAnswer);
    }
  }
  EXPECT_EQ(used(), 0u);
  EXPECT_EQ(process_.used_bytes(), 0u);
  EXPECT_GT(loop_->connection_count(), 0u);
}

// Reading stops first, and goes on when a quarter is free.
TEST_F(Overload, ReadingStopsAndGoesOn) {
  Client& hog = AddClient();
  Client& other = AddClient();
  for (uint64_t i = 0; i <= kLimit / kAnswer + 1; ++i) Ask(hog);
  Turn(3);
  ASSERT_GT(used(), kLimit);
  Ask(other);
  Turn(3);
  EXPECT_EQ(other.record->Count("data"), 0);
  EXPECT_FALSE(gone(hog));
  while (used() > kLimit - kLimit / 4) {
    ASSERT_EQ(other.record->Count("data"), 0);
    ReadAvailable(hog.pair.far);
    Turn();
  }
  Turn();
  EXPECT_EQ(other.record->Count("data"), 1);
  EXPECT_EQ(loop_->stats().shed, 0u);
}

// The end of a peer is told all the same.
TEST_F(Overload, EndsAreTold) {
  Client& hog = AddClient();
  Client& other = AddClient();
  for (uint64_t i = 0; i <= kLimit / kAnswer + 1; ++i) Ask(hog);
  Turn(3);
  other.pair.far.Close();
  Turn(3);
  EXPECT_EQ(other.record->Count("end"), 1);
  EXPECT_TRUE(gone(other));
}

TEST_F(Overload, TheLargestAreShed) {
  std::vector<Client*> small;
  for (int i = 0; i < 10; ++i) small.push_back(&AddClient());
  Client& large = AddClient();
  for (Client* const client : small) Ask(*client);
  Turn(2);
  for (uint64_t i = 0; i < kLimit / kAnswer; ++i) Ask(large);
  Turn(3);
  EXPECT_TRUE(gone(large));
  EXPECT_EQ(large.record->reason.error, ENOBUFS);
  for (const Client* const client : small) EXPECT_FALSE(gone(*client));
  EXPECT_EQ(loop_->stats().shed, 1u);
  EXPECT_LT(used(), kLimit);
}

// A turn cannot be awaited when it writes too much.
TEST_F(Overload, WhoeverWritesFarTooMuchInATurnIsAborted) {
  Client& client = AddClient();
  bool wrote = true;
  uint64_t written = 0;
  client.record->on_data = [&](Connection& connection) {
    connection.Received();
    while ((wrote = connection.Write(std::string(kAnswer, 'x')))) {
      written += kAnswer;
    }
  };
  Ask(client);
  Turn(2);
  EXPECT_LE(written, kLimit + kLimit / 2);
  EXPECT_TRUE(gone(client));
  EXPECT_EQ(client.record->reason.error, ENOBUFS);
  EXPECT_EQ(used(), 0u);
}

// Each time that it sends something it asks anew.
TEST_F(Overload, WhoIsHeldBackIsNotedOnce) {
  if (IsOverHandshake()) return;  // It allocates.
  Client& hog = AddClient();
  Client& other = AddClient();
  for (uint64_t i = 0; i <= kLimit / kAnswer + 1; ++i) Ask(hog);
  Turn(3);
  ASSERT_GT(used(), kLimit);
  Ask(other);
  Turn(2);
  const testing::AllocationCounter counter;
  for (int i = 0; i < 100; ++i) {
    Ask(other);
    Turn();
  }
  EXPECT_EQ(counter.allocations(), 0);
  EXPECT_EQ(other.record->Count("data"), 0);
  while (used() > kLimit - kLimit / 4) {
    ReadAvailable(hog.pair.far);
    Turn();
  }
  Turn();
  EXPECT_GE(other.record->Count("data"), 1);
}

// At the end of the turn in which it has ended.
TEST_F(Overload, WhatHasEndedCountsNoMore) {
  Client& client = AddClient();
  Turn(2);
  client.connection->Write(std::string(kAnswer, 'x'));
  Turn(2);
  EXPECT_GT(used(), 0u);
  client.connection->Abort();
  Turn();
  EXPECT_EQ(used(), 0u);
  EXPECT_EQ(process_.used_bytes(), 0u);
}

// What a protocol does not consume counts, too.
TEST_F(Overload, UnreadBytesCount) {
  Client& client = AddClient();
  client.record->on_data = [](Connection& connection) {
    EXPECT_FALSE(connection.Unread().empty());
  };
  ASSERT_TRUE(client.pair.far.TryWrite(std::string(1000, 'x')).ok());
  Turn(2);
  EXPECT_EQ(used(), 1000u);
  char bytes[400];
  EXPECT_EQ(client.connection->Read(absl::MakeSpan(bytes)), 400u);
  Turn();
  EXPECT_EQ(used(), 600u);
  client.connection->Abort();
  Turn();
  Turn();
  EXPECT_EQ(used(), 0u);
}

// Loops share a bound: what one has stops the others.
TEST_F(Overload, ProcessesHaveABound) {
  process_.set_limit_bytes(kLimit / 2);
  LoopOptions options;
  options.clock = &clock_;
  options.process_memory = &process_;
  const std::unique_ptr<Loop> second = *Loop::Create(options);
  const auto turn = [&second] {
    ASSERT_TRUE(second->RunOnce(MonotonicTime::InfinitePast()).ok());
  };
  LoopbackPair pair = UnixPair();
  Record& record = NewRecord();
  const absl::StatusOr<ConnectionId> id =
      second->Adopt(std::move(pair.near), [&](Connection& connection) {
        connection.Attach(std::make_unique<loop_internal::Recorder>(record));
      });
  ASSERT_TRUE(id.ok()) << id.status();
  Client& hog = AddClient();
  for (uint64_t i = 0; i < kLimit / 2 / kAnswer + 1; ++i) Ask(hog);
  Turn(3);
  ASSERT_GT(process_.used_bytes(), process_.limit_bytes());
  ASSERT_TRUE(pair.far.TryWrite("hello").ok());
  turn();
  turn();
  EXPECT_EQ(record.data, "");
  while (used() > 0) {
    ReadAvailable(hog.pair.far);
    Turn();
  }
  // The other loop looks again after a while.
  clock_.Advance(absl::Milliseconds(10));
  turn();
  turn();
  EXPECT_EQ(record.data, "hello");
}

// --- Peers that read slowly ---

constexpr uint64_t kSlowLimit = 500'000;
// A transport that makes records takes all of it, or much.
constexpr size_t kSlowAnswer = 60'000;

// The kernel has little room for each of them.
class SlowReaders : public LoopFixture {
 protected:
  explicit SlowReaders(const Watermarks& watermarks = LoopOptions().watermarks)
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .watermarks = watermarks,
                     .memory_limit_bytes = kSlowLimit,
                     .process_memory = &process_}) {}

  struct Client {
    LoopbackPair pair = UnixPair();
    Record* record;
    ConnectionId id;
    size_t received = 0;
  };
  // Which has an answer on its way.
  Client& AddClient() {
    Client& client = clients_.emplace_back();
    client.record = &NewRecord();
    const int least = 0;
    ABSL_CHECK_EQ(setsockopt(client.pair.near.fd(), SOL_SOCKET, SO_SNDBUF,
                             &least, sizeof(least)),
                  0);
    Connection& connection = Adopt(client.pair.near, *client.record);
    client.id = connection.id();
    EXPECT_TRUE(connection.Write(std::string(kSlowAnswer, 'x')));
    Turn(3);
    return client;
  }
  // What their connections say.
  uint64_t pending() {
    uint64_t bytes = 0;
    for (const Client& client : clients_) {
      const Connection* const connection = loop_->Find(client.id);
      if (connection != nullptr) bytes += connection->pending_bytes();
    }
    return bytes;
  }
  uint64_t used() const { return loop_->stats().memory_bytes; }

  MemoryBudget process_{uint64_t{1} << 40};
  std::deque<Client> clients_;
};

TEST_F(SlowReaders, AreHeldBackAndShedWhoeverHoldsTheirBytes) {
  Client& first = AddClient();
  ASSERT_GT(pending(), kSlowAnswer / 2);
  while (used() <= kSlowLimit) {
    EXPECT_EQ(used(), pending());
    EXPECT_EQ(process_.used_bytes(), used());
    AddClient();
    ASSERT_LT(clients_.size(), 20u);
  }
  ASSERT_EQ(loop_->stats().shed, 0u);
  ASSERT_TRUE(first.pair.far.TryWrite("?").ok());
  Turn(3);
  EXPECT_EQ(first.record->Count("data"), 0);
  EXPECT_EQ(loop_->stats().overloads, 1u);
  while (loop_->stats().shed == 0) {
    AddClient();
    ASSERT_LT(clients_.size(), 30u);
  }
  EXPECT_LE(used(), kSlowLimit);
  EXPECT_EQ(used(), pending());
  // Who was not shed gets all, and nothing stays.
  while (used() > 0) {
    for (Client& client : clients_) {
      client.received += ReadAvailable(client.pair.far).size();
    }
    Turn();
  }
  for (Client& client : clients_) {
    client.received += ReadAvailable(client.pair.far).size();
    if (loop_->Find(client.id) != nullptr) {
      EXPECT_EQ(client.received, kSlowAnswer);
    }
  }
  EXPECT_GE(loop_->connection_count(), 5u);
  EXPECT_EQ(process_.used_bytes(), 0u);
}

class SlowReadersAndALowMark : public SlowReaders {
 protected:
  SlowReadersAndALowMark() : SlowReaders({.high_bytes = 1000}) {}
};

// A connection whose transport holds bytes is above its high mark though its
// queue is empty.
TEST_F(SlowReadersAndALowMark, PauseWhatIsRead) {
  Client& client = AddClient();
  const Connection& connection = *loop_->Find(client.id);
  EXPECT_EQ(client.record->Count("high"), 1);
  ASSERT_TRUE(client.pair.far.TryWrite("?").ok());
  Turn(3);
  EXPECT_EQ(client.record->Count("data"), 0);
  while (connection.pending_bytes() > 500) {
    EXPECT_EQ(client.record->Count("low"), 0);
    EXPECT_EQ(client.record->Count("data"), 0);
    ReadAvailable(client.pair.far);
    Turn();
  }
  Turn();
  EXPECT_EQ(client.record->Count("low"), 1);
  EXPECT_EQ(client.record->data, "?");
}

// They read nothing, and the rest of a record of theirs comes late.
TEST_F(SlowReaders, WhoSendSlowlyCountForThatToo) {
  if (!IsOverTls()) return;  // Others give a protocol what has come.
  Client& client = AddClient();
  const uint64_t unsent = used();
  Socket& far = client.pair.far;
  const int least = 0;
  ABSL_CHECK_EQ(
      setsockopt(far.fd(), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
  constexpr size_t kRecord = 16'000;
  ASSERT_EQ(far.TryWrite(std::string(kRecord, 'x')).bytes, kRecord);
  uint64_t most = unsent;
  for (int i = 0; i < 20 && far.wants_write(); ++i) {
    Turn(2);
    if (client.record->data.empty()) {
      EXPECT_GT(used(), most);
      most = used();
    }
    static_cast<void>(far.Flush());
  }
  Turn(2);
  EXPECT_EQ(client.record->data.size(), kRecord);
  EXPECT_GT(most, unsent + kRecord / 4);
  EXPECT_EQ(used(), unsent);
}

// --- Most of it is unread ---

constexpr uint64_t kUnreadLimit = 100'000;

class UnreadOverload : public LoopFixture {
 protected:
  UnreadOverload()
      : LoopFixture({.poller = core_internal::PollerUnderTest(),
                     .unread_limit_bytes = 50'000,
                     .memory_limit_bytes = kUnreadLimit}) {}

  struct Client {
    LoopbackPair pair = UnixPair();
    Record* record;
    Connection* connection;
  };
  // Waits for a message that does not come, until `consumes_`.
  Client& AddWaiting() {
    Client& client = clients_.emplace_back();
    client.record = &NewRecord();
    client.record->on_data = [this](Connection& connection) {
      const size_t unread = connection.Unread().size();
      if (consumes_) connection.Consume(unread);
    };
    client.connection = &Adopt(client.pair.near, *client.record);
    return client;
  }
  void Send(Client& client, size_t bytes) {
    while (bytes > 0) {
      bytes -= client.pair.far.TryWrite(std::string(bytes, 'x')).bytes;
      static_cast<void>(client.pair.far.Flush());
      Turn();
    }
    Turn(30);  // A transport may give little at a time.
  }
  uint64_t used() const { return loop_->stats().memory_bytes; }

  bool consumes_ = false;
  std::deque<Client> clients_;
};

// Nobody reads, so nobody gets what it waits for: after a second of that those
// with the most go.
TEST_F(UnreadOverload, EndsThoughNobodyConsumes) {
  for (int i = 0; i < 6; ++i) AddWaiting();
  Record& record = NewRecord();
  LoopbackPair pair = UnixPair();
  Adopt(pair.near, record);
  Turn(2);
  for (Client& client : clients_) Send(client, 18'000);
  ASSERT_GT(used(), kUnreadLimit);
  ASSERT_TRUE(pair.far.TryWrite("ping").ok());
  Turn(2);
  for (int i = 0; i < 50; ++i) Advance(absl::Milliseconds(10));
  EXPECT_EQ(record.data, "");
  EXPECT_EQ(loop_->stats().shed, 0u);
  for (int i = 0; i < 100; ++i) Advance(absl::Milliseconds(10));
  EXPECT_EQ(record.data, "ping");
  EXPECT_EQ(loop_->stats().shed, 2u);
}

// However often it begins, that second is one.
TEST_F(UnreadOverload, IsLookedAfterByOneTimer) {
  Client& one = AddWaiting();
  Client& other = AddWaiting();
  Record& record = NewRecord();
  LoopbackPair pair = UnixPair();
  Adopt(pair.near, record);
  Turn(2);
  for (uint64_t times = 1; times <= 30; ++times) {
    consumes_ = false;
    Send(one, 50'000);
    Send(other, 50'001);
    ASSERT_GT(used(), kUnreadLimit);
    ASSERT_TRUE(pair.far.TryWrite("ping").ok());
    Turn(2);
    EXPECT_EQ(loop_->stats().overloads, times);
    if (times == 30) break;
    consumes_ = true;
    one.connection->Force(Connection::Callback::kData);
    other.connection->Force(Connection::Callback::kData);
    Turn(3);
    ASSERT_EQ(used(), 0u);
  }
  for (int i = 0; i < 50; ++i) Advance(absl::Milliseconds(10));
  EXPECT_EQ(loop_->stats().shed, 0u);
}

}  // namespace
}  // namespace fio
