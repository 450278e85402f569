// The contract of Poller as tests, for every backend: registrations, modes,
// deadlines, threads and forks.

#ifndef FIO_CORE_POLLER_TEST_SUITES_POLLER_TEST_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_POLLER_TEST_SUITE_H_

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/fd_watch.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/core/poller/waker.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {

TYPED_TEST_SUITE_P(PollerTest);

// --- Registrations ---

TYPED_TEST_P(PollerTest, RunOnceWithNothing) {
  std::array<Event, 8> events;
  const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
      absl::MakeSpan(events), this->clock_.Now() + absl::Milliseconds(1));
  ASSERT_TRUE(IsOk(ready.status()));
  EXPECT_TRUE(ready->empty());
  EXPECT_EQ(ready->begin(), ready->end());
}

TYPED_TEST_P(PollerTest, AddThenDrop) {
  this->Add(1, kReadableAndWritable, Trigger::kEdge);
  this->poller_->RemoveForClose(this->fd(), 1);
  this->pair_.near.Reset();
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, ZeroDurationPollsEvents) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Send();
  std::array<Event, 8> events;
  const absl::StatusOr<ReadyEvents> ready =
      this->poller_->Wait(absl::MakeSpan(events), this->clock_.Now());
  ASSERT_TRUE(IsOk(ready.status()));
  EXPECT_EQ(ready->size(), 1u);
}

// One array serves all turns, and what a turn told can be gone through again.
TYPED_TEST_P(PollerTest, EventsAll) {
  EXPECT_TRUE(ReadyEvents().empty());
  std::array<Event, 4> events;
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  for (int i = 0; i < 2; ++i) {
    this->Send();
    absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
        absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    ASSERT_TRUE(IsOk(ready.status()));
    EXPECT_FALSE(ready->empty());
    ASSERT_EQ(ready->size(), 1u);
    for (int again = 0; again < 2; ++again) {
      int seen = 0;
      for (const Event event : *ready) {
        EXPECT_EQ(event.token(), 1u);
        ++seen;
      }
      EXPECT_EQ(seen, 1);
    }
    *ready = ReadyEvents();
    EXPECT_TRUE(ready->empty());
    this->Drain();
    EXPECT_EQ(this->Told(1), Readiness());
  }
}

TYPED_TEST_P(PollerTest, PollClosesFd) {
  const UniqueFd before(dup(0));
  for (int i = 0; i < 2000; ++i) {
    const std::unique_ptr<Poller> poller = TypeParam::Create(this->clock_);
    absl::StatusOr<Waker> waker = Waker::Create(*poller, 1);
    ASSERT_TRUE(IsOk(waker.status()));
  }
  const UniqueFd after(dup(0));
  EXPECT_LE(after.get(), before.get() + 1);
}

TYPED_TEST_P(PollerTest, TokenComesBackWithAllItsBits) {
  const Token token = std::numeric_limits<Token>::max() - 1;
  this->Add(token, Interest::kReadable, Trigger::kLevel);
  EXPECT_EQ(this->Told(token), Readiness());
  this->Send();
  EXPECT_FALSE(this->WaitFor(token, &Readiness::readable).writable());
}

TYPED_TEST_P(PollerTest, RegisterDeregister) {
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  this->Send();
  this->WaitFor(1, &Readiness::readable);
  ASSERT_TRUE(IsOk(this->poller_->Remove(this->fd(), 1)));
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, RegisteringAfterDeregistering) {
  for (Token token = 1; token <= 3; ++token) {
    this->Add(token, Interest::kWritable, Trigger::kEdge);
    this->WaitFor(token, &Readiness::writable);
    ASSERT_TRUE(IsOk(this->poller_->Remove(this->fd(), token)));
  }
}

TYPED_TEST_P(PollerTest, DoubleRegisterDifferentToken) {
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  const absl::Status again =
      this->poller_->Add(this->fd(), 2, Interest::kWritable, Trigger::kLevel);
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  // The first is as it was.
  EXPECT_EQ(this->Told(2), Readiness());
  this->Send();
  EXPECT_FALSE(this->WaitFor(1, &Readiness::readable).writable());
}

