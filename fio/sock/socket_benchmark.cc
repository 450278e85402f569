// What it costs to write to a Socket. Each benchmark tells, beside bytes or
// items per second, how many system calls the socket made and how often it
// allocated for one item in its steady state, both counted in a run apart.

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/strings/cord.h"
#include "benchmark/benchmark.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/file_range.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/allocation_counter.h"
#include "fio/testing/fault_plan.h"
#include "fio/testing/loopback_pair.h"
#include "fio/testing/memory_file.h"

namespace fio {
namespace {

using testing::AllocationCounter;
using testing::FaultPlan;
using testing::LoopbackPair;
using testing::MemoryFile;

// Past the table of system calls, and without copying.
void Discard(const Socket& socket) {
  while (::recv(socket.fd(), nullptr, size_t{1} << 30, MSG_TRUNC) > 0) {
  }
}

// Lets all that is queued leave, while the peer drops it.
void Drain(LoopbackPair& pair) {
  for (;;) {
    const IoResult flushed = pair.near.Flush();
    ABSL_CHECK(!flushed.failed());
    Discard(pair.far);
    if (flushed.ok()) return;
  }
}

void Report(benchmark::State& state, int64_t items, int64_t bytes,
            absl::FunctionRef<void()> run_once) {
  state.SetItemsProcessed(state.iterations() * items);
  state.SetBytesProcessed(state.iterations() * bytes);
  run_once();
  const AllocationCounter counter;
  run_once();
  state.counters["allocations/item"] =
      static_cast<double>(counter.allocations()) / static_cast<double>(items);
  const FaultPlan plan;
  run_once();
  state.counters["syscalls/item"] =
      static_cast<double>(plan.calls()) / static_cast<double>(items);
}

// So many writes of 50 bytes, then one flush. An item is a write.
void BM_SmallWrites(benchmark::State& state) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const std::string message(50, 'm');
  const int64_t writes = state.range(0);
  const auto run_once = [&] {
    for (int64_t i = 0; i < writes; ++i) {
      ABSL_CHECK(pair.near.Write(message).ok());
    }
    Drain(pair);
  };
  for (auto _ : state) run_once();
  Report(state, writes, writes * 50, run_once);
}
BENCHMARK(BM_SmallWrites)->Arg(1)->Arg(16)->Arg(256)->UseRealTime();

// The floor of it: one send of the same bytes.
void BM_OneSend(benchmark::State& state) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const std::string message(50 * state.range(0), 'm');
  for (auto _ : state) {
    ABSL_CHECK_EQ(::send(pair.near.fd(), message.data(), message.size(), 0),
                  static_cast<ssize_t>(message.size()));
    Discard(pair.far);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * 50 * state.range(0));
}
BENCHMARK(BM_OneSend)->Arg(1)->Arg(16)->Arg(256)->UseRealTime();

// Queueing alone: copying, counting, forgetting. An item is a write.
void BM_QueueOnly(benchmark::State& state) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const std::string message(50, 'm');
  for (auto _ : state) {
    for (int i = 0; i < 16; ++i) {
      benchmark::DoNotOptimize(pair.near.Write(message).ok());
    }
    state.PauseTiming();
    Drain(pair);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * 16);
}
BENCHMARK(BM_QueueOnly)->Iterations(20'000);

// One write of so many bytes and a flush.
void BM_Write(benchmark::State& state) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const std::string message(state.range(0), 'm');
  const auto run_once = [&] {
    ABSL_CHECK(pair.near.Write(message).ok());
    Drain(pair);
  };
  for (auto _ : state) run_once();
  Report(state, 1, state.range(0), run_once);
}
BENCHMARK(BM_Write)->RangeMultiplier(16)->Range(64, 1 << 20)->UseRealTime();

// The same bytes shared instead of copied.
void BM_WriteCord(benchmark::State& state) {
  LoopbackPair pair = LoopbackPair::Tcp();
  const absl::Cord message(std::string(state.range(0), 'm'));
  const auto run_once = [&] {
    ABSL_CHECK(pair.near.Write(message).ok());
    Drain(pair);
  };
  for (auto _ : state) run_once();
  Report(state, 1, state.range(0), run_once);
}
BENCHMARK(BM_WriteCord)->RangeMultiplier(16)->Range(64, 1 << 20)->UseRealTime();

void StreamFile(benchmark::State& state, std::unique_ptr<Transport> transport) {
  LoopbackPair pair = LoopbackPair::Tcp();
  ABSL_CHECK_OK(pair.near.SetTransport(std::move(transport)));
  const UniqueFd file = MemoryFile(std::string(state.range(0), 'f'));
  const auto run_once = [&] {
    ABSL_CHECK(pair.near.Write(*FileRange::Borrow(file.get())).ok());
    Drain(pair);
  };
  for (auto _ : state) run_once();
  Report(state, 1, state.range(0), run_once);
}

// A file of so many bytes, by sendfile(2).
void BM_FileBySendfile(benchmark::State& state) { StreamFile(state, nullptr); }
BENCHMARK(BM_FileBySendfile)->Arg(16 << 10)->Arg(16 << 20)->UseRealTime();

// The same through a transport that does nothing, by pread(2) and send(2).
void BM_FileByTransport(benchmark::State& state) {
  StreamFile(state, std::make_unique<Transport>());
}
BENCHMARK(BM_FileByTransport)->Arg(16 << 10)->Arg(16 << 20)->UseRealTime();

}  // namespace
}  // namespace fio
