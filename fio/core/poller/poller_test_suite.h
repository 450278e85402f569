// The contract of Poller as tests. A backend's test instantiates them with a
// type that has `static std::unique_ptr<Poller> Create(const Clock&)`.
//
// Spurious events are legal: where a test waits for one, it accepts others
// first, and gives up after a bounded number.

#ifndef FIO_CORE_POLLER_POLLER_TEST_SUITE_H_
#define FIO_CORE_POLLER_POLLER_TEST_SUITE_H_

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/waker.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollerTest : public ::testing::Test {
 protected:
  PollerTest() {
    int fds[2];
    EXPECT_EQ(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
        0);
    near_.Reset(fds[0]);
    far_.Reset(fds[1]);
  }

  // What is told of `token`, asking without waiting, or nothing.
  std::optional<Readiness> Told(Token token) {
    std::array<Event, 8> events;
    const absl::StatusOr<size_t> count =
        poller_->Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
    EXPECT_TRUE(count.ok()) << count.status();
    for (size_t i = 0; i < *count; ++i) {
      if (events[i].token == token) return events[i].readiness;
    }
    return std::nullopt;
  }

  // Waits for as long as it takes, but for a bounded number of other events.
  bool WaitFor(Token token) {
    std::array<Event, 8> events;
    for (int i = 0; i < 100; ++i) {
      const absl::StatusOr<size_t> count = poller_->Wait(
          absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
      EXPECT_TRUE(count.ok()) << count.status();
      for (size_t e = 0; e < *count; ++e) {
        if (events[e].token == token) return true;
      }
    }
    return false;
  }

  void Send(std::string_view bytes) {
    EXPECT_EQ(write(far_.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }

  void Drain() {
    char buffer[64];
    while (read(near_.get(), buffer, sizeof(buffer)) > 0) {
    }
  }

  const Clock& clock_ = Clock::System();
  const std::unique_ptr<Poller> poller_ = Backend::Create(clock_);
  UniqueFd near_, far_;
};

TYPED_TEST_SUITE_P(PollerTest);

TYPED_TEST_P(PollerTest, TokenComesBackWithAllItsBits) {
  const Token token = std::numeric_limits<Token>::max() - 1;
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), token, Interest::kReadable, Trigger::kLevel)
          .ok());
  EXPECT_FALSE(this->Told(token).has_value());
  this->Send("x");
  ASSERT_TRUE(this->WaitFor(token));
  EXPECT_TRUE(this->Told(token)->readable());
  EXPECT_FALSE(this->Told(token)->writable());
}

TYPED_TEST_P(PollerTest, LevelTellsUntilDrained) {
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), 1, Interest::kReadable, Trigger::kLevel)
          .ok());
  this->Send("x");
  EXPECT_TRUE(this->Told(1).has_value());
  EXPECT_TRUE(this->Told(1).has_value());
  this->Drain();
  EXPECT_FALSE(this->Told(1).has_value());
}

TYPED_TEST_P(PollerTest, EdgeTellsEachChangeOnce) {
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), 1, Interest::kReadable, Trigger::kEdge)
          .ok());
  this->Send("x");
  EXPECT_TRUE(this->Told(1).has_value());
  EXPECT_FALSE(this->Told(1).has_value());
  this->Drain();
  this->Send("y");
  EXPECT_TRUE(this->Told(1).has_value());
}

TYPED_TEST_P(PollerTest, EdgeTellsWhatWasSoBeforeAdd) {
  this->Send("x");
  ASSERT_TRUE(this->poller_
                  ->Add(this->near_.get(), 1, Interest::kReadableAndWritable,
                        Trigger::kEdge)
                  .ok());
  const std::optional<Readiness> told = this->Told(1);
  ASSERT_TRUE(told.has_value());
  EXPECT_TRUE(told->readable());
  EXPECT_TRUE(told->writable());
}

TYPED_TEST_P(PollerTest, OneShotTellsOnceUntilModified) {
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), 1, Interest::kReadable, Trigger::kOneShot)
          .ok());
  this->Send("x");
  EXPECT_TRUE(this->Told(1).has_value());
  this->Send("y");
  EXPECT_FALSE(this->Told(1).has_value());
  ASSERT_TRUE(
      this->poller_
          ->Modify(this->near_.get(), 1, Interest::kReadable, Trigger::kOneShot)
          .ok());
  EXPECT_TRUE(this->Told(1).has_value());
}

TYPED_TEST_P(PollerTest, ModifyReplacesTokenAndInterest) {
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), 1, Interest::kReadable, Trigger::kLevel)
          .ok());
  this->Send("x");
  ASSERT_TRUE(
      this->poller_
          ->Modify(this->near_.get(), 2, Interest::kWritable, Trigger::kLevel)
          .ok());
  EXPECT_FALSE(this->Told(1).has_value());
  const std::optional<Readiness> told = this->Told(2);
  ASSERT_TRUE(told.has_value());
  EXPECT_TRUE(told->writable());
  EXPECT_FALSE(told->readable());
}

TYPED_TEST_P(PollerTest, RemovedIsNotToldOf) {
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), 1, Interest::kReadable, Trigger::kLevel)
          .ok());
  this->Send("x");
  ASSERT_TRUE(this->poller_->Remove(this->near_.get()).ok());
  EXPECT_FALSE(this->Told(1).has_value());
}

TYPED_TEST_P(PollerTest, PeerCloseIsToldWithItsBytes) {
  ASSERT_TRUE(this->poller_
                  ->Add(this->near_.get(), 1, Interest::kReadableAndWritable,
                        Trigger::kEdge)
                  .ok());
  this->Send("x");
  this->far_.Reset();
  const std::optional<Readiness> told = this->Told(1);
  ASSERT_TRUE(told.has_value());
  EXPECT_TRUE(told->readable());
}

