// The contract of Waker as tests, for every backend.

#ifndef FIO_CORE_POLLER_TEST_SUITES_WAKER_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_WAKER_SUITE_H_

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/waker.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerWakerTest : public PollerTest<Backend> {
 protected:
  static constexpr std::array kKinds = {WakerKind::kAuto, WakerKind::kPipe};

  // Qualified, since a test has the name as well.
  fio::Waker NewWaker(Token token, WakerKind kind = WakerKind::kAuto) {
    absl::StatusOr<fio::Waker> waker =
        fio::Waker::Create(*this->poller_, token, kind);
    EXPECT_TRUE(IsOk(waker.status()));
    return *std::move(waker);
  }
};

TYPED_TEST_SUITE_P(PollerWakerTest);

TYPED_TEST_P(PollerWakerTest, Waker) {
  for (const WakerKind kind : this->kKinds) {
    fio::Waker waker = this->NewWaker(9, kind);
    EXPECT_EQ(this->Told(9), Readiness());
    for (int i = 0; i < 3; ++i) {
      waker.Wake();
      this->WaitFor(9, &Readiness::readable);
      waker.Acknowledge();
      EXPECT_EQ(this->Told(9), Readiness());
    }
  }
}

TYPED_TEST_P(PollerWakerTest, WakerMultipleWakeupsSameThread) {
  for (const WakerKind kind : this->kKinds) {
    fio::Waker waker = this->NewWaker(9, kind);
    for (int i = 0; i < 100'000; ++i) waker.Wake();
    this->WaitFor(9, &Readiness::readable);
    waker.Acknowledge();
    EXPECT_EQ(this->Told(9), Readiness());
  }
}

TYPED_TEST_P(PollerWakerTest, WakerWakeupDifferentThread) {
  for (const WakerKind kind : this->kKinds) {
    fio::Waker waker = this->NewWaker(9, kind);
    std::thread other([&] { waker.Wake(); });
    this->WaitFor(9, &Readiness::readable);
    other.join();
    waker.Acknowledge();
    EXPECT_EQ(this->Told(9), Readiness());
  }
}

TYPED_TEST_P(PollerWakerTest, WakerMultipleWakeupsDifferentThread) {
  fio::Waker waker = this->NewWaker(9);
  for (int i = 0; i < 2; ++i) {
    std::thread other([&] {
      waker.Wake();
      waker.Wake();
    });
    this->WaitFor(9, &Readiness::readable);
    other.join();
    waker.Acknowledge();
  }
  EXPECT_EQ(this->Told(9), Readiness());
}

// What was published before Wake() is seen after Acknowledge(): none of many
// hand-overs is missed, or this never ends.
TYPED_TEST_P(PollerWakerTest, NoWakeIsLost) {
  for (const WakerKind kind : this->kKinds) {
    constexpr int kRounds = 20'000;
    fio::Waker waker = this->NewWaker(9, kind);
    std::atomic<int> published = 0;
    std::thread other([&] {
      for (int i = 1; i <= kRounds; ++i) {
        published = i;
        waker.Wake();
      }
    });
    while (published != kRounds) {
      this->WaitFor(9, &Readiness::readable);
      waker.Acknowledge();
    }
    other.join();
  }
}

// A pipe that nobody reads is full after 65,536 of them.
TYPED_TEST_P(PollerWakerTest, WakesForEver) {
  for (const WakerKind kind : this->kKinds) {
    fio::Waker waker = this->NewWaker(9, kind);
    for (int i = 0; i < 70'000; ++i) {
      waker.Wake();
      waker.Acknowledge();
    }
    this->Told(9);
    waker.Wake();
    this->WaitFor(9, &Readiness::readable);
  }
}

TYPED_TEST_P(PollerWakerTest, UsingMultipleWakersIsFine) {
  fio::Waker first = this->NewWaker(1);
  fio::Waker second = this->NewWaker(2);
  second.Wake();
  this->WaitFor(2, &Readiness::readable);
  EXPECT_EQ(this->Told(1), Readiness());
  first.Wake();
  this->WaitFor(1, &Readiness::readable);
}

TYPED_TEST_P(PollerWakerTest, AWakerMayOutliveThePoller) {
  for (const WakerKind kind : this->kKinds) {
    std::unique_ptr<Poller> poller = TypeParam::Create(this->clock_);
    absl::StatusOr<fio::Waker> waker = fio::Waker::Create(*poller, 1, kind);
    ASSERT_TRUE(IsOk(waker.status()));
    poller.reset();
    waker->Wake();
    waker->Acknowledge();
    waker->Wake();
  }
}

TYPED_TEST_P(PollerWakerTest, AWakerThatDiesIsToldNoMore) {
  {
    fio::Waker waker = this->NewWaker(1);
    waker.Wake();
  }
  EXPECT_EQ(this->Told(1), Readiness());
  fio::Waker moved = this->NewWaker(2);
  moved = this->NewWaker(3);
  moved.Wake();
  this->WaitFor(3, &Readiness::readable);
  EXPECT_EQ(this->Told(2), Readiness());
}

TYPED_TEST_P(PollerWakerTest, AWakerThatDiesLeavesItsNumberToOthers) {
  fio::Waker waker = this->NewWaker(1);
  waker = this->NewWaker(2);
  // The lowest number that is free was the first one's.
  const UniqueFd heir(dup(this->fd()));
  EXPECT_TRUE(IsOk(
      this->poller_->Add(heir.get(), 3, Interest::kWritable, Trigger::kLevel)));
  EXPECT_TRUE(this->Told(3).writable());
}

TYPED_TEST_P(PollerWakerTest, WakesFromASignalHandler) {
  static fio::Waker* target = nullptr;
  fio::Waker waker = this->NewWaker(9);
  target = &waker;
  struct sigaction action = {};
  action.sa_handler = [](int) { target->Wake(); };
  struct sigaction before;
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  errno = E2BIG;
  raise(SIGUSR1);
  EXPECT_EQ(errno, E2BIG);
  this->WaitFor(9, &Readiness::readable);
  ASSERT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
}

// A listener's event from before does not come with the wake.
TYPED_TEST_P(PollerWakerTest, Issue1205) {
  fio::Waker waker = this->NewWaker(9);
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Send();
  this->WaitFor(1, &Readiness::readable);
  ASSERT_TRUE(IsOk(this->poller_->Remove(this->fd(), 1)));
  waker.Wake();
  this->WaitFor(9, &Readiness::readable);
  EXPECT_EQ(this->Told(1), Readiness());
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerWakerTest, Waker, WakerMultipleWakeupsSameThread,
    WakerWakeupDifferentThread, WakerMultipleWakeupsDifferentThread,
    NoWakeIsLost, WakesForEver, UsingMultipleWakersIsFine,
    AWakerMayOutliveThePoller, AWakerThatDiesIsToldNoMore,
    AWakerThatDiesLeavesItsNumberToOthers, WakesFromASignalHandler, Issue1205);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_WAKER_SUITE_H_
