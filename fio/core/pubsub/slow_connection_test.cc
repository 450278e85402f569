// Connections that are sent more than their peers read.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/world_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/testing/simulated_network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using pubsub_internal::MessageBlock;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using testing::Peer;
using Numbers = std::vector<int>;

constexpr int kBytes = 100;         // Of each message.
constexpr size_t kMaxBytes = 1000;  // What the connection may have queued.
constexpr int kForwarded = 11;      // Then it has more.
constexpr int kMaxWaiting = 5;      // Messages.
constexpr absl::Duration kSoon = absl::Milliseconds(10);

Numbers Range(int first, int last) {
  Numbers numbers;
  for (; first <= last; ++first) numbers.push_back(first);
  return numbers;
}

class SlowConnection : public pubsub_internal::PubSubInWorld {
 protected:
  // A connection whose peer reads nothing.
  Opened Subscribed(SlowPolicy policy) {
    Opened opened = Connect();
    opened.peer.SetAutoRead(false);
    opened.peer.SetWindow(0);
    EXPECT_TRUE(
        pubsub_
            .Subscribe(*opened.connection,
                       {.channel = "news",
                        .slow = {.policy = policy,
                                 .max_messages = kMaxWaiting,
                                 .max_bytes = kMaxBytes},
                        .on_slow = [this] { log_.push_back("slow"); },
                        .on_unsubscribe = [this] { log_.push_back("ended"); }})
            .ok());
    return opened;
  }

  // Publishes numbers up to `last`, each in kBytes.
  void PublishTo(int last) {
    for (; next_ <= last; ++next_) {
      const std::string body = absl::StrFormat("%*d", kBytes, next_);
      EXPECT_TRUE(pubsub_.Publish("news", body).ok());
      world_.RunUntilIdle();
    }
  }

  // The peer reads all from now on: what it gets.
  Numbers ReadAll(Peer& peer) {
    peer.SetAutoRead(true);
    peer.SetWindow(1 << 20);
    world_.Advance(kSoon);
    world_.Advance(kSoon);
    return Take(peer);
  }
  static Numbers Take(Peer& peer) {
    const std::string bytes = peer.TakeReceived();
    EXPECT_EQ(bytes.size() % size_t{kBytes}, 0u);
    Numbers numbers;
    for (size_t at = 0; at + kBytes <= bytes.size(); at += kBytes) {
      int number = -1;
      EXPECT_TRUE(absl::SimpleAtoi(bytes.substr(at, kBytes), &number));
      numbers.push_back(number);
    }
    return numbers;
  }

  SubscriptionStats StatsOf(const Opened& opened) {
    return pubsub_.StatsOf(*opened.connection, "news");
  }

  int next_ = 0;
};

