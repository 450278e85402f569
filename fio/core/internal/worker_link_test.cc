#include "fio/core/internal/worker_link.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/unique_fd.h"
#include "fio/core/loop/loop.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/supervisor.h"
#include "fio/core/process/worker_end.h"
#include "gtest/gtest.h"

namespace fio::core_internal {
namespace {

// A root with two workers, whose loops are woken by their links only. Each
// worker exits with what `work` returns.
class WorkerLinkTest : public ::testing::Test {
 protected:
  WorkerLinkTest() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_end_ = UniqueFd(ends[0]);
    write_end_ = UniqueFd(ends[1]);
  }

  using Work = std::function<int(Loop& loop, WorkerLink& link)>;

  void Start(SupervisorOptions options, const Work& work) {
    work_ = &work;
    absl::StatusOr<std::unique_ptr<Supervisor>> supervisor =
        Supervisor::Create(std::move(options), lifecycle_);
    ASSERT_TRUE(supervisor.ok()) << supervisor.status();
    supervisor_ = *std::move(supervisor);
  }

  // Advances the supervisor until `holds`.
  void Await(const std::function<bool()>& holds) {
    while (!holds()) {
      absl::StatusOr<std::unique_ptr<WorkerEnd>> end =
          supervisor_->Advance(Clock::System().Now());
      ASSERT_TRUE(end.ok()) << end.status();
      if (*end != nullptr) _exit(RunWorker(*std::move(end)));
      if (holds()) return;
      pollfd ready[2];
      for (int i = 0; i < 2; ++i) {
        ready[i] = {
            .fd = supervisor_->fds()[i], .events = POLLIN, .revents = 0};
      }
      ASSERT_TRUE(poll(ready, 2, 10) >= 0 || errno == EINTR);
    }
  }

  int RunWorker(std::unique_ptr<WorkerEnd> end) const {
    alarm(120);
    const std::unique_ptr<Loop> loop = *Loop::Create({});
    WorkerLink link(std::move(end), *loop);
    if (!link.Watch().ok()) return 9;
    return (*work_)(*loop, link);
  }

  // In a worker.
  static WorkerLink::News AwaitNews(Loop& loop, WorkerLink& link) {
    for (;;) {
      if (link.TakeWoken()) {
        WorkerLink::News news = link.Next();
        if (news.root_died || news.reload || news.stop.has_value() ||
            !news.lent.empty()) {
          return news;
        }
      }
      if (!loop.RunOnce(MonotonicTime::InfiniteFuture()).ok()) _exit(8);
    }
  }

  // What workers say to the root.
  void Say(char word) const {
    if (write(write_end_.get(), &word, 1) != 1) _exit(7);
  }
  std::string Heard() {
    char word;
    while (read(read_end_.get(), &word, 1) == 1) heard_ += word;
    return heard_;
  }

  UniqueFd read_end_, write_end_;
  std::string heard_;
  Lifecycle lifecycle_;
  const Work* work_ = nullptr;
  std::unique_ptr<Supervisor> supervisor_;
};

TEST_F(WorkerLinkTest, TellsEachLevelOfAStopOnce) {
  const Work work = [this](Loop& loop, WorkerLink& link) {
    link.TellReady();
    if (AwaitNews(loop, link).stop != StopLevel::kGraceful) return 1;
    if (link.Next().stop.has_value()) return 2;
    Say('g');
    if (AwaitNews(loop, link).stop != StopLevel::kCutOff) return 3;
    Say('c');
    return 0;
  };
  Start({.workers = 2, .cut_off_timeout = absl::Minutes(1)}, work);
  Await([this] { return supervisor_->all_ready(); });
  supervisor_->Stop(StopLevel::kGraceful);
  Await([this] { return Heard() == "gg"; });
  supervisor_->Stop(StopLevel::kCutOff);
  Await([this] { return supervisor_->finished(); });
  EXPECT_EQ(Heard(), "ggcc");
  EXPECT_EQ(supervisor_->stats().killed, 0u);
}

TEST_F(WorkerLinkTest, TellsEachReloadOnce) {
  const Work work = [this](Loop& loop, WorkerLink& link) {
    for (const char word : {'a', 'b'}) {
      const WorkerLink::News news = AwaitNews(loop, link);
      if (!news.reload || news.stop.has_value()) return 1;
      if (link.Next().reload) return 2;
      Say(word);
      link.TellReady();
    }
    return AwaitNews(loop, link).stop == StopLevel::kGraceful ? 0 : 3;
  };
  Start({.workers = 1}, work);
  // It is not ready yet.
  Await([this] { return !supervisor_->pids().empty(); });
  supervisor_->Reload();
  Await([this] { return supervisor_->all_ready() && Heard() == "a"; });
  supervisor_->Reload();
  Await([this] { return Heard() == "ab"; });
  supervisor_->Stop(StopLevel::kGraceful);
  Await([this] { return supervisor_->finished(); });
  EXPECT_EQ(Heard(), "ab");
}

TEST_F(WorkerLinkTest, TellsWhatIsLent) {
  const Work work = [](Loop& loop, WorkerLink& link) {
    link.TellReady();
    const WorkerLink::News news = AwaitNews(loop, link);
    return !news.lent.empty() && !news.stop.has_value() ? 0 : 1;
  };
  int crashes = 0;
  lifecycle_.Add(LifecycleEvent::kOnChildCrash, [&crashes] { ++crashes; });
  Start({.workers = 2, .min_lifetime = absl::ZeroDuration()}, work);
  Await([this] { return supervisor_->all_ready(); });
  supervisor_->Lend(0, 2);
  Await([this] { return supervisor_->stats().respawned >= 2; });
  EXPECT_EQ(crashes, 0);
}

TEST_F(WorkerLinkTest, ADrainingWorkerIsReplaced) {
  const Work work = [](Loop& loop, WorkerLink& link) {
    link.TellReady();
    link.TellDrains();
    return AwaitNews(loop, link).stop == StopLevel::kDrain ? 0 : 1;
  };
  int crashes = 0;
  lifecycle_.Add(LifecycleEvent::kOnChildCrash, [&crashes] { ++crashes; });
  Start({.workers = 1, .min_lifetime = absl::ZeroDuration()}, work);
  Await([this] { return supervisor_->stats().forked >= 3; });
  EXPECT_EQ(crashes, 0);
}

}  // namespace
}  // namespace fio::core_internal
