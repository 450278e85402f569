// Offload() runs work on a thread pool and returns its result as a task of a
// queue, for example of the loop that called it. Use it for work that would
// block a loop.
//
//   Offload(pool, loop.handle(),
//           [path] { return ReadWholeFile(path); },
//           [](absl::StatusOr<std::string> content) { ... });

#ifndef FIO_DEFER_OFFLOAD_H_
#define FIO_DEFER_OFFLOAD_H_

#include <concepts>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/defer/task.h"
#include "fio/defer/thread_pool.h"

namespace fio {

// Anything with Post(Task): a TaskQueue, a ThreadPool, a Loop.
template <typename T>
concept TaskSink = requires(T& sink, Task task) {
  sink.Post(std::move(task));
};

// A TaskSink that is a value, as a LoopHandle: its copies post to the same
// place.
template <typename T>
concept TaskSinkHandle = std::copy_constructible<T> &&
    requires(const T& sink, Task task) {
  sink.Post(std::move(task));
};

namespace defer_internal {

// The argument of `done` if `work` returns R: see Offload().
template <typename R>
struct OffloadResultOf {
  using type = absl::StatusOr<R>;
};
template <>
struct OffloadResultOf<void> {
  using type = absl::Status;
};
template <>
struct OffloadResultOf<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct OffloadResultOf<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};

// `ReplyTo` is a reference to a TaskSink, or a TaskSinkHandle.
template <typename ReplyTo, typename Work, typename Done>
struct OffloadCall {
  using Sink = ReplyTo;
  using Returned = std::invoke_result_t<Work&>;
  using Result = typename OffloadResultOf<Returned>::type;

  Sink reply_to;
  std::optional<Work> work;
  Done done;
  std::optional<Result> result = std::nullopt;

  void Reply() {
    if (!result.has_value()) {
      result = absl::CancelledError(
          "Offload: the pool stopped before the work began");
    }
    done(*std::move(result));
  }
};

// The task of the pool. Its destructor posts the reply, also if it never ran.
template <typename Call>
class OffloadTask {
 public:
  explicit OffloadTask(std::unique_ptr<Call> call) : call_(std::move(call)) {}
  OffloadTask(OffloadTask&&) noexcept = default;
  OffloadTask& operator=(OffloadTask&&) = delete;
  ~OffloadTask() {
    if (call_ == nullptr) return;
    // A copy if it is a handle: the call dies with the task, perhaps in Post().
    typename Call::Sink reply_to = call_->reply_to;
    reply_to.Post([call = std::move(call_)] { call->Reply(); });
  }

  void operator()() {
    if constexpr (std::is_void_v<typename Call::Returned>) {
      (*call_->work)();
      call_->result = absl::OkStatus();
    } else {
      call_->result = (*call_->work)();
    }
    call_->work.reset();
  }

 private:
  std::unique_ptr<Call> call_;
};

template <typename ReplyTo, typename Work, typename Done>
void Offload(ThreadPool& pool, ReplyTo reply_to, Work work, Done done) {
  using Call = OffloadCall<ReplyTo, Work, Done>;
  static_assert(std::is_invocable_v<Done&, typename Call::Result>,
                "`done` does not take the result of `work`");
  std::unique_ptr<Call> owned(new Call{static_cast<ReplyTo&&>(reply_to),
                                       std::move(work), std::move(done)});
  Call& call = *owned;
  Task task = OffloadTask<Call>(std::move(owned));
  if (!pool.TryPost(std::move(task)) && !pool.stopped()) {
    call.result = absl::ResourceExhaustedError(absl::StrCat(
        "Offload: the queue of pool '", pool.name(),
        "' is full (ThreadPoolOptions::capacity is ", pool.capacity(), ")"));
  }
}

}  // namespace defer_internal

// Calls `work` on a thread of `pool`, then `done` with the result, as a task of
// `reply_to`. Each is called once. `work` is destroyed on the thread that ran
// it, `done` on the thread that runs `reply_to`.
//
// If `work` returns R, `done` takes an absl::StatusOr<R>; if `work` returns
// void, an absl::Status; a Status or StatusOr is passed on unchanged. `done` is
// called with an error, and `work` is not called,
//   - with kResourceExhausted if the pool has as many waiting tasks as its
//     capacity allows;
//   - with kCancelled if the pool has stopped, or drops the work when it stops.
// If `reply_to` is closed, `done` is destroyed without being called, on the
// thread that posts to `reply_to`.
//
// Costs one allocation. `reply_to` must outlive the work. Any thread.
template <TaskSink Sink, std::invocable Work, typename Done>
requires(!TaskSinkHandle<Sink>) void Offload(ThreadPool& pool, Sink& reply_to,
                                             Work work, Done done) {
  defer_internal::Offload<Sink&>(pool, reply_to, std::move(work),
                                 std::move(done));
}

// The same with a handle, for example a LoopHandle. It is copied, so neither it
// nor the loop needs to outlive the work. If the loop is gone, `done` is
// destroyed without being called.
template <TaskSinkHandle Handle, std::invocable Work, typename Done>
void Offload(ThreadPool& pool, Handle reply_to, Work work, Done done) {
  defer_internal::Offload<Handle>(pool, std::move(reply_to), std::move(work),
                                  std::move(done));
}

}  // namespace fio

#endif  // FIO_DEFER_OFFLOAD_H_
