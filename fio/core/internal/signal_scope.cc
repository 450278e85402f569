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

absl::Status CheckApart(absl::string_view first, absl::string_view second,
                        const std::vector<int>& one,
                        const std::vector<int>& other) {
  for (const int signal : other) {
    if (!absl::c_linear_search(one, signal)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("SignalOptions: ", Describe(signal), " is in ", first,
                     " and in ", second));
  }
  return absl::OkStatus();
}

// Those of SignalOptions::reload that are in no other list.
std::vector<int> OnlyOfReload(const SignalOptions& options) {
  std::vector<int> signals;
  for (const int signal : options.reload) {
    if (absl::c_linear_search(options.stop, signal)) continue;
    if (absl::c_linear_search(options.restart, signal)) continue;
    signals.push_back(signal);
  }
  return signals;
}

}  // namespace

absl::Status SignalScope::Check(const SignalOptions& options) {
  absl::Status checked = CheckList("stop", options.stop);
  if (checked.ok()) checked = CheckList("restart", options.restart);
  if (checked.ok()) checked = CheckList("reload", options.reload);
  if (checked.ok()) {
    checked = CheckApart("stop", "restart", options.stop, options.restart);
  }
  if (!checked.ok() || options.reload == SignalOptions().reload) return checked;
  checked = CheckApart("stop", "reload", options.stop, options.reload);
  return checked.ok()
             ? CheckApart("restart", "reload", options.restart, options.reload)
             : checked;
}

absl::StatusOr<std::unique_ptr<SignalScope>> SignalScope::Create(
    const SignalOptions& options, bool hears_reload) {
  absl::Status checked = Check(options);
  if (!checked.ok()) return checked;
  SignalOptions apart = options;
  apart.reload = hears_reload ? OnlyOfReload(options) : std::vector<int>();
  std::unique_ptr<SignalScope> scope(new SignalScope(std::move(apart)));
  if (options.ignore_sigpipe) {
    absl::StatusOr<std::unique_ptr<SignalWatch>> sigpipe =
        SignalWatch::Create({SIGPIPE});
    if (!sigpipe.ok()) return sigpipe.status();
    scope->sigpipe_ = *std::move(sigpipe);
  }
  const std::vector<int> signals = scope->Listed();
  if (signals.empty()) return scope;
  absl::StatusOr<std::unique_ptr<SignalWatch>> watch =
      SignalWatch::Create(signals);
  if (!watch.ok()) return watch.status();
  scope->watch_ = *std::move(watch);
  scope->fds_ = {scope->watch_->fd()};
  scope->unblocked_.emplace(signals);
  return scope;
}

std::vector<int> SignalScope::Listed() const {
  std::vector<int> signals = options_.stop;
  for (const auto* list : {&options_.restart, &options_.reload}) {
    signals.insert(signals.end(), list->begin(), list->end());
  }
  return signals;
}

void SignalScope::BeforeFork() {
  sigset_t listed;
  sigemptyset(&listed);
  for (const int signal : Listed()) sigaddset(&listed, signal);
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
  if (absl::c_linear_search(options_.stop, signal)) return Meaning::kStop;
  return absl::c_linear_search(options_.restart, signal) ? Meaning::kRestart
                                                         : Meaning::kReload;
}

}  // namespace fio::core_internal
