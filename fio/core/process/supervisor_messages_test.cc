// Each system call of a root and of its workers fails once, and no message
// between them is lost.

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/supervisor.h"
#include "fio/core/process/worker_end.h"
#include "fio/testing/fault_plan.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using testing::FaultPlan;
using testing::ForEachCall;

constexpr MonotonicTime kStart = MonotonicTime::FromNanoseconds(1'000'000'000);
constexpr int kLimitMs = 60'000;  // Of what waits in vain.
// What a retry may wait for; a message that is lost waits for much longer.
constexpr absl::Duration kSoon = absl::Milliseconds(200);

bool AwaitReadable(absl::Span<const int> fds, int timeout_ms) {
  std::vector<pollfd> polled;
  for (const int fd : fds) {
    polled.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  }
  int count;
  while ((count = poll(polled.data(), polled.size(), timeout_ms)) < 0) {
    if (errno != EINTR) return false;
  }
  return count > 0;
}

// The second worker stops by itself, all others when they are asked. One that
// `must_reload` fails if it was not asked for that before.
int Work(WorkerEnd& end, bool drains, bool must_reload) {
  end.TellReady();
  if (drains) end.TellDrains();
  while (!end.SendReports()) continue;
  bool reloaded = false;
  for (;;) {
    const WorkerEnd::Request request = end.Next();
    if (request.root_died) return 1;
    reloaded = reloaded || request.reload;
    // Its place has been given to another one already.
    if (request.stop != StopLevel::kNone)
      return reloaded == must_reload ? 0 : 1;
    AwaitReadable(end.fds(), kLimitMs);
  }
}

// The root waits that long for an answer to a message that is lost.
constexpr absl::Duration kCostOfALostMessage = absl::Hours(1);

class Root {
 public:
  Root() {
    lifecycle_.Add(LifecycleEvent::kBeforeFork, [this] { ++forks_; });
    absl::StatusOr<std::unique_ptr<Supervisor>> created =
        Supervisor::Create({.workers = 2,
                            .first_delay = absl::Milliseconds(50),
                            .stop_timeout = kCostOfALostMessage,
                            .drain_time = kCostOfALostMessage},
                           lifecycle_);
    status_ = created.status();
    if (created.ok()) supervisor_ = *std::move(created);
  }

  // What has failed at the start. Nothing may fail later.
  const absl::Status& status() const { return status_; }
  Supervisor& supervisor() { return *supervisor_; }
  MonotonicTime now() const { return now_; }

  void Advance() {
    absl::StatusOr<std::unique_ptr<WorkerEnd>> end = supervisor_->Advance(now_);
    if (!end.ok()) {
      status_ = end.status();
    } else if (*end != nullptr) {
      alarm(2 * kLimitMs / 1000);
      const bool drains = forks_ == 2;
      _exit(Work(**end, drains, !drains && !reloads_));
    }
  }

  // Returns when all workers have been told.
  bool Reload() {
    reloads_ = true;
    supervisor_->Reload();
    return AdvanceUntil([this] {
      return supervisor_->next_deadline() == MonotonicTime::InfiniteFuture();
    });
  }

  // Time passes only for retries. False if nothing happens any more.
  template <typename Done>
  bool AdvanceUntil(Done done) {
    while (status_.ok() && !done()) {
      const MonotonicTime due = supervisor_->next_deadline();
      const bool soon = due <= now_ + kSoon;
      if (due > now_ &&
          !AwaitReadable(supervisor_->fds(), soon ? 0 : kLimitMs)) {
        if (!soon) return false;
        now_ = due;
      }
      Advance();
    }
    return true;
  }

 private:
  Lifecycle lifecycle_;
  int forks_ = 0;
  bool reloads_ = false;
  absl::Status status_;
  MonotonicTime now_ = kStart;
  std::unique_ptr<Supervisor> supervisor_;
};

// A start, a worker that drains by itself, a reload, a restart and a stop;
// again and again, each call of which fails once.
void ExpectNoMessageIsLost(absl::Span<const int> errors) {
  int started = 0;
  const int failed =
      ForEachCall(errors, [&](FaultPlan& plan, std::string_view fault) {
        SCOPED_TRACE(fault);
        Root root;
        if (root.status().ok()) {
          // The one that drains is followed by another.
          ASSERT_TRUE(root.AdvanceUntil([&] {
            return root.supervisor().all_ready() &&
                   root.supervisor().stats().forked >= 3;
          }));
        }
        if (!root.status().ok()) {
          EXPECT_FALSE(root.status().message().empty());
          return plan.CancelFailNth();
        }
        ++started;
        // The one that drains has ended, so that all are told.
        ASSERT_TRUE(root.AdvanceUntil(
            [&] { return root.supervisor().pids().size() == 2; }));
        ASSERT_TRUE(root.Reload());
        root.supervisor().Restart();
        ASSERT_TRUE(root.AdvanceUntil([&] {
          return !root.supervisor().restarting() &&
                 root.supervisor().pids().size() == 2;
        }));
        EXPECT_EQ(root.supervisor().stats().crashed, 0u);
        root.supervisor().Stop(StopLevel::kGraceful);
        ASSERT_TRUE(
            root.AdvanceUntil([&] { return root.supervisor().finished(); }));
        plan.CancelFailNth();
        EXPECT_TRUE(root.status().ok()) << root.status();
        EXPECT_EQ(root.supervisor().stats().killed, 0u);
        EXPECT_LT(root.now() - kStart, kCostOfALostMessage);
      });
  EXPECT_GT(started, 0);
  EXPECT_GT(failed, started / 2);
}

TEST(Supervisor, NoMessageIsLost) { ExpectNoMessageIsLost({EAGAIN, ENOMEM}); }

TEST(Supervisor, NoMessageIsLostWithoutRoom) {
  ExpectNoMessageIsLost({ENOBUFS, EMFILE});
}

TEST(Supervisor, NoMessageIsLostByOtherErrors) {
  ExpectNoMessageIsLost({EINTR, ECONNRESET, EPIPE});
}

}  // namespace
}  // namespace fio
