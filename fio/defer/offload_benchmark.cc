// Offload() against libuv's uv_queue_work() and asio's thread_pool: a thousand
// pieces of work that cost nothing go to one thread and their results come back
// to this one, which sleeps when it has nothing to do.

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "fio/defer/offload.h"
#include "fio/defer/task_queue.h"
#include "fio/defer/thread_pool.h"

namespace fio {
namespace {

constexpr int64_t kPieces = 1'000;

void OffloadFio(benchmark::State& state) {
  const int event = eventfd(0, EFD_NONBLOCK);
  TaskQueue queue({.consumers = TaskQueueOptions::Consumers::kOne,
                   .waker = [event] { eventfd_write(event, 1); }});
  const auto pool = *ThreadPool::Create({.threads = 1});
  for (auto _ : state) {
    int64_t sum = 0;
    for (int64_t i = 0; i < kPieces; ++i) {
      Offload(
          *pool, queue, [i] { return i; },
          [&sum](absl::StatusOr<int64_t> result) { sum += *result + 1; });
    }
    int64_t done = 0;
    while (done < kPieces) {
      done += static_cast<int64_t>(queue.RunPosted());
      const bool sleeps = done < kPieces && queue.PrepareToSleep();
      pollfd poll_event = {event, POLLIN, 0};
      if (poll(&poll_event, 1, sleeps ? -1 : 0) > 0) {
        eventfd_t count;
        eventfd_read(event, &count);
      }
      if (sleeps) queue.EndSleep();
    }
    benchmark::DoNotOptimize(sum);
  }
  close(event);
  state.SetItemsProcessed(state.iterations() * kPieces);
}
BENCHMARK(OffloadFio)->Name("Offload<Fio>")->UseRealTime();

struct UvWork {
  uv_work_t request;
  int64_t i;
  int64_t result;
  int64_t* sum;
};

void OffloadLibuv(benchmark::State& state) {
  setenv("UV_THREADPOOL_SIZE", "1", /*replace=*/1);
  uv_loop_t loop;
  uv_loop_init(&loop);
  for (auto _ : state) {
    int64_t sum = 0;
    for (int64_t i = 0; i < kPieces; ++i) {
      auto* const work = new UvWork{{}, i, 0, &sum};
      work->request.data = work;
      uv_queue_work(
          &loop, &work->request,
          [](uv_work_t* request) {
            auto* const work = static_cast<UvWork*>(request->data);
            work->result = work->i;
          },
          [](uv_work_t* request, int /*status*/) {
            const std::unique_ptr<UvWork> work(
                static_cast<UvWork*>(request->data));
            *work->sum += work->result + 1;
          });
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    benchmark::DoNotOptimize(sum);
  }
  uv_loop_close(&loop);
  state.SetItemsProcessed(state.iterations() * kPieces);
}
BENCHMARK(OffloadLibuv)->Name("Offload<Libuv>")->UseRealTime();

void OffloadAsio(benchmark::State& state) {
  asio::io_context context;
  asio::thread_pool pool(1);
  const auto guard = asio::make_work_guard(context);
  for (auto _ : state) {
    int64_t sum = 0;
    for (int64_t i = 0; i < kPieces; ++i) {
      asio::post(pool, [&context, &sum, i] {
        const int64_t result = i;
        asio::post(context, [&sum, result] { sum += result + 1; });
      });
    }
    for (int64_t i = 0; i < kPieces; ++i) context.run_one();
    benchmark::DoNotOptimize(sum);
  }
  pool.join();
  state.SetItemsProcessed(state.iterations() * kPieces);
}
BENCHMARK(OffloadAsio)->Name("Offload<Asio>")->UseRealTime();

}  // namespace
}  // namespace fio
