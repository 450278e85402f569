// A StopRequest carries what other threads and signal handlers ask of a Run()
// to the thread that runs it: to stop, until when, to restart, or to reload. It
// wakes nobody.
//
// It is open while Run() is running. Before and after that, requests are
// dropped.
//
// Thread safety: any thread and signal handlers may call Stop(), Restart() and
// Reload(). Call the rest on the thread of Run().

#ifndef FIO_CORE_INTERNAL_STOP_REQUEST_H_
#define FIO_CORE_INTERNAL_STOP_REQUEST_H_

#include <atomic>
#include <cstdint>
#include <optional>

#include "fio/base/monotonic_time.h"

namespace fio::core_internal {

class StopRequest {
 public:
  // Asks to stop, and to abort at `by` what is still open. A later call can
  // only make `by` earlier. False if it is not open.
  bool Stop(MonotonicTime by);

  // False if it is not open.
  bool Restart();
  bool Reload();

  // Forgets what was asked before, and opens.
  void Open();
  void Close() { open_ = false; }

  // Each request is returned once; the time is the earliest so far.
  std::optional<MonotonicTime> TakeStop();
  bool TakeRestart() { return restart_ && restart_.exchange(false); }
  bool TakeReload() { return reload_ && reload_.exchange(false); }

 private:
  std::atomic<bool> open_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> restart_{false};
  std::atomic<bool> reload_{false};
  std::atomic<int64_t> by_ns_{0};  // Set by Open().
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_STOP_REQUEST_H_
