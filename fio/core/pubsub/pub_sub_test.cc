// A PubSub of one process: its loops, their threads, and others.

#include "fio/core/pubsub/pub_sub.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/reactor_test_util.h"
#include "fio/pubsub/delivery.h"
#include "fio/pubsub/internal/message_block.h"
#include "fio/pubsub/subscribe_options.h"
#include "fio/pubsub/subscription.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/loopback_pair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using core_internal::ConnectMany;
using core_internal::ConnectTo;
using core_internal::ListenOn;
using core_internal::Threads;
using pubsub_internal::MessageBlock;
using ::testing::ElementsAre;
using testing::ReadToEnd;
using testing::ReadUntil;

// Publishes what it receives, from itself, and its end.
class Talker final : public Protocol {
 public:
  explicit Talker(PubSub& pubsub) : pubsub_(pubsub) {}

  void OnData(Connection& connection) override {
    ABSL_CHECK_OK(pubsub_.PublishFrom(connection, "n", connection.Received()));
  }
  void OnClose(Connection& connection, const CloseReason& /*why*/) override {
    ABSL_CHECK_OK(pubsub_.PublishFrom(connection, "n", "gone"));
  }

 private:
  PubSub& pubsub_;
};

// A server whose clients subscribe to channel n; `open` counts them.
SocketAddress Serve(Reactor& reactor, PubSub& pubsub, std::latch& open) {
  return ListenOn(reactor, {.on_open = [&](Connection& connection) {
                    ABSL_CHECK_OK(pubsub.Subscribe(connection, "n"));
                    connection.Attach(std::make_unique<Talker>(pubsub));
                    open.count_down();
                  }});
}

// Runs the reactor while `test` runs on another thread.
void RunWith(Reactor& reactor, const std::function<void()>& test) {
  std::thread thread([&] {
    test();
    reactor.Stop(absl::ZeroDuration());
  });
  const absl::Status ran = reactor.Run();
  thread.join();
  EXPECT_TRUE(ran.ok()) << ran;
}

TEST(PubSub, ServesConnectionsOnFourLoops) {
  constexpr int kClients = 16;
  constexpr int kPublishers = 3;
  constexpr int kMessages = 500;
  Reactor reactor(Threads(4));
  PubSub pubsub(reactor);
  std::latch open(kClients);
  const SocketAddress address = Serve(reactor, pubsub, open);
  std::vector<Socket> clients = ConnectMany(address, kClients);
  RunWith(reactor, [&] {
    open.wait();
    // Threads that are no loops.
    std::vector<std::thread> publishers;
    publishers.reserve(kPublishers);
    for (int publisher = 0; publisher < kPublishers; ++publisher) {
      publishers.emplace_back([&pubsub, publisher] {
        for (int i = 0; i < kMessages; ++i) {
          ABSL_CHECK_OK(
              pubsub.Publish("n", absl::StrFormat("%d%03d", publisher, i)));
        }
      });
    }
    for (std::thread& publisher : publishers) publisher.join();
    for (Socket& client : clients) {
      const std::string got =
          ReadUntil(client, size_t{4} * kPublishers * kMessages);
      std::array<int, kPublishers> next = {};
      for (size_t at = 0; at < got.size(); at += 4) {
        const int publisher = got.at(at) - '0';
        ASSERT_EQ(got.substr(at, 4),
                  absl::StrFormat("%d%03d", publisher, next.at(publisher)++));
      }
    }
  });
}

TEST(PubSub, CallsBackOnTheLoopOfTheConnection) {
  constexpr int kClients = 12;
  constexpr int kMessages = 300;
  Reactor reactor(Threads(4));
  PubSub pubsub(reactor);
  std::latch open(kClients);
  std::latch done(kClients);
  const SocketAddress address = ListenOn(
      reactor, {.on_open = [&](Connection& connection) {
        const std::thread::id thread = std::this_thread::get_id();
        // No lock guards it.
        auto count = std::make_unique<int>(0);
        ABSL_CHECK_OK(pubsub.Subscribe(
            connection, {.channel = "n"},
            [&done, thread, count = std::move(count)](Connection&, Delivery&) {
              EXPECT_EQ(std::this_thread::get_id(), thread);
              if (++*count == kMessages) done.count_down();
            }));
        connection.Attach(std::make_unique<Talker>(pubsub));
        open.count_down();
      }});
  const std::vector<Socket> clients = ConnectMany(address, kClients);
  RunWith(reactor, [&] {
    open.wait();
    for (int i = 0; i < kMessages; ++i) {
      ABSL_CHECK_OK(pubsub.Publish("n", "x"));
    }
    done.wait();
  });
}

TEST(PubSub, SubscribesOnALoop) {
  Reactor reactor(Threads(3));
  std::atomic<int> ended = 0;
  std::array<std::optional<Subscription>, 3> subscriptions;
  PubSub pubsub(reactor);
  std::latch subscribed(3);
  std::latch got(3);
  RunWith(reactor, [&] {
    std::atomic<size_t> next = 0;
    reactor.ForEachLoop([&](Loop& loop) {
      const std::thread::id thread = std::this_thread::get_id();
      auto subscription = pubsub.SubscribeOn(
          loop, {.channel = "n", .on_unsubscribe = [&ended] { ++ended; }},
          [&got, thread](Delivery&) {
            EXPECT_EQ(std::this_thread::get_id(), thread);
            got.count_down();
          });
      ABSL_CHECK_OK(subscription);
      subscriptions.at(next++) = *std::move(subscription);
      subscribed.count_down();
    });
    subscribed.wait();
    ABSL_CHECK_OK(pubsub.Publish("n", "x"));
    got.wait();
    subscriptions.at(0).reset();
    core_internal::AwaitTurns(reactor);
    EXPECT_EQ(ended, 1);
  });
}

