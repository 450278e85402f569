// A TaskList is a first-in, first-out list of tasks in chunks. The caller adds
// and takes back chunks, so that it can allocate and free them without holding
// a lock.
//
// Thread safety: none.

#ifndef FIO_DEFER_INTERNAL_TASK_LIST_H_
#define FIO_DEFER_INTERNAL_TASK_LIST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "fio/defer/task.h"

namespace fio::defer_internal {

// Room for tasks; those in [begin, end) are constructed. 4 KiB, including
// malloc's header.
struct TaskChunk {
  static constexpr uint32_t kTasks = 56;

  Task* task(uint32_t i) { return std::launder(&tasks[i].task); }

  TaskChunk* next = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;
  union Room {
    Room() {}   // NOLINT(modernize-use-equals-default): lives not yet.
    ~Room() {}  // NOLINT(modernize-use-equals-default): lives no more.
    Task task;
  } tasks[kTasks];
};

// A list of chunks that hold no task. Owns them.
class SpareChunks {
 public:
  SpareChunks() = default;
  SpareChunks(SpareChunks&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)),
        count_(std::exchange(other.count_, 0)) {}
  SpareChunks& operator=(SpareChunks&& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~SpareChunks() {
    while (first_ != nullptr) Pop();
  }

  bool empty() const { return first_ == nullptr; }
  size_t count() const { return count_; }
  void Push(std::unique_ptr<TaskChunk> chunk) {
    chunk->begin = chunk->end = 0;
    chunk->next = first_;
    first_ = chunk.release();
    ++count_;
  }
  std::unique_ptr<TaskChunk> Pop() {
    std::unique_ptr<TaskChunk> chunk(first_);
    first_ = chunk->next;
    chunk->next = nullptr;
    --count_;
    return chunk;
  }

 private:
  TaskChunk* first_ = nullptr;
  size_t count_ = 0;
};

class TaskList {
 public:
  TaskList() = default;
  TaskList(const TaskList&) = delete;
  TaskList& operator=(const TaskList&) = delete;
  // Destroys the tasks that are left, oldest first.
  ~TaskList();

  bool empty() const { return first_ == nullptr; }

  // Whether Push() needs an AddChunk() first.
  bool full() const {
    return last_ == nullptr || last_->end == TaskChunk::kTasks;
  }
  void AddChunk(std::unique_ptr<TaskChunk> chunk) {
    for (uint32_t i = 0; i < kAhead; ++i) FetchToWrite(*chunk, i);
    Link(chunk.release());
  }
  // REQUIRES: not full.
  void Push(Task&& task) {
    const uint32_t i = last_->end++;
    FetchToWrite(*last_, i + kAhead);
    std::construct_at(last_->task(i), std::move(task));
  }

  // Returns the oldest task, and its chunk to `spares` if it was the last one
  // in it. REQUIRES: not empty.
  Task Pop(SpareChunks& spares);

  // Moves all tasks of `other`, in order, behind those of this list.
  void Append(TaskList& other);

 private:
  // A chunk is reused from another processor's cache. Unless a cache line is
  // prefetched some tasks ahead, the thread that writes to it waits for the
  // line, and so do all threads that wait for its lock.
  static constexpr uint32_t kAhead = 8;
  static void FetchToWrite(TaskChunk& chunk, uint32_t i) {
    if (i < TaskChunk::kTasks) __builtin_prefetch(chunk.task(i), /*write=*/1);
  }

  void Link(TaskChunk* chunk) {
    (last_ == nullptr ? first_ : last_->next) = chunk;
    last_ = chunk;
  }

  // Every chunk but a last one that has just been added holds a task.
  TaskChunk* first_ = nullptr;
  TaskChunk* last_ = nullptr;
};

inline Task TaskList::Pop(SpareChunks& spares) {
  TaskChunk* const chunk = first_;
  Task* const oldest = chunk->task(chunk->begin++);
  Task task = std::move(*oldest);
  std::destroy_at(oldest);
  if (chunk->begin == chunk->end) {
    first_ = chunk->next;
    if (first_ == nullptr) last_ = nullptr;
    spares.Push(std::unique_ptr<TaskChunk>(chunk));
  }
  return task;
}

}  // namespace fio::defer_internal

#endif  // FIO_DEFER_INTERNAL_TASK_LIST_H_
