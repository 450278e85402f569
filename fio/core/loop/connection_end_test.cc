#include "fio/core/loop/connection_end.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/test_pair.h"
#include "fio/core/loop/test_util.h"
#include "fio/core/poller/poller_under_test.h"
#include "fio/sock/socket.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/loopback_pair.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using loop_internal::LoopFixture;
using loop_internal::Record;
using loop_internal::UnixPair;
using testing::LoopbackPair;

class End final : public ConnectionEnd {
 public:
  End(std::string name, std::vector<std::string>& told)
      : name_(std::move(name)), told_(told) {}

  std::function<void(Connection&)> then;

 private:
  void OnConnectionEnd(Connection& connection,
                       const CloseReason& reason) override {
    EXPECT_FALSE(added());
    told_.push_back(name_ + ": " + reason.ToString());
    if (then) then(connection);
  }

  const std::string name_;
  std::vector<std::string>& told_;
};

class ConnectionEndTest : public LoopFixture {
 protected:
  ConnectionEndTest()
      : LoopFixture({.poller = core_internal::PollerUnderTest()}) {}

  LoopbackPair pair_ = UnixPair();
  Record& record_ = NewRecord();
  std::vector<std::string>& told_ = record_.told;
};

TEST_F(ConnectionEndTest, IsToldInOrderBeforeOnClose) {
  End a("a", told_);
  End b("b", told_);
  End removed("removed", told_);
  {
    End gone("gone", told_);
    Connection& connection = Adopt(pair_.near, record_);
    for (ConnectionEnd* const end :
         {static_cast<ConnectionEnd*>(&a), static_cast<ConnectionEnd*>(&gone),
          static_cast<ConnectionEnd*>(&removed),
          static_cast<ConnectionEnd*>(&b)}) {
      EXPECT_TRUE(connection.AddEnd(*end));
      EXPECT_TRUE(end->added());
    }
    removed.Remove();
    removed.Remove();
    Turn(2);
    told_.clear();
    connection.Close(3);
  }
  Turn();
  EXPECT_EQ(told_, std::vector<std::string>({"a: closed here, code 3",
                                             "b: closed here, code 3", "close",
                                             "destroyed"}));
}

// Each may end others, and what it adds is not told.
TEST_F(ConnectionEndTest, MayDoAnythingToOthers) {
  std::optional<End> doomed(std::in_place, "doomed", told_);
  End removed("removed", told_);
  End last("last", told_);
  End first("first", told_);
  first.then = [&](Connection& connection) {
    doomed.reset();
    removed.Remove();
    EXPECT_FALSE(connection.AddEnd(first));
    EXPECT_FALSE(connection.Write("x"));
  };
  Connection& connection = Adopt(pair_.near, record_);
  connection.AddEnd(first);
  connection.AddEnd(*doomed);
  connection.AddEnd(removed);
  connection.AddEnd(last);
  Turn(2);
  told_.clear();
  connection.Abort();
  Turn();
  EXPECT_EQ(told_,
            std::vector<std::string>({"first: closed here", "last: closed here",
                                      "close", "destroyed"}));
}

TEST_F(ConnectionEndTest, MayMoveToAnotherConnection) {
  LoopbackPair other = UnixPair();
  End end("end", told_);
  Connection& first = Adopt(pair_.near, record_);
  Connection& second = Adopt(other.near, NewRecord());
  EXPECT_TRUE(first.AddEnd(end));
  EXPECT_TRUE(second.AddEnd(end));
  first.Abort();
  Turn(2);
  EXPECT_TRUE(end.added());
  told_.clear();
  second.Abort();
  Turn();
  EXPECT_EQ(told_, std::vector<std::string>({"end: closed here"}));
  EXPECT_FALSE(end.added());
}

TEST_F(ConnectionEndTest, CostsNoAllocation) {
  End ends[] = {{"a", told_}, {"b", told_}, {"c", told_}};
  for (const bool first : {true, false}) {
    LoopbackPair pair = UnixPair();
    Connection& connection = Adopt(pair.near, NewRecord());
    Turn(2);
    const testing::AllocationCounter counter;
    for (End& end : ends) connection.AddEnd(end);
    if (!first) {
      EXPECT_EQ(counter.allocations(), 0);
    }
    connection.Abort();
    Turn();
  }
}

// The loop's end ends connections, too.
TEST_F(ConnectionEndTest, IsToldAtTheEndOfTheLoop) {
  End end("end", told_);
  Adopt(pair_.near, record_).AddEnd(end);
  Turn(2);
  told_.clear();
  loop_ = nullptr;
  EXPECT_EQ(told_, std::vector<std::string>(
                       {"end: closed here", "close", "destroyed"}));
}

}  // namespace
}  // namespace fio
