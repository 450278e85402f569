// What a Supervisor has done since it was created.

#ifndef FIO_CORE_PROCESS_SUPERVISOR_STATS_H_
#define FIO_CORE_PROCESS_SUPERVISOR_STATS_H_

#include <cstdint>

namespace fio {

struct SupervisorStats {
  uint64_t forked = 0;     // All workers so far.
  uint64_t respawned = 0;  // Replacements of workers that had ended.
  uint64_t crashed = 0;    // How often kOnChildCrash was fired.
  // By SIGKILL, because a worker did not end in time, or for kKill. Each is
  // logged. They are not counted as crashed, and kOnChildCrash is not fired.
  uint64_t killed = 0;
  uint64_t failed_forks = 0;  // Will be tried again.
  uint64_t lent = 0;          // Requests of Lend().

  friend bool operator==(const SupervisorStats&,
                         const SupervisorStats&) = default;
};

}  // namespace fio

#endif  // FIO_CORE_PROCESS_SUPERVISOR_STATS_H_
