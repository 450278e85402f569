#include "fio/defer/task_queue.h"

#include <cstddef>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/synchronization/mutex.h"

namespace fio {

void TaskQueue::Post(Task task) {
  ABSL_CHECK(task != nullptr) << "TaskQueue::Post: no task";
  absl::MutexLock lock(&mutex_);
  posted_.push_back(std::move(task));
}

bool TaskQueue::HasTasks() const {
  absl::MutexLock lock(&mutex_);
  return !posted_.empty();
}

size_t TaskQueue::RunPosted() {
  {
    absl::MutexLock lock(&mutex_);
    running_.swap(posted_);
  }
  for (Task& task : running_) {
    // Moved out first, so that what it owns dies as soon as it has run.
    Task current = std::move(task);
    std::move(current)();
  }
  const size_t count = running_.size();
  running_.clear();
  return count;
}

}  // namespace fio