TEST(PubSub, PublishesInOnClose) {
  Reactor reactor(Threads(2));
  PubSub pubsub(reactor);
  std::latch open(2);
  const SocketAddress address = Serve(reactor, pubsub, open);
  Socket one = ConnectTo(address);
  Socket other = ConnectTo(address);
  RunWith(reactor, [&] {
    open.wait();
    EXPECT_TRUE(one.TryWrite("hello").ok());
    EXPECT_EQ(ReadUntil(other, 5), "hello");
    one = Socket();
    EXPECT_EQ(ReadUntil(other, 4), "gone");
    EXPECT_TRUE(other.TryWrite("to nobody").ok());
  });
  EXPECT_EQ(ReadToEnd(other), "");
}

TEST(PubSub, PublishesAtTheEnd) {
  Reactor reactor(Threads(1));
  std::vector<std::string> got;
  PubSub pubsub(reactor);
  const Subscription subscription = *pubsub.Subscribe(
      {.channel = "n"},
      [&](Delivery& delivery) { got.push_back(std::string(delivery.body())); });
  for (const auto& [event, name] :
       {std::pair(LifecycleEvent::kOnStart, "start"),
        std::pair(LifecycleEvent::kOnShutdown, "shutdown"),
        std::pair(LifecycleEvent::kOnFinish, "finish")}) {
    reactor.lifecycle().Add(event, [&pubsub, name = name] {
      ABSL_CHECK_OK(pubsub.Publish("n", name));
    });
  }
  reactor.Defer([&] { reactor.Stop(); });
  ASSERT_TRUE(reactor.Run().ok());
  EXPECT_THAT(got, ElementsAre("start", "shutdown", "finish"));
}

// --- Several, and again ---

TEST(PubSub, IsMadeAnewOnTheSameReactor) {
  Reactor reactor(Threads(2));
  for (const int round : {1, 2, 3}) {
    PubSub pubsub(reactor);
    int got = 0;
    const Subscription subscription =
        *pubsub.Subscribe({.channel = "n"}, [&](Delivery&) { ++got; });
    std::latch open(2);
    const SocketAddress address = Serve(reactor, pubsub, open);
    std::vector<Socket> clients = ConnectMany(address, 2);
    const std::string body = absl::StrCat("round ", round);
    RunWith(reactor, [&] {
      open.wait();
      ABSL_CHECK_OK(pubsub.Publish("n", body));
      for (Socket& client : clients) {
        EXPECT_EQ(ReadUntil(client, body.size()), body);
      }
    });
    EXPECT_GE(got, 1);
  }
  EXPECT_EQ(MessageBlock::live(), 0);
}

TEST(PubSub, ServesEachRunOfItsReactor) {
  Reactor reactor(Threads(2));
  int got = 0;
  PubSub pubsub(reactor);
  const Subscription subscription =
      *pubsub.Subscribe({.channel = "before"}, [&](Delivery&) { ++got; });
  for (const int round : {1, 2, 3}) {
    ABSL_CHECK_OK(pubsub.Publish("before", "x"));
    std::latch open(2);
    const SocketAddress address = Serve(reactor, pubsub, open);
    std::vector<Socket> clients = ConnectMany(address, 2);
    RunWith(reactor, [&] {
      open.wait();
      ABSL_CHECK_OK(pubsub.Publish("n", "hello"));
      for (Socket& client : clients) EXPECT_EQ(ReadUntil(client, 5), "hello");
    });
    EXPECT_EQ(got, round);
  }
}

TEST(PubSub, SeveralOfOneReactorAreApart) {
  Reactor reactor(Threads(2));
  PubSub one(reactor);
  PubSub other(reactor);
  std::latch open(1);
  const SocketAddress address =
      ListenOn(reactor, {.on_open = [&](Connection& connection) {
                 ABSL_CHECK_OK(one.Subscribe(connection, "n"));
                 ABSL_CHECK_OK(other.Subscribe(connection, "m"));
                 EXPECT_EQ(one.subscriptions(connection), 1u);
                 EXPECT_FALSE(one.Unsubscribe(connection, "m"));
                 connection.Attach(std::make_unique<Talker>(one));
                 open.count_down();
               }});
  Socket client = ConnectTo(address);
  RunWith(reactor, [&] {
    open.wait();
    ABSL_CHECK_OK(other.Publish("n", "wrong"));
    ABSL_CHECK_OK(one.Publish("m", "wrong"));
    ABSL_CHECK_OK(one.Publish("n", "1"));
    EXPECT_EQ(ReadUntil(client, 1), "1");
    ABSL_CHECK_OK(other.Publish("m", "2"));
    EXPECT_EQ(ReadUntil(client, 1), "2");
  });
}

TEST(PubSub, EndsWithSubscribersLeft) {
  Reactor reactor(Threads(1));
  int ended = 0;
  {
    PubSub pubsub(reactor);
    auto subscription = pubsub.Subscribe(
        {.channel = "n", .on_unsubscribe = [&] { ++ended; }}, [](Delivery&) {});
    ASSERT_TRUE(subscription.ok());
    subscription->Keep();
    ABSL_CHECK_OK(pubsub.Publish("n", "never delivered"));
  }
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(MessageBlock::live(), 0);
  reactor.Defer([&] { reactor.Stop(); });
  EXPECT_TRUE(reactor.Run().ok());
}

}  // namespace
}  // namespace fio
