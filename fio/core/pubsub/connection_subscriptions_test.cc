// The subscriptions of connections: when they end, and what replaces them.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/pubsub/pub_sub.h"
#include "fio/core/pubsub/world_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/testing/simulated_network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// The suite is named after the class that it tests.
namespace fio::pub_sub_suite {
namespace {

using pubsub_internal::MessageBlock;
using pubsub_internal::PubSubInWorld;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Peer;

class PubSub : public PubSubInWorld {
 protected:
  // Options of a subscription that logs its end as "`name` ended".
  SubscribeOptions Logged(std::string_view name) {
    return {.channel = "news", .on_unsubscribe = [this, name] {
              log_.push_back(absl::StrCat(name, " ended"));
            }};
  }
  // A callback that logs "`name` BODY".
  fio::PubSub::OnConnectionMessage LogAs(std::string_view name) {
    return [this, name](Connection&, Delivery& delivery) {
      log_.push_back(absl::StrCat(name, " ", delivery.body()));
    };
  }
  void Publish(std::string_view body) {
    EXPECT_TRUE(pubsub_.Publish("news", body).ok());
  }
};

TEST_F(PubSub, IsSentWhatIsPublished) {
  Opened one = Connect();
  Opened other = Connect();
  ASSERT_TRUE(pubsub_.Subscribe(*one.connection, "news").ok());
  ASSERT_TRUE(
      pubsub_.Subscribe(*other.connection, {.channel = "n*", .match = kRedis})
          .ok());
  Publish("hello, ");
  EXPECT_EQ(one.peer.received(), "") << "inside of Publish()";
  ASSERT_TRUE(pubsub_.PublishFrom(*one.connection, "news", "world").ok());
  Publish("");
  ASSERT_TRUE(pubsub_.Publish("other", "!").ok());
  world_.RunUntilIdle();
  EXPECT_EQ(one.peer.received(), "hello, ");
  EXPECT_EQ(other.peer.received(), "hello, world");
}

TEST_F(PubSub, OwnedEndsOnClose) {
  Opened opened = Connect();
  absl::Status late;
  size_t owned = 1;
  opened.protocol->on_close = [&](Connection& connection) {
    log_.push_back("close");
    owned = pubsub_.subscriptions(connection);
    Publish("in OnClose()");
    late = pubsub_.Subscribe(connection, Logged("late"), LogAs("late"));
  };
  ASSERT_TRUE(
      pubsub_.Subscribe(*opened.connection, Logged("one"), LogAs("one")).ok());
  EXPECT_EQ(pubsub_.subscriptions(*opened.connection), 1u);
  Publish("1");
  world_.RunUntilIdle();
  opened.peer.Close();
  world_.RunUntilIdle();
  EXPECT_EQ(owned, 0u);
  EXPECT_EQ(late.code(), absl::StatusCode::kFailedPrecondition) << late;
  EXPECT_THAT(log_, ElementsAre("one 1", "close", "late ended", "one ended"));
}

TEST_F(PubSub, WhatWaitsWhenItClosesIsDropped) {
  Opened opened = Connect();
  opened.protocol->on_close = [&](Connection&) { log_.push_back("close"); };
  ASSERT_TRUE(pubsub_
                  .Subscribe(*opened.connection, Logged("one"),
                             [this](Connection& connection, Delivery& it) {
                               log_.push_back(std::string(it.body()));
                               it.Defer();
                               connection.Abort();
                             })
                  .ok());
  Publish("1");
  Publish("2");
  world_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("1", "close", "one ended"));
  EXPECT_EQ(MessageBlock::live(), 0);
}

// What it has queued is on its way: it ends later.
TEST_F(PubSub, GetsNothingFromCloseOn) {
  Opened opened = Connect();
  opened.peer.SetWindow(0);
  opened.connection->Write("queued");
  ASSERT_TRUE(
      pubsub_.Subscribe(*opened.connection, Logged("one"), LogAs("one")).ok());
  Publish("1");
  opened.connection->Close();
  Publish("2");
  world_.RunUntilIdle();
  EXPECT_THAT(log_, IsEmpty());
  opened.peer.SetWindow(100);
  world_.RunUntilIdle();
  EXPECT_EQ(opened.peer.received(), "queued");
  opened.peer.Close();
  world_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("one ended"));
}

