// A TaskQueue passes tasks from the threads that post them to the threads that
// run them. Tasks start in the order in which they were posted.
//
//   TaskQueue queue;
//   queue.Post([] { ... });        // Any thread.
//   while (queue.RunOne()) {}      // Any thread, or several at once.
//
// An urgent task starts before tasks that are not urgent. After kUrgentBurst
// urgent tasks in a row, one task that is not urgent starts. Among themselves
// urgent tasks keep their order.
//
// A task whose captures fit into it (task.h) costs no allocation, once the
// queue has grown to its load. After a burst all memory but 256 KiB is freed.
//
// Sleep. A consumer with nothing to do calls PrepareToSleep(). If that returns
// true, the consumer sleeps in any way it likes, and the next post calls the
// waker, which must wake it. The waker is called at most once for each
// PrepareToSleep(), and never while no consumer sleeps.
//
// A post blocks only while another thread is inside of the queue, for a few
// nanoseconds. If that thread is preempted there, the post sleeps (see
// SpinLock), so that it can run even if it has a lower real-time priority.
//
// Thread safety: every method from any thread and from tasks, except for those
// that Consumers::kOne reserves for one thread. A queue may be destroyed as
// soon as its last task has run, even if the Post() of that task has not
// returned. After a fork the child must not use its copy, unless BeforeFork()
// was called.

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
  // With kOne a task costs its consumer no atomic read-modify-write. Only one
  // thread at a time may then call RunOne(), RunPosted(), Perform(), Close(),
  // PrepareToSleep() and EndSleep(); tasks may call them on that thread.
  enum class Consumers { kOne, kMany };
  Consumers consumers = Consumers::kMany;

  // TryPost() fails while this many tasks wait.
  size_t capacity = std::numeric_limits<size_t>::max();

  // Wakes one consumer. Called on the thread that posts, without a lock, at
  // most once for each PrepareToSleep() that returned true. May be called on
  // several threads at the same time. Must not destroy the queue.
  MoveOnlyFunction<void()> waker = nullptr;
};

class TaskQueue {
 public:
  // What happens to waiting tasks when a queue is closed.
  enum class OnClose { kRun, kDrop };

  static constexpr int kUrgentBurst = 16;

  explicit TaskQueue(TaskQueueOptions options = {});
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;
  // As Close(kDrop); then waits until all calls of the waker have returned.
  ~TaskQueue();

  // The queue owns `task` until it has run. Returns false, and destroys `task`,
  // if it is null or the queue is closed.
  bool Post(Task task);

  // As Post(), for an urgent task.
  bool PostUrgent(Task task);

  // As Post(), but also returns false if as many tasks wait as the capacity
  // allows. When it returns false, `task` is unchanged. Other posts have no
  // limit.
  [[nodiscard]] bool TryPost(Task&& task);

  // How many tasks were ever posted.
  uint64_t posted() const {
    return inbox_.posted.Get() + urgent_inbox_.posted.Get();
  }

  // Whether a task waits. A task that is running does not count.
  bool HasTasks() const;

  // Runs the next task, and returns whether there was one.
  bool RunOne();

  // Runs as many tasks as wait at the time of the call, and returns how many it
  // ran. Tasks that these post wait for the next call, so every call ends.
  // Calls `goes_on` after each task, and returns early if it returns false.
  size_t RunPosted(absl::FunctionRef<bool()> goes_on = [] { return true; });

  // Runs tasks until none waits, including those that they post, and returns
  // how many it ran. A task may call this: it then runs the tasks behind it.
  size_t Perform();

  // From now on posts return false. Waiting tasks can still be run (kRun), or
  // are destroyed now, in this thread and in order (kDrop). Wakes all consumers
  // that sleep. After Close(kRun) a later Close(kDrop) still drops what waits.
  void Close(OnClose on_close);
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // Returns true if no task waits: the caller should sleep now, and the waker
  // will be called as soon as a task is posted. Returns false if a task waits
  // or the queue is closed.
  [[nodiscard]] bool PrepareToSleep();

  // Wakes one consumer that sleeps, if there is one, as a post does.
  void Wake();

  // Call this when a sleep has ended for another reason than the waker. The
  // waker may still be called for this sleep, by a post that has begun already.
  // REQUIRES: there is one consumer.
  void EndSleep();

  // Call these around a fork(2): they keep other threads out of the queue in
  // between. AfterFork(kChild) forgets all sleepers, because the child has no
  // other threads.
  enum class Side { kParent, kChild };
  void BeforeFork() ABSL_EXCLUSIVE_LOCK_FUNCTION(take_lock_, post_lock_);
  void AfterFork(Side side) ABSL_UNLOCK_FUNCTION(take_lock_, post_lock_);

 private:
  // Never decreases: written under a lock, read without. A thread that sees a
  // task counted as taken also sees it counted as posted.
  class Count {
   public:
    void Add(uint64_t n) { Set(Get() + n); }
    void Set(uint64_t n) { value_.store(n, std::memory_order_release); }
    uint64_t Get() const { return value_.load(std::memory_order_acquire); }

   private:
    std::atomic<uint64_t> value_{0};
  };
  // Tasks of one kind that were posted.
  struct Inbox {
    defer_internal::TaskList tasks;
    Count posted;
  };
  // Tasks of one kind that run next. When it is empty, it takes all tasks of
  // the inbox.
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

  // Used by consumers. If both locks are needed, this one is taken first.
  alignas(64) defer_internal::SpinLock take_lock_
      ABSL_ACQUIRED_BEFORE(post_lock_);
  int urgent_run_ ABSL_GUARDED_BY(take_lock_) = 0;
  Outbox outbox_;         // Lists guarded by `take_lock_`.
  Outbox urgent_outbox_;  // Likewise.
  defer_internal::SpareChunks emptied_ ABSL_GUARDED_BY(take_lock_);

  // Used by posts: one cache line for tasks that are not urgent.
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
