// During its lifetime a SignalsUnblocked unblocks signals in the thread that
// creates it. A program inherits its signal mask from the program that started
// it: without this, a signal that was blocked there would never arrive.
//
// Thread safety: none. Destroy it on the thread that created it.

#ifndef FIO_CORE_POLLER_SIGNALS_UNBLOCKED_H_
#define FIO_CORE_POLLER_SIGNALS_UNBLOCKED_H_

#include <pthread.h>
#include <sys/types.h>

#include <csignal>

#include "absl/types/span.h"

namespace fio {

class SignalsUnblocked {
 public:
  // Unblocks `signals` in the calling thread (pthread_sigmask(3)). A pending
  // signal arrives at once, so install the handlers first.
  explicit SignalsUnblocked(absl::Span<const int> signals);
  SignalsUnblocked(const SignalsUnblocked&) = delete;
  SignalsUnblocked& operator=(const SignalsUnblocked&) = delete;
  // Blocks the signals again that were blocked before. Does nothing on another
  // thread and in a forked child: there they stay unblocked.
  ~SignalsUnblocked();

 private:
  const pid_t process_;
  const pthread_t thread_;
  sigset_t were_blocked_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_SIGNALS_UNBLOCKED_H_
