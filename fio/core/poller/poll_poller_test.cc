#include "fio/core/poller/poll_poller.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/all.h"
#include "fio/core/poller/test_suites/calls_fixture.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

struct Poll {
  static constexpr bool kTellsPriority = true;
  static constexpr bool kTakesErrors = false;

  static std::unique_ptr<Poller> Create(const Clock& clock) {
    absl::StatusOr<std::unique_ptr<Poller>> poller = CreatePollPoller(clock);
    EXPECT_TRUE(poller.ok()) << poller.status();
    return *std::move(poller);
  }
};

FIO_INSTANTIATE_POLLER_TEST_SUITES(Poll);

using PollPollerCallsTest = PollerCallsFixture<Poll>;

TEST_F(PollPollerCallsTest, OnePerWait) {
  ASSERT_TRUE(
      poller_->Add(reader_.get(), 1, Interest::kReadable, Trigger::kEdge).ok());
  const uint64_t before = plan_.calls();
  for (int i = 0; i < 100; ++i) ReadByEdge(1);
  EXPECT_EQ(plan_.calls() - before, 200u);
}

// What other threads do while one is in poll(2) is done here inside of it.
TEST_F(PollPollerCallsTest, AChangeMeanwhileInterruptsOnce) {
  for (int i = 1; i <= 3; ++i) {
    bool registered = false;
    plan_.OnPoll([&](pollfd* fds, nfds_t count, int timeout_ms) {
      if (!std::exchange(registered, true)) {
        EXPECT_TRUE(
            poller_->Add(writer_.get(), 1, Interest::kWritable, Trigger::kLevel)
                .ok());
        EXPECT_TRUE(
            poller_->Add(reader_.get(), 2, Interest::kReadable, Trigger::kLevel)
                .ok());
      }
      return poll(fds, count, timeout_ms);
    });
    const uint64_t before = plan_.calls();
    EXPECT_EQ(Told(MonotonicTime::InfiniteFuture()), Token{1});
    EXPECT_EQ(plan_.calls() - before, 2u);
    ASSERT_TRUE(poller_->Remove(writer_.get(), 1).ok());
    EXPECT_EQ(Told(), std::nullopt);
    EXPECT_EQ(plan_.calls() - before, 3u);
    ASSERT_TRUE(poller_->Remove(reader_.get(), 2).ok());
  }
}

TEST_F(PollPollerCallsTest, AnAnswerIsNotToldToWhatHasChangedMeanwhile) {
  ASSERT_TRUE(
      poller_->Add(writer_.get(), 1, Interest::kWritable, Trigger::kEdge).ok());
  bool answered = false;
  plan_.OnPoll([&](pollfd* fds, nfds_t count, int timeout_ms) {
    const int answers = poll(fds, count, timeout_ms);
    if (!std::exchange(answered, true)) {
      EXPECT_TRUE(poller_->Remove(writer_.get(), 1).ok());
      EXPECT_TRUE(
          poller_->Add(writer_.get(), 2, Interest::kReadable, Trigger::kEdge)
              .ok());
    }
    return answers;
  });
  EXPECT_EQ(Told(), std::nullopt);
}

TEST_F(PollPollerCallsTest, ASignalIsToldAndNotRetried) {
  ExpectSignalIsTold(Call::kPoll);
}

TEST_F(PollPollerCallsTest, AClosedDescriptorIsDroppedAndNotAskedForForEver) {
  ASSERT_TRUE(
      poller_->Add(reader_.get(), 1, Interest::kReadable, Trigger::kLevel)
          .ok());
  const int closed = reader_.get();
  reader_.Reset();
  const absl::StatusOr<ReadyEvents> ready = Wait();
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_TRUE(ready->empty());
  // Once with the closed one, and once without.
  EXPECT_EQ(plan_.calls(Call::kPoll), 2u);
  const UniqueFd again(dup2(writer_.get(), closed));
  EXPECT_TRUE(
      poller_->Add(closed, 2, Interest::kWritable, Trigger::kLevel).ok());
}

TEST_F(PollPollerCallsTest, AClosedDescriptorIsDroppedByModify) {
  ASSERT_TRUE(
      poller_->Add(reader_.get(), 1, Interest::kReadable, Trigger::kLevel)
          .ok());
  const int closed = reader_.get();
  reader_.Reset();
  const absl::Status modified =
      poller_->Modify(closed, 1, Interest::kReadable, Trigger::kLevel);
  EXPECT_TRUE(absl::IsFailedPrecondition(modified)) << modified;
  const UniqueFd again(dup2(writer_.get(), closed));
  EXPECT_TRUE(
      poller_->Add(closed, 2, Interest::kWritable, Trigger::kLevel).ok());
}

TEST_F(PollPollerCallsTest, ThoseThatFitNextTimeGetTheirTurn) {
  constexpr Token kWatched = 8;
  std::vector<UniqueFd> copies;
  for (Token token = 0; token < kWatched; ++token) {
    copies.emplace_back(dup(writer_.get()));
    ASSERT_TRUE(poller_
                    ->Add(copies.back().get(), token, Interest::kWritable,
                          Trigger::kLevel)
                    .ok());
  }
  std::map<Token, int> told;
  for (int i = 0; i < 8; ++i) {
    const absl::StatusOr<ReadyEvents> ready = poller_->Wait(
        absl::MakeSpan(events_).first(3), MonotonicTime::InfinitePast());
    ASSERT_TRUE(ready.ok()) << ready.status();
    for (const Event event : *ready) ++told[event.token()];
  }
  ASSERT_EQ(told.size(), kWatched);
  for (const auto& [token, times] : told) EXPECT_EQ(times, 3);
}

}  // namespace
}  // namespace fio
