// A ReactorSetup holds a reactor's options, and what it was told before Run()
// to do in each process. A forked worker has a copy, and makes its own Server
// from it.
//
// Thread safety: any thread may use `lifecycle` and read the constants. Use the
// rest on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_REACTOR_SETUP_H_
#define FIO_CORE_INTERNAL_REACTOR_SETUP_H_

#include "absl/status/status.h"
#include "fio/base/clock.h"
#include "fio/base/concurrency.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/listen_set.h"
#include "fio/core/internal/preset.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {

struct ReactorSetup {
  explicit ReactorSetup(ReactorOptions options);

  // kInvalidArgument, with the name of the option, for one that makes no sense.
  absl::Status Check() const;

  // Whether the root forks workers.
  bool is_cluster() const {
    return concurrency.workers > 1 || options.supervise_single_worker;
  }

  // REQUIRES: Check() has no error, or the clock is known to be there.
  MonotonicTime Now() const { return options.loop.clock->Now(); }

  const ReactorOptions options;  // `loop` has linger_timeout.
  const Concurrency concurrency;
  Lifecycle lifecycle;
  // Whether signals are handled that ask to reload. Set when Run() begins;
  // workers do as their root.
  bool hears_reload = false;
  ListenSet listeners;
  Preset preset;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_REACTOR_SETUP_H_
