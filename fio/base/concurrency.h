// How many threads and worker processes to run, and of how many cores.
//
// Thread safety: all of it may be called from any thread.

#ifndef FIO_BASE_CONCURRENCY_H_
#define FIO_BASE_CONCURRENCY_H_

#include <sched.h>
#include <sys/types.h>

#include <cstddef>
#include <string>

namespace fio {

struct Concurrency {
  // Far above what any machine is helped by: a typing error, or a number that
  // came over from elsewhere, is not to start processes without end.
  static constexpr int kMaxThreads = 1024;
  static constexpr int kMaxWorkers = 1024;

  int threads;  // Of each process.
  int workers;  // Processes; 1 is a single process, its own master.
};

// What `threads` and `workers` ask for on a machine of `cores`, each by itself:
//   n > 0   n.
//   n < 0   one |n|-th of the cores, rounded down.
//   0       as many as share the cores with the other: |other| if that is
//           negative, 1 if it is positive.
// Both 0 is one worker with a thread for each core, but for one core that is
// left to the rest of the machine where there are more than three.
//
// Never less than 1 and never more than the maximum above, which is logged when
// first met. Any int will do; `cores` below 1 count as 1.
Concurrency ResolveConcurrency(int threads, int workers, int cores);

// Where AvailableCores() looks; for tests.
struct CoreSources {
  int (*sched_getaffinity)(pid_t pid, size_t size,
                           cpu_set_t* out) = ::sched_getaffinity;
  std::string cgroup_of_process = "/proc/self/cgroup";
  std::string cgroup_root = "/sys/fs/cgroup";
};

// How many cores the calling thread, and what it starts, may use: the CPUs of
// its affinity mask, or fewer if a cgroup it is in, however far up, has a quota
// of CPU time; a part of a core counts as one. At least 1. What cannot be read
// or understood limits nothing.
//
// Reads a few small files each time: call it once, at the start.
int AvailableCores(const CoreSources& sources = {});

}  // namespace fio

#endif  // FIO_BASE_CONCURRENCY_H_
