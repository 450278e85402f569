// TaskQueue against what users of asio and libuv write for the same: a task
// with 32 bytes of captures, posted by other threads than the one that runs it.
// All three consumers sleep in the kernel when they have nothing to do.

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <array>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "fio/defer/task_queue.h"
#include "fio/testing/allocation_counter.h"

namespace fio {
namespace {

constexpr int64_t kTasks = 1'000'000;

struct Work {
  int64_t* sum;
  int64_t a, b, c;
  void operator()() const { *sum += a + b - c; }
};

// Posts kTasks from `producers` threads by `post(work)`.
template <typename Post>
std::vector<std::thread> StartProducers(int64_t producers, int64_t& sum,
                                        Post post) {
  std::vector<std::thread> threads;
  for (int64_t p = 0; p < producers; ++p) {
    threads.emplace_back([producers, &sum, post] {
      for (int64_t i = 0; i < kTasks / producers; ++i) {
        post(Work{&sum, i, 1, i});
      }
    });
  }
  return threads;
}

void Finish(benchmark::State& state, std::vector<std::thread>& threads,
            int64_t sum) {
  for (std::thread& thread : threads) thread.join();
  if (sum != kTasks) state.SkipWithError("a task was lost or doubled");
}

void ForeignFio(benchmark::State& state) {
  for (auto _ : state) {
    const int event = eventfd(0, EFD_NONBLOCK);
    int64_t wakes = 0;
    {
      TaskQueue queue(
          {.consumers = TaskQueueOptions::Consumers::kOne, .waker = [&] {
             ++wakes;
             eventfd_write(event, 1);
           }});
      int64_t sum = 0;
      std::vector<std::thread> threads = StartProducers(
          state.range(0), sum, [&queue](Work work) { queue.Post(work); });
      while (sum < kTasks) {
        queue.RunPosted();
        const bool asleep = sum < kTasks && queue.PrepareToSleep();
        pollfd poll_event = {event, POLLIN, 0};
        if (poll(&poll_event, 1, asleep ? -1 : 0) > 0) {
          eventfd_t count;
          eventfd_read(event, &count);
        }
        if (asleep) queue.EndSleep();
      }
      Finish(state, threads, sum);
    }
    state.counters["wakes"] = static_cast<double>(wakes);
    close(event);
  }
  state.SetItemsProcessed(state.iterations() * kTasks);
}
BENCHMARK(ForeignFio)->Name("Foreign<Fio>")->Arg(1)->Arg(4)->UseRealTime();

struct UvTasks {
  uv_loop_t loop;
  uv_async_t async;
  std::mutex mutex;
  std::vector<std::function<void()>> posted;
  std::vector<std::function<void()>> running;
  int64_t sum = 0;
};

void RunUvTasks(uv_async_t* async) {
  auto& tasks = *static_cast<UvTasks*>(async->data);
  {
    std::lock_guard<std::mutex> lock(tasks.mutex);
    tasks.running.swap(tasks.posted);
  }
  for (std::function<void()>& task : tasks.running) task();
  tasks.running.clear();
  if (tasks.sum == kTasks) {
    uv_close(reinterpret_cast<uv_handle_t*>(async), nullptr);
  }
}

void ForeignLibuv(benchmark::State& state) {
  for (auto _ : state) {
    UvTasks tasks;
    uv_loop_init(&tasks.loop);
    uv_async_init(&tasks.loop, &tasks.async, RunUvTasks);
    tasks.async.data = &tasks;
    std::vector<std::thread> threads =
        StartProducers(state.range(0), tasks.sum, [&tasks](Work work) {
          {
            std::lock_guard<std::mutex> lock(tasks.mutex);
            tasks.posted.emplace_back(work);
          }
          uv_async_send(&tasks.async);
        });
    uv_run(&tasks.loop, UV_RUN_DEFAULT);
    Finish(state, threads, tasks.sum);
    uv_loop_close(&tasks.loop);
  }
  state.SetItemsProcessed(state.iterations() * kTasks);
}
BENCHMARK(ForeignLibuv)->Name("Foreign<Libuv>")->Arg(1)->Arg(4)->UseRealTime();

void ForeignAsio(benchmark::State& state) {
  for (auto _ : state) {
    asio::io_context context;
    int64_t sum = 0;
    std::vector<std::thread> threads =
        StartProducers(state.range(0), sum,
                       [&context](Work work) { asio::post(context, work); });
    auto guard = asio::make_work_guard(context);
    while (sum < kTasks) context.run_one();
    Finish(state, threads, sum);
  }
  state.SetItemsProcessed(state.iterations() * kTasks);
}
BENCHMARK(ForeignAsio)->Name("Foreign<Asio>")->Arg(1)->Arg(4)->UseRealTime();

// One thread posts `range` tasks, then runs them.
void OwnFio(benchmark::State& state) {
  TaskQueue queue({.consumers = TaskQueueOptions::Consumers::kOne});
  int64_t sum = 0;
  testing::AllocationCounter counter;
  for (auto _ : state) {
    for (int64_t i = 0; i < state.range(0); ++i) {
      queue.Post(Work{&sum, i, 1, i});
    }
    queue.Perform();
  }
  state.SetItemsProcessed(sum);
  state.counters["allocations"] = benchmark::Counter(
      static_cast<double>(counter.allocations()) / static_cast<double>(sum));
}
BENCHMARK(OwnFio)->Name("Own<Fio>")->Arg(1)->Arg(8)->Arg(100)->Arg(1000);

void OwnAsio(benchmark::State& state) {
  asio::io_context context;
  int64_t sum = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < state.range(0); ++i) {
      asio::post(context, Work{&sum, i, 1, i});
    }
    context.restart();
    context.run();
  }
  state.SetItemsProcessed(sum);
}
BENCHMARK(OwnAsio)->Name("Own<Asio>")->Arg(1)->Arg(8)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace fio
