#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/protocol.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"

namespace fio {
namespace {

class Echo final : public Protocol {
 public:
  void OnData(Connection& connection) override {
    connection.Write(connection.Received());
  }
};

// What it costs to echo 64 bytes, for each of as many connections as are ready
// in a turn. The floor of it is two reads and two writes of a socketpair.
void BM_Echo(benchmark::State& state) {
  const std::unique_ptr<Loop> loop = *Loop::Create({});
  std::vector<testing::LoopbackPair> pairs;
  for (int64_t i = 0; i < state.range(0); ++i) {
    pairs.push_back(testing::LoopbackPair::Unix());
    ABSL_CHECK_OK(loop->Adopt(std::move(pairs.back().near),
                              [](Connection& connection) {
                                connection.Attach(std::make_unique<Echo>());
                              })
                      .status());
  }
  const std::string message(64, 'x');
  char buffer[64];
  for (auto _ : state) {
    for (testing::LoopbackPair& pair : pairs) {
      benchmark::DoNotOptimize(pair.far.TryWrite(message));
    }
    ABSL_CHECK_OK(loop->RunOnce(MonotonicTime::InfinitePast()));
    for (testing::LoopbackPair& pair : pairs) {
      ABSL_CHECK_EQ(pair.far.Read(absl::MakeSpan(buffer)).bytes,
                    message.size());
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Echo)->Arg(1)->Arg(64)->Arg(512);

// The same bytes through the same sockets, by hand.
void BM_EchoByHand(benchmark::State& state) {
  testing::LoopbackPair pair = testing::LoopbackPair::Unix();
  const std::string message(64, 'x');
  char buffer[64];
  for (auto _ : state) {
    benchmark::DoNotOptimize(pair.far.TryWrite(message));
    ABSL_CHECK_EQ(pair.near.Read(absl::MakeSpan(buffer)).bytes, message.size());
    benchmark::DoNotOptimize(pair.near.TryWrite(message));
    ABSL_CHECK_EQ(pair.far.Read(absl::MakeSpan(buffer)).bytes, message.size());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_EchoByHand);

// Tasks from another thread to a loop that sleeps when it has none.
void BM_PostFromAnotherThread(benchmark::State& state) {
  const std::unique_ptr<Loop> loop = *Loop::Create({});
  std::thread runner([&] { ABSL_CHECK_OK(loop->Run()); });
  size_t ran = 0;
  for (auto _ : state) {
    loop->Post([&ran] { ++ran; });
  }
  loop->Stop();
  runner.join();
  ABSL_CHECK_EQ(ran, static_cast<size_t>(state.iterations()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PostFromAnotherThread)->UseRealTime();

}  // namespace
}  // namespace fio
