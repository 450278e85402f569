// One match, and a name against many patterns: by the index, and one by one.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "fio/pubsub/internal/pattern_index.h"
#include "fio/pubsub/pattern.h"

namespace fio {
namespace {

Pattern Make(std::string_view text, PatternMode mode) {
  absl::StatusOr<Pattern> pattern = Pattern::Compile(text, mode);
  ABSL_CHECK_OK(pattern);
  return *std::move(pattern);
}

void Match(benchmark::State& state, std::string_view text, PatternMode mode) {
  const Pattern pattern = Make(text, mode);
  std::string_view name = "news.europe.weather.today.2024";
  for (auto _ : state) {
    benchmark::DoNotOptimize(name);
    const bool matches = pattern.Matches(name);
    benchmark::DoNotOptimize(matches);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(Match, Literal, "news.europe.weather.today.2024",
                  PatternMode::kRedis);
BENCHMARK_CAPTURE(Match, Prefix, "news.europe.*", PatternMode::kRedis);
BENCHMARK_CAPTURE(Match, TwoStars, "news.*.weather.*", PatternMode::kRedis);
BENCHMARK_CAPTURE(Match, Sets, "*[.][w-z]eather.????[xy]*",
                  PatternMode::kRedis);
BENCHMARK_CAPTURE(Match, OtherName, "news.asia.*", PatternMode::kRedis);
BENCHMARK_CAPTURE(Match, NatsToken, "news.*.weather.*.2024",
                  PatternMode::kNats);
BENCHMARK_CAPTURE(Match, NatsTail, "news.>", PatternMode::kNats);

// What the search between two stars costs at worst.
void MatchAtWorst(benchmark::State& state) {
  const auto half = static_cast<size_t>(state.range(0)) / 2;
  const Pattern pattern = Make(absl::StrCat("*", std::string(half, 'a'), "b*"),
                               PatternMode::kRedis);
  const std::string name(half * 2, 'a');
  for (auto _ : state) {
    const bool matches = pattern.Matches(name);
    benchmark::DoNotOptimize(matches);
  }
}
BENCHMARK(MatchAtWorst)->Arg(100)->Arg(1'000)->Arg(65'534);

std::vector<Pattern> MakeMany(int64_t count) {
  std::vector<Pattern> patterns;
  for (int64_t i = 0; i < count; ++i) {
    patterns.push_back(
        Make(absl::StrCat("tenant.", i, ".events.*"), PatternMode::kRedis));
  }
  return patterns;
}

constexpr std::string_view kName = "tenant.73.events.created";

void ManyByIndex(benchmark::State& state) {
  pubsub_internal::PatternIndex<int> index;
  for (const Pattern& pattern : MakeMany(state.range(0))) index.Add(pattern, 1);
  int found = 0;
  for (auto _ : state) {
    index.ForEachMatch(kName,
                       [&](const Pattern&, int value) { found += value; });
  }
  ABSL_CHECK_EQ(found, state.iterations());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ManyByIndex)->Arg(1'000)->Arg(10'000);

void ManyOneByOne(benchmark::State& state) {
  const std::vector<Pattern> patterns = MakeMany(state.range(0));
  int found = 0;
  for (auto _ : state) {
    for (const Pattern& pattern : patterns) {
      if (pattern.Matches(kName)) ++found;
    }
  }
  ABSL_CHECK_EQ(found, state.iterations());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ManyOneByOne)->Arg(1'000)->Arg(10'000);

}  // namespace
}  // namespace fio
