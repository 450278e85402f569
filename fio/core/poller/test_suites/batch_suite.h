// What Poller promises of descriptors that are ready in the same Wait(), as
// tests for every backend.

#ifndef FIO_CORE_POLLER_TEST_SUITES_BATCH_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_BATCH_SUITE_H_

#include <unistd.h>

#include <array>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/fd_watch.h"
#include "fio/core/poller/ready_events.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "gtest/gtest.h"

namespace fio {

// Several descriptors that are ready in the same Wait().
template <typename Backend>
class PollerBatchTest : public PollerTest<Backend> {
 protected:
  using Pair = typename PollerTest<Backend>::Pair;

  static constexpr Token kMembers = 8;

  void SetUp() override {
    for (Token token = 0; token < kMembers; ++token) {
      members_.push_back(this->NewPair());
      ASSERT_TRUE(
          IsOk(this->poller_->Add(members_[token].near.get(), token,
                                  Interest::kReadable, Trigger::kEdge)));
      this->Send(members_[token].far);
    }
  }

  absl::StatusOr<ReadyEvents> Wait() {
    return this->poller_->Wait(absl::MakeSpan(events_),
                               MonotonicTime::InfinitePast());
  }

  // How often each token is told when each callback first does `act`.
  template <typename Act>
  std::map<Token, int> TellAll(Act act) {
    std::map<Token, int> told;
    const absl::StatusOr<ReadyEvents> ready = Wait();
    EXPECT_TRUE(IsOk(ready.status()));
    EXPECT_EQ(ready->size(), kMembers);
    for (const Event event : *ready) {
      ++told[event.token()];
      act(event.token());
    }
    return told;
  }

