#include "fio/core/loop/connection_group.h"

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol_lock.h"
#include "fio/core/loop/test_util.h"
#include "fio/sock/socket.h"
#include "fio/testing/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::Record;
using loop_internal::Recorder;
using testing::Peer;
using testing::World;

class ConnectionGroupTest : public ::testing::Test {
 protected:
  Connection& Connect() {
    Connection* made = nullptr;
    Record& record = records_.emplace_back();
    peers_.push_back(world_.Connect([&](Connection& connection) {
      made = &connection;
      connection.Attach(std::make_unique<Recorder>(record));
    }));
    return *made;
  }
  Connection& ConnectIn(ConnectionGroup& group) {
    Connection& connection = Connect();
    group.Add(connection);
    return connection;
  }

  std::deque<Record> records_;
  std::deque<Peer> peers_;
  World world_;
};

TEST_F(ConnectionGroupTest, Counts) {
  ConnectionGroup group(world_.loop());
  ConnectionGroup other(world_.loop());
  Connection& one = ConnectIn(group);
  Connection& two = ConnectIn(group);
  group.Add(one);
  EXPECT_EQ(group.size(), 2u);
  EXPECT_EQ(group.added(), 2u);
  EXPECT_EQ(one.group(), &group);
  other.Add(one);
  EXPECT_EQ(one.group(), &other);
  EXPECT_EQ(group.size(), 1u);
  EXPECT_EQ(group.closed(), 0u) << "it has only moved";
  EXPECT_EQ(other.added(), 1u);
  group.Remove(one);
  EXPECT_EQ(one.group(), &other) << "not in this one";
  other.Remove(one);
  other.Remove(one);
  EXPECT_EQ(one.group(), nullptr);
  EXPECT_EQ(other.size(), 0u);
  records_[1].on_close = [&](Connection& closed) {
    EXPECT_EQ(closed.group(), nullptr);
    EXPECT_EQ(group.closed(), 1u);
    group.Add(closed);
  };
  two.Close();
  group.Add(two);
  world_.RunUntilIdle();
  EXPECT_EQ(group.size(), 0u);
  EXPECT_EQ(group.added(), 2u);
  EXPECT_EQ(group.closed(), 1u);
  one.Close();
  world_.RunUntilIdle();
  EXPECT_EQ(group.closed() + other.closed(), 1u);
}

TEST_F(ConnectionGroupTest, AConnectionThatIsNotOpenJoinsNone) {
  ConnectionGroup group(world_.loop());
  Connection& connection = Connect();
  connection.Abort();
  group.Add(connection);
  EXPECT_EQ(group.added(), 0u);
  world_.RunUntilIdle();
  EXPECT_EQ(group.closed(), 0u);
}

TEST_F(ConnectionGroupTest, ClosesAll) {
  for (const bool abort : {false, true}) {
    ConnectionGroup group(world_.loop());
    const size_t first = records_.size();
    for (int i = 0; i < 10; ++i) ConnectIn(group).Write("bye");
    Connection& other = Connect();
    abort ? group.AbortAll() : group.CloseAll();
    world_.RunUntilIdle();
    EXPECT_EQ(group.size(), 0u);
    EXPECT_EQ(group.closed(), 10u);
    EXPECT_TRUE(other.is_open());
    for (size_t i = first; i < first + 10; ++i) {
      EXPECT_EQ(records_[i].Count("close"), 1);
      EXPECT_EQ(peers_[i].received(), abort ? "" : "bye");
      EXPECT_EQ(peers_[i].saw_reset(), abort);
    }
  }
}

TEST_F(ConnectionGroupTest, ACallbackClosesItsNeighboursMeanwhile) {
  ConnectionGroup group(world_.loop());
  for (int i = 0; i < 10; ++i) ConnectIn(group);
  for (Record& record : records_) {
    record.on_close = [&](Connection&) { group.AbortAll(); };
  }
  group.ForEach([&](Connection& connection) {
    connection.Close();
    group.CloseAll();
  });
  world_.RunUntilIdle();
  EXPECT_EQ(group.closed(), 10u);
  for (const Record& record : records_) EXPECT_EQ(record.Count("close"), 1);
}

TEST_F(ConnectionGroupTest, VisitsOnlyWhoIsStillThere) {
  ConnectionGroup group(world_.loop());
  std::vector<Connection*> connections;
  for (int i = 0; i < 10; ++i) connections.push_back(&ConnectIn(group));
  int visited = 0;
  group.ForEach([&](Connection& visit) {
    ++visited;
    for (Connection* connection : connections) {
      if (connection != &visit) group.Remove(*connection);
    }
    ConnectIn(group);
  });
  EXPECT_EQ(visited, 1);
  EXPECT_EQ(group.size(), 2u);
}

TEST_F(ConnectionGroupTest, DiesBeforeItsConnections) {
  auto group = std::make_unique<ConnectionGroup>(world_.loop());
  Connection& open = ConnectIn(*group);
  Connection& closing = ConnectIn(*group);
  Connection& dead = ConnectIn(*group);
  Connection& held_up = ConnectIn(*group);
  std::optional<ProtocolLock> lock =
      *world_.loop().handle().TryLock(held_up.id(), ProtocolLock::Kind::kTask);
  held_up.Abort();
  world_.Turn(2);
  closing.Close();
  dead.Abort();
  group = nullptr;
  EXPECT_EQ(open.group(), nullptr);
  EXPECT_EQ(dead.group(), nullptr);
  lock.reset();
  world_.RunUntilIdle();
  EXPECT_TRUE(open.is_open());
  for (int i = 1; i < 4; ++i) EXPECT_EQ(records_[i].Count("close"), 1);
  // From inside of a callback of one of them.
  auto next = std::make_unique<ConnectionGroup>(world_.loop());
  next->Add(open);
  ConnectIn(*next);
  records_[0].on_close = [&](Connection&) { next = nullptr; };
  open.Close();
  world_.RunUntilIdle();
  EXPECT_EQ(next, nullptr);
}

TEST_F(ConnectionGroupTest, AReplacedProtocolStaysInTheGroupAndAReleasedNot) {
  ConnectionGroup group(world_.loop());
  Connection& connection = ConnectIn(group);
  connection.Attach(std::make_unique<Recorder>(records_.emplace_back()));
  connection.Detach();
  world_.RunUntilIdle();
  EXPECT_EQ(connection.group(), &group);
  Socket socket;
  connection.Release([&](Socket released) { socket = std::move(released); });
  world_.RunUntilIdle();
  EXPECT_EQ(group.size(), 0u);
  socket.Close();
}

}  // namespace
}  // namespace fio
