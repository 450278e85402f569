#include "fio/core/poller/signals_unblocked.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>

#include "absl/types/span.h"

namespace fio {

SignalsUnblocked::SignalsUnblocked(absl::Span<const int> signals)
    : process_(getpid()), thread_(pthread_self()) {
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  sigemptyset(&were_blocked_);
  for (const int signal : signals) {
    if (sigismember(&before, signal) == 1) sigaddset(&were_blocked_, signal);
  }
  pthread_sigmask(SIG_UNBLOCK, &were_blocked_, nullptr);
}

SignalsUnblocked::~SignalsUnblocked() {
  if (getpid() != process_ || pthread_equal(pthread_self(), thread_) == 0) {
    return;
  }
  pthread_sigmask(SIG_BLOCK, &were_blocked_, nullptr);
}

}  // namespace fio
