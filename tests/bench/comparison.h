// Compares servers: whole processes, in one run, against the first of them.
//
// Each server is a process of its own on one CPU; this one, on another, is the
// clients. The servers take turns, round by round, so that what disturbs the
// machine disturbs all. Told are the CPU time that the server's process needs
// for a request, what it asks of the kernel and of malloc for it, and how that
// compares: by the best round of each, and by the median of the rounds' own
// ratios, which noise hurts least. The numbers are for people; only an error
// makes the program fail.
//
// The flags --rounds and --benchmark_min_time (seconds for each server in each
// round) say how much.

#ifndef FIO_TESTS_BENCH_COMPARISON_H_
#define FIO_TESTS_BENCH_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/load.h"
#include "tests/bench/server_process.h"

namespace fio::bench {

struct Case {
  std::string name;
  std::string request;   // What it is called,
  std::string requests;  // and several of it.
  std::function<absl::StatusOr<std::unique_ptr<Load>>(uint16_t port)> connect;
};

// What is measured in its place, and its ratios.
struct Contestants {
  // The first is the floor.
  std::vector<std::pair<std::string, ServerProcess::Serve>> servers;
  // Whose ratios to the others are told at the end.
  size_t ours = 1;
};

// Forks: the caller has one thread. Errors: those of ServerProcess::Start() and
// of the loads.
absl::Status Compare(const Contestants& contestants,
                     const std::vector<Case>& cases);

// As main(): reads the flags, compares, and returns the exit code.
int CompareMain(int argc, char** argv, const char* usage,
                const Contestants& contestants, const std::vector<Case>& cases);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_COMPARISON_H_
