// How much CPU time a process has used, all its threads together.

#ifndef FIO_TESTS_BENCH_CPU_TIME_H_
#define FIO_TESTS_BENCH_CPU_TIME_H_

#include <sys/types.h>

#include "absl/time/time.h"

namespace fio::bench {

// In user mode and in the kernel, to the nanosecond; zero if there is no such
// process.
absl::Duration CpuTime(pid_t pid);

// The part in user mode, as the kernel's ticks of some milliseconds sample it.
absl::Duration UserTime(pid_t pid);

}  // namespace fio::bench

#endif  // FIO_TESTS_BENCH_CPU_TIME_H_