TEST_F(PubSub, UnsubscribeEndsThatOneOnly) {
  Opened opened = Connect();
  Connection& connection = *opened.connection;
  ASSERT_TRUE(pubsub_.Subscribe(connection, "news").ok());
  ASSERT_TRUE(
      pubsub_.Subscribe(connection, {.channel = "news", .match = kRedis}).ok());
  ASSERT_TRUE(
      pubsub_.Subscribe(connection, {.channel = "news", .filter = 7}).ok());
  EXPECT_EQ(pubsub_.subscriptions(connection), 3u);
  Publish("a");
  world_.RunUntilIdle();
  EXPECT_EQ(opened.peer.received(), "aa");
  EXPECT_TRUE(pubsub_.Unsubscribe(connection, "news", kRedis));
  EXPECT_FALSE(pubsub_.Unsubscribe(connection, "news", kRedis));
  EXPECT_FALSE(pubsub_.Unsubscribe(connection, "n"));
  Publish("b");
  ASSERT_TRUE(pubsub_.Publish("news", "c", {.filter = 7}).ok());
  world_.RunUntilIdle();
  EXPECT_EQ(opened.peer.received(), "aabc");
  EXPECT_EQ(pubsub_.subscriptions(connection), 2u);
}

TEST_F(PubSub, ErrorsEndWhatWasToBegin) {
  Opened opened = Connect();
  const absl::Status malformed = pubsub_.Subscribe(
      *opened.connection,
      {.channel = "a..b", .match = Match::kNats, .on_unsubscribe = [this] {
         log_.push_back("ended");
       }});
  EXPECT_EQ(malformed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      pubsub_.Subscribe(*opened.connection, Logged("null"), nullptr).code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pubsub_.subscriptions(*opened.connection), 0u);
  EXPECT_THAT(log_, ElementsAre("ended", "null ended"));
}

// --- Replacing ---

TEST_F(PubSub, OwnedReplace) {
  Opened opened = Connect();
  Connection& connection = *opened.connection;
  ASSERT_TRUE(pubsub_.Subscribe(connection, Logged("one"), LogAs("one")).ok());
  world_.RunUntilIdle();
  ASSERT_TRUE(pubsub_.Subscribe(connection, Logged("two"), LogAs("two")).ok());
  EXPECT_EQ(pubsub_.subscriptions(connection), 1u);
  Publish("1");
  world_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("one ended", "two 1"));
  EXPECT_TRUE(pubsub_.Unsubscribe(connection, "news"));
  Publish("2");
  world_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("one ended", "two 1", "two ended"));
}

TEST_F(PubSub, WhatWaitsIsForTheOneThatReplaces) {
  Opened opened = Connect();
  Connection& connection = *opened.connection;
  ASSERT_TRUE(pubsub_
                  .Subscribe(connection, Logged("one"),
                             [this](Connection&, Delivery& delivery) {
                               log_.push_back("one defers");
                               delivery.Defer();
                             })
                  .ok());
  Publish("1");
  Publish("2");
  world_.Turn(2);
  ASSERT_TRUE(pubsub_.Subscribe(connection, Logged("two"), LogAs("two")).ok());
  Publish("3");
  world_.RunUntilIdle();
  while (!log_.empty() && log_.front() == "one defers")
    log_.erase(log_.begin());
  EXPECT_THAT(log_, ElementsAre("one ended", "two 1", "two 2", "two 3"));
}