TYPED_TEST_P(PollerTest, MisuseIsAStatus) {
  Poller& poller = *this->poller_;
  const int fd = this->near_.get();
  const auto add = [&](int which) {
    return poller.Add(which, 1, Interest::kReadable, Trigger::kLevel);
  };
  const auto modify = [&](int which) {
    return poller.Modify(which, 1, Interest::kReadable, Trigger::kLevel);
  };
  EXPECT_TRUE(absl::IsNotFound(modify(fd)));
  EXPECT_TRUE(absl::IsNotFound(poller.Remove(fd)));
  ASSERT_TRUE(add(fd).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(add(fd)));
  EXPECT_TRUE(absl::IsFailedPrecondition(add(-1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(modify(-1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(poller.Remove(-1)));
}

TYPED_TEST_P(PollerTest, TellsNoMoreThanThereIsRoomFor) {
  ASSERT_TRUE(
      this->poller_
          ->Add(this->near_.get(), 1, Interest::kWritable, Trigger::kLevel)
          .ok());
  ASSERT_TRUE(
      this->poller_
          ->Add(this->far_.get(), 2, Interest::kWritable, Trigger::kLevel)
          .ok());
  std::array<Event, 1> one;
  uint64_t seen = 0;
  for (int i = 0; i < 100 && seen != 6; ++i) {
    const absl::StatusOr<size_t> count =
        this->poller_->Wait(absl::MakeSpan(one), MonotonicTime::InfinitePast());
    ASSERT_TRUE(count.ok()) << count.status();
    ASSERT_LE(*count, 1u);
    if (*count == 1) seen |= uint64_t{1} << one[0].token;
  }
  EXPECT_EQ(seen, 6u);
}

TYPED_TEST_P(PollerTest, WaitsUntilTheDeadlineAndNotLess) {
  std::array<Event, 1> events;
  for (const absl::Duration timeout :
       {absl::ZeroDuration(), absl::Nanoseconds(1),
        absl::Microseconds(1'500)}) {
    const MonotonicTime deadline = this->clock_.Now() + timeout;
    const absl::StatusOr<size_t> count =
        this->poller_->Wait(absl::MakeSpan(events), deadline);
    ASSERT_TRUE(count.ok()) << count.status();
    EXPECT_EQ(*count, 0u);
    EXPECT_GE(this->clock_.Now(), deadline);
  }
}

TYPED_TEST_P(PollerTest, ADeadline25DaysAheadIsNoneThatHasPassed) {
  const absl::StatusOr<Waker> waker = Waker::Create(*this->poller_, 7);
  ASSERT_TRUE(waker.ok()) << waker.status();
  std::thread other([&] { waker->Wake(); });
  std::array<Event, 1> events;
  const absl::StatusOr<size_t> count = this->poller_->Wait(
      absl::MakeSpan(events), this->clock_.Now() + absl::Hours(24 * 25));
  other.join();
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(*count, 1u);
}

TYPED_TEST_P(PollerTest, RegistersWhileAnotherThreadWaits) {
  this->Send("x");
  std::thread other([&] {
    EXPECT_TRUE(
        this->poller_
            ->Add(this->near_.get(), 5, Interest::kReadable, Trigger::kEdge)
            .ok());
  });
  EXPECT_TRUE(this->WaitFor(5));
  other.join();
}

TYPED_TEST_P(PollerTest, WakerWakesAndWakesMerge) {
  const absl::StatusOr<Waker> waker = Waker::Create(*this->poller_, 9);
  ASSERT_TRUE(waker.ok()) << waker.status();
  EXPECT_FALSE(this->Told(9).has_value());
  for (int i = 0; i < 3; ++i) waker->Wake();
  EXPECT_TRUE(this->Told(9).has_value());
  EXPECT_FALSE(this->Told(9).has_value());
  std::thread other([&] { waker->Wake(); });
  EXPECT_TRUE(this->WaitFor(9));
  other.join();
}

TYPED_TEST_P(PollerTest, TwoWakersAreToldApartAndOutliveThePoller) {
  std::unique_ptr<Poller> poller = TypeParam::Create(this->clock_);
  const absl::StatusOr<Waker> first = Waker::Create(*poller, 1);
  const absl::StatusOr<Waker> second = Waker::Create(*poller, 2);
  ASSERT_TRUE(first.ok() && second.ok());
  second->Wake();
  std::array<Event, 4> events;
  const absl::StatusOr<size_t> count =
      poller->Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
  ASSERT_TRUE(count.ok()) << count.status();
  ASSERT_EQ(*count, 1u);
  EXPECT_EQ(events[0].token, 2u);
  poller.reset();
  first->Wake();
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerTest, TokenComesBackWithAllItsBits, LevelTellsUntilDrained,
    EdgeTellsEachChangeOnce, EdgeTellsWhatWasSoBeforeAdd,
    OneShotTellsOnceUntilModified, ModifyReplacesTokenAndInterest,
    RemovedIsNotToldOf, PeerCloseIsToldWithItsBytes, MisuseIsAStatus,
    TellsNoMoreThanThereIsRoomFor, WaitsUntilTheDeadlineAndNotLess,
    ADeadline25DaysAheadIsNoneThatHasPassed, RegistersWhileAnotherThreadWaits,
    WakerWakesAndWakesMerge, TwoWakersAreToldApartAndOutliveThePoller);

}  // namespace fio

#endif  // FIO_CORE_POLLER_POLLER_TEST_SUITE_H_
