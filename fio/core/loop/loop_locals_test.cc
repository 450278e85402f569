#include "fio/core/loop/loop_locals.h"

#include <memory>
#include <string>

#include "fio/base/monotonic_time.h"
#include "fio/core/loop/loop.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

std::string* g_told = nullptr;

struct First {
  ~First() { *g_told += "first "; }
  int calls = 0;
};
struct Second {
  explicit Second(Loop& loop) : loop(loop) {}
  // May ask for older ones.
  ~Second() {
    ++loop.Local<First>().calls;
    *g_told += "second ";
  }
  Loop& loop;
};

class LoopLocal : public ::testing::Test {
 protected:
  LoopLocal() { g_told = &told_; }

  std::string told_;
  std::unique_ptr<Loop> loop_ = *Loop::Create({});
  std::unique_ptr<Loop> other_ = *Loop::Create({});
};

TEST_F(LoopLocal, IsOneOfEachTypeAndLoop) {
  First& first = loop_->Local<First>();
  const testing::AllocationCounter counter;
  EXPECT_EQ(&loop_->Local<First>(), &first);
  EXPECT_EQ(counter.allocations(), 0);
  EXPECT_NE(&other_->Local<First>(), &first);
  EXPECT_EQ(&loop_->Local<Second>().loop, loop_.get());
  EXPECT_EQ(&loop_->Local<First>(), &first);
}

TEST_F(LoopLocal, DiesWithTheLoopNewestFirst) {
  loop_->Local<First>();
  loop_->Local<Second>();
  loop_ = nullptr;
  EXPECT_EQ(told_, "second first ");
}

// After all that may use it.
TEST_F(LoopLocal, OutlivesTasksTimersAndConnections) {
  First* first = &loop_->Local<First>();
  struct User {
    explicit User(First* first) : first(first) {}
    User(const User&) = delete;
    User& operator=(const User&) = delete;
    ~User() { ++first->calls; }
    First* first;
  };
  loop_->Post([user = std::make_shared<User>(first)] {});
  loop_->RunAt(MonotonicTime::InfiniteFuture(),
               [user = std::make_shared<User>(first)] {});
  loop_->OnTurnEnd([user = std::make_shared<User>(first)] {});
  loop_ = nullptr;
  EXPECT_EQ(told_, "first ");
}

}  // namespace
}  // namespace fio