TYPED_TEST_P(PollerTest, ReregisterWithoutRegister) {
  const absl::Status modified = this->poller_->Modify(
      this->fd(), 1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(absl::IsNotFound(modified)) << modified;
}

TYPED_TEST_P(PollerTest, DeregisterWithoutRegister) {
  const absl::Status removed = this->poller_->Remove(this->fd(), 1);
  EXPECT_TRUE(absl::IsNotFound(removed)) << removed;
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(IsOk(this->poller_->Remove(this->fd(), 1)));
  EXPECT_TRUE(absl::IsNotFound(this->poller_->Remove(this->fd(), 1)));
}

TYPED_TEST_P(PollerTest, PollErroneousRegistration) {
  Poller& poller = *this->poller_;
  const auto is_refused = [](const absl::Status& status) {
    return absl::IsFailedPrecondition(status) &&
           absl::StrContains(status.message(), "-1");
  };
  EXPECT_TRUE(
      is_refused(poller.Add(-1, 1, Interest::kReadable, Trigger::kLevel)));
  EXPECT_TRUE(
      is_refused(poller.Modify(-1, 1, Interest::kReadable, Trigger::kLevel)));
  EXPECT_TRUE(is_refused(poller.Remove(-1, 1)));
  poller.RemoveForClose(-1, 1);
  poller.MarkDrained(-1, Interest::kReadable);
  const absl::Status no_room =
      poller.Wait(absl::Span<Event>(), this->clock_.Now()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(no_room)) << no_room;
}

TYPED_TEST_P(PollerTest, AClosedDescriptorIsAnError) {
  const int fd = this->fd();
  this->pair_.near.Reset();
  const absl::Status added =
      this->poller_->Add(fd, 1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(absl::IsFailedPrecondition(added)) << added;
}

TYPED_TEST_P(PollerTest, ARegularFileIsRefused) {
  char name[] = "/tmp/fio.XXXXXX";
  const UniqueFd file(mkstemp(name));
  ASSERT_TRUE(file);
  unlink(name);
  const absl::Status added =
      this->poller_->Add(file.get(), 1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(absl::IsPermissionDenied(added)) << added;
}

// A registration through something that has a descriptor, and ends with it.
TYPED_TEST_P(PollerTest, PollRegistration) {
  absl::StatusOr<FdWatch> watch = FdWatch::Create(
      *this->poller_, this->fd(), 1, Interest::kReadable, Trigger::kLevel);
  ASSERT_TRUE(IsOk(watch.status()));
  this->Send();
  this->WaitFor(1, &Readiness::readable);
  ASSERT_TRUE(IsOk(watch->Modify(2, Interest::kWritable, Trigger::kLevel)));
  EXPECT_FALSE(this->WaitFor(2, &Readiness::writable).readable());
  EXPECT_EQ(this->Told(1), Readiness());
  EXPECT_TRUE(this->Told(2).writable());
  watch->Reset();
  EXPECT_EQ(watch->fd(), -1);
  EXPECT_EQ(this->Told(2), Readiness());
  const absl::Status modified =
      watch->Modify(3, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(absl::IsFailedPrecondition(modified)) << modified;
}

TYPED_TEST_P(PollerTest, AWatchPassesErrorsOnAndMayOutliveThePoller) {
  std::unique_ptr<Poller> poller = TypeParam::Create(this->clock_);
  absl::StatusOr<FdWatch> watch = FdWatch::Create(
      *poller, this->fd(), 1, Interest::kReadable, Trigger::kLevel);
  ASSERT_TRUE(IsOk(watch.status()));
  const absl::Status again =
      FdWatch::Create(*poller, this->fd(), 2, Interest::kReadable,
                      Trigger::kLevel)
          .status();
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  FdWatch moved = *std::move(watch);
  EXPECT_EQ(moved.fd(), this->fd());
  poller.reset();
  moved.MarkDrained(Interest::kReadable);
}

TYPED_TEST_P(PollerTest, ReregisterInterestTokenUsage) {
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  this->Send();
  this->WaitFor(1, &Readiness::readable);
  this->Modify(2, Interest::kWritable, Trigger::kLevel);
  EXPECT_FALSE(this->WaitFor(2, &Readiness::writable).readable());
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, ReregisterDifferentInterestWithoutPoll) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Send();
  this->Modify(1, Interest::kWritable, Trigger::kEdge);
  EXPECT_FALSE(this->WaitFor(1, &Readiness::writable).readable());
}

TYPED_TEST_P(PollerTest, PollOkAfterCancellingPendingOps) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Send();
  this->Modify(2, Interest::kReadable, Trigger::kEdge);
  this->WaitFor(2, &Readiness::readable);
  ASSERT_TRUE(IsOk(this->poller_->Remove(this->fd(), 2)));
  this->Add(3, Interest::kReadable, Trigger::kEdge);
  this->WaitFor(3, &Readiness::readable);
  EXPECT_EQ(this->Told(1), Readiness());
  EXPECT_EQ(this->Told(2), Readiness());
}

// --- Modes ---

TYPED_TEST_P(PollerTest, LevelTellsUntilDrained) {
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  this->Send();
  EXPECT_TRUE(this->Told(1).readable());
  EXPECT_TRUE(this->Told(1).readable());
  this->Drain();
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, LevelExclusiveTellsUntilDrained) {
  this->Add(1, Interest::kReadable, Trigger::kLevelExclusive);
  EXPECT_EQ(this->Told(1), Readiness());
  this->Send();
  EXPECT_TRUE(this->Told(1).readable());
  EXPECT_TRUE(this->Told(1).readable());
  this->Drain();
  EXPECT_EQ(this->Told(1), Readiness());
  this->pair_.far.Reset();
  this->WaitFor(1, &Readiness::readable);
}

TYPED_TEST_P(PollerTest, ModifyToAndFromLevelExclusive) {
  this->Add(1, Interest::kReadable, Trigger::kLevelExclusive);
  this->Send();
  this->Modify(2, kReadableAndWritable, Trigger::kLevelExclusive);
  const Readiness both = this->Told(2);
  EXPECT_TRUE(both.readable());
  EXPECT_TRUE(both.writable());
  this->Modify(3, Interest::kReadable, Trigger::kEdge);
  EXPECT_TRUE(this->Told(3).readable());
  EXPECT_EQ(this->Told(3), Readiness());
  this->Modify(4, Interest::kReadable, Trigger::kLevelExclusive);
  EXPECT_TRUE(this->Told(4).readable());
  EXPECT_TRUE(this->Told(4).readable());
  for (const Token token : {1, 2, 3}) {
    EXPECT_EQ(this->Told(token), Readiness());
  }
}

TYPED_TEST_P(PollerTest, LevelExclusiveIsNotForPriority) {
  const Interest priority = Interest::kReadable | Interest::kPriority;
  const absl::Status added =
      this->poller_->Add(this->fd(), 1, priority, Trigger::kLevelExclusive);
  EXPECT_TRUE(absl::IsInvalidArgument(added)) << added;
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  const absl::Status modified =
      this->poller_->Modify(this->fd(), 2, priority, Trigger::kLevelExclusive);
  EXPECT_TRUE(absl::IsInvalidArgument(modified)) << modified;
  this->Send();
  EXPECT_TRUE(this->Told(1).readable());
}

TYPED_TEST_P(PollerTest, EdgeTellsEachChangeOnce) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Send();
  EXPECT_TRUE(this->Told(1).readable());
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, ReadinessIsReregisteredAfterWouldBlock) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  for (int i = 0; i < 3; ++i) {
    this->Send();
    this->WaitFor(1, &Readiness::readable);
    this->Drain();
    EXPECT_EQ(this->Told(1), Readiness());
  }
}

