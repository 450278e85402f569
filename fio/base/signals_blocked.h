// Blocks every signal in this thread, and so in the threads and processes that
// it starts, for as long as it lives: none of them runs a handler that is meant
// for the thread that waits for signals. The kernel keeps what comes meanwhile.
//
// Thread safety: none; it is destroyed on the thread that made it. In a child
// of fork(2) it may be left alive, and the signals blocked.

#ifndef FIO_BASE_SIGNALS_BLOCKED_H_
#define FIO_BASE_SIGNALS_BLOCKED_H_

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigset_t

namespace fio {

class SignalsBlocked {
 public:
  SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  // Blocks what was blocked before, and no other.
  ~SignalsBlocked();

 private:
  sigset_t before_;
};

}  // namespace fio

#endif  // FIO_BASE_SIGNALS_BLOCKED_H_
