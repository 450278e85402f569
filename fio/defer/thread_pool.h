// A ThreadPool runs tasks on threads of its own: work that blocks, or that
// takes too long for the thread of a loop. To get a result back, see offload.h.
//
// Tasks start in the order in which they were posted. An idle thread waits in
// the kernel and costs no processor time. A post wakes one thread, if one is
// idle.
//
// Thread safety: every method from any thread, and from tasks unless said
// otherwise. A forked child has no threads: in it every method but the
// destructor aborts the process with a message that names the pool. Do not
// create a pool in a root with workers: see docs/processes.md.

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
  // How many threads. n > 0: n; n < 0: the number of cores divided by |n|; 0:
  // the number of cores, or one less if there are more than three. As
  // ResolveConcurrency() with `workers` 0.
  int threads = 0;

  // How many cores there are; 0 means AvailableCores().
  int cores = 0;

  // Threads are called "name/0", "name/1", and so on. Linux allows 15 bytes: a
  // longer name is cut before the slash.
  std::string name = "fio";

  // TryPost() fails while this many tasks wait.
  size_t capacity = std::numeric_limits<size_t>::max();

  // The size of each thread's stack; 0 is the system's default.
  size_t stack_bytes = 0;
};

class ThreadPool {
 public:
  // What happens to waiting tasks when a pool stops.
  enum class OnStop { kDrain, kDrop };

  // Starts the threads. All signals are blocked in them, so that signals arrive
  // on the program's other threads. Errors: kInvalidArgument for a stack that
  // is too small; kUnavailable, kResourceExhausted or kPermissionDenied if a
  // thread cannot be started. After an error no thread runs.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(
      const ThreadPoolOptions& options);

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  // As Stop(kDrain). In a forked child it does not free the pool's memory.
  ~ThreadPool();

  // As the methods of TaskQueue. They return false if the pool has stopped or
  // `task` is null. TryPost() also returns false if the queue is full; when it
  // returns false, `task` is unchanged.
  bool Post(Task task);
  bool PostUrgent(Task task);
  [[nodiscard]] bool TryPost(Task&& task);

  // From now on posts return false. Runs the waiting tasks (kDrain) or destroys
  // them (kDrop). Waits until running tasks have returned and all threads have
  // ended. Does nothing if the pool has stopped. REQUIRES: not called from a
  // task of this pool; that aborts the process.
  void Stop(OnStop on_stop);

  // Whether Stop() has been called.
  bool stopped() const;

  // How many threads there are, or were before Stop().
  size_t size() const;

  // ThreadPoolOptions::name and capacity.
  const std::string& name() const;
  size_t capacity() const;

 private:
  struct State;
  explicit ThreadPool(std::unique_ptr<State> state);

  static void* RunThread(void* state);
  State& Checked(const char* call) const;

  std::unique_ptr<State> state_;
};

}  // namespace fio

#endif  // FIO_DEFER_THREAD_POOL_H_
