#include "fio/defer/task_queue.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "fio/base/spin_wait.h"
#include "fio/defer/internal/spin_lock.h"
#include "fio/defer/internal/task_list.h"
#include "fio/defer/task.h"

namespace fio {
namespace {

using ::fio::defer_internal::SpareChunks;
using ::fio::defer_internal::SpinLockHolder;
using ::fio::defer_internal::TaskChunk;
using ::fio::defer_internal::TaskList;

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

// Chunks of 4 KiB that wait for a load to come back.
constexpr size_t kMostSpare = 64;
// A consumer returns them by the handful, since that takes the posters' lock.
constexpr size_t kHandful = 8;

}  // namespace

TaskQueue::TaskQueue(TaskQueueOptions options)
    : capacity_(options.capacity),
      waker_(std::move(options.waker)),
      take_lock_(options.consumers == TaskQueueOptions::Consumers::kMany) {}

TaskQueue::~TaskQueue() {
  Close(OnClose::kDrop);
  // A post may have brought the task that led here and not be done waking.
  SpinWait wait;
  while (wakes_under_way()) wait.Pause();
}

bool TaskQueue::wakes_under_way() {
  SpinLockHolder hold(post_lock_);
  return wakes_under_way_ > 0;
}

bool TaskQueue::Post(Task task) { return Push(inbox_, task, kUnlimited); }

bool TaskQueue::PostUrgent(Task task) {
  return Push(urgent_inbox_, task, kUnlimited);
}

bool TaskQueue::TryPost(Task&& task) { return Push(inbox_, task, capacity_); }

bool TaskQueue::Push(Inbox& inbox, Task& task, size_t capacity) {
  if (task == nullptr) return false;
  std::unique_ptr<TaskChunk> chunk;
  for (;;) {
    {
      SpinLockHolder hold(post_lock_);
      if (closed()) return false;
      if (capacity != kUnlimited && waiting() >= capacity) return false;
      if (inbox.tasks.full()) {
        if (chunk == nullptr && !spare_.empty()) chunk = spare_.Pop();
        if (chunk != nullptr) inbox.tasks.AddChunk(std::move(chunk));
      }
      if (!inbox.tasks.full()) {
        inbox.tasks.Push(std::move(task));
        inbox.posted.Add(1);
        if (sleepers_ == 0) return true;
        --sleepers_;
        ++wakes_under_way_;
        break;
      }
    }
    chunk = std::make_unique_for_overwrite<TaskChunk>();
  }
  CallWaker(1);
  return true;
}

bool TaskQueue::HasTasks() const { return waiting() != 0; }

// Taken first, so that the difference is never below zero.
size_t TaskQueue::waiting() const {
  const uint64_t taken = outbox_.taken.Get() + urgent_outbox_.taken.Get();
  return posted() - taken;
}

bool TaskQueue::RunOne() {
  Task task = Take();
  if (task == nullptr) return false;
  task();
  return true;
}

size_t TaskQueue::RunPosted(absl::FunctionRef<bool()> goes_on) {
  const size_t posted = waiting();
  size_t ran = 0;
  while (ran < posted && RunOne()) {
    ++ran;
    if (!goes_on()) break;
  }
  return ran;
}

size_t TaskQueue::Perform() {
  size_t ran = 0;
  while (RunOne()) ++ran;
  return ran;
}

// Null if none waits.
Task TaskQueue::Take() {
  SpareChunks surplus;  // Freed without a lock.
  SpinLockHolder hold(take_lock_);
  const auto waits = [](const Inbox& inbox, const Outbox& outbox) {
    return !outbox.tasks.empty() || inbox.posted.Get() != outbox.taken.Get();
  };
  const bool urgent = waits(urgent_inbox_, urgent_outbox_) &&
                      (urgent_run_ < kUrgentBurst || !waits(inbox_, outbox_));
  if (!urgent && !waits(inbox_, outbox_)) return nullptr;
  urgent_run_ = urgent ? std::min(urgent_run_ + 1, kUrgentBurst) : 0;
  Outbox& outbox = urgent ? urgent_outbox_ : outbox_;
  if (outbox.tasks.empty() || emptied_.count() >= kHandful) {
    SpinLockHolder hold_post(post_lock_);
    Collect();
    surplus = ReturnEmptied();
  }
  outbox.taken.Add(1);
  return outbox.tasks.Pop(emptied_);
}

void TaskQueue::Collect() {
  outbox_.tasks.Append(inbox_.tasks);
  urgent_outbox_.tasks.Append(urgent_inbox_.tasks);
}

// Gives posters back the chunks that are empty, and the caller those that would
// be too many.
SpareChunks TaskQueue::ReturnEmptied() {
  while (!emptied_.empty() && spare_.count() < kMostSpare) {
    spare_.Push(emptied_.Pop());
  }
  return std::move(emptied_);
}

void TaskQueue::Close(OnClose on_close) {
  TaskList dropped;  // Destroyed without a lock: destructors may post.
  int sleepers = 0;
  {
    SpinLockHolder hold_take(take_lock_);
    SpinLockHolder hold_post(post_lock_);
    closed_.store(true, std::memory_order_release);
    sleepers = std::exchange(sleepers_, 0);
    wakes_under_way_ += sleepers;
    if (on_close == OnClose::kDrop) {
      Collect();
      for (Outbox* outbox : {&urgent_outbox_, &outbox_}) {
        dropped.Append(outbox->tasks);
      }
      outbox_.taken.Set(inbox_.posted.Get());
      urgent_outbox_.taken.Set(urgent_inbox_.posted.Get());
    }
  }
  CallWaker(sleepers);
}

bool TaskQueue::PrepareToSleep() {
  if (HasTasks()) return false;
  // Under the lock: who posts from now on sees the sleeper.
  SpinLockHolder hold(post_lock_);
  if (closed() || HasTasks()) return false;
  ++sleepers_;
  return true;
}

void TaskQueue::EndSleep() {
  SpinLockHolder hold(post_lock_);
  if (sleepers_ > 0) --sleepers_;
}

void TaskQueue::BeforeFork() {
  take_lock_.Lock();
  post_lock_.Lock();
}

void TaskQueue::AfterFork(Side side) {
  if (side == Side::kChild) sleepers_ = wakes_under_way_ = 0;
  post_lock_.Unlock();
  take_lock_.Unlock();
}

void TaskQueue::Wake() {
  {
    SpinLockHolder hold(post_lock_);
    if (sleepers_ == 0) return;
    --sleepers_;
    ++wakes_under_way_;
  }
  CallWaker(1);
}

// The queue may be destroyed as soon as the last of the wakes is over.
void TaskQueue::CallWaker(int times) {
  if (times == 0) return;
  for (int i = 0; i < times; ++i) {
    if (waker_ != nullptr) waker_();
  }
  SpinLockHolder hold(post_lock_);
  wakes_under_way_ -= times;
}

}  // namespace fio