  std::vector<Pair> members_;
  std::array<Event, 64> events_;
};

TYPED_TEST_SUITE_P(PollerBatchTest);

TYPED_TEST_P(PollerBatchTest, RemoveTakesItsEventOutOfTheBatch) {
  const std::map<Token, int> told = this->TellAll([this](Token token) {
    // Each takes its neighbour away: only every second is told.
    const Token other = token ^ 1;
    this->poller_->Remove(this->members_[other].near.get(), other)
        .IgnoreError();
  });
  EXPECT_EQ(told.size(), this->kMembers / 2);
  for (const auto& [token, times] : told) {
    EXPECT_EQ(times, 1);
    EXPECT_FALSE(told.contains(token ^ 1));
  }
}

TYPED_TEST_P(PollerBatchTest, WhatIsRemovedBeforeTheFirstIsNotTheFirst) {
  const absl::StatusOr<ReadyEvents> ready = this->Wait();
  ASSERT_TRUE(IsOk(ready.status()));
  std::set<Token> told;
  for (int i = 0; i < 2; ++i) {
    const Token first = (*ready->begin()).token();
    told.insert(first);
    ASSERT_TRUE(
        IsOk(this->poller_->Remove(this->members_[first].near.get(), first)));
  }
  EXPECT_EQ(told.size(), 2u);
  for (const Event event : *ready) EXPECT_FALSE(told.contains(event.token()));
  EXPECT_EQ(ready->size(), this->kMembers);
}

TYPED_TEST_P(PollerBatchTest, RemoveForCloseTakesItsEventOutOfTheBatch) {
  const std::map<Token, int> told = this->TellAll([this](Token token) {
    const Token other = token ^ 1;
    this->poller_->RemoveForClose(this->members_[other].near.get(), other);
    this->members_[other].near.Reset();
  });
  EXPECT_EQ(told.size(), this->kMembers / 2);
  for (const auto& [token, times] : told) {
    EXPECT_FALSE(told.contains(token ^ 1));
  }
}

TYPED_TEST_P(PollerBatchTest, ANumberUsedAnewIsNotToldWhatWasMeantForTheOld) {
  const absl::StatusOr<ReadyEvents> ready = this->Wait();
  ASSERT_TRUE(IsOk(ready.status()));
  bool first = true;
  for (const Event event : *ready) {
    if (!first) ADD_FAILURE() << "told to the new one: " << event.token();
    if (!first) continue;
    first = false;
    // All others are closed; their numbers and tokens go to new descriptors,
    // of which nothing is so.
    for (Token token = 0; token < this->kMembers; ++token) {
      if (token == event.token()) continue;
      const int number = this->members_[token].near.get();
      this->poller_->RemoveForClose(number, token);
      this->members_[token] = this->NewPair();
      const int other = dup2(this->members_[token].near.get(), number);
      this->members_[token].near.Reset(other);
      ASSERT_TRUE(
          IsOk(this->poller_->Add(this->members_[token].near.get(), token,
                                  Interest::kReadable, Trigger::kEdge)));
    }
  }
  EXPECT_FALSE(first);
}

TYPED_TEST_P(PollerBatchTest, AWatchThatDiesIsToldNoMore) {
  std::vector<FdWatch> watches;
  for (const auto& [near, far] : this->members_) {
    const Token token = watches.size();
    ASSERT_TRUE(IsOk(this->poller_->Remove(near.get(), token)));
    absl::StatusOr<FdWatch> watch = FdWatch::Create(
        *this->poller_, near.get(), token, Interest::kReadable, Trigger::kEdge);
    ASSERT_TRUE(IsOk(watch.status()));
    watches.push_back(*std::move(watch));
  }
  const std::map<Token, int> told =
      this->TellAll([&](Token token) { watches[token ^ 1].Reset(); });
  EXPECT_EQ(told.size(), this->kMembers / 2);
}

TYPED_TEST_P(PollerBatchTest, AWatchThatChangesItsNameIsNotToldByTheOld) {
  std::vector<FdWatch> watches(this->kMembers);
  for (Token token = 0; token < this->kMembers; ++token) {
    const int fd = this->members_[token].near.get();
    ASSERT_TRUE(IsOk(this->poller_->Remove(fd, token)));
    absl::StatusOr<FdWatch> watch = FdWatch::Create(
        *this->poller_, fd, token, Interest::kReadable, Trigger::kEdge);
    ASSERT_TRUE(IsOk(watch.status()));
    watches[token] = *std::move(watch);
  }
  const std::map<Token, int> told = this->TellAll([&](Token token) {
    const Token other = token ^ 1;
    ASSERT_TRUE(IsOk(watches[other].Modify(100 + other, Interest::kReadable,
                                           Trigger::kEdge)));
    EXPECT_EQ(watches[other].token(), 100 + other);
  });
  EXPECT_EQ(told.size(), this->kMembers / 2);
  for (const auto& [token, times] : told) {
    EXPECT_TRUE(this->Told(100 + (token ^ 1)).readable());
  }
}

TYPED_TEST_P(PollerBatchTest, ABatchInsideOfABatchLosesTheRemovedAsWell) {
  absl::StatusOr<ReadyEvents> outer = this->Wait();
  ASSERT_TRUE(IsOk(outer.status()));
  const ReadyEvents moved = *std::move(outer);
  std::set<Token> told;
  for (const Event event : moved) {
    told.insert(event.token());
    if (told.size() > 1) continue;
    for (Token token = 0; token < this->kMembers; ++token) {
      this->Send(this->members_[token].far);
      this->Drained(this->members_[token].near.get(), Interest::kReadable);
    }
    std::array<Event, 64> events;
    const absl::StatusOr<ReadyEvents> inner = this->poller_->Wait(
        absl::MakeSpan(events), MonotonicTime::InfinitePast());
    ASSERT_TRUE(IsOk(inner.status()));
    EXPECT_EQ(inner->size(), this->kMembers);
    const Token removed = event.token() ^ 1;
    ASSERT_TRUE(IsOk(
        this->poller_->Remove(this->members_[removed].near.get(), removed)));
    for (const Event nested : *inner) EXPECT_NE(nested.token(), removed);
  }
  EXPECT_EQ(told.size(), this->kMembers - 1);
}

// Only the waiting thread may touch what it is reading.
TYPED_TEST_P(PollerBatchTest, AnotherThreadLeavesTheBatchAlone) {
  std::thread other;
  const std::map<Token, int> told = this->TellAll([&](Token token) {
    if (other.joinable()) return;
    other = std::thread([this, token] {
      for (Token removed = 0; removed < this->kMembers; ++removed) {
        if (removed == token) continue;
        EXPECT_TRUE(IsOk(this->poller_->Remove(
            this->members_[removed].near.get(), removed)));
      }
    });
  });
  other.join();
  EXPECT_EQ(told.size(), this->kMembers);
  for (Token token = 0; token < this->kMembers; ++token) {
    EXPECT_EQ(this->Told(token), Readiness());
  }
}

REGISTER_TYPED_TEST_SUITE_P(PollerBatchTest, AnotherThreadLeavesTheBatchAlone,
                            WhatIsRemovedBeforeTheFirstIsNotTheFirst,
                            RemoveTakesItsEventOutOfTheBatch,
                            RemoveForCloseTakesItsEventOutOfTheBatch,
                            ANumberUsedAnewIsNotToldWhatWasMeantForTheOld,
                            AWatchThatDiesIsToldNoMore,
                            AWatchThatChangesItsNameIsNotToldByTheOld,
                            ABatchInsideOfABatchLosesTheRemovedAsWell);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_BATCH_SUITE_H_
