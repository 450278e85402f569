// The StopPhases of a process, from its start to its end: it serves, and when
// it is asked to stop it closes its listeners, drains if it may, and stops its
// loops. Each phase begins when the one before has ended. Loops that hang in a
// callback hold up none of them for long.
//
// Thread safety: none. Use it on the thread of the main loop.

#ifndef FIO_CORE_INTERNAL_STOP_PHASES_H_
#define FIO_CORE_INTERNAL_STOP_PHASES_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/time/time.h"
#include "fio/base/monotonic_time.h"
#include "fio/core/internal/reactor_setup.h"
#include "fio/core/internal/server.h"

namespace fio::core_internal {

// How long after the cut-off the root waits for a worker, and a single process
// for its loops.
inline constexpr absl::Duration kKillDelay = absl::Seconds(1);

class StopPhases {
 public:
  // `on_begin` is called once, when a process that serves begins to stop. The
  // references must outlive it. It posts tasks and timers that use it: it must
  // live until the loops have finished (Server::Finish()) or are destroyed.
  StopPhases(Server& server, const ReactorSetup& setup,
             std::function<void()> on_begin);
  StopPhases(const StopPhases&) = delete;
  StopPhases& operator=(const StopPhases&) = delete;
  ~StopPhases() = default;

  // Begins to serve. REQUIRES: the process starts.
  void Serve() { phase_ = Phase::kServing; }
  // From now on nothing is left to wait for.
  void End();

  // From Serve() to Rest().
  bool is_running() const { return phase_ != Phase::kStarting; }
  // From Serve() to the begin of a stop.
  bool serves() const { return phase_ == Phase::kServing; }

  // After End(): as before Serve().
  void Rest() { phase_ = Phase::kStarting; }

  // Whether a stop leaves ReactorOptions::drain_time for draining: that of a
  // worker which is replaced. False at first.
  void set_may_drain(bool may_drain) { may_drain_ = may_drain; }
  bool may_drain() const { return may_drain_; }

  // Begins a stop, or makes one that has begun end sooner: what is open at
  // `by`, or after ReactorOptions::shutdown_timeout, is aborted. If the process
  // does not serve yet, this is only noted.
  void Stop(MonotonicTime by);
  bool is_stop_asked() const { return stop_asked_; }
  // When what is open is aborted. InfiniteFuture() without a stop.
  MonotonicTime cut_off() const { return cut_off_; }

  // When the stop goes on without loops that hang; Advance() is due then.
  MonotonicTime hang_deadline() const;
  // Call it after each turn. If loops hang for too long at the end, a single
  // process ends by _exit(2).
  void Advance();

  // Whether all loops have stopped.
  bool has_ended() const;

 private:
  enum class Phase : uint8_t {
    kStarting,
    kServing,
    kClosing,   // The listeners, first of all.
    kDraining,  // For ReactorOptions::drain_time.
    kStopping,  // The loops.
  };

  bool drains() const;
  void CloseListeners();
  void EndClosing();
  void BeginDrain();
  void StopLoops();
  void GoOnWithoutHungLoops();

  Server& server_;
  const ReactorSetup& setup_;
  const std::function<void()> on_begin_;

  Phase phase_ = Phase::kStarting;
  bool may_drain_ = false;
  bool stop_asked_ = false;
  MonotonicTime cut_off_ = MonotonicTime::InfiniteFuture();
  MonotonicTime close_by_;                // Of kClosing.
  std::optional<MonotonicTime> exit_by_;  // When a single process exits.
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_STOP_PHASES_H_
