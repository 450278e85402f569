// What signals mean to a reactor, for as long as this lives.
//
// Thread safety: none.

#ifndef FIO_CORE_INTERNAL_SIGNAL_SCOPE_H_
#define FIO_CORE_INTERNAL_SIGNAL_SCOPE_H_

#include <array>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {

class SignalScope {
 public:
  enum class Meaning : uint8_t { kNone, kStop, kRestart };

  // Errors: kInvalidArgument for a signal that is listed twice; those of
  // SignalWatch::Create().
  static absl::StatusOr<std::unique_ptr<SignalScope>> Create(
      const SignalOptions& options);

  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;
  // Puts all dispositions back.
  ~SignalScope() = default;

  // Readable while Next() has something to tell; none if no signal means
  // anything.
  absl::Span<const int> fds() const;
  Meaning Next();

 private:
  explicit SignalScope(const SignalOptions& options) : options_(options) {}

  const SignalOptions options_;
  std::unique_ptr<SignalWatch> watch_;  // Null if there is no signal.
  std::array<int, 1> fds_ = {};
  // Never asked: who is watched kills nobody. Unlike SIG_IGN, that ends with
  // exec(3), and several reactors may do it.
  std::unique_ptr<SignalWatch> sigpipe_;
};

}  // namespace fio::core_internal

#endif  // FIO_CORE_INTERNAL_SIGNAL_SCOPE_H_
