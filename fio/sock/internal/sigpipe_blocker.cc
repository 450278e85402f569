#include "fio/sock/internal/sigpipe_blocker.h"

#include <cerrno>
#include <csignal>
#include <ctime>

namespace fio::sock_internal {
namespace {

sigset_t OnlySigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}

}  // namespace

SigpipeBlocker::SigpipeBlocker() {
  const sigset_t sigpipe = OnlySigpipe();
  pthread_sigmask(SIG_BLOCK, &sigpipe, &old_mask_);
  // One that the application blocks and waits for is not ours to take.
  if (sigismember(&old_mask_, SIGPIPE) == 1) {
    sigset_t pending;
    pending_before_ =
        sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  }
}

SigpipeBlocker::~SigpipeBlocker() {
  const int saved_errno = errno;
  if (raised_ && !pending_before_) {
    const sigset_t sigpipe = OnlySigpipe();
    const timespec at_once = {};
    while (sigtimedwait(&sigpipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  errno = saved_errno;
}

}  // namespace fio::sock_internal