TYPED_TEST_P(PollerTest, EdgeTellsOfRoomOnceThereIsSomeAgain) {
  this->Add(1, Interest::kWritable, Trigger::kEdge);
  this->WaitFor(1, &Readiness::writable);
  this->Fill();
  EXPECT_EQ(this->Told(1), Readiness());
  char sink[4096];
  while (read(this->pair_.far.get(), sink, sizeof(sink)) > 0) {
  }
  this->WaitFor(1, &Readiness::writable);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, OnlyWhatWasAskedForIsToldAfterMarkDrained) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Drained(this->fd(), kReadableAndWritable);
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, EdgeTellsWhatWasSoBeforeAdd) {
  this->Send();
  this->Add(1, kReadableAndWritable, Trigger::kEdge);
  const Readiness told = this->Told(1);
  EXPECT_TRUE(told.readable() && told.writable()) << told;
}

TYPED_TEST_P(PollerTest, EdgeDoesNotSpinOnAnEndThatWasTold) {
  this->Add(1, kReadableAndWritable, Trigger::kEdge);
  this->pair_.far.Reset();
  this->WaitFor(1, &Readiness::read_closed);
  this->Told(1);  // A last one, if the two directions were told apart.
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, ModifyArmsAnEdgeAnew) {
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  this->Send();
  this->WaitFor(1, &Readiness::readable);
  this->Modify(1, Interest::kReadable, Trigger::kEdge);
  EXPECT_TRUE(this->Told(1).readable());
}

