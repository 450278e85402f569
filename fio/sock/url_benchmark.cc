#include <string_view>

#include "benchmark/benchmark.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

void BM_Parse(benchmark::State& state, std::string_view text) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(Url::Parse(text));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(BM_Parse, ipv4, "tcp://127.0.0.1:3000");
BENCHMARK_CAPTURE(BM_Parse, ipv6, "tcp://[2001:db8::7]:3000");
BENCHMARK_CAPTURE(BM_Parse, name, "https://service.example.org");
BENCHMARK_CAPTURE(BM_Parse, path, "unix:///run/service/control.sock");
BENCHMARK_CAPTURE(BM_Parse, refused, "tcp://host:99999");

}  // namespace
}  // namespace fio
