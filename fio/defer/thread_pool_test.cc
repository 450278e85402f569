#include "fio/defer/thread_pool.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <latch>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "fio/defer/task.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using OnStop = ThreadPool::OnStop;

std::unique_ptr<ThreadPool> CreatePool(const ThreadPoolOptions& options) {
  absl::StatusOr<std::unique_ptr<ThreadPool>> pool =
      ThreadPool::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return *std::move(pool);
}

// Runs `report` on each thread of the pool, all at once.
template <typename Report>
void OnEachThread(ThreadPool& pool, Report report) {
  const auto size = static_cast<std::ptrdiff_t>(pool.size());
  std::latch all_run(size);
  std::latch done(size);
  for (size_t i = 0; i < pool.size(); ++i) {
    pool.Post([&] {
      all_run.arrive_and_wait();
      report();
      done.count_down();
    });
  }
  done.wait();
}

std::vector<pid_t> ThreadIds(ThreadPool& pool) {
  absl::Mutex mutex;
  std::vector<pid_t> ids;
  OnEachThread(pool, [&] {
    absl::MutexLock lock(&mutex);
    ids.push_back(static_cast<pid_t>(syscall(SYS_gettid)));
  });
  return ids;
}

std::string ReadThreadFile(pid_t thread, const char* file) {
  std::ifstream stream(absl::StrCat("/proc/self/task/", thread, "/", file));
  std::string line;
  std::getline(stream, line);
  return line;
}

TEST(ThreadPool, RunsEachTaskOnce) {
  std::vector<std::atomic<int>> runs(10'000);
  {
    const auto pool = CreatePool({.threads = 4});
    for (auto& count : runs) EXPECT_TRUE(pool->Post([&count] { ++count; }));
  }  // Drains.
  for (const auto& count : runs) EXPECT_EQ(count, 1);
}

TEST(ThreadPool, StartsTasksInOrder) {
  const auto pool = CreatePool({.threads = 1});
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) {
    pool->Post([&order, i] { order.push_back(i); });
  }
  pool->Stop(OnStop::kDrain);
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST(ThreadPool, IsSizedByTheConcurrencyRule) {
  const auto size = [](int threads, int cores) {
    return CreatePool({.threads = threads, .cores = cores})->size();
  };
  EXPECT_EQ(size(0, 1), 1u);
  EXPECT_EQ(size(0, 8), 7u);
  EXPECT_EQ(size(-2, 8), 4u);
  EXPECT_EQ(size(-16, 4), 1u);
  EXPECT_EQ(size(3, 1), 3u);
  EXPECT_GE(CreatePool({})->size(), 1u);
}

TEST(ThreadPool, NamesItsThreads) {
  const auto names = [](const std::string& pool_name) {
    const auto pool = CreatePool({.threads = 2, .name = pool_name});
    std::vector<std::string> names;
    // The name is given just after the start: post until it is there.
    for (const pid_t thread : ThreadIds(*pool)) {
      std::string name;
      do {
        name = ReadThreadFile(thread, "comm");
      } while (!absl::StrContains(name, '/'));
      names.push_back(name);
    }
    return names;
  };
  EXPECT_THAT(names("disk"), UnorderedElementsAre("disk/0", "disk/1"));
  EXPECT_THAT(names("a name that is long"),
              UnorderedElementsAre("a name that i/0", "a name that i/1"));
}

TEST(ThreadPool, LeavesSignalsToOthers) {
  const auto pool = CreatePool({.threads = 1});
  std::atomic<bool> blocked = false;
  pool->Post([&] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT);
  });
  pool->Stop(OnStop::kDrain);
  EXPECT_TRUE(blocked);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
}

// An idle thread is in a futex call without a timeout: nothing but a task wakes
// it, and until then it costs nothing.
TEST(Threads, IdleCpuZero) {
  for (const int threads : {2, 4, 8, 16}) {
    const auto pool = CreatePool({.threads = threads});
    for (const pid_t thread : ThreadIds(*pool)) {
      // "NUMBER ARGUMENT...", the fourth argument being the timeout; "running"
      // until it has gone to sleep.
      std::vector<std::string> call;
      do {
        std::istringstream line(ReadThreadFile(thread, "syscall"));
        call.assign(std::istream_iterator<std::string>(line), {});
      } while (call.size() < 5 || call[0] != absl::StrCat(SYS_futex));
      EXPECT_EQ(call[4], "0x0") << "thread " << thread;
    }
  }
}

TEST(ThreadPool, WakesAsManyThreadsAsThereAreTasks) {
  const auto pool = CreatePool({.threads = 4});
  for (int round = 0; round < 100; ++round) {
    OnEachThread(*pool, [] {});  // Hangs if one of the four does not wake.
  }
}

// In facil.io a large pool found an empty queue and was gone before it began.
TEST(Fork, LargePoolStarts) {
  const auto pool = CreatePool({.threads = 64});
  EXPECT_EQ(ThreadIds(*pool).size(), 64u);
}

