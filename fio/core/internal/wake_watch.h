// A WakeWatch wakes a loop when one of some descriptors is readable. Nothing is
// read: the owner asks after each turn whether there may be something.
//
// Thread safety: none. Use it on the thread of the loop, which must outlive it.

#ifndef FIO_CORE_INTERNAL_WAKE_WATCH_H_
#define FIO_CORE_INTERNAL_WAKE_WATCH_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/core/loop/loop.h"

namespace fio::core_internal {

class WakeWatch {
 public:
  explicit WakeWatch(Loop& loop) : loop_(loop) {}
  WakeWatch(const WakeWatch&) = delete;
  WakeWatch& operator=(const WakeWatch&) = delete;
  ~WakeWatch() { Clear(); }

  // Errors: those of Loop::Watch().
  absl::Status Add(absl::Span<const int> fds);

  // Watches nothing any more.
  void Clear();

  // Whether one of them may be readable since the last call. True at first.
  bool TakeWoken() { return std::exchange(woken_, false); }

  // Makes the next TakeWoken() return true.
  void NoteWoken() { woken_ = true; }

 private:
  Loop& loop_;
  std::vector<WatchId> watches_;
  bool woken_ = true;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_WAKE_WATCH_H_
