#include "examples/first_server/primes.h"

#include <atomic>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "fio/fio.h"
#include "fio/testing/simulated_network.h"
#include "fio/testing/world.h"
#include "gtest/gtest.h"

namespace {

class PrimesTest : public ::testing::Test {
 protected:
  fio::testing::Peer Connect() {
    return world_.Connect([this](fio::Connection& connection) {
      connection.Attach(std::make_unique<Primes>(*pool_, is_over_));
    });
  }

  // Lets the pool do all that it was given, and the loop hear of it.
  void FinishWork() {
    absl::Notification done;
    pool_->Post([&done] { done.Notify(); });  // Its one thread keeps the order.
    world_.RunUntil([&done] { return done.HasBeenNotified(); });
    world_.RunUntilIdle();
  }

  // Has work wait until `go` is notified.
  void HoldWork(absl::Notification& go) {
    pool_->Post([&go] { go.WaitForNotification(); });
  }

  std::atomic<bool> is_over_ = false;
  fio::testing::World world_;
  std::unique_ptr<fio::ThreadPool> pool_ =
      *fio::ThreadPool::Create({.threads = 1});
};

TEST_F(PrimesTest, AnswersInOrder) {
  fio::testing::Peer client = Connect();
  client.Send("7\n8\r\nseven\n");
  world_.RunUntilIdle();
  FinishWork();
  FinishWork();
  EXPECT_EQ(client.received(),
            "7 is prime\n8 is not prime\nerror: that is no number\n");
}

TEST_F(PrimesTest, ShowsThatItWorks) {
  absl::Notification go;
  HoldWork(go);
  fio::testing::Peer client = Connect();
  client.Send("7\n");
  world_.RunUntilIdle();
  world_.Advance(absl::Seconds(2));
  EXPECT_EQ(client.received(), ".\n.\n");
  go.Notify();
  FinishWork();
  EXPECT_EQ(client.received(), ".\n.\n7 is prime\n");
}

TEST_F(PrimesTest, AnswersAClientThatHasEnded) {
  absl::Notification go;
  HoldWork(go);
  fio::testing::Peer client = Connect();
  client.Send("7\n");
  client.ShutdownWrite();
  world_.RunUntilIdle();
  EXPECT_FALSE(client.saw_end());
  go.Notify();
  FinishWork();
  EXPECT_EQ(client.received(), "7 is prime\n");
  EXPECT_TRUE(client.saw_end());
}

TEST_F(PrimesTest, ForgetsAClientThatHasGone) {
  absl::Notification go;
  HoldWork(go);
  fio::testing::Peer client = Connect();
  client.Send("7\n");
  world_.RunUntilIdle();
  client.Reset();
  world_.RunUntilIdle();
  EXPECT_EQ(world_.loop().connection_count(), 0u);
  go.Notify();
  FinishWork();
}

TEST_F(PrimesTest, ClosesWhoSendsNoLineOrNothing) {
  fio::testing::Peer endless = Connect();
  endless.Send(std::string(Primes::kMaxLineBytes + 1, '1'));
  fio::testing::Peer silent = Connect();
  world_.RunUntilIdle();
  EXPECT_EQ(endless.received(), "error: the line is too long\n");
  EXPECT_TRUE(endless.saw_end());
  EXPECT_FALSE(silent.saw_end());
  world_.Advance(Primes::kIdleTimeout);
  EXPECT_TRUE(silent.saw_end());
}

TEST_F(PrimesTest, SaysByeBeforeItIsReplaced) {
  absl::Notification go;
  HoldWork(go);
  fio::testing::Peer busy = Connect();
  fio::testing::Peer idle = Connect();
  busy.Send("7\n9\n");
  world_.RunUntilIdle();
  world_.loop().Drain();
  world_.RunUntilIdle();
  EXPECT_EQ(idle.received(), "bye\n");
  EXPECT_TRUE(idle.saw_end());
  EXPECT_FALSE(busy.saw_end());
  go.Notify();
  FinishWork();
  FinishWork();
  EXPECT_EQ(busy.received(), "7 is prime\n9 is not prime\nbye\n");
  EXPECT_TRUE(busy.saw_end());
}

TEST_F(PrimesTest, AnswersBeforeItStops) {
  absl::Notification go;
  HoldWork(go);
  fio::testing::Peer busy = Connect();
  fio::testing::Peer idle = Connect();
  busy.Send("7\n9\n");
  world_.RunUntilIdle();
  world_.loop().Stop();
  world_.RunUntilIdle();
  EXPECT_TRUE(idle.saw_end());
  go.Notify();
  FinishWork();
  EXPECT_EQ(busy.received(), "7 is prime\n");
  EXPECT_TRUE(busy.saw_end());
}

}  // namespace