TEST(ThreadPool, DrainRunsWhatWaitsAndDropDestroysIt) {
  for (const OnStop on_stop : {OnStop::kDrain, OnStop::kDrop}) {
    const auto pool = CreatePool({.threads = 1});
    const auto owned = std::make_shared<int>();
    std::latch started(1);
    std::latch release(1);
    std::atomic<int> ran = 0;
    pool->Post([&] {
      started.count_down();
      release.wait();
    });
    for (int i = 0; i < 100; ++i) pool->Post([&ran, owned] { ++ran; });
    started.wait();
    std::thread stopper([&] { pool->Stop(on_stop); });
    while (!pool->stopped()) std::this_thread::yield();
    EXPECT_FALSE(pool->Post([] {}));
    release.count_down();
    stopper.join();
    EXPECT_EQ(ran, on_stop == OnStop::kDrain ? 100 : 0);
    EXPECT_EQ(owned.use_count(), 1);
    pool->Stop(OnStop::kDrain);  // Again, and again when it is destroyed.
  }
}

TEST(ThreadPool, NoTaskIsLostBetweenItsPostAndTheStop) {
  for (int round = 0; round < 2000; ++round) {
    std::atomic<int> ran = 0;
    const auto pool = CreatePool({.threads = 2});
    pool->Post([&ran] { ++ran; });
    pool->Post([&ran] { ++ran; });
    pool->Stop(OnStop::kDrain);
    ASSERT_EQ(ran, 2);
  }
}

TEST(ThreadPool, ATaskMayPostMore) {
  const auto pool = CreatePool({.threads = 2});
  std::latch last(1);
  pool->Post([&] {
    pool->PostUrgent([&] { pool->Post([&] { last.count_down(); }); });
  });
  last.wait();
}

TEST(ThreadPool, TryPostHandsTheTaskBackWhenFull) {
  const auto pool = CreatePool({.threads = 1, .capacity = 1});
  std::latch started(1);
  std::latch release(1);
  std::atomic<int> ran = 0;
  pool->Post([&] {
    started.count_down();
    release.wait();
  });
  started.wait();
  EXPECT_TRUE(pool->TryPost([&] { ++ran; }));
  Task kept = [&] { ++ran; };
  EXPECT_FALSE(pool->TryPost(std::move(kept)));
  EXPECT_FALSE(kept == nullptr);  // NOLINT(bugprone-use-after-move): promised.
  release.count_down();
  pool->Stop(OnStop::kDrain);
  EXPECT_EQ(ran, 1);
}

TEST(ThreadPool, SaysWhichThreadCannotBeStartedAndLeavesNone) {
  const absl::Status status =
      ThreadPool::Create(
          {.threads = 2, .name = "huge", .stack_bytes = size_t{1} << 46})
          .status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("ThreadPool::Create: thread 0 of 2 of pool 'huge': "
                        "pthread_create"));
  EXPECT_EQ(
      ThreadPool::Create({.threads = 1, .stack_bytes = 1}).status().code(),
      absl::StatusCode::kInvalidArgument);
}

using ThreadPoolDeathTest = ::testing::Test;

TEST(ThreadPoolDeathTest, RefusesToStopFromItsOwnTask) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto stop_itself = [] {
    const auto pool = CreatePool({.threads = 1, .name = "self"});
    pool->Post([&] { pool->Stop(OnStop::kDrain); });
    std::latch(1).wait();
  };
  EXPECT_DEATH(stop_itself(),
               "ThreadPool::Stop: called from a task of pool "
               "'self'");
}

// What a forked child prints and how it ends.
std::pair<std::string, int> InChild(ThreadPool& pool,
                                    void (*use)(ThreadPool&)) {
  int fds[2];
  EXPECT_EQ(pipe(fds), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(fds[1], STDERR_FILENO);
    use(pool);
    _exit(7);
  }
  close(fds[1]);
  std::string output;
  char buffer[256];
  for (ssize_t n; (n = read(fds[0], buffer, sizeof(buffer))) > 0;) {
    output.append(buffer, static_cast<size_t>(n));
  }
  close(fds[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return {output, status};
}

TEST(ThreadPoolDeathTest, RefusesToWorkInAForkedChild) {
  const auto pool = CreatePool({.threads = 1, .name = "parent's"});
  for (const auto use : {+[](ThreadPool& pool) { pool.Post([] {}); },
                         +[](ThreadPool& pool) { pool.Stop(OnStop::kDrop); }}) {
    const auto [output, status] = InChild(*pool, use);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGABRT);
    EXPECT_THAT(output, HasSubstr("pool 'parent's' belongs to process"));
    EXPECT_THAT(output, HasSubstr("threads do not survive fork()"));
  }
  // And the parent's goes on.
  OnEachThread(*pool, [] {});
}

TEST(ThreadPool, MayBeDestroyedInAForkedChild) {
  auto pool = CreatePool({.threads = 2});
  const auto [output, status] = InChild(
      *pool, +[](ThreadPool& pool) {
        std::unique_ptr<ThreadPool> owned(&pool);
        owned.reset();
      });
  EXPECT_TRUE(WIFEXITED(status)) << output;
  EXPECT_EQ(WEXITSTATUS(status), 7) << output;
}

}  // namespace
}  // namespace fio
