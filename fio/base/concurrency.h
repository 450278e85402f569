// How many threads and worker processes to run, and how many cores there are.
//
// Thread safety: any thread.

#ifndef FIO_BASE_CONCURRENCY_H_
#define FIO_BASE_CONCURRENCY_H_

#include <sched.h>
#include <sys/types.h>

#include <cstddef>
#include <string>

namespace fio {

struct Concurrency {
  // Upper bounds, far above what is useful, so that a typing error does not
  // start processes without end.
  static constexpr int kMaxThreads = 1024;
  static constexpr int kMaxWorkers = 1024;

  int threads;  // Of each process.
  int workers;  // Processes; 1 is a single process, its own root.
};

// The numbers that `threads` and `workers` stand for on a machine of `cores`.
// Each of the two is read as follows:
//   n > 0   n.
//   n < 0   cores / |n|, rounded down.
//   0       |other| if the other one is negative, 1 if it is positive.
// If both are 0: one worker with one thread per core; one core is left to the
// rest of the machine if there are more than three.
//
// The results are between 1 and the maximum above; the first number that is cut
// is logged. Every int is valid; `cores` below 1 counts as 1.
Concurrency ResolveConcurrency(int threads, int workers, int cores);

// The sources of AvailableCores(), which a test can replace.
struct CoreSources {
  int (*sched_getaffinity)(pid_t pid, size_t size,
                           cpu_set_t* out) = ::sched_getaffinity;
  std::string cgroup_of_process = "/proc/self/cgroup";
  std::string cgroup_root = "/sys/fs/cgroup";
};

// How many cores the calling thread, and threads that it starts, may use: the
// number of CPUs in its affinity mask (sched_getaffinity(2)), or less if its
// cgroup, or one above it, has a quota of CPU time; a part of a core counts as
// one. At least 1. A source that cannot be read is ignored.
//
// Reads some small files in each call.
int AvailableCores(const CoreSources& sources = {});

}  // namespace fio

#endif  // FIO_BASE_CONCURRENCY_H_