TEST_F(PubSub, OwnedReplaceInsideOfItsCallback) {
  Opened opened = Connect();
  ASSERT_TRUE(pubsub_
                  .Subscribe(*opened.connection, Logged("one"),
                             [this, big = std::string(100, 'x')](
                                 Connection& connection, Delivery& delivery) {
                               for (const char* next : {"two", "three"}) {
                                 EXPECT_TRUE(pubsub_
                                                 .Subscribe(connection,
                                                            Logged(next),
                                                            LogAs(next))
                                                 .ok());
                               }
                               EXPECT_EQ(pubsub_.subscriptions(connection), 1u);
                               // What it has captured is still there.
                               log_.push_back(absl::StrCat(
                                   "one ", delivery.body(), " ", big.size()));
                             })
                  .ok());
  Publish("1");
  Publish("2");
  world_.RunUntilIdle();
  EXPECT_THAT(log_,
              ElementsAre("two ended", "one 1 100", "one ended", "three 2"));
  log_.clear();
  opened.peer.Close();
  world_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("three ended"));
}

TEST_F(PubSub, SubscribesAnewInsideOfItsCallback) {
  Opened opened = Connect();
  ASSERT_TRUE(
      pubsub_
          .Subscribe(
              *opened.connection, Logged("one"),
              [this](Connection& connection, Delivery&) {
                EXPECT_TRUE(pubsub_.Unsubscribe(connection, "news"));
                EXPECT_TRUE(
                    pubsub_.Subscribe(connection, Logged("two"), LogAs("two"))
                        .ok());
                Publish("3");
              })
          .ok());
  Publish("1");
  Publish("2");
  world_.RunUntilIdle();
  EXPECT_THAT(log_, ElementsAre("one ended", "two 3"));
}

// --- Sharing ---

TEST_F(PubSub, ForwardZeroCopy) {
  constexpr size_t kConnections = 50;
  const std::string body(10'000, 'b');
  std::vector<Opened> opened;
  std::vector<const char*> seen;
  for (size_t i = 0; i < kConnections; ++i) {
    opened.push_back(Connect());
    opened.back().peer.SetAutoRead(false);
    opened.back().peer.SetWindow(0);
    Connection& connection = *opened.back().connection;
    ASSERT_TRUE(pubsub_.Subscribe(connection, "news").ok());
    ASSERT_TRUE(pubsub_
                    .Subscribe(connection, {.channel = "*", .match = kRedis},
                               [&seen](Connection&, Delivery& delivery) {
                                 seen.push_back(delivery.body().data());
                               })
                    .ok());
  }
  Publish(body);
  world_.RunUntilIdle();
  EXPECT_THAT(seen, ::testing::SizeIs(kConnections));
  EXPECT_THAT(seen, ::testing::Each(seen.at(0)));
  // The queues of all connections hold the one message.
  for (const Opened& one : opened) {
    EXPECT_EQ(one.connection->pending_bytes(), body.size());
  }
  EXPECT_EQ(MessageBlock::live(), 1);
  for (Opened& one : opened) one.peer.SetWindow(2 * body.size());
  world_.RunUntilIdle();
  for (const Opened& one : opened) EXPECT_EQ(one.peer.received(), body);
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST_F(PubSub, OutlivesThePubSub) {
  Opened opened = Connect();
  auto other = std::make_unique<fio::PubSub>(reactor_);
  ASSERT_TRUE(
      other->Subscribe(*opened.connection, Logged("one"), LogAs("one")).ok());
  ASSERT_TRUE(other->Subscribe(*opened.connection, "news").ok());
  ASSERT_TRUE(other->Publish("news", "1").ok());
  other = nullptr;
  world_.RunUntilIdle();
  EXPECT_TRUE(opened.connection->is_open());
  opened.peer.Close();
  world_.RunUntilIdle();
  EXPECT_EQ(log_.back(), "one ended");
}

}  // namespace
}  // namespace fio::pub_sub_suite
