// What tests of a backend stand on that count or refuse its system calls, which
// the suites cannot see.

#ifndef FIO_CORE_POLLER_TEST_SUITES_CALLS_FIXTURE_H_
#define FIO_CORE_POLLER_TEST_SUITES_CALLS_FIXTURE_H_

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "fio/testing/fault_plan.h"
#include "gtest/gtest.h"

namespace fio {

// A poller under a FaultPlan, and a pipe.
template <typename Backend>
class PollerCallsFixture : public ::testing::Test {
 protected:
  using Call = testing::FaultPlan::Call;

  PollerCallsFixture() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    reader_.Reset(fds[0]);
    writer_.Reset(fds[1]);
  }

  absl::StatusOr<ReadyEvents> Wait(
      MonotonicTime deadline = MonotonicTime::InfinitePast()) {
    return poller_->Wait(absl::MakeSpan(events_), deadline);
  }
  // The first token that one Wait() tells, or nothing.
  std::optional<Token> Told(
      MonotonicTime deadline = MonotonicTime::InfinitePast()) {
    const absl::StatusOr<ReadyEvents> ready = Wait(deadline);
    EXPECT_TRUE(ready.ok()) << ready.status();
    if (!ready.ok() || ready->empty()) return std::nullopt;
    return (*ready->begin()).token();
  }

  // A byte comes, is told and is read; then there is nothing. Two waits.
  void ReadByEdge(Token token) {
    char byte = 'x';
    ASSERT_EQ(write(writer_.get(), &byte, 1), 1);
    EXPECT_EQ(Told(), token);
    ASSERT_EQ(read(reader_.get(), &byte, 1), 1);
    poller_->MarkDrained(reader_.get(), Interest::kReadable);
    EXPECT_EQ(Told(), std::nullopt);
  }

  // EINTR of `call`, in which it waits, ends a Wait() and is not retried.
  void ExpectSignalIsTold(Call call) {
    plan_.FailNext(call, EINTR);
    const uint64_t before = plan_.calls();
    const absl::Status interrupted = Wait().status();
    EXPECT_TRUE(absl::IsUnavailable(interrupted)) << interrupted;
    EXPECT_EQ(plan_.calls() - before, 1u);
    EXPECT_TRUE(Wait().ok());
  }

  testing::FaultPlan plan_;
  const std::unique_ptr<Poller> poller_ = Backend::Create(Clock::System());
  UniqueFd reader_, writer_;
  std::array<Event, 8> events_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_CALLS_FIXTURE_H_
