#include "fio/core/internal/signal_scope.h"

#include <pthread.h>

#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {
namespace {

struct Name {
  int signal;
  absl::string_view name;
};
constexpr Name kNames[] = {
    {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"},
    {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"},
    {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"}, {SIGSTOP, "SIGSTOP"},
    {SIGTSTP, "SIGTSTP"}, {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},
};

std::string Describe(int signal) {
  for (const Name& known : kNames) {
    if (known.signal == signal) return std::string(known.name);
  }
  return absl::StrCat("signal ", signal);
}

absl::Status CheckList(absl::string_view list,
                       const std::vector<int>& signals) {
  const auto error = [list](int signal, absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("SignalOptions::", list, ": ", Describe(signal), what));
  };
  for (const int signal : signals) {
    if (signal <= 0 || signal >= NSIG) return error(signal, " does not exist");
    if (signal == SIGKILL || signal == SIGSTOP) {
      return error(signal, " cannot be handled");
    }
    if (absl::c_count(signals, signal) > 1) {
      return error(signal, " is listed twice");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SignalScope::Check(const SignalOptions& options) {
  absl::Status checked = CheckList("stop", options.stop);
  if (checked.ok()) checked = CheckList("restart", options.restart);
  if (!checked.ok()) return checked;
  for (const int signal : options.restart) {
    if (!absl::c_linear_search(options.stop, signal)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "SignalOptions: ", Describe(signal), " is in stop and in restart"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SignalScope>> SignalScope::Create(
    const SignalOptions& options) {
  absl::Status checked = Check(options);
  if (!checked.ok()) return checked;
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