TYPED_TEST_P(PollerTest, TestOneshot) {
  this->Add(1, Interest::kReadable, Trigger::kOneShot);
  this->Send();
  EXPECT_TRUE(this->Told(1).readable());
  this->Send();
  EXPECT_EQ(this->Told(1), Readiness());
  this->Modify(1, Interest::kReadable, Trigger::kOneShot);
  EXPECT_TRUE(this->Told(1).readable());
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, OneShotIsOneForAllItsInterest) {
  this->Add(1, kReadableAndWritable, Trigger::kOneShot);
  EXPECT_TRUE(this->Told(1).writable());
  this->Send();
  EXPECT_EQ(this->Told(1), Readiness());
  this->pair_.far.Reset();
  EXPECT_EQ(this->Told(1), Readiness());
  this->Modify(1, Interest::kReadable, Trigger::kOneShot);
  EXPECT_TRUE(this->Told(1).readable());
}

TYPED_TEST_P(PollerTest, PeerCloseIsToldWithItsBytes) {
  this->Add(1, kReadableAndWritable, Trigger::kEdge);
  this->Send();
  this->pair_.far.Reset();
  EXPECT_TRUE(this->Told(1).readable());
}

TYPED_TEST_P(PollerTest, ModesLiveSideBySide) {
  const typename TestFixture::Pair level = this->NewPair();
  const typename TestFixture::Pair one_shot = this->NewPair();
  this->Add(1, Interest::kReadable, Trigger::kEdge);
  ASSERT_TRUE(IsOk(this->poller_->Add(level.near.get(), 2, Interest::kReadable,
                                      Trigger::kLevel)));
  ASSERT_TRUE(IsOk(this->poller_->Add(one_shot.near.get(), 3,
                                      Interest::kReadable, Trigger::kOneShot)));
  this->Send();
  this->Send(level.far);
  this->Send(one_shot.far);
  std::array<Event, 8> events;
  const auto told = [&] {
    std::set<Token> tokens;
    const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
        absl::MakeSpan(events), MonotonicTime::InfinitePast());
    EXPECT_TRUE(IsOk(ready.status()));
    for (const Event event : *ready) tokens.insert(event.token());
    return tokens;
  };
  EXPECT_EQ(told(), (std::set<Token>{1, 2, 3}));
  EXPECT_EQ(told(), std::set<Token>{2});
}

TYPED_TEST_P(PollerTest, TellsNoMoreThanThereIsRoomForAndTheRestNext) {
  this->Add(1, Interest::kWritable, Trigger::kLevel);
  ASSERT_TRUE(IsOk(this->poller_->Add(this->pair_.far.get(), 2,
                                      Interest::kWritable, Trigger::kLevel)));
  std::array<Event, 1> one;
  std::set<Token> seen;
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<ReadyEvents> ready =
        this->poller_->Wait(absl::MakeSpan(one), MonotonicTime::InfinitePast());
    ASSERT_TRUE(IsOk(ready.status()));
    ASSERT_EQ(ready->size(), 1u);
    seen.insert((*ready->begin()).token());
  }
  EXPECT_EQ(seen, (std::set<Token>{1, 2}));
}

