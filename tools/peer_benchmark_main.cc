// main() of benchmarks that compare with peers. Runs each as usual, then prints
// how many times as fast ours is, from the same run:
//
//   Arm<Fio>/1000000: 12.4 times as fast as Arm<Libuv>/1000000
//
// The peers of a benchmark are those whose names differ in the part between <
// and > alone; ours are those where that part starts with "Fio".

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "benchmark/benchmark.h"

namespace {

class RatioReporter final : public benchmark::ConsoleReporter {
 public:
  RatioReporter()
      : ConsoleReporter(isatty(STDOUT_FILENO) != 0 ? OO_Defaults : OO_Tabular) {
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.iterations == 0 || run.run_type != Run::RT_Iteration) continue;
      const std::string name = run.benchmark_name();
      const size_t open = name.find('<');
      const size_t close = name.find('>');
      if (open == std::string::npos || close == std::string::npos) continue;
      groups_[name.substr(0, open + 1) + name.substr(close)].emplace_back(
          name.substr(open + 1, close - open - 1), run.GetAdjustedRealTime());
    }
  }

  void Finalize() override {
    ConsoleReporter::Finalize();
    std::puts("");
    for (const auto& [group, members] : groups_) {
      for (const Member& own : members) {
        if (absl::StartsWith(own.first, "Fio")) Compare(group, own, members);
      }
    }
  }

 private:
  using Member = std::pair<std::string, double>;  // Who, and the time it took.

  static std::string NameIn(const std::string& group, const Member& member) {
    const size_t at = group.find('<') + 1;
    return group.substr(0, at) + member.first + group.substr(at);
  }

  static void Compare(const std::string& group, const Member& own,
                      const std::vector<Member>& members) {
    for (const Member& peer : members) {
      if (absl::StartsWith(peer.first, "Fio")) continue;
      std::printf("%s: %.2f times as fast as %s\n", NameIn(group, own).c_str(),
                  peer.second / own.second, NameIn(group, peer).c_str());
    }
  }

  std::map<std::string, std::vector<Member>> groups_;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  return 0;
}
