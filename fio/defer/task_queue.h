// A TaskQueue carries work from any thread to the one that runs it.
//
// Tasks posted by one thread run in the order in which it posted them.
//
// Thread safety: Post() and HasTasks() from any thread; RunPosted() from one
// thread at a time.

#ifndef FIO_DEFER_TASK_QUEUE_H_
#define FIO_DEFER_TASK_QUEUE_H_

#include <cstddef>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace fio {

// Runs once, or is destroyed without having run.
using Task = absl::AnyInvocable<void() &&>;

class TaskQueue {
 public:
  TaskQueue() = default;
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  // Owns `task` until it has run. Tasks that are still queued when the queue
  // dies are destroyed in its destructor. REQUIRES: `task` is not null.
  void Post(Task task);

  // Whether a task waits to be run.
  bool HasTasks() const;

  // Runs the tasks that were posted before the call, and returns how many. What
  // they post waits for the next call, so every call ends. A task may post, but
  // not call RunPosted() or destroy the queue.
  size_t RunPosted();

 private:
  mutable absl::Mutex mutex_;
  std::vector<Task> posted_ ABSL_GUARDED_BY(mutex_);

  // Only of the thread that runs: kept for its capacity.
  std::vector<Task> running_;
};

}  // namespace fio

#endif  // FIO_DEFER_TASK_QUEUE_H_