// --- Deadlines ---

TYPED_TEST_P(PollerTest, WaitsUntilTheDeadlineAndNotLess) {
  std::array<Event, 1> events;
  for (const absl::Duration timeout :
       {absl::ZeroDuration(), absl::Nanoseconds(1),
        absl::Microseconds(1'500)}) {
    const MonotonicTime deadline = this->clock_.Now() + timeout;
    const absl::StatusOr<ReadyEvents> ready =
        this->poller_->Wait(absl::MakeSpan(events), deadline);
    ASSERT_TRUE(IsOk(ready.status()));
    EXPECT_TRUE(ready->empty());
    EXPECT_GE(this->clock_.Now(), deadline);
  }
}

TYPED_TEST_P(PollerTest, ADeadline25DaysAheadIsNoneThatHasPassed) {
  absl::StatusOr<Waker> waker = Waker::Create(*this->poller_, 7);
  ASSERT_TRUE(IsOk(waker.status()));
  std::thread other([&] { waker->Wake(); });
  std::array<Event, 1> events;
  const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
      absl::MakeSpan(events), this->clock_.Now() + absl::Hours(24 * 25));
  other.join();
  ASSERT_TRUE(IsOk(ready.status()));
  EXPECT_EQ(ready->size(), 1u);
}

// --- Allocations ---

TYPED_TEST_P(PollerTest, NothingIsAllocatedAfterSetUp) {
  absl::StatusOr<Waker> waker = Waker::Create(*this->poller_, 9);
  ASSERT_TRUE(IsOk(waker.status()));
  std::array<Event, 8> events;
  const auto turn = [&] {
    this->Add(1, kReadableAndWritable, Trigger::kEdge);
    this->Send();
    waker->Wake();
    const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
        absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    ASSERT_TRUE(ready.ok());
    for (const Event event : *ready) {
      if (event.token() == 9) waker->Acknowledge();
    }
    this->Drain();
    this->Modify(2, Interest::kReadable, Trigger::kOneShot);
    ASSERT_TRUE(this->poller_->Remove(this->fd(), 2).ok());
    ASSERT_TRUE(
        this->poller_
            ->Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast())
            .ok());
  };
  turn();
  const testing::AllocationCounter counter;
  for (int i = 0; i < 100; ++i) turn();
  EXPECT_EQ(counter.allocations(), 0);
}

// --- Threads ---

TYPED_TEST_P(PollerTest, RegisterDuringPoll) {
  this->Send();
  std::thread other([&] { this->Add(5, Interest::kReadable, Trigger::kEdge); });
  this->WaitFor(5, &Readiness::readable);
  other.join();
}

TYPED_TEST_P(PollerTest, ModifyDuringPoll) {
  this->Add(5, Interest::kReadable, Trigger::kEdge);
  std::thread other(
      [&] { this->Modify(6, Interest::kWritable, Trigger::kEdge); });
  this->WaitFor(6, &Readiness::writable);
  other.join();
}

TYPED_TEST_P(PollerTest, RegistryBehindArc) {
  const typename TestFixture::Pair second = this->NewPair();
  this->Send();
  this->Send(second.far);
  std::thread first([&] { this->Add(1, Interest::kReadable, Trigger::kEdge); });
  std::thread other([&] {
    EXPECT_TRUE(IsOk(this->poller_->Add(second.near.get(), 2,
                                        Interest::kReadable, Trigger::kEdge)));
  });
  this->WaitFor(1, &Readiness::readable);
  this->WaitFor(2, &Readiness::readable);
  first.join();
  other.join();
}

