#include "tests/bench/comparison.h"

#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "fio/base/clock.h"
#include "fio/base/monotonic_time.h"
#include "tests/bench/counters.h"
#include "tests/bench/load.h"
#include "tests/bench/server_process.h"

ABSL_FLAG(double, benchmark_min_time, 1.0,
          "seconds for each server in each round");
ABSL_FLAG(int, rounds, 5, "how often the servers take turns");

namespace fio::bench {
namespace {

using Servers = std::vector<std::unique_ptr<ServerProcess>>;

// One server in one round.
struct Sample {
  double PerRequest(absl::Duration time) const {
    return absl::ToDoubleMicroseconds(time) / static_cast<double>(requests);
  }
  double cpu_us() const { return PerRequest(used.cpu); }

  uint64_t requests = 0;
  absl::Duration elapsed;
  Usage used;
};

using Samples = std::vector<Sample>;  // Of one server, by round.

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half]
                                : (values[half - 1] + values[half]) / 2;
}

std::vector<double> CpuByRound(const Samples& samples) {
  std::vector<double> all;
  for (const Sample& sample : samples) all.push_back(sample.cpu_us());
  return all;
}

double Best(const Samples& samples) {
  const std::vector<double> all = CpuByRound(samples);
  return *std::min_element(all.begin(), all.end());
}

// The median over the rounds of what `a` needs for each that `b` needs.
double PairedRatio(const Samples& a, const Samples& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) {
    ratios.push_back(a[i].cpu_us() / b[i].cpu_us());
  }
  return Median(ratios);
}

Sample Sum(const Samples& samples) {
  Sample sum;
  for (const Sample& sample : samples) {
    sum.requests += sample.requests;
    sum.elapsed += sample.elapsed;
    sum.used.cpu += sample.used.cpu;
    sum.used.user += sample.used.user;
    sum.used.counts += sample.used.counts;
  }
  return sum;
}

absl::StatusOr<Sample> Measure(const Case& of, const ServerProcess& server,
                               absl::Duration span) {
  absl::StatusOr<std::unique_ptr<Load>> load = of.connect(server.port());
  if (!load.ok()) return load.status();
  const absl::StatusOr<uint64_t> warm = (*load)->Run(span / 10);
  if (!warm.ok()) return warm.status();
  const Usage before = server.ReadUsage();
  const MonotonicTime start = Clock::System().Now();
  const absl::StatusOr<uint64_t> requests = (*load)->Run(span);
  if (!requests.ok()) return requests.status();
  const MonotonicTime end = Clock::System().Now();
  const Usage after = server.ReadUsage();
  return Sample{.requests = *requests,
                .elapsed = end - start,
                .used = {.cpu = after.cpu - before.cpu,
                         .user = after.user - before.user,
                         .counts = after.counts - before.counts}};
}

// The samples of each server.
absl::StatusOr<std::vector<Samples>> MeasureAll(const Case& of,
                                                const Servers& servers) {
  const size_t rounds =
      static_cast<size_t>(std::max(absl::GetFlag(FLAGS_rounds), 1));
  const absl::Duration span =
      absl::Seconds(absl::GetFlag(FLAGS_benchmark_min_time));
  std::vector<Samples> all(servers.size());
  for (size_t round = 0; round < rounds; ++round) {
    for (size_t turn = 0; turn < servers.size(); ++turn) {
      const size_t at =
          (round + turn) % servers.size();  // Nobody always first.
      const absl::StatusOr<Sample> sample = Measure(of, *servers[at], span);
      if (!sample.ok()) {
        return absl::Status(
            sample.status().code(),
            absl::StrCat(servers[at]->name(), ": ", sample.status().message()));
      }
      all[at].push_back(*sample);
    }
  }
  return all;
}

std::string PerRequest(uint64_t count, const Sample& sum) {
  if (!kCounting) return "-";
  return absl::StrFormat(
      "%.3f", static_cast<double>(count) / static_cast<double>(sum.requests));
}

// Ticks tell nothing of a short time.
std::string UserTimePerRequest(const Sample& sum) {
  if (sum.used.cpu < absl::Milliseconds(500)) return "-";
  return absl::StrFormat("%.3f", sum.PerRequest(sum.used.user));
}

