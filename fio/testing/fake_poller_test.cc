#include "fio/testing/fake_poller.h"

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/waker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int kFd = 7;
constexpr Readiness kReadable(Readiness::kReadable);
constexpr Readiness kWritable(Readiness::kWritable);
constexpr Readiness kBoth(Readiness::kReadable | Readiness::kWritable);
constexpr Interest kAny = Interest::kReadable | Interest::kWritable;

// The tokens that a Wait() tells, in its order.
std::vector<Token> Wait(Poller& poller, size_t room = 64) {
  std::vector<Event> events(room);
  const absl::StatusOr<ReadyEvents> ready =
      poller.Wait(absl::MakeSpan(events), MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(ready.ok()) << ready.status();
  std::vector<Token> tokens;
  if (!ready.ok()) return tokens;
  for (const Event event : *ready) tokens.push_back(event.token());
  return tokens;
}

TEST(FakePoller, NothingReadyIsEmptyAtOnce) {
  FakePoller poller;
  EXPECT_THAT(Wait(poller), IsEmpty());
  poller.Open(kFd);
  ASSERT_TRUE(poller.Add(kFd, 1, kAny, Trigger::kLevel).ok());
  EXPECT_THAT(Wait(poller), IsEmpty());
  EXPECT_EQ(poller.last_deadline(), MonotonicTime::InfiniteFuture());
}

TEST(FakePoller, LevelTellsForAsLongAsItIsSo) {
  for (const Trigger trigger : {Trigger::kLevel, Trigger::kLevelExclusive}) {
    FakePoller poller;
    poller.Open(kFd, kReadable);
    ASSERT_TRUE(poller.Add(kFd, 1, Interest::kReadable, trigger).ok());
    EXPECT_THAT(Wait(poller), ElementsAre(1));
    EXPECT_THAT(Wait(poller), ElementsAre(1));
    poller.SetReadiness(kFd, Readiness());
    EXPECT_THAT(Wait(poller), IsEmpty());
    poller.SetReadiness(kFd, kReadable);
    EXPECT_THAT(Wait(poller), ElementsAre(1));
  }
}

TEST(FakePoller, EdgeTellsEachChangeOnce) {
  FakePoller poller;
  poller.Open(kFd, kWritable);
  ASSERT_TRUE(poller.Add(kFd, 1, kAny, Trigger::kEdge).ok());
  EXPECT_THAT(Wait(poller), ElementsAre(1));
  EXPECT_THAT(Wait(poller), IsEmpty());
  poller.SetReadiness(kFd, kBoth);
  EXPECT_THAT(Wait(poller), ElementsAre(1));
  poller.SetReadiness(kFd, kBoth);
  EXPECT_THAT(Wait(poller), IsEmpty());
  poller.SetReadiness(kFd, kBoth, kReadable);
  EXPECT_THAT(Wait(poller), ElementsAre(1));
}

TEST(FakePoller, EdgeTellsAllThatIsSo) {
  FakePoller poller;
  poller.Open(kFd, kWritable);
  ASSERT_TRUE(poller.Add(kFd, 1, kAny, Trigger::kEdge).ok());
  poller.SetReadiness(kFd, kBoth);
  std::array<Event, 4> events;
  const absl::StatusOr<ReadyEvents> ready =
      poller.Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
  ASSERT_TRUE(ready.ok());
  ASSERT_EQ(ready->size(), 1);
  EXPECT_EQ((*ready->begin()).readiness(), kBoth);
}

TEST(FakePoller, OneShotTellsOnceUntilModified) {
  FakePoller poller;
  poller.Open(kFd, kReadable);
  ASSERT_TRUE(poller.Add(kFd, 1, Interest::kReadable, Trigger::kOneShot).ok());
  EXPECT_THAT(Wait(poller), ElementsAre(1));
  poller.SetReadiness(kFd, kReadable, kReadable);
  EXPECT_THAT(Wait(poller), IsEmpty());
  ASSERT_TRUE(
      poller.Modify(kFd, 2, Interest::kReadable, Trigger::kOneShot).ok());
  EXPECT_THAT(Wait(poller), ElementsAre(2));
}

TEST(FakePoller, ModifyArmsAnEdgeAnew) {
  FakePoller poller;
  poller.Open(kFd, kReadable);
  ASSERT_TRUE(poller.Add(kFd, 1, kAny, Trigger::kEdge).ok());
  EXPECT_THAT(Wait(poller), ElementsAre(1));
  ASSERT_TRUE(poller.Modify(kFd, 1, kAny, Trigger::kEdge).ok());
  EXPECT_THAT(Wait(poller), ElementsAre(1));
}

TEST(FakePoller, OnlyWhatIsAskedForIsTold) {
  FakePoller poller;
  poller.Open(kFd, kWritable);
  ASSERT_TRUE(poller.Add(kFd, 1, Interest::kReadable, Trigger::kEdge).ok());
  EXPECT_THAT(Wait(poller), IsEmpty());
  poller.SetReadiness(kFd, Readiness(Readiness::kHangUp));
  EXPECT_THAT(Wait(poller), ElementsAre(1));
}

TEST(FakePoller, ErrorsAreThoseOfThePoller) {
  FakePoller poller;
  poller.Open(kFd);
  EXPECT_TRUE(absl::IsNotFound(poller.Modify(kFd, 1, kAny, Trigger::kEdge)));
  EXPECT_TRUE(absl::IsNotFound(poller.Remove(kFd, 1)));
  ASSERT_TRUE(poller.Add(kFd, 1, kAny, Trigger::kEdge).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(poller.Add(kFd, 1, kAny, Trigger::kEdge)));
  EXPECT_EQ(poller.watched(), 1);
  EXPECT_TRUE(poller.Remove(kFd, 1).ok());
  EXPECT_EQ(poller.watched(), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(
      poller.Wait({}, MonotonicTime::InfinitePast()).status()));
}

TEST(FakePoller, ADescriptorThatIsNotOpenCannotBeWatched) {
  constexpr int kNone = 1 << 20;
  FakePoller poller;
  EXPECT_TRUE(
      absl::IsFailedPrecondition(poller.Add(kNone, 1, kAny, Trigger::kEdge)));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      poller.Modify(kNone, 1, kAny, Trigger::kEdge)));
  EXPECT_TRUE(absl::IsFailedPrecondition(poller.Remove(kNone, 1)));
  poller.RemoveForClose(kNone, 1);
}