TEST_F(SlowConnection, DropsTheOldest) {
  Opened opened = Subscribed(SlowPolicy::kDropOldest);
  PublishTo(kForwarded + kMaxWaiting - 1);
  EXPECT_EQ(opened.connection->pending_bytes(), size_t{kForwarded * kBytes});
  EXPECT_EQ(StatsOf(opened).waiting, uint64_t{kMaxWaiting});
  EXPECT_EQ(StatsOf(opened).dropped, 0u);
  PublishTo(29);
  EXPECT_EQ(opened.connection->pending_bytes(), size_t{kForwarded * kBytes});
  EXPECT_EQ(StatsOf(opened).waiting, uint64_t{kMaxWaiting});
  EXPECT_EQ(StatsOf(opened).dropped, uint64_t{30 - kForwarded - kMaxWaiting});
  // The one that was first to wait stays: it has been tried.
  Numbers expected = Range(0, kForwarded);
  for (const int number : Range(29 - kMaxWaiting + 2, 29)) {
    expected.push_back(number);
  }
  EXPECT_THAT(ReadAll(opened.peer), ElementsAreArray(expected));
  EXPECT_EQ(StatsOf(opened).waiting, 0u);
  PublishTo(31);
  EXPECT_THAT(Take(opened.peer), ElementsAre(30, 31));
  EXPECT_EQ(StatsOf(opened).delivered + StatsOf(opened).dropped, 32u);
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST_F(SlowConnection, DropsTheNewest) {
  Opened opened = Subscribed(SlowPolicy::kDropNewest);
  PublishTo(29);
  EXPECT_EQ(StatsOf(opened).dropped, uint64_t{30 - kForwarded - kMaxWaiting});
  EXPECT_THAT(ReadAll(opened.peer),
              ElementsAreArray(Range(0, kForwarded + kMaxWaiting - 1)));
  PublishTo(31);
  EXPECT_THAT(Take(opened.peer), ElementsAre(30, 31));
}

TEST_F(SlowConnection, IsClosedPolitely) {
  Opened opened = Subscribed(SlowPolicy::kClose);
  PublishTo(kForwarded + kMaxWaiting - 1);
  EXPECT_TRUE(opened.connection->is_open());
  EXPECT_THAT(log_, IsEmpty());
  PublishTo(29);
  EXPECT_THAT(log_, ElementsAre("slow", "ended"));
  EXPECT_FALSE(opened.peer.saw_reset());
  // What it had been sent arrives, and then the end.
  EXPECT_THAT(ReadAll(opened.peer), ElementsAreArray(Range(0, kForwarded - 1)));
  EXPECT_TRUE(opened.peer.saw_end());
  EXPECT_FALSE(opened.peer.saw_reset());
  EXPECT_THAT(log_, ElementsAre("slow", "ended"));
}

TEST_F(SlowConnection, GoesOnWhenHalfIsRead) {
  Opened opened = Subscribed(SlowPolicy::kDropNewest);
  PublishTo(kForwarded + 1);
  opened.peer.SetWindow(5 * kBytes);
  world_.Advance(kSoon);
  EXPECT_EQ(opened.connection->pending_bytes(), 600u);
  EXPECT_EQ(StatsOf(opened).waiting, 2u);
  opened.peer.SetWindow(6 * kBytes);
  world_.Advance(kSoon);
  EXPECT_EQ(StatsOf(opened).waiting, 0u);
  EXPECT_EQ(ReadAll(opened.peer).back(), kForwarded + 1);
}

TEST_F(SlowConnection, IsReplacedWhileItWaits) {
  Opened opened = Subscribed(SlowPolicy::kDropOldest);
  PublishTo(kForwarded + 2);
  std::vector<std::string> got;
  ASSERT_TRUE(pubsub_
                  .Subscribe(*opened.connection, {.channel = "news"},
                             [&got](Connection&, Delivery& delivery) {
                               got.push_back(std::string(delivery.body()));
                             })
                  .ok());
  EXPECT_THAT(ReadAll(opened.peer), ElementsAreArray(Range(0, kForwarded - 1)));
  EXPECT_EQ(got.size(), 3u);
}

// A protocol that frames its messages needs no brake of its own.
TEST_F(SlowConnection, HoldsUpACallback) {
  Opened opened = Connect();
  opened.peer.SetAutoRead(false);
  opened.peer.SetWindow(0);
  uint64_t lost = 0;
  ASSERT_TRUE(pubsub_
                  .Subscribe(*opened.connection,
                             {.channel = "news",
                              .slow = {.max_messages = kMaxWaiting,
                                       .max_bytes = kMaxBytes}},
                             [&lost](Connection& to, Delivery& delivery) {
                               lost += delivery.lost();
                               to.Write(delivery.body());
                             })
                  .ok());
  PublishTo(29);
  EXPECT_EQ(opened.connection->pending_bytes(), size_t{kForwarded * kBytes});
  EXPECT_EQ(StatsOf(opened).waiting, uint64_t{kMaxWaiting});
  Numbers expected = Range(0, kForwarded);
  for (const int number : Range(29 - kMaxWaiting + 2, 29)) {
    expected.push_back(number);
  }
  EXPECT_THAT(ReadAll(opened.peer), ElementsAreArray(expected));
  EXPECT_EQ(lost, uint64_t{30 - kForwarded - kMaxWaiting});
}

TEST_F(SlowConnection, ACallbackMayParkAndGoOn) {
  Opened opened = Connect();
  bool ready = false;
  std::vector<std::string> got;
  ASSERT_TRUE(pubsub_
                  .Subscribe(*opened.connection, {.channel = "news"},
                             [&](Connection&, Delivery& delivery) {
                               if (!ready) return delivery.Park();
                               got.push_back(std::string(delivery.body()));
                             })
                  .ok());
  PublishTo(1);
  EXPECT_THAT(got, IsEmpty());
  EXPECT_FALSE(pubsub_.Resume(*opened.connection, "other"));
  ready = true;
  EXPECT_TRUE(pubsub_.Resume(*opened.connection, "news"));
  world_.RunUntilIdle();
  EXPECT_EQ(got.size(), 2u);
}

TEST_F(SlowConnection, CostsNothingWhenItHasGone) {
  Opened opened = Subscribed(SlowPolicy::kDropOldest);
  PublishTo(kForwarded + 2);
  opened.peer.Reset();
  world_.RunUntilIdle();
  world_.Advance(kSoon);
  EXPECT_THAT(log_, ElementsAre("ended"));
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST_F(SlowConnection, DoesNotHoldUpOthers) {
  Opened slow = Subscribed(SlowPolicy::kDropOldest);
  Opened fast = Subscribed(SlowPolicy::kDropOldest);
  fast.peer.SetAutoRead(true);
  fast.peer.SetWindow(1 << 20);
  PublishTo(40);
  EXPECT_THAT(Take(fast.peer), ElementsAreArray(Range(0, 40)));
  EXPECT_EQ(StatsOf(fast).dropped, 0u);
  EXPECT_GT(StatsOf(slow).dropped, 0u);
}

}  // namespace
}  // namespace fio
