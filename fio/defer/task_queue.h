// A TaskQueue carries tasks from the threads that post them to those that run
// them, in order: a task starts after every one that was posted before it.
//
//   TaskQueue queue;
//   queue.Post([] { ... });        // Any thread.
//   while (queue.RunOne()) {}      // Any thread, or several at once.
//
// An urgent task overtakes the others, though not for ever: after kUrgentBurst
// in a row, one that is not urgent has its turn. Urgent tasks keep their order.
//
// Nothing is allocated for a task whose captures fit it (task.h), once the
// queue has grown to its load; a burst's memory is given back but for 256 KiB.
//
// Sleep. A consumer with nothing to do calls PrepareToSleep() and, if told to,
// sleeps by means of its own. The first post wakes it: the queue calls the
// waker, once for each sleep and never while no one sleeps.
//
// Thread safety: every method from any thread and from tasks, but for what
// Consumers::kOne reserves for one thread. A queue may die as soon as its last
// task has run, even if the Post() that brought it has not returned. After a
// fork the child must not touch its copy, but for one that BeforeFork() has
// prepared.

#ifndef FIO_DEFER_TASK_QUEUE_H_
#define FIO_DEFER_TASK_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "fio/base/move_only_function.h"
#include "fio/defer/internal/spin_lock.h"
#include "fio/defer/internal/task_list.h"
#include "fio/defer/task.h"

namespace fio {

struct TaskQueueOptions {
  // With kOne, a task costs its consumer no atomic operation; RunOne(),
  // RunPosted(), Perform(), Close() and the sleep are then for one thread at a
  // time, and a task that runs one of them is part of it.
  enum class Consumers { kOne, kMany };
  Consumers consumers = Consumers::kMany;

  // How many tasks TryPost() lets wait.
  size_t capacity = std::numeric_limits<size_t>::max();

  // Wakes a consumer. Runs on the thread that posts, at most once for each
  // PrepareToSleep() that returned true; may run on several threads at once,
  // holds no lock, and must not destroy the queue.
  MoveOnlyFunction<void()> waker = nullptr;
};

class TaskQueue {
 public:
  // What becomes of the tasks that wait when a queue is closed.
  enum class OnClose { kRun, kDrop };

  static constexpr int kUrgentBurst = 16;

  explicit TaskQueue(TaskQueueOptions options = {});
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;
  // As Close(kDrop).
  ~TaskQueue();

  // Owns `task` until it has run. False, and `task` is destroyed, if it is null
  // or the queue is closed.
  bool Post(Task task);

  // As Post(), ahead of what is not urgent.
  bool PostUrgent(Task task);

  // As Post(), but also false if as many tasks wait as the capacity allows; and
  // where it is false `task` is left as it was. Other posts have no limit.
  [[nodiscard]] bool TryPost(Task&& task);

  // How many tasks were ever posted.
  uint64_t posted() const {
    return inbox_.posted.Get() + urgent_inbox_.posted.Get();
  }

  // Whether a task waits to be run. One that runs does not wait.
  bool HasTasks() const;

  // Runs the next task, and returns whether there was one.
  bool RunOne();

  // Runs as many tasks as wait now, and returns how many it ran: what they post
  // waits for the next call, so every call ends. Asks after each task whether
  // to go on; if not, the rest waits, too.
  size_t RunPosted(absl::FunctionRef<bool()> goes_on = [] { return true; });

  // Runs tasks until none waits, what they post included, and returns how many
  // it ran. A task may call this, too: it then runs what waits behind it.
  size_t Perform();

  // Refuses tasks from now on. Those that wait are run by whoever runs tasks
  // (kRun) or are destroyed now, in this thread and in order (kDrop). Wakes
  // everyone who sleeps. A later call may still drop what waits.
  void Close(OnClose on_close);
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // True: nothing waits, and the waker will be called as soon as that changes;
  // the caller sleeps now. False: a task waits or the queue is closed.
  [[nodiscard]] bool PrepareToSleep();

  // Wakes one who sleeps, if any does, as a post would.
  void Wake();

  // Tells that a sleep ended by other means than the waker, which may yet be
  // called for it if a post is under way. REQUIRES: one consumer.
  void EndSleep();

  // Around a fork(2): in between no other thread is inside the queue. In the
  // child, whose other threads are gone, it wakes nobody afterwards.
  enum class Side { kParent, kChild };
  void BeforeFork() ABSL_EXCLUSIVE_LOCK_FUNCTION(take_lock_, post_lock_);
  void AfterFork(Side side) ABSL_UNLOCK_FUNCTION(take_lock_, post_lock_);

 private:
  // Only ever grows: written under a lock, read without. Whoever sees that a
  // task was taken sees that it was posted.
  class Count {
   public:
    void Add(uint64_t n) { Set(Get() + n); }
    void Set(uint64_t n) { value_.store(n, std::memory_order_release); }
    uint64_t Get() const { return value_.load(std::memory_order_acquire); }

   private:
    std::atomic<uint64_t> value_{0};
  };
  // Where one kind of task arrives.
  struct Inbox {
    defer_internal::TaskList tasks;
    Count posted;
  };
  // Where it is run from; takes over an inbox as a whole when it has run out.
  struct Outbox {
    defer_internal::TaskList tasks;
    Count taken;
  };

  bool Push(Inbox& inbox, Task& task, size_t capacity);
  Task Take();
  size_t waiting() const;
  void Collect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(take_lock_, post_lock_);
  defer_internal::SpareChunks ReturnEmptied()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(take_lock_, post_lock_);
  void CallWaker(int times);
  bool wakes_under_way();

  const size_t capacity_;
  MoveOnlyFunction<void()> waker_;

  // The consumers' side; its lock is taken before the other where both are.
  alignas(64) defer_internal::SpinLock take_lock_
      ABSL_ACQUIRED_BEFORE(post_lock_);
  int urgent_run_ ABSL_GUARDED_BY(take_lock_) = 0;
  Outbox outbox_;         // Lists guarded by `take_lock_`.
  Outbox urgent_outbox_;  // Likewise.
  defer_internal::SpareChunks emptied_ ABSL_GUARDED_BY(take_lock_);

  // The posters' side: one cache line for what is not urgent.
  alignas(64) defer_internal::SpinLock post_lock_;
  std::atomic<bool> closed_{false};  // Written under `post_lock_`.
  int sleepers_ ABSL_GUARDED_BY(post_lock_) = 0;
  int wakes_under_way_ ABSL_GUARDED_BY(post_lock_) = 0;
  Inbox inbox_;  // List guarded by `post_lock_`.
  defer_internal::SpareChunks spare_ ABSL_GUARDED_BY(post_lock_);
  alignas(64) Inbox urgent_inbox_;  // Likewise.
};

}  // namespace fio

#endif  // FIO_DEFER_TASK_QUEUE_H_