TEST(FakePoller, CloseEndsTheWatch) {
  FakePoller poller;
  poller.Open(kFd, kReadable);
  ASSERT_TRUE(poller.Add(kFd, 1, kAny, Trigger::kLevel).ok());
  poller.Close(kFd);
  EXPECT_THAT(Wait(poller), IsEmpty());
  EXPECT_EQ(poller.watched(), 0);
  poller.Open(kFd, kReadable);
  EXPECT_THAT(Wait(poller), IsEmpty());
  ASSERT_TRUE(poller.Add(kFd, 2, kAny, Trigger::kLevel).ok());
  EXPECT_THAT(Wait(poller), ElementsAre(2));
}

TEST(FakePoller, RemoveTakesOutWhatWasNotTold) {
  FakePoller poller;
  poller.Open(1, kReadable);
  poller.Open(2, kReadable);
  ASSERT_TRUE(poller.Add(1, 1, kAny, Trigger::kEdge).ok());
  ASSERT_TRUE(poller.Add(2, 2, kAny, Trigger::kEdge).ok());
  std::array<Event, 4> events;
  const absl::StatusOr<ReadyEvents> ready =
      poller.Wait(absl::MakeSpan(events), MonotonicTime::InfinitePast());
  ASSERT_TRUE(ready.ok());
  std::vector<Token> told;
  for (const Event event : *ready) {
    told.push_back(event.token());
    ASSERT_TRUE(poller.Remove(2, 2).ok() || told.size() > 1);
  }
  EXPECT_THAT(told, ElementsAre(1));
}

TEST(FakePoller, OrderIsThatInWhichTheyBecameReady) {
  FakePoller poller;
  for (int fd = 1; fd <= 4; ++fd) {
    poller.Open(fd);
    ASSERT_TRUE(poller.Add(fd, Token(fd), kAny, Trigger::kEdge).ok());
  }
  for (const int fd : {3, 1, 4, 2}) poller.SetReadiness(fd, kReadable);
  EXPECT_THAT(Wait(poller), ElementsAre(3, 1, 4, 2));
}

TEST(FakePoller, WhatDoesNotFitComesNextTime) {
  FakePoller poller;
  for (int fd = 1; fd <= 3; ++fd) {
    poller.Open(fd, kReadable);
    ASSERT_TRUE(poller.Add(fd, Token(fd), kAny, Trigger::kLevel).ok());
  }
  EXPECT_THAT(Wait(poller, 2), ElementsAre(1, 2));
  EXPECT_THAT(Wait(poller, 2), ElementsAre(3, 1));
}

TEST(FakePoller, ShufflesBySeed) {
  std::vector<Token> orders[3];
  const uint64_t seeds[3] = {1, 1, 2};
  for (int run = 0; run < 3; ++run) {
    FakePoller poller({.shuffle_seed = seeds[run]});
    for (int fd = 1; fd <= 20; ++fd) {
      poller.Open(fd, kReadable);
      ASSERT_TRUE(poller.Add(fd, Token(fd), kAny, Trigger::kEdge).ok());
    }
    orders[run] = Wait(poller);
    EXPECT_EQ(orders[run].size(), 20);
  }
  EXPECT_EQ(orders[0], orders[1]);
  EXPECT_NE(orders[0], orders[2]);
}

TEST(FakePoller, WatchesRealDescriptorsToo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  constexpr int kSimulated = 1 << 20;
  FakePoller poller;
  poller.Open(kSimulated);
  ASSERT_TRUE(poller.Add(kSimulated, 1, kAny, Trigger::kEdge).ok());
  ASSERT_TRUE(
      poller.Add(read_end.get(), 2, Interest::kReadable, Trigger::kLevel).ok());
  EXPECT_THAT(Wait(poller), IsEmpty());
  ASSERT_EQ(write(write_end.get(), "x", 1), 1);
  poller.SetReadiness(kSimulated, kReadable);
  EXPECT_THAT(Wait(poller), UnorderedElementsAre(1, 2));
  ASSERT_TRUE(poller.Remove(read_end.get(), 2).ok());
  EXPECT_THAT(Wait(poller), IsEmpty());
}

TEST(FakePoller, AWakerWakesIt) {
  FakePoller poller;
  absl::StatusOr<Waker> waker = Waker::Create(poller, 9);
  ASSERT_TRUE(waker.ok()) << waker.status();
  EXPECT_THAT(Wait(poller), IsEmpty());
  for (int i = 0; i < 2; ++i) {
    waker->Wake();
    EXPECT_THAT(Wait(poller), ElementsAre(9));
    waker->Acknowledge();
    EXPECT_THAT(Wait(poller), IsEmpty());
  }
}

}  // namespace
}  // namespace fio::testing
