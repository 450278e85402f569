#include "fio/core/poller/epoll_poller.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/all.h"
#include "fio/core/poller/test_suites/calls_fixture.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/test_suites/tcp_fixture.h"
#include "fio/core/poller/waker.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

struct Epoll {
  static constexpr bool kTellsPriority = true;
  static constexpr bool kTakesErrors = false;

  static std::unique_ptr<Poller> Create(const Clock& clock) {
    absl::StatusOr<std::unique_ptr<Poller>> poller = CreateEpollPoller(clock);
    EXPECT_TRUE(poller.ok()) << poller.status();
    return *std::move(poller);
  }
};

FIO_INSTANTIATE_POLLER_TEST_SUITES(Epoll);

using EpollPollerCallsTest = PollerCallsFixture<Epoll>;

TEST_F(EpollPollerCallsTest, OnePerRegistrationAndWaitAndNonePerEdge) {
  ASSERT_TRUE(
      poller_->Add(reader_.get(), 1, Interest::kReadable, Trigger::kEdge).ok());
  EXPECT_EQ(plan_.calls(), 2u);  // epoll_create1 and epoll_ctl.
  for (int i = 0; i < 100; ++i) ReadByEdge(1);
  EXPECT_EQ(plan_.calls(Call::kEpollWait), 200u);
  EXPECT_EQ(plan_.calls(), 202u);
  poller_->RemoveForClose(reader_.get(), 1);
  EXPECT_EQ(plan_.calls(), 202u);
}

TEST_F(EpollPollerCallsTest, ASignalIsToldAndNotRetried) {
  ExpectSignalIsTold(Call::kEpollWait);
}

TEST_F(EpollPollerCallsTest, WhatTheKernelRefusesIsNamed) {
  plan_.FailNext(Call::kEpollCtl, ENOMEM);
  const absl::Status added =
      poller_->Add(reader_.get(), 1, Interest::kReadable, Trigger::kEdge);
  EXPECT_TRUE(absl::IsResourceExhausted(added)) << added;
  EXPECT_EQ(
      added.message().find(absl::StrCat("epoll_ctl ADD fd ", reader_.get())),
      0u)
      << added;
  EXPECT_NE(added.message().find("(ENOMEM)"), std::string::npos) << added;
}

// What the kernel writes past the end of what it was given would be seen here.
TEST_F(EpollPollerCallsTest, WritesNoMoreThanTheRoom) {
  ASSERT_TRUE(
      poller_->Add(writer_.get(), 1, Interest::kWritable, Trigger::kLevel)
          .ok());
  events_.fill(Event(7, Readiness(Readiness::kError)));
  const absl::StatusOr<ReadyEvents> ready = poller_->Wait(
      absl::MakeSpan(events_).first(1), MonotonicTime::InfinitePast());
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_EQ(events_[0].token(), 1u);
  EXPECT_EQ(events_[0].readiness(), Readiness(Readiness::kWritable));
  EXPECT_EQ(events_[1].token(), 7u);
  EXPECT_EQ(events_[1].readiness(), Readiness(Readiness::kError));
}

// Two threads wait, each on a poller of its own, for one listening socket, and
// accept a single connection when they are told. Each client comes when the one
// before was served, so that an event that nobody is told would leave it alone.
class EpollExclusiveTest : public PollerTcpFixture<Epoll> {};

TEST_F(EpollExclusiveTest, NoConnectionIsLostBetweenTwoThatWait) {
  const UniqueFd listener = Listen();
  std::atomic<bool> over = false;
  struct Waiting {
    std::unique_ptr<Poller> poller;
    Waker waker;
    std::thread thread;
  };
  std::vector<Waiting> all;
  for (int i = 0; i < 2; ++i) {
    std::unique_ptr<Poller> poller = Epoll::Create(clock_);
    absl::StatusOr<Waker> waker = Waker::Create(*poller, 1);
    ASSERT_TRUE(IsOk(waker.status()));
    ASSERT_TRUE(IsOk(poller->Add(listener.get(), 2, Interest::kReadable,
                                 Trigger::kLevelExclusive)));
    all.push_back({std::move(poller), *std::move(waker), std::thread()});
  }
  for (Waiting& one : all) {
    one.thread = std::thread([&listener, &over, &one] {
      std::array<Event, 4> events;
      while (!over) {
        const absl::StatusOr<ReadyEvents> ready = one.poller->Wait(
            absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
        ASSERT_TRUE(IsOk(ready.status()));
        for (const Event event : *ready) {
          if (event.token() != 2) continue;
          // Both may have been told.
          const UniqueFd server(accept(listener.get(), nullptr, nullptr));
        }
      }
    });
  }
  constexpr int kClients = 500;
  int served = 0;
  for (; served < kClients; ++served) {
    const UniqueFd client = ConnectTo(listener);
    pollfd closed = {.fd = client.get(), .events = POLLIN, .revents = 0};
    if (poll(&closed, 1, /*timeout=*/30'000) != 1) break;
  }
  EXPECT_EQ(served, kClients);
  over = true;
  for (Waiting& one : all) {
    one.waker.Wake();
    one.thread.join();
  }
}

}  // namespace
}  // namespace fio
