#include <sys/epoll.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
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

// What fio itself takes to echo a message of a size, with a kernel that costs
// nothing: it always has a message for each of the connections, and takes what
// it is given.
class FreeKernel {
 public:
  FreeKernel(size_t connections, size_t bytes) {
    connections_ = connections;
    bytes_ = bytes;
    table_.recv = [](int, void*, size_t, int) {
      return static_cast<ssize_t>(bytes_);
    };
    table_.send = [](int, const void*, size_t size, int) {
      return static_cast<ssize_t>(size);
    };
    table_.epoll_ctl = [](int, int, int fd, epoll_event* event) {
      if (fd >= kFirst) events_[fd - kFirst] = *event;
      return 0;
    };
    table_.epoll_wait = [](int, epoll_event* events, int, int) {
      for (size_t i = 0; i < connections_; ++i) {
        events[i] = {.events = EPOLLIN, .data = events_[i].data};
      }
      return static_cast<int>(connections_);
    };
    table_.close = [](int fd) { return fd >= kFirst ? 0 : ::close(fd); };
    replaced_ = ReplaceSyscalls(&table_);
  }
  ~FreeKernel() { ReplaceSyscalls(replaced_); }

  Socket Open(size_t i) {
    return Socket(UniqueFd(kFirst + static_cast<int>(i)),
                  Socket::ShortRead::kEmpties);
  }

 private:
  static constexpr int kFirst = 1 << 16;
  static inline size_t connections_, bytes_;
  static inline std::array<epoll_event, 512> events_;

  Syscalls table_;
  const Syscalls* replaced_;
};

void BM_EchoInUserSpace(benchmark::State& state) {
  const auto connections = static_cast<size_t>(state.range(0));
  FreeKernel kernel(connections, static_cast<size_t>(state.range(1)));
  const std::unique_ptr<Loop> loop = *Loop::Create({});
  for (size_t i = 0; i < connections; ++i) {
    ABSL_CHECK_OK(loop->Adopt(kernel.Open(i),
                              [](Connection& connection) {
                                connection.SetTimeout(absl::Seconds(60));
                                connection.Attach(std::make_unique<Echo>());
                              })
                      .status());
  }
  for (auto _ : state) {
    ABSL_CHECK_OK(loop->RunOnce(MonotonicTime::InfinitePast()));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EchoInUserSpace)
    ->ArgNames({"connections", "bytes"})
    ->Args({1, 64})
    ->Args({64, 64})
    ->Args({64, 1024});

// Echoes what it receives in as many equal parts as it is told.
class EchoInParts final : public Protocol {
 public:
  explicit EchoInParts(const size_t& parts) : parts_(parts) {}
  void OnData(Connection& connection) override {
    std::string_view bytes = connection.Received();
    const size_t part = bytes.size() / parts_;
    for (size_t i = 1; i < parts_; ++i) {
      connection.Write(bytes.substr(0, part));
      bytes.remove_prefix(part);
    }
    connection.Write(bytes);
  }

 private:
  const size_t& parts_;
};

// What two or more writes in a turn cost fio itself beyond one of the same
// bytes, for each connection: the median of the differences between a turn with
// the ones and a turn with the other.
void BM_WritesOfATurn(benchmark::State& state) {
  const auto connections = static_cast<size_t>(state.range(0));
  const auto parts = static_cast<size_t>(state.range(1));
  FreeKernel kernel(connections, static_cast<size_t>(state.range(2)));
  const std::unique_ptr<Loop> loop = *Loop::Create({});
  size_t now_parts = 1;
  for (size_t i = 0; i < connections; ++i) {
    ABSL_CHECK_OK(loop->Adopt(kernel.Open(i),
                              [&now_parts](Connection& connection) {
                                connection.Attach(
                                    std::make_unique<EchoInParts>(now_parts));
                              })
                      .status());
  }
  const auto time_turns = [&](size_t of_parts) {
    constexpr int kTurns = 16;
    now_parts = of_parts;
    const MonotonicTime start = Clock::System().Now();
    for (int i = 0; i < kTurns; ++i) {
      ABSL_CHECK_OK(loop->RunOnce(MonotonicTime::InfinitePast()));
    }
    return absl::ToDoubleNanoseconds(Clock::System().Now() - start) / kTurns /
           static_cast<double>(connections);
  };
  std::vector<double> more_ns;
  for (auto _ : state) {
    const double one = time_turns(1);
    const double several = time_turns(parts);
    more_ns.push_back(several - one);
    state.SetIterationTime(several * 1e-9);
  }
  std::sort(more_ns.begin(), more_ns.end());
  state.counters["more_ns"] = more_ns[more_ns.size() / 2];
}
BENCHMARK(BM_WritesOfATurn)
    ->ArgNames({"connections", "parts", "bytes"})
    ->Args({64, 1, 128})
    ->Args({64, 2, 128})
    ->Args({64, 4, 128})
    ->Args({64, 2, 1024})
    ->Iterations(2'000)
    ->UseManualTime();

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
