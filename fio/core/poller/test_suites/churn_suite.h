// Descriptors that come and go, as tests for every backend: what has bitten
// users of pollers that keep tables.

#ifndef FIO_CORE_POLLER_TEST_SUITES_CHURN_SUITE_H_
#define FIO_CORE_POLLER_TEST_SUITES_CHURN_SUITE_H_

#include <unistd.h>

#include "absl/status/status.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/test_suites/poller_fixture.h"
#include "fio/testing/allocation_counter.h"
#include "gtest/gtest.h"

namespace fio {

template <typename Backend>
class PollTest : public PollerTest<Backend> {};

TYPED_TEST_SUITE_P(PollTest);

// Whatever became of a registration, nothing of it is left after the close: the
// number's next owner starts anew, and the old token is told no more.
TYPED_TEST_P(PollTest, ForgetAlways) {
  Token token = 1;
  for (const Trigger trigger :
       {Trigger::kLevel, Trigger::kEdge, Trigger::kOneShot}) {
    for (const bool consumed : {false, true}) {
      const int number = this->fd();
      this->Add(token, Interest::kReadable, trigger);
      this->Send();
      if (consumed) this->WaitFor(token, &Readiness::readable);
      this->poller_->RemoveForClose(number, token);
      this->pair_ = {};
      this->pair_ = this->NewPair();
      ASSERT_EQ(this->fd(), number);
      this->Add(token + 1, Interest::kWritable, trigger);
      EXPECT_FALSE(this->WaitFor(token + 1, &Readiness::writable).readable());
      EXPECT_EQ(this->Told(token), Readiness());
      this->poller_->RemoveForClose(number, token + 1);
      this->pair_ = {};
      this->pair_ = this->NewPair();
      token += 2;
    }
  }
}

// Number 0 is a descriptor like any other, and what is kept of one does not
// pile up.
TYPED_TEST_P(PollTest, FdZeroAndChurn) {
  const UniqueFd standard_input(dup(0));
  ASSERT_EQ(dup2(this->fd(), 0), 0);
  this->Send();
  const auto come_and_go = [this](Token token) {
    ASSERT_TRUE(
        this->poller_->Add(0, token, Interest::kReadable, Trigger::kOneShot)
            .ok());
    EXPECT_TRUE(this->Told(token).readable());
    ASSERT_TRUE(this->poller_->Remove(0, token).ok());
    EXPECT_TRUE(absl::IsNotFound(this->poller_->Remove(0, token)));
  };
  for (Token token = 1; token <= 10'000; ++token) come_and_go(token);
  if (standard_input) {
    dup2(standard_input.get(), 0);
  } else {
    close(0);
  }
  // The same for a number that changes hands.
  const auto change_hands = [this] {
    this->Add(1, kReadableAndWritable, Trigger::kLevel);
    this->poller_->RemoveForClose(this->fd(), 1);
    this->pair_ = {};
    this->pair_ = this->NewPair();
  };
  change_hands();
  const testing::AllocationCounter counter;
  for (int i = 0; i < 1'000; ++i) change_hands();
  EXPECT_EQ(counter.allocations(), 0);
}

REGISTER_TYPED_TEST_SUITE_P(PollTest, ForgetAlways, FdZeroAndChurn);

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_CHURN_SUITE_H_