TYPED_TEST_P(PollerTest, RegistryOperationsAreThreadSafe) {
  absl::StatusOr<Waker> done = Waker::Create(*this->poller_, 1000);
  ASSERT_TRUE(IsOk(done.status()));
  std::vector<std::thread> threads;
  std::atomic<int> left = 3;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      const typename TestFixture::Pair pair = this->NewPair();
      const Token token = 10 + t;
      this->Send(pair.far);
      for (int i = 0; i < 300; ++i) {
        const int fd = pair.near.get();
        EXPECT_TRUE(IsOk(this->poller_->Add(fd, token, Interest::kReadable,
                                            Trigger::kEdge)));
        EXPECT_TRUE(IsOk(this->poller_->Modify(fd, token, kReadableAndWritable,
                                               Trigger::kOneShot)));
        EXPECT_TRUE(IsOk(this->poller_->Remove(fd, token)));
      }
      if (--left == 0) done->Wake();
    });
  }
  this->WaitFor(1000, &Readiness::readable, 1'000'000);
  for (std::thread& thread : threads) thread.join();
}

// One thread waits and answers, others send through it.
TYPED_TEST_P(PollerTest, MultiThreadedPoll) {
  constexpr int kThreads = 3;
  constexpr int kRounds = 200;
  std::vector<typename TestFixture::Pair> pairs;
  for (Token token = 0; token < kThreads; ++token) {
    pairs.push_back(this->NewPair());
    ASSERT_TRUE(IsOk(this->poller_->Add(pairs[token].near.get(), token,
                                        Interest::kReadable, Trigger::kEdge)));
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, far = pairs[t].far.get()] {
      fcntl(far, F_SETFL, 0);
      char byte = 'x';
      for (int i = 0; i < kRounds; ++i) {
        ASSERT_EQ(write(far, &byte, 1), 1);
        ASSERT_EQ(read(far, &byte, 1), 1);
      }
    });
  }
  for (int answered = 0; answered < kThreads * kRounds;) {
    std::array<Event, 2> events;
    const absl::StatusOr<ReadyEvents> ready = this->poller_->Wait(
        absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    ASSERT_TRUE(IsOk(ready.status()));
    for (const Event event : *ready) {
      const int near = pairs[event.token()].near.get();
      char byte;
      while (read(near, &byte, 1) == 1) {
        ++answered;
        ASSERT_EQ(write(near, &byte, 1), 1);
      }
      this->Drained(near, Interest::kReadable);
    }
  }
  for (std::thread& thread : threads) thread.join();
}

// --- Several pollers ---

