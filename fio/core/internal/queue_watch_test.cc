#include "fio/core/internal/queue_watch.h"

#include <poll.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/loop.h"
#include "fio/sock/connect.h"
#include "fio/sock/listen_socket.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/testing/manual_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Listener = std::shared_ptr<ListenSocket>;

Listener MakeListener() {
  return std::make_shared<ListenSocket>(
      *ListenSocket::Listen(*SocketAddress::Parse("127.0.0.1:0"), {}));
}

class QueueWatchTest : public ::testing::Test {
 protected:
  void Watch(std::vector<QueueWatch::Queue> queues) {
    watch_ = std::make_unique<QueueWatch>(
        *loop_, std::move(queues), [this](int place, int times) {
          stuck_.push_back(absl::StrCat(place, " ", times));
        });
  }

  // A client that waits in the listener's queue.
  void Connect(const Listener& listener) {
    clients_.push_back(*StartConnect(listener->local_address()));
    pollfd arrived = {.fd = listener->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&arrived, 1, -1), 1);
    Turn();
  }

  void Turn() {
    ASSERT_TRUE(loop_->RunOnce(MonotonicTime::InfinitePast()).ok());
  }
  void Advance(absl::Duration span) {
    clock_.Advance(span);
    Turn();
  }
  // The next `count` looks.
  void Look(int count = 1) {
    for (int i = 0; i < count; ++i) Advance(QueueWatch::kInterval);
  }
  bool looks_later() const {
    return loop_->next_deadline() < MonotonicTime::InfiniteFuture();
  }

  testing::ManualClock clock_;
  std::unique_ptr<Loop> loop_ = *Loop::Create({.clock = &clock_});
  std::vector<Socket> clients_;
  std::vector<std::string> stuck_;
  std::unique_ptr<QueueWatch> watch_;
};

TEST_F(QueueWatchTest, AnEmptyQueueCostsNothing) {
  Watch({{.place = 7, .socket = MakeListener()}});
  Turn();
  EXPECT_FALSE(looks_later());
}

TEST_F(QueueWatchTest, WhoWaitsAtTheThirdLookIsStuck) {
  const Listener listener = MakeListener();
  Watch({{.place = 7, .socket = listener}});
  Connect(listener);
  Look(QueueWatch::kLooks - 2);
  EXPECT_THAT(stuck_, IsEmpty());
  Look();
  EXPECT_THAT(stuck_, ElementsAre("7 1"));
  Look();
  EXPECT_THAT(stuck_, ElementsAre("7 1", "7 2"));
}

TEST_F(QueueWatchTest, AnAcceptedClientIsForgotten) {
  const Listener listener = MakeListener();
  Watch({{.place = 7, .socket = listener}});
  Connect(listener);
  Look(QueueWatch::kLooks - 2);
  EXPECT_EQ(listener->Accept().error, 0);
  Look();
  EXPECT_FALSE(looks_later());
  Connect(listener);
  Look(QueueWatch::kLooks - 2);
  EXPECT_THAT(stuck_, IsEmpty());
  Look();
  EXPECT_THAT(stuck_, ElementsAre("7 1"));
}

TEST_F(QueueWatchTest, APlaceIsToldOnceForAllItsQueues) {
  const Listener first = MakeListener();
  const Listener second = MakeListener();
  const Listener other = MakeListener();
  Watch({{.place = 7, .socket = first},
         {.place = 7, .socket = second},
         {.place = 8, .socket = other}});
  Connect(first);
  Look();
  Connect(second);
  Connect(other);
  Look();
  EXPECT_THAT(stuck_, ElementsAre("7 1"));
  stuck_.clear();
  Look();
  EXPECT_THAT(stuck_, ElementsAre("7 2", "8 1"));
}

TEST_F(QueueWatchTest, WhatStaysStuckIsLookedAtLessOften) {
  const Listener listener = MakeListener();
  Watch({{.place = 7, .socket = listener}});
  Connect(listener);
  Look(QueueWatch::kPatientLooks);
  stuck_.clear();
  Look();
  EXPECT_THAT(stuck_, IsEmpty());
  Advance(QueueWatch::kLongestInterval - QueueWatch::kInterval);
  EXPECT_EQ(stuck_.size(), 1u);
}

TEST_F(QueueWatchTest, LooksNoMoreOnceDestroyed) {
  const Listener listener = MakeListener();
  Watch({{.place = 7, .socket = listener}});
  Connect(listener);
  watch_ = nullptr;
  EXPECT_FALSE(looks_later());
}

}  // namespace
}  // namespace fio::core_internal
