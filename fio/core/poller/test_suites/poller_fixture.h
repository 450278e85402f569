// What all the suites stand on: a poller of the backend under test, and words
// for what it tells.
//
// Spurious events are legal, and one thing may be told in several: so a test
// waits until a token has been told of what it expects, and gives up after a
// bounded number of events.

#ifndef FIO_CORE_POLLER_TEST_SUITES_POLLER_FIXTURE_H_
#define FIO_CORE_POLLER_TEST_SUITES_POLLER_FIXTURE_H_

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"
#include "fio/core/poller/ready_events.h"
#include "gtest/gtest.h"

namespace fio {

// For EXPECT_TRUE.
inline ::testing::AssertionResult IsOk(const absl::Status& status) {
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << status;
}

// `Backend` has `static std::unique_ptr<Poller> Create(const Clock&)`, and says
// what not every backend has:
//
//   static constexpr bool kTellsPriority;  // Readiness::priority().
//   static constexpr bool kTakesErrors;    // SO_ERROR is gone once it is told.
template <typename Backend>
class PollerFixture : public ::testing::Test {
 protected:
  // A question to Readiness, such as &Readiness::readable.
  using Question = bool (Readiness::*)() const;

  // Waits, for as long as it takes, until all that `token` was told since it
  // was last asked for here answers `question` with yes, and returns it. Fails
  // after `patience` waits.
  Readiness WaitFor(Token token, Question question, int patience = 100) {
    for (int i = 0; i < patience; ++i) {
      const Readiness told(told_[token]);
      if ((told.*question)()) return Take(token);
      Note(MonotonicTime::InfiniteFuture());
    }
    const Readiness told = Take(token);
    ADD_FAILURE() << "token " << token << " was told " << told;
    return told;
  }

  // What `token` was told since it was last asked for here, with one more
  // Wait() that does not wait.
  Readiness Told(Token token) {
    Note(MonotonicTime::InfinitePast());
    return Take(token);
  }

  // The caller has met EAGAIN on `fd`.
  void Drained(int fd, Interest interest) {
    poller_->MarkDrained(fd, interest);
  }

  const Clock& clock_ = Clock::System();
  const std::unique_ptr<Poller> poller_ = Backend::Create(clock_);

 private:
  void Note(MonotonicTime deadline) {
    std::array<Event, 64> events;
    const absl::StatusOr<ReadyEvents> ready =
        poller_->Wait(absl::MakeSpan(events), deadline);
    ASSERT_TRUE(ready.ok()) << ready.status();
    for (const Event event : *ready) {
      told_[event.token()] |= event.readiness().bits();
    }
  }
  Readiness Take(Token token) {
    const Readiness told(told_[token]);
    told_.erase(token);
    return told;
  }

  std::map<Token, uint32_t> told_;
};

inline constexpr Interest kReadableAndWritable =
    Interest::kReadable | Interest::kWritable;

// A poller, and a connected pair of Unix sockets of which it may watch one.
template <typename Backend>
class PollerTest : public PollerFixture<Backend> {
 protected:
  struct Pair {
    UniqueFd near, far;
  };
  static Pair NewPair() {
    int fds[2];
    EXPECT_EQ(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
        0);
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
  }

  void Add(Token token, Interest interest, Trigger trigger) {
    ASSERT_TRUE(IsOk(this->poller_->Add(fd(), token, interest, trigger)));
  }
  void Modify(Token token, Interest interest, Trigger trigger) {
    ASSERT_TRUE(IsOk(this->poller_->Modify(fd(), token, interest, trigger)));
  }

  static void Send(const UniqueFd& to, std::string_view bytes = "x") {
    EXPECT_EQ(write(to.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  void Send(std::string_view bytes = "x") { Send(pair_.far, bytes); }

  // Reads until the call would block.
  void Drain() {
    char buffer[64];
    while (read(fd(), buffer, sizeof(buffer)) > 0) {
    }
    this->Drained(fd(), Interest::kReadable);
  }

  // Writes until the call would block.
  void Fill() {
    const std::array<char, 4096> bytes = {};
    while (write(fd(), bytes.data(), bytes.size()) > 0) {
    }
    this->Drained(fd(), Interest::kWritable);
  }

  int fd() const { return pair_.near.get(); }

  Pair pair_ = NewPair();
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_TEST_SUITES_POLLER_FIXTURE_H_
