// A ThreadPool runs tasks on threads of its own: work that blocks, or takes
// long enough to hold up a loop. To get a result back, see offload.h.
//
// Tasks start in the order of posting. An idle thread waits in the kernel until
// a task comes and costs no processor time; a post wakes one thread, and only
// if one sleeps.
//
// Thread safety: every method from any thread, tasks included unless said
// otherwise. Threads do not survive a fork: in the child every method but the
// destructor ends the process with a message that names the pool.

#ifndef FIO_DEFER_THREAD_POOL_H_
#define FIO_DEFER_THREAD_POOL_H_

#include <cstddef>
#include <limits>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "fio/defer/task.h"

namespace fio {

struct ThreadPoolOptions {
  // How many threads, as in ResolveConcurrency() beside no workers: n > 0 is n,
  // n < 0 one |n|-th of the cores, 0 each core but one where there are more
  // than three.
  int threads = 0;

  // How many cores there are; 0 finds out (AvailableCores()).
  int cores = 0;

  // Threads are called "name/0", "name/1", ...; Linux shows 15 bytes of it, of
  // which the number is always one.
  std::string name = "fio";

  // How many tasks TryPost() lets wait.
  size_t capacity = std::numeric_limits<size_t>::max();

  // Of each thread's stack; 0 is the system's default.
  size_t stack_bytes = 0;
};

class ThreadPool {
 public:
  // What becomes of the tasks that wait when a pool stops.
  enum class OnStop { kDrain, kDrop };

  // Starts the threads, with every signal blocked in them, so that signals go
  // to the threads that expect them. Errors: kInvalidArgument for a stack that
  // is too small, kUnavailable or kResourceExhausted if a thread cannot be
  // started; none is left running then.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(
      const ThreadPoolOptions& options);

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  // As Stop(kDrain). In a forked child it leaves the pool's memory as it is.
  ~ThreadPool();

  // As TaskQueue: false if the pool has stopped or `task` is null, and for
  // TryPost(), which then leaves `task` as it was, also if the queue is full.
  bool Post(Task task);
  bool PostUrgent(Task task);
  [[nodiscard]] bool TryPost(Task&& task);

  // Refuses tasks from now on, runs those that wait (kDrain) or destroys them
  // (kDrop), and returns when the threads have ended, which is when the tasks
  // under way have. Does nothing if the pool has stopped. REQUIRES: not called
  // from a task of this pool.
  void Stop(OnStop on_stop);

  // Whether Stop() has been called.
  bool stopped() const;

  // How many threads there are, or were until Stop().
  size_t size() const;

 private:
  struct State;
  explicit ThreadPool(std::unique_ptr<State> state);

  static void* RunThread(void* state);
  State& Checked(const char* call) const;

  std::unique_ptr<State> state_;
};

}  // namespace fio

#endif  // FIO_DEFER_THREAD_POOL_H_
