// What it costs to send the same 128 bytes to 1,000 receivers, as copies, as a
// cord and as SharedBytes. As in a turn of a loop, all are written first and
// then flushed. Each iteration also times a bare loop of send(2) of the same
// bytes on the same sockets; "vs_send" is the median of the ratios of both.
// "heap_bytes/receiver" is what malloc hands out while all wait to be flushed,
// with its own overhead, on a thread that has no memory to reuse.

#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/absl_check.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/testing/loopback_pair.h"

namespace fio {
namespace {

using testing::LoopbackPair;

constexpr int64_t kReceivers = 1'000;
constexpr size_t kBytes = 128;

using WriteOne = absl::FunctionRef<void(Socket&)>;

class Receivers {
 public:
  explicit Receivers(bool tcp) {
    rlimit files;
    ABSL_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ABSL_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    for (int64_t i = 0; i < kReceivers; ++i) {
      pairs_.push_back(tcp ? LoopbackPair::Tcp() : LoopbackPair::Unix());
    }
  }

  void BareSend(std::string_view bytes) {
    for (LoopbackPair& pair : pairs_) {
      ABSL_CHECK_EQ(::send(pair.near.fd(), bytes.data(), bytes.size(),
                           MSG_DONTWAIT | MSG_NOSIGNAL),
                    static_cast<ssize_t>(bytes.size()));
    }
  }

  void Write(WriteOne write) {
    for (LoopbackPair& pair : pairs_) write(pair.near);
  }

  void Flush() {
    for (LoopbackPair& pair : pairs_) ABSL_CHECK(pair.near.Flush().ok());
  }

  void Discard() {
    char buffer[2 * kBytes];
    for (LoopbackPair& pair : pairs_) {
      while (::recv(pair.far.fd(), buffer, sizeof(buffer), MSG_DONTWAIT) > 0) {
      }
    }
  }

  double HeapBytesEach(WriteOne write) {
    size_t bytes = 0;
    std::thread([&] {
      const size_t before = mallinfo2().uordblks;
      Write(write);
      bytes = mallinfo2().uordblks - before;
      Flush();
    }).join();
    Discard();
    return static_cast<double>(bytes) / double{kReceivers};
  }

 private:
  std::vector<LoopbackPair> pairs_;
};

double Seconds(absl::FunctionRef<void()> run) {
  const MonotonicTime start = Clock::System().Now();
  run();
  return absl::ToDoubleSeconds(Clock::System().Now() - start);
}

// One round sends `bytes` to all.
void Broadcast(benchmark::State& state, std::string_view bytes, WriteOne write,
               bool bare = false) {
  Receivers receivers(/*tcp=*/state.range(0) != 0);
  const double heap_bytes = bare ? 0 : receivers.HeapBytesEach(write);
  std::vector<double> ratios;
  for (auto _ : state) {
    const double send = Seconds([&] { receivers.BareSend(bytes); });
    receivers.Discard();
    const double round = Seconds([&] {
      if (bare) {
        receivers.BareSend(bytes);
        return;
      }
      receivers.Write(write);
      receivers.Flush();
    });
    receivers.Discard();
    state.SetIterationTime(round);
    ratios.push_back(round / send);
  }
  std::sort(ratios.begin(), ratios.end());
  state.SetItemsProcessed(state.iterations() * kReceivers);
  state.counters["vs_send"] = ratios[ratios.size() / 2];
  state.counters["heap_bytes/receiver"] = heap_bytes;
}

// Against itself: what the ratio owes to chance.
void BM_Send(benchmark::State& state) {
  const std::string bytes(kBytes, 'b');
  Broadcast(
      state, bytes, [](Socket&) {}, /*bare=*/true);
}
BENCHMARK(BM_Send)->ArgName("tcp")->Arg(0)->Arg(1)->UseManualTime();

void BM_Copies(benchmark::State& state) {
  const std::string bytes(kBytes, 'b');
  Broadcast(state, bytes,
            [&](Socket& socket) { ABSL_CHECK(socket.Write(bytes).ok()); });
}
BENCHMARK(BM_Copies)->ArgName("tcp")->Arg(0)->Arg(1)->UseManualTime();

void BM_Cord(benchmark::State& state) {
  const std::string bytes(kBytes, 'b');
  const absl::Cord cord(bytes);
  Broadcast(state, bytes,
            [&](Socket& socket) { ABSL_CHECK(socket.Write(cord).ok()); });
}
BENCHMARK(BM_Cord)->ArgName("tcp")->Arg(0)->Arg(1)->UseManualTime();

void BM_SharedBytes(benchmark::State& state) {
  const std::string bytes(kBytes, 'b');
  const SharedBytes shared(bytes);
  Broadcast(state, bytes,
            [&](Socket& socket) { ABSL_CHECK(socket.Write(shared).ok()); });
}
BENCHMARK(BM_SharedBytes)->ArgName("tcp")->Arg(0)->Arg(1)->UseManualTime();

// The second of two that wait: the first one takes no memory.
void BM_SharedBytesBehindAnother(benchmark::State& state) {
  const std::string bytes(2 * kBytes, 'b');
  const SharedBytes shared(std::string_view(bytes).substr(kBytes));
  Broadcast(state, bytes, [&](Socket& socket) {
    ABSL_CHECK(socket.Write(shared).ok());
    ABSL_CHECK(socket.Write(shared).ok());
  });
}
BENCHMARK(BM_SharedBytesBehindAnother)
    ->ArgName("tcp")
    ->Arg(0)
    ->Arg(1)
    ->UseManualTime();

}  // namespace
}  // namespace fio
