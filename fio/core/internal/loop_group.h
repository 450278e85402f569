// The loops of one process, each on a thread of its own; the first, the main
// one, on the thread of whoever runs the group.
//
// Thread safety: handles() and HandleOf() on any thread, the rest on the thread
// that runs the main loop.

#ifndef FIO_CORE_INTERNAL_LOOP_GROUP_H_
#define FIO_CORE_INTERNAL_LOOP_GROUP_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/core/loop/loop_options.h"
#include "fio/defer/thread_pool.h"

namespace fio::core_internal {

class LoopGroup {
 public:
  struct Hooks {
    // Whether anybody wants on_idle; asked before each turn that may sleep.
    std::function<bool()> wants_idle;
    // The last loop that was busy has nothing to do. A task of the main loop.
    std::function<void()> on_idle;
  };

  // A group of one: the main loop. Errors: those of Loop::Create().
  static absl::StatusOr<std::unique_ptr<LoopGroup>> Create(
      const LoopOptions& options, Hooks hooks);

  LoopGroup(const LoopGroup&) = delete;
  LoopGroup& operator=(const LoopGroup&) = delete;
  // REQUIRES: no thread runs.
  ~LoopGroup();

  // Any thread.
  Loop& main() { return *main_; }
  size_t size() const { return members_.size(); }

  // Any thread. At least the main loop's, first.
  std::vector<LoopHandle> handles() const;
  // Of the loop that has the connection; of the main one if none has. Any
  // thread.
  LoopHandle HandleOf(ConnectionId id) const;

  // Has the group grow to `count` loops, or shrink to the main one. REQUIRES:
  // no thread runs. Errors: those of Loop::Create(); the group is then as
  // before.
  absl::Status Resize(size_t count);

  // Runs every loop but the main one, until it has stopped. Errors: those of
  // ThreadPool::Create().
  absl::Status StartThreads();

  // Whether loops but the main one run on threads of their own.
  bool has_threads() const { return threads_ != nullptr; }

  // One turn of the main loop. Errors: those of Loop::RunOnce(), of any loop.
  absl::Status RunMain(MonotonicTime deadline);

  // Calls `task` with each loop, on its thread; directly where no thread runs
  // it. Then `done`, on the main loop, once each call has returned.
  void ForEach(const std::function<void(size_t index, Loop& loop)>& task,
               std::function<void()> done = nullptr);

  // Loop::Drain() of each.
  void Drain();
  // Whether no loop has a connection. The main loop wakes when the last one of
  // a group that drains has gone.
  bool drained() const;

  // Loop::Stop() of each.
  void Stop(absl::Duration grace);
  bool stopped() const;

  // Awaits the threads, and finishes each loop: tasks that wait are run, timers
  // cancelled. REQUIRES: stopped().
  void Finish();

  // See Loop::BeforeFork().
  void BeforeFork();
  void AfterFork();

 private:
  struct Member {
    std::unique_ptr<Loop> loop;
    bool busy = true;  // Its own thread's.
    std::atomic<bool> ended{true};
  };

  LoopGroup(const LoopOptions& options, Hooks hooks);

  absl::Status Add();
  void RunThread(Member& member);
  absl::Status RunTurn(Member& member, MonotonicTime deadline);
  absl::Status RunBusyTurn(Member& member);
  absl::Status RunIdleTurn(Member& member, MonotonicTime deadline);

  const LoopOptions options_;
  const Hooks hooks_;
  std::vector<std::unique_ptr<Member>> members_;
  Loop* main_ = nullptr;  // That of the first.
  // Not an absl::Mutex, which does not survive a fork() with threads waiting.
  mutable std::mutex mutex_;
  std::vector<LoopHandle> handles_;      // Under mutex_.
  absl::Status thread_error_;            // Likewise: the first of a thread's.
  std::atomic<bool> failed_{false};      // There is one.
  std::unique_ptr<ThreadPool> threads_;  // For the members but the first.

  std::atomic<bool> draining_{false};
  std::atomic<size_t> busy_{1};
  bool idle_turn_ = false;  // The main loop has run on_idle in this turn.
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_LOOP_GROUP_H_
