// During its lifetime a SignalScope handles the signals that SignalOptions
// lists, and unblocks them in the thread that creates it.
//
// Thread safety: none.

#ifndef FIO_CORE_INTERNAL_SIGNAL_SCOPE_H_
#define FIO_CORE_INTERNAL_SIGNAL_SCOPE_H_

#include <array>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/poller/signals_unblocked.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {

class SignalScope {
 public:
  enum class Meaning : uint8_t { kNone, kStop, kRestart, kReload };

  // kInvalidArgument for a signal that is listed twice or cannot be handled:
  // "SignalOptions::stop: SIGKILL cannot be handled".
  static absl::Status Check(const SignalOptions& options);

  // Without `hears_reload` those of SignalOptions::reload are not handled.
  // Errors: those of Check() and of SignalWatch::Create().
  static absl::StatusOr<std::unique_ptr<SignalScope>> Create(
      const SignalOptions& options, bool hears_reload);

  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;
  // Restores the dispositions and the thread's signal mask. In a forked child
  // the mask stays as it is.
  ~SignalScope() = default;

  // Readable while Next() may return a signal's meaning; empty if SignalOptions
  // lists no signal.
  absl::Span<const int> fds() const;
  Meaning Next();

  // Call them around fork(2), AfterFork() in the parent only. Between them the
  // signals are blocked. In the child they stay blocked until it creates its
  // own SignalScope: a signal that is sent to it before then arrives after that
  // and is not lost.
  void BeforeFork();
  void AfterFork();

 private:
  explicit SignalScope(SignalOptions options) : options_(std::move(options)) {}

  // All that are handled.
  std::vector<int> Listed() const;

  const SignalOptions options_;         // Each signal is in one list.
  std::unique_ptr<SignalWatch> watch_;  // Null if there is no signal.
  std::array<int, 1> fds_ = {};
  // Next() is never called: having a handler is enough, since SIGPIPE then ends
  // no process. Unlike SIG_IGN, a handler is not inherited by programs that are
  // exec'd, and several reactors may have one.
  std::unique_ptr<SignalWatch> sigpipe_;
  sigset_t before_fork_ = {};  // The mask.
  // Destroyed before the watches: while a signal is unblocked it has a handler.
  std::optional<SignalsUnblocked> unblocked_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_SIGNAL_SCOPE_H_
