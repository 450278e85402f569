// A SignalWatch makes a descriptor readable when a signal arrives, so that a
// loop handles signals between two callbacks and not inside of one.
//
//   auto watch = SignalWatch::Create({SIGINT, SIGTERM});
//   poller->Add((*watch)->fd(), token, Interest::kReadable, Trigger::kLevel);
//   ...
//   while (int signal = (*watch)->Next()) { ... }
//
// Several watches may watch the same signal: each of them reports every
// arrival.
//
// In a forked child an inherited watch reports nothing. Its signals have no
// effect in the child until the inherited watch is destroyed; the parent is not
// affected. The child may create watches of its own.
//
// Thread safety: none. Each watch may belong to another thread. Signals may
// arrive on any thread.

#ifndef FIO_CORE_POLLER_SIGNAL_WATCH_H_
#define FIO_CORE_POLLER_SIGNAL_WATCH_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"

namespace fio {

// How a signal makes the descriptor readable.
enum class SignalMechanism : uint8_t {
  kAuto,      // kEventFd where the system grants one, kSelfPipe elsewhere.
  kEventFd,   // A handler that writes to an eventfd(2). Linux only.
  kSelfPipe,  // A handler that writes to a pipe(2).
  // Blocks the signals and reads them by signalfd(2). Linux only. Not the
  // default, because:
  //   - all threads of the process must block the signals, so create the watch
  //     before the threads;
  //   - programs that are exec'd inherit the blocked signals;
  //   - a signal that is sent to another thread is not reported;
  //   - of several watches of a signal only one reports each arrival.
  // Destroy the watch on the thread that created it: no other thread can
  // restore the signal mask.
  kSignalFd,
};

class SignalWatch {
 public:
  // From now on the watch reports each arrival of `signals`, and they have no
  // other effect. The first watch of a signal changes the disposition, which
  // all threads of the process share. Signal masks are not changed: a signal
  // that all threads block never arrives, see SignalsUnblocked. (kSignalFd
  // changes the calling thread's mask and no disposition.)
  //
  // Errors: kInvalidArgument for a signal that does not exist or is named
  // twice; the errno of sigaction(2) for one that cannot be caught;
  // kUnimplemented for a mechanism that this system does not have; the errno of
  // the system call that opens the descriptor. After an error nothing has
  // changed.
  static absl::StatusOr<std::unique_ptr<SignalWatch>> Create(
      absl::Span<const int> signals,
      SignalMechanism mechanism = SignalMechanism::kAuto);

  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  // The last watch of a signal restores the disposition that the first one
  // replaced. (kSignalFd: unblocks the signals that Create() blocked.) Signals
  // that have arrived and were not read by Next() are dropped.
  virtual ~SignalWatch() = default;

  // Readable while Next() may return a signal. Level-triggered.
  int fd() const { return fd_.get(); }

  // Returns the number of a signal that has arrived, or 0 if there is none.
  // Several arrivals of one signal may be reported as one; see signal(7).
  virtual int Next() = 0;

 protected:
  explicit SignalWatch(UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  friend class ChildWatch;

  // Makes fd() readable until Next() has returned 0. Not with kSignalFd.
  virtual void Wake() {}

  const UniqueFd fd_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_SIGNAL_WATCH_H_
