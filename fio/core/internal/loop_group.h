// The loops of one process, each on its own thread. The first, the main loop,
// runs on the thread that calls RunMain().
//
// Thread safety: any thread may call handles() and HandleOf(). Call the rest on
// the thread that runs the main loop.

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
    // Whether on_idle is wanted. Called before each turn that may sleep.
    std::function<bool()> wants_idle;
    // Called when no loop has anything to do any more, in a task of the main
    // loop.
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

  // Any thread. The main loop's is first.
  std::vector<LoopHandle> handles() const;
  // The handle of the loop that has the connection, or of the main loop if none
  // has. Any thread.
  LoopHandle HandleOf(ConnectionId id) const;

  // Grows the group to `count` loops, or shrinks it to the main loop. REQUIRES:
  // no thread runs. Errors: those of Loop::Create(); the group is then
  // unchanged.
  absl::Status Resize(size_t count);

  // Starts threads that run every loop but the main one until it has stopped.
  // Errors: those of ThreadPool::Create().
  absl::Status StartThreads();

  // Whether the threads have been started.
  bool has_threads() const { return threads_ != nullptr; }

  // One turn of the main loop. Errors: those of Loop::RunOnce(), of any loop.
  absl::Status RunMain(MonotonicTime deadline);

  // Calls `task` with each loop, on its thread, or at once if no thread runs
  // it. When all calls have returned, calls `done` on the main loop.
  void ForEach(const std::function<void(size_t index, Loop& loop)>& task,
               std::function<void()> done = nullptr);

  // Loop::Drain() of each.
  void Drain();
  // Whether no loop has a connection. The main loop wakes when the last
  // connection of a draining group has ended.
  bool drained() const;

  // Loop::Stop() of each.
  void Stop(absl::Duration grace);
  bool stopped() const;

  // Joins the threads, and finishes each loop: waiting tasks run, timers are
  // cancelled. REQUIRES: stopped().
  void Finish();

  // See Loop::BeforeFork().
  void BeforeFork();
  void AfterFork();

 private:
  struct Member {
    std::unique_ptr<Loop> loop;
    bool busy = true;  // Used by its own thread only.
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
  Loop* main_ = nullptr;  // The first member's.
  // Not an absl::Mutex, which is unusable after a fork() while threads wait for
  // it.
  mutable std::mutex mutex_;
  std::vector<LoopHandle> handles_;  // Under mutex_.
  absl::Status thread_error_;        // Likewise: the first error of a thread.
  std::atomic<bool> failed_{false};  // Whether there is one.
  std::unique_ptr<ThreadPool> threads_;  // For the members but the first.

  std::atomic<bool> draining_{false};
  std::atomic<size_t> busy_{1};
  bool idle_turn_ = false;  // The main loop has run on_idle in this turn.
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_LOOP_GROUP_H_