// mio refuses this, though only its debug builds notice; epoll and kqueue allow
// it, and listeners that several loops share live on it.
TYPED_TEST_P(PollerTest, TcpRegisterMultipleEventLoops) {
  const std::unique_ptr<Poller> other = TypeParam::Create(this->clock_);
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  ASSERT_TRUE(
      IsOk(other->Add(this->fd(), 2, Interest::kReadable, Trigger::kLevel)));
  this->Send();
  this->WaitFor(1, &Readiness::readable);
  std::array<Event, 8> events;
  {
    const absl::StatusOr<ReadyEvents> ready =
        other->Wait(absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    ASSERT_TRUE(IsOk(ready.status()));
    EXPECT_EQ((*ready->begin()).token(), 2u);
  }
  ASSERT_TRUE(IsOk(other->Remove(this->fd(), 2)));
  EXPECT_TRUE(absl::IsNotFound(other->Remove(this->fd(), 2)));
  EXPECT_TRUE(this->Told(1).readable());
}

// --- Forks ---

// Runs `in_child` in a forked child and returns whether it returned true.
template <typename InChild>
bool TrueInChild(InChild in_child) {
  const pid_t child = fork();
  if (child == 0) _exit(in_child() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TYPED_TEST_P(PollerTest, AChildDropsWhatItInheritsAndTheParentKeepsIt) {
  std::unique_ptr<Poller> poller = TypeParam::Create(this->clock_);
  absl::StatusOr<FdWatch> watch = FdWatch::Create(
      *poller, this->fd(), 1, Interest::kReadable, Trigger::kLevel);
  ASSERT_TRUE(IsOk(watch.status()));
  absl::StatusOr<Waker> waker = Waker::Create(*poller, 2);
  ASSERT_TRUE(IsOk(waker.status()));
  EXPECT_TRUE(TrueInChild([&] {
    const bool removed = poller->Remove(this->fd(), 1).ok();
    poller->RemoveForClose(this->fd(), 1);
    watch->Reset();
    { const Waker dropped = *std::move(waker); }
    poller.reset();
    return removed;
  }));
  this->Send();
  waker->Wake();
  std::set<Token> told;
  for (int i = 0; i < 100 && told.size() < 2; ++i) {
    std::array<Event, 8> events;
    const absl::StatusOr<ReadyEvents> ready =
        poller->Wait(absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    ASSERT_TRUE(IsOk(ready.status()));
    for (const Event event : *ready) told.insert(event.token());
  }
  EXPECT_EQ(told, (std::set<Token>{1, 2}));
}

TYPED_TEST_P(PollerTest, AnInheritedPollerIsAnErrorToUse) {
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(TrueInChild([&] {
    std::array<Event, 8> events;
    const absl::Status statuses[] = {
        this->poller_->Add(this->pair_.far.get(), 2, Interest::kReadable,
                           Trigger::kLevel),
        this->poller_->Modify(this->fd(), 1, Interest::kWritable,
                              Trigger::kLevel),
        this->poller_
            ->Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast())
            .status()};
    for (const absl::Status& status : statuses) {
      if (!absl::IsFailedPrecondition(status)) return false;
    }
    return true;
  }));
  EXPECT_EQ(this->Told(1), Readiness());
}

TYPED_TEST_P(PollerTest, AChildHasAPollerOfItsOwn) {
  this->Add(1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(TrueInChild([&] {
    const std::unique_ptr<Poller> own = TypeParam::Create(this->clock_);
    if (!own->Add(this->fd(), 3, Interest::kWritable, Trigger::kLevel).ok()) {
      return false;
    }
    std::array<Event, 8> events;
    const absl::StatusOr<ReadyEvents> ready =
        own->Wait(absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
    return ready.ok() && (*ready->begin()).token() == 3;
  }));
  EXPECT_EQ(this->Told(3), Readiness());
}

REGISTER_TYPED_TEST_SUITE_P(
    PollerTest, RunOnceWithNothing, EventsAll, AddThenDrop,
    ZeroDurationPollsEvents, PollClosesFd, TokenComesBackWithAllItsBits,
    RegisterDeregister, RegisteringAfterDeregistering,
    DoubleRegisterDifferentToken, ReregisterWithoutRegister,
    DeregisterWithoutRegister, PollErroneousRegistration,
    AClosedDescriptorIsAnError, ARegularFileIsRefused, PollRegistration,
    AWatchPassesErrorsOnAndMayOutliveThePoller, ReregisterInterestTokenUsage,
    ReregisterDifferentInterestWithoutPoll, PollOkAfterCancellingPendingOps,
    LevelTellsUntilDrained, LevelExclusiveTellsUntilDrained,
    ModifyToAndFromLevelExclusive, LevelExclusiveIsNotForPriority,
    EdgeTellsEachChangeOnce, ReadinessIsReregisteredAfterWouldBlock,
    EdgeTellsOfRoomOnceThereIsSomeAgain,
    OnlyWhatWasAskedForIsToldAfterMarkDrained, EdgeTellsWhatWasSoBeforeAdd,
    EdgeDoesNotSpinOnAnEndThatWasTold, ModifyArmsAnEdgeAnew, TestOneshot,
    OneShotIsOneForAllItsInterest, PeerCloseIsToldWithItsBytes,
    ModesLiveSideBySide, TellsNoMoreThanThereIsRoomForAndTheRestNext,
    WaitsUntilTheDeadlineAndNotLess, ADeadline25DaysAheadIsNoneThatHasPassed,
    NothingIsAllocatedAfterSetUp, RegisterDuringPoll, ModifyDuringPoll,
    RegistryBehindArc, RegistryOperationsAreThreadSafe, MultiThreadedPoll,
    TcpRegisterMultipleEventLoops, AChildDropsWhatItInheritsAndTheParentKeepsIt,
    AnInheritedPollerIsAnErrorToUse, AChildHasAPollerOfItsOwn);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_POLLER_TEST_SUITE_H_
