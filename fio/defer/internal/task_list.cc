#include "fio/defer/internal/task_list.h"

#include <utility>

namespace fio::defer_internal {

TaskList::~TaskList() {
  SpareChunks emptied;
  while (!empty()) Pop(emptied);
}

void TaskList::Append(TaskList& other) {
  if (other.empty()) return;
  (last_ == nullptr ? first_ : last_->next) = other.first_;
  last_ = std::exchange(other.last_, nullptr);
  other.first_ = nullptr;
}

}  // namespace fio::defer_internal
