// A thread that waits for a queue's lock lets the holder run, whatever the
// priorities of the two are.

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "fio/defer/task_queue.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

rusage UsageOfThisThread() {
  rusage usage;
  EXPECT_EQ(getrusage(RUSAGE_THREAD, &usage), 0);
  return usage;
}

absl::Duration CpuTime(const rusage& usage) {
  return absl::DurationFromTimeval(usage.ru_utime) +
         absl::DurationFromTimeval(usage.ru_stime);
}

// How often a thread of this process has gone to sleep.
int64_t SleepsOf(pid_t thread) {
  std::ifstream file(absl::StrCat("/proc/self/task/", thread, "/status"));
  int64_t sleeps = 0;
  for (std::string line; std::getline(file, line);) {
    std::string_view value = line;
    if (absl::ConsumePrefix(&value, "voluntary_ctxt_switches:")) {
      EXPECT_TRUE(absl::SimpleAtoi(value, &sleeps)) << line;
    }
  }
  return sleeps;
}

// Holds the queue's locks, as a thread does that was preempted.
class Held {
 public:
  explicit Held(TaskQueue& queue) ABSL_NO_THREAD_SAFETY_ANALYSIS
      : queue_(queue) {
    queue_.BeforeFork();
  }
  void Release() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    queue_.AfterFork(TaskQueue::Side::kParent);
  }

 private:
  TaskQueue& queue_;
};

TEST(TaskQueue, PosterSleepsWhileTheLockIsHeld) {
  constexpr int kLooks = 200'000;  // Each is a file that is read.
  TaskQueue queue;
  Held held(queue);
  std::atomic<int64_t> slept_before = -1;
  std::atomic<pid_t> thread = 0;
  std::thread poster([&] {
    thread = static_cast<pid_t>(syscall(SYS_gettid));
    slept_before = UsageOfThisThread().ru_nvcsw;
    queue.Post([] {});
  });
  while (slept_before < 0) std::this_thread::yield();
  int looks = 0;
  while (SleepsOf(thread) < slept_before + 3 && ++looks < kLooks) {
    std::this_thread::yield();
  }
  EXPECT_LT(looks, kLooks) << "the poster does not sleep";
  held.Release();
  poster.join();
  EXPECT_TRUE(queue.RunOne());
}

void RunOnOneProcessor() {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  int first = 0;
  while (!CPU_ISSET(first, &set)) ++first;
  CPU_ZERO(&set);
  CPU_SET(first, &set);
  ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

// The kernel lets a real-time thread run before all others on its processor,
// for up to 950 ms in a second. In a sandbox that refuses SCHED_FIFO both have
// the same priority.
TEST(TaskQueue, RealTimePosterIsNotHeldUp) {
  TaskQueue queue;
  std::atomic<bool> posts = false;
  absl::Duration used;
  // A thread of its own, which the poster inherits the processor from.
  std::thread holder([&] {
    RunOnOneProcessor();
    Held held(queue);
    std::thread poster([&] {
      const sched_param priority = {.sched_priority = 10};
      if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) != 0) {
        RecordProperty("scheduler", "SCHED_FIFO is refused");
      }
      const absl::Duration before = CpuTime(UsageOfThisThread());
      posts = true;
      queue.Post([] {});
      used = CpuTime(UsageOfThisThread()) - before;
    });
    while (!posts) std::this_thread::yield();
    held.Release();
    poster.join();
  });
  holder.join();
  EXPECT_TRUE(queue.RunOne());
  // Processor time, which other programs do not add to. 64 yields take some 20
  // microseconds; a poster that only yields takes all that it is given.
  EXPECT_LT(used, absl::Milliseconds(200));
}

}  // namespace
}  // namespace fio