void PrintCase(const Case& of, const Servers& servers,
               const std::vector<Samples>& all) {
  absl::PrintF("%s, per %s:\n", of.name, of.request);
  absl::PrintF("%-10s %10s %8s %8s %8s %8s %8s %9s %7s %7s\n", "server",
               absl::StrCat(of.requests, "/s"), "CPU us", "median", "user us",
               "syscalls", "epollctl", "allocs", "CPU", "paired");
  for (size_t i = 0; i < servers.size(); ++i) {
    const Sample sum = Sum(all[i]);
    absl::PrintF(
        "%-10s %10.0f %8.3f %8.3f %8s %8s %8s %9s %6.2fx %6.2fx\n",
        servers[i]->name(),
        static_cast<double>(sum.requests) / absl::ToDoubleSeconds(sum.elapsed),
        Best(all[i]), Median(CpuByRound(all[i])), UserTimePerRequest(sum),
        PerRequest(sum.used.counts.all_calls(), sum),
        PerRequest(sum.used.counts[Call::kEpollCtl], sum),
        PerRequest(sum.used.counts.allocations, sum),
        Best(all[i]) / Best(all[0]), PairedRatio(all[i], all[0]));
  }
  std::puts("");
}

void PrintCalls(const Case& of, const Servers& servers,
                const std::vector<Samples>& all) {
  absl::PrintF("%s, system calls per %s:\n%-10s", of.name, of.request,
               "server");
  for (const char* name : kCallNames) absl::PrintF(" %9s", name);
  std::puts("");
  for (size_t i = 0; i < servers.size(); ++i) {
    const Sample sum = Sum(all[i]);
    absl::PrintF("%-10s", servers[i]->name());
    for (const uint64_t count : sum.used.counts.calls) {
      absl::PrintF(" %9s", PerRequest(count, sum));
    }
    std::puts("");
  }
  std::puts("");
}

std::string RatioLines(const Case& of, const Servers& servers, size_t ours,
                       const std::vector<Samples>& all) {
  std::string lines;
  for (size_t i = 0; i < servers.size(); ++i) {
    if (i == ours) continue;
    absl::StrAppendFormat(&lines,
                          "%s / %s: %.2fx CPU per %s (%s), paired %.2fx\n",
                          servers[ours]->name(), servers[i]->name(),
                          Best(all[ours]) / Best(all[i]), of.request, of.name,
                          PairedRatio(all[ours], all[i]));
  }
  return lines;
}

// The first CPUs that this process may use: the servers', then ours. Negative
// where there is no choice.
std::pair<int, int> ChooseCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {-1, -1};
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE && cpus.size() < 2; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  if (cpus.size() < 2) return {-1, -1};
  return {cpus[0], cpus[1]};
}

absl::StatusOr<Servers> StartServers(const Contestants& contestants, int cpu) {
  Servers servers;
  for (const auto& [name, serve] : contestants.servers) {
    absl::StatusOr<std::unique_ptr<ServerProcess>> server =
        ServerProcess::Start(name, serve, cpu);
    if (!server.ok()) return server.status();
    servers.push_back(*std::move(server));
  }
  return servers;
}

}  // namespace

absl::Status Compare(const Contestants& contestants,
                     const std::vector<Case>& cases) {
  const auto [servers_cpu, own_cpu] = ChooseCpus();
  const absl::StatusOr<Servers> servers =
      StartServers(contestants, servers_cpu);
  if (!servers.ok()) return servers.status();
  if (own_cpu >= 0 && RunOnCpu(own_cpu)) {
    absl::PrintF("servers on CPU %d, clients on CPU %d\n\n", servers_cpu,
                 own_cpu);
  } else {
    std::puts("servers and clients are not bound to CPUs of their own\n");
  }
#ifndef NDEBUG
  std::puts("fio is not optimized here; measure with -c opt\n");
#endif
  std::string ratios;
  for (const Case& of : cases) {
    const absl::StatusOr<std::vector<Samples>> all = MeasureAll(of, *servers);
    if (!all.ok()) return all.status();
    PrintCase(of, *servers, *all);
    if (of.name == "life") PrintCalls(of, *servers, *all);
    std::fflush(stdout);
    ratios += RatioLines(of, *servers, contestants.ours, *all);
  }
  std::fputs(ratios.c_str(), stdout);
  return absl::OkStatus();
}

int CompareMain(int argc, char** argv, const char* usage,
                const Contestants& contestants,
                const std::vector<Case>& cases) {
  absl::SetProgramUsageMessage(usage);
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = Compare(contestants, cases);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace fio::bench
