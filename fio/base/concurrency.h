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
  // Upper bounds, far above what is useful: a mistyped number cannot start
  // processes without end.
  static constexpr int kMaxThreads = 1024;
  static constexpr int kMaxWorkers = 1024;

  int threads;  // Of each process.
  int workers;  // Processes. 1: one process is root and worker.
};

// Returns how many threads and workers to run on a machine with `cores` cores.
// Each of `threads` and `workers` is read as follows:
//   n > 0   n.
//   n < 0   cores / |n|, rounded down.
//   0       |other| if the other one is negative, 1 if it is positive.
// If both are 0: one worker with one thread per core; with more than three
// cores, one core is left free for other programs.
//
// Each result is between 1 and its maximum above. The first number that is
// reduced to a maximum is logged, once in a process. Every int is valid;
// `cores` below 1 counts as 1.
Concurrency ResolveConcurrency(int threads, int workers, int cores);

// The sources of AvailableCores(), which a test can replace.
struct CoreSources {
  int (*sched_getaffinity)(pid_t pid, size_t size,
                           cpu_set_t* out) = ::sched_getaffinity;
  std::string cgroup_of_process = "/proc/self/cgroup";
  std::string cgroup_root = "/sys/fs/cgroup";
};

// Returns how many cores the calling thread and the threads that it starts may
// use, at least 1. That is the number of CPUs in its affinity mask
// (sched_getaffinity(2)), or the CPU quota of its cgroup or of a parent cgroup,
// rounded up to whole cores, if that is less. A source that cannot be read is
// ignored.
//
// Each call reads some small files.
int AvailableCores(const CoreSources& sources = {});

}  // namespace fio

#endif  // FIO_BASE_CONCURRENCY_H_
