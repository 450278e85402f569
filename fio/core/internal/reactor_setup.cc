#include "fio/core/internal/reactor_setup.h"

#include <utility>

#include "absl/status/status.h"
#include "fio/base/check_durations.h"
#include "fio/base/concurrency.h"
#include "fio/core/internal/signal_scope.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {
namespace {

ReactorOptions WithLinger(ReactorOptions options) {
  options.loop.stop_linger = options.linger_timeout;
  return options;
}

Concurrency Resolve(const ReactorOptions& options) {
  const int cores = options.cores > 0 ? options.cores : AvailableCores();
  return ResolveConcurrency(options.threads, options.workers, cores);
}

}  // namespace

ReactorSetup::ReactorSetup(ReactorOptions asked)
    : options(WithLinger(std::move(asked))),
      concurrency(Resolve(options)),
      listeners(options.socket_activation) {}

absl::Status ReactorSetup::Check() const {
  absl::Status durations = CheckNotNegative(
      "ReactorOptions", {{"drain_time", options.drain_time},
                         {"shutdown_timeout", options.shutdown_timeout},
                         {"linger_timeout", options.linger_timeout},
                         {"respawn_delay", options.respawn_delay},
                         {"max_respawn_delay", options.max_respawn_delay},
                         {"worker_min_lifetime", options.worker_min_lifetime}});
  return durations.ok() ? SignalScope::Check(options.signals) : durations;
}

}  // namespace fio::core_internal
