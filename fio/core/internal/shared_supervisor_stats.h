// A copy of SupervisorStats that other threads may read.
//
// Thread safety: one thread may call Set(), any thread Get(). The numbers are
// read one after the other, so they may be of slightly different times. No lock
// is taken, so that a fork cannot inherit one.

#ifndef FIO_CORE_INTERNAL_SHARED_SUPERVISOR_STATS_H_
#define FIO_CORE_INTERNAL_SHARED_SUPERVISOR_STATS_H_

#include <atomic>
#include <cstdint>

#include "fio/core/process/supervisor_stats.h"

namespace fio::core_internal {

class SharedSupervisorStats {
 public:
  void Set(const SupervisorStats& stats) {
    forked_.store(stats.forked, std::memory_order_relaxed);
    respawned_.store(stats.respawned, std::memory_order_relaxed);
    crashed_.store(stats.crashed, std::memory_order_relaxed);
    killed_.store(stats.killed, std::memory_order_relaxed);
    failed_forks_.store(stats.failed_forks, std::memory_order_relaxed);
    lent_.store(stats.lent, std::memory_order_relaxed);
  }

  SupervisorStats Get() const {
    return {.forked = forked_.load(std::memory_order_relaxed),
            .respawned = respawned_.load(std::memory_order_relaxed),
            .crashed = crashed_.load(std::memory_order_relaxed),
            .killed = killed_.load(std::memory_order_relaxed),
            .failed_forks = failed_forks_.load(std::memory_order_relaxed),
            .lent = lent_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<uint64_t> forked_{0}, respawned_{0}, crashed_{0}, killed_{0},
      failed_forks_{0}, lent_{0};
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_SHARED_SUPERVISOR_STATS_H_
