#include "fio/defer/thread_pool.h"

#include <pthread.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "fio/base/concurrency.h"
#include "fio/base/errno_status.h"
#include "fio/base/fork_count.h"
#include "fio/base/signals_blocked.h"
#include "fio/defer/task.h"
#include "fio/defer/task_queue.h"

namespace fio {
namespace {

// The end is cut, but for the number.
std::string ThreadName(const std::string& pool, size_t index) {
  constexpr size_t kLongest = 15;  // pthread_setname_np(3)
  const std::string number = absl::StrCat("/", index);
  return pool.substr(0, kLongest - number.size()) + number;
}

absl::Status StartThread(size_t stack_bytes, void* (*run)(void*),
                         void* argument, pthread_t& thread) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  const char* call = "pthread_attr_setstacksize";
  int error = stack_bytes == 0
                  ? 0
                  : pthread_attr_setstacksize(&attributes, stack_bytes);
  if (error == 0) {
    call = "pthread_create";
    error = pthread_create(&thread, &attributes, run, argument);
  }
  pthread_attr_destroy(&attributes);
  return error == 0 ? absl::OkStatus() : ErrnoToStatus(error, call);
}

}  // namespace

struct ThreadPool::State {
  explicit State(const ThreadPoolOptions& options)
      : name(options.name),
        capacity(options.capacity),
        fork_count(ForkCount()),
        pid(getpid()),
        queue({.capacity = options.capacity, .waker = [this] { WakeOne(); }}) {}

  void WakeOne() {
    absl::MutexLock lock(&mutex);
    ++wakes;
  }
  void Sleep() {
    absl::MutexLock lock(&mutex, absl::Condition(
                                     +[](int* n) { return *n > 0; }, &wakes));
    --wakes;
  }
  void RunTasks();
  void Join();

  const std::string name;
  const size_t capacity;
  const int fork_count;
  const pid_t pid;
  size_t size = 0;

  absl::Mutex mutex;
  int wakes ABSL_GUARDED_BY(mutex) = 0;  // Not yet taken by who sleeps.

  absl::Mutex stop_mutex;
  std::vector<pthread_t> threads ABSL_GUARDED_BY(stop_mutex);

  TaskQueue queue;  // Dies first: its waker uses the others.

  // Whose thread this is.
  static thread_local const State* current;
};

thread_local const ThreadPool::State* ThreadPool::State::current = nullptr;

void ThreadPool::State::RunTasks() {
  for (;;) {
    queue.Perform();
    if (queue.PrepareToSleep()) {
      Sleep();
    } else if (queue.closed() && !queue.HasTasks()) {
      return;
    }
  }
}

void ThreadPool::State::Join() {
  absl::MutexLock lock(&stop_mutex);
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  threads.clear();
}

void* ThreadPool::RunThread(void* state) {
  State::current = static_cast<State*>(state);
  static_cast<State*>(state)->RunTasks();
  return nullptr;
}

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(
    const ThreadPoolOptions& options) {
  const int cores = options.cores > 0 ? options.cores : AvailableCores();
  auto state = std::make_unique<State>(options);
  state->size = static_cast<size_t>(
      ResolveConcurrency(options.threads, /*workers=*/0, cores).threads);
  // From here on its destructor stops what has been started.
  std::unique_ptr<ThreadPool> pool(new ThreadPool(std::move(state)));
  const SignalsBlocked blocked;
  absl::MutexLock lock(&pool->state_->stop_mutex);
  std::vector<pthread_t>& threads = pool->state_->threads;
  for (size_t i = 0; i < pool->state_->size; ++i) {
    pthread_t thread;
    const absl::Status started = StartThread(options.stack_bytes, &RunThread,
                                             pool->state_.get(), thread);
    if (!started.ok()) {
      return absl::Status(started.code(),
                          absl::StrCat("ThreadPool::Create: thread ", i, " of ",
                                       pool->state_->size, " of pool '",
                                       options.name, "': ", started.message()));
    }
    threads.push_back(thread);
    pthread_setname_np(thread, ThreadName(options.name, i).c_str());
  }
  return pool;
}

ThreadPool::ThreadPool(std::unique_ptr<State> state)
    : state_(std::move(state)) {}

ThreadPool::~ThreadPool() {
  if (state_->fork_count == ForkCount()) {
    Stop(OnStop::kDrain);
  } else {
    // Its locks may be held by threads that do not exist here.
    (void)state_.release();
  }
}

bool ThreadPool::Post(Task task) {
  return Checked("Post").queue.Post(std::move(task));
}

bool ThreadPool::PostUrgent(Task task) {
  return Checked("PostUrgent").queue.PostUrgent(std::move(task));
}

bool ThreadPool::TryPost(Task&& task) {
  return Checked("TryPost").queue.TryPost(std::move(task));
}

void ThreadPool::Stop(OnStop on_stop) {
  State& state = Checked("Stop");
  ABSL_CHECK(State::current != &state)
      << "ThreadPool::Stop: called from a task of pool '" << state.name
      << "', which would wait for itself";
  state.queue.Close(on_stop == OnStop::kDrain ? TaskQueue::OnClose::kRun
                                              : TaskQueue::OnClose::kDrop);
  state.Join();
}

bool ThreadPool::stopped() const { return Checked("stopped").queue.closed(); }

size_t ThreadPool::size() const { return Checked("size").size; }

const std::string& ThreadPool::name() const { return Checked("name").name; }

size_t ThreadPool::capacity() const { return Checked("capacity").capacity; }

ThreadPool::State& ThreadPool::Checked(const char* call) const {
  ABSL_CHECK_EQ(state_->fork_count, ForkCount())
      << "ThreadPool::" << call << ": pool '" << state_->name
      << "' belongs to process " << state_->pid << ", and this is process "
      << getpid() << ": threads do not survive fork()";
  return *state_;
}

}  // namespace fio
