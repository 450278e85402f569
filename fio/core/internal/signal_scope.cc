#include "fio/core/internal/signal_scope.h"

#include <pthread.h>

#include <csignal>
#include <memory>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {

absl::StatusOr<std::unique_ptr<SignalScope>> SignalScope::Create(
    const SignalOptions& options) {
  std::unique_ptr<SignalScope> scope(new SignalScope(options));
  if (options.ignore_sigpipe) {
    absl::StatusOr<std::unique_ptr<SignalWatch>> sigpipe =
        SignalWatch::Create({SIGPIPE});
    if (!sigpipe.ok()) return sigpipe.status();
    scope->sigpipe_ = *std::move(sigpipe);
  }
  std::vector<int> signals = options.stop;
  signals.insert(signals.end(), options.restart.begin(), options.restart.end());
  if (signals.empty()) return scope;
  absl::StatusOr<std::unique_ptr<SignalWatch>> watch =
      SignalWatch::Create(signals);
  if (!watch.ok()) return watch.status();
  scope->watch_ = *std::move(watch);
  scope->fds_ = {scope->watch_->fd()};
  scope->unblocked_.emplace(signals);
  return scope;
}

void SignalScope::BeforeFork() {
  sigset_t listed;
  sigemptyset(&listed);
  for (const int signal : options_.stop) sigaddset(&listed, signal);
  for (const int signal : options_.restart) sigaddset(&listed, signal);
  pthread_sigmask(SIG_BLOCK, &listed, &before_fork_);
}

void SignalScope::AfterFork() {
  pthread_sigmask(SIG_SETMASK, &before_fork_, nullptr);
}

absl::Span<const int> SignalScope::fds() const {
  return watch_ == nullptr ? absl::Span<const int>() : fds_;
}

SignalScope::Meaning SignalScope::Next() {
  const int signal = watch_ == nullptr ? 0 : watch_->Next();
  if (signal == 0) return Meaning::kNone;
  return absl::c_linear_search(options_.stop, signal) ? Meaning::kStop
                                                      : Meaning::kRestart;
}

}  // namespace fio::core_internal
