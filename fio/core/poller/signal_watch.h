// A SignalWatch turns signals into readiness of a descriptor, so that a loop
// meets them between two callbacks and not inside one.
//
//   auto watch = SignalWatch::Create({SIGINT, SIGTERM});
//   poller->Add((*watch)->fd(), token, Interest::kReadable, Trigger::kLevel);
//   ...
//   while (int signal = (*watch)->Next()) { ... }
//
// Thread safety: none, but signals may arrive on any thread.

#ifndef FIO_CORE_POLLER_SIGNAL_WATCH_H_
#define FIO_CORE_POLLER_SIGNAL_WATCH_H_

#include <atomic>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"

namespace fio {

class SignalWatch {
 public:
  // From here on each of `signals` is told by the watch and has no other
  // effect. The process's disposition is changed, for all threads; signal masks
  // are not. Errors: kAlreadyExists if another watch has one of them; the errno
  // of sigaction(2) for a signal that cannot be caught. On an error nothing has
  // changed.
  static absl::StatusOr<std::unique_ptr<SignalWatch>> Create(
      std::initializer_list<int> signals);

  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  // Puts back the dispositions that Create() found, exactly.
  ~SignalWatch();

  // Readable while Next() may have something to tell.
  int fd() const { return event_.get(); }

  // The number of a signal that has arrived, or 0 if there is no more. Signals
  // of one number that arrive in a row may be told as one; see signal(7).
  int Next();

 private:
  struct Watched {
    int signal = 0;
    struct sigaction old = {};
    std::atomic<int> arrived{0};
  };

  explicit SignalWatch(UniqueFd event) : event_(std::move(event)) {}

  static void Handle(int signal);
  absl::Status Install(int signal);

  const UniqueFd event_;
  std::vector<std::unique_ptr<Watched>> watched_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_SIGNAL_WATCH_H_
