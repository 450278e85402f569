// A SignalWatch turns signals into readiness of a descriptor, so that a loop
// meets them between two callbacks and not inside one.
//
//   auto watch = SignalWatch::Create({SIGINT, SIGTERM});
//   poller->Add((*watch)->fd(), token, Interest::kReadable, Trigger::kLevel);
//   ...
//   while (int signal = (*watch)->Next()) { ... }
//
// Several watches may have the same signal, one for each loop: each is told of
// every arrival.
//
// In a forked child a watch of the parent's tells nothing, and its signals have
// no effect there until it is destroyed; the parent notices nothing of that.
// The child may create watches of its own.
//
// Thread safety: none for one watch, but each may belong to another thread, and
// signals may arrive on any.

#ifndef FIO_CORE_POLLER_SIGNAL_WATCH_H_
#define FIO_CORE_POLLER_SIGNAL_WATCH_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"

namespace fio {

// How signals become readiness.
enum class SignalMechanism : uint8_t {
  kAuto,      // kEventFd where the system grants one, kSelfPipe elsewhere.
  kEventFd,   // A handler that writes to an eventfd(2). Linux only.
  kSelfPipe,  // A handler that writes to a pipe(2).
  // Blocks the signals and reads them by signalfd(2). Linux only. Not the
  // default, for its traps. All threads of the process must block the signals,
  // so create the watch before them; programs that are exec'd inherit the
  // block; a signal sent to one other thread is not told; and of several
  // watches of a signal only one is told of each arrival. Destroy it on the
  // thread that created it: no other thread can put the signal mask back.
  kSignalFd,
};

class SignalWatch {
 public:
  // From here on each of `signals` is told by the watch and has no other
  // effect. The first watch of a signal changes the process's disposition, for
  // all threads; signal masks are as they were. (kSignalFd: the calling
  // thread's mask is changed, and no disposition.) Errors: kInvalidArgument for
  // a signal that does not exist or is named twice; the errno of sigaction(2)
  // for one that cannot be caught; kUnimplemented for a mechanism that this
  // system lacks. On an error nothing has changed.
  static absl::StatusOr<std::unique_ptr<SignalWatch>> Create(
      absl::Span<const int> signals,
      SignalMechanism mechanism = SignalMechanism::kAuto);

  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  // The last watch of a signal puts back the disposition that the first found,
  // exactly. (kSignalFd: unblocks what Create() blocked.) What has arrived and
  // was not told is dropped.
  virtual ~SignalWatch() = default;

  // Readable while Next() may have something to tell.
  int fd() const { return fd_.get(); }

  // The number of a signal that has arrived, or 0 if there is no more. Signals
  // of one number that arrive in a row may be told as one; see signal(7).
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
