#include "fio/core/poller/kqueue_poller.h"

#include <unistd.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/kqueue.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "gtest/gtest.h"

#if defined(FIO_HAS_KQUEUE)
#include "fio/core/poller/test_suites/all.h"
#endif

namespace fio {
namespace {

#if defined(FIO_HAS_KQUEUE)

struct Kqueue {
#if defined(EVFILT_EXCEPT) && defined(NOTE_OOB)
  static constexpr bool kTellsPriority = true;
#else
  static constexpr bool kTellsPriority = false;
#endif
#if defined(FIO_LIBKQUEUE)
  static constexpr bool kTakesErrors = true;  // internal/libkqueue.h
#else
  static constexpr bool kTakesErrors = false;
#endif

  static std::unique_ptr<Poller> New(const Clock& clock) {
    absl::StatusOr<std::unique_ptr<Poller>> poller = CreateKqueuePoller(clock);
    EXPECT_TRUE(poller.ok()) << poller.status();
    return *std::move(poller);
  }
  static std::unique_ptr<Poller> Create(const Clock& clock) {
#if defined(FIO_LIBKQUEUE)
    // A queue of libkqueue's stays open for the next poller: before a test
    // counts descriptors, open as many as one has at a time.
    static const bool opened = New(clock) != New(clock);
    EXPECT_TRUE(opened);
#endif
    return New(clock);
  }
};

FIO_INSTANTIATE_POLLER_TEST_SUITES(Kqueue);

class KqueuePollerTest : public PollerTest<Kqueue> {
 protected:
  // What one Wait() tells that ends in a millisecond if there is nothing.
  std::vector<Event> WaitBriefly() {
    std::array<Event, 8> events;
    const MonotonicTime deadline = clock_.Now() + absl::Milliseconds(1);
    const absl::StatusOr<ReadyEvents> ready =
        poller_->Wait(absl::MakeSpan(events), deadline);
    EXPECT_TRUE(IsOk(ready.status()));
    if (ready->empty()) {
      EXPECT_GE(clock_.Now(), deadline);
    }
    return {ready->begin(), ready->end()};
  }
};

TEST_F(KqueuePollerTest, OneEventTellsBothDirections) {
  for (const Trigger trigger :
       {Trigger::kLevel, Trigger::kEdge, Trigger::kOneShot}) {
    Add(1, kReadableAndWritable, trigger);
    Send();
    const std::vector<Event> told = WaitBriefly();
    ASSERT_EQ(told.size(), 1u);
    const Readiness readiness = told[0].readiness();
    EXPECT_TRUE(readiness.readable() && readiness.writable()) << readiness;
    ASSERT_TRUE(IsOk(poller_->Remove(fd(), 1)));
  }
}

TEST_F(KqueuePollerTest, TheOtherHalfOfAOneShotEndsNoWait) {
  Add(1, kReadableAndWritable, Trigger::kOneShot);
  ASSERT_EQ(WaitBriefly().size(), 1u);
  Send();
  EXPECT_TRUE(WaitBriefly().empty());
}

TEST_F(KqueuePollerTest, WhatIsForgottenButStaysOpenEndsNoWait) {
  Add(1, kReadableAndWritable, Trigger::kLevel);
  poller_->RemoveForClose(fd(), 1);
  EXPECT_TRUE(WaitBriefly().empty());
  Add(2, Interest::kWritable, Trigger::kLevel);
  EXPECT_EQ(WaitBriefly().size(), 1u);
}

TEST_F(KqueuePollerTest, ModifyLeavesNothingOfTheDirectionThatWas) {
  Send();
  Add(1, kReadableAndWritable, Trigger::kLevel);
  Modify(1, Interest::kReadable, Trigger::kLevel);
  EXPECT_FALSE(Told(1).writable());
  Drain();
  EXPECT_TRUE(WaitBriefly().empty());
}

TEST_F(KqueuePollerTest, AWriterIsToldThatItsReaderHasGone) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  ASSERT_TRUE(
      IsOk(poller_->Add(writer.get(), 1, Interest::kWritable, Trigger::kEdge)));
  EXPECT_FALSE(WaitFor(1, &Readiness::writable).write_closed());
  reader.Reset();
  EXPECT_TRUE(WaitFor(1, &Readiness::write_closed).writable());
  ASSERT_TRUE(IsOk(poller_->Remove(writer.get(), 1)));
}

#else

TEST(KqueuePollerTest, IsUnimplementedElsewhere) {
  const absl::Status created = CreateKqueuePoller(Clock::System()).status();
  EXPECT_TRUE(absl::IsUnimplemented(created)) << created;
}

#endif

}  // namespace
}  // namespace fio
