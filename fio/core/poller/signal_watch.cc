#include "fio/core/poller/signal_watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/unique_fd.h"

namespace fio {
namespace {

// What a handler may touch. Dispositions belong to the process, and so does
// this; everything in it is lock-free.
struct Target {
  std::atomic<std::atomic<int>*> arrived{nullptr};
  std::atomic<int> event{-1};
};
std::array<Target, NSIG> g_targets;
std::atomic<int> g_handlers_running{0};
static_assert(std::atomic<std::atomic<int>*>::is_always_lock_free);

}  // namespace

absl::StatusOr<std::unique_ptr<SignalWatch>> SignalWatch::Create(
    std::initializer_list<int> signals) {
  UniqueFd event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return absl::ErrnoToStatus(errno, "eventfd");
  auto watch = std::unique_ptr<SignalWatch>(new SignalWatch(std::move(event)));
  for (const int signal : signals) {
    absl::Status installed = watch->Install(signal);
    if (!installed.ok()) return installed;  // The destructor undoes the rest.
  }
  return watch;
}

absl::Status SignalWatch::Install(int signal) {
  if (signal <= 0 || signal >= NSIG) {
    return absl::InvalidArgumentError(
        absl::StrCat("watch signal ", signal, ": no such signal"));
  }
  auto watched = std::make_unique<Watched>();
  watched->signal = signal;
  Target& target = g_targets[signal];
  std::atomic<int>* nobody = nullptr;
  if (!target.arrived.compare_exchange_strong(nobody, &watched->arrived)) {
    return absl::AlreadyExistsError(
        absl::StrCat("watch signal ", signal, ": another watch has it"));
  }
  target.event = event_.get();
  struct sigaction action = {};
  action.sa_handler = &SignalWatch::Handle;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  if (sigaction(signal, &action, &watched->old) != 0) {
    const int error = errno;
    target.arrived = nullptr;
    return absl::ErrnoToStatus(error, absl::StrCat("sigaction ", signal));
  }
  watched_.push_back(std::move(watched));
  return absl::OkStatus();
}

SignalWatch::~SignalWatch() {
  for (const auto& watched : watched_) {
    sigaction(watched->signal, &watched->old, nullptr);
    g_targets[watched->signal].arrived = nullptr;
  }
  // A handler that began before may still be at work on another thread, with
  // the memory and the descriptor that die here. It runs a few instructions.
  while (g_handlers_running != 0) std::this_thread::yield();
}

int SignalWatch::Next() {
  for (const bool drained : {false, true}) {
    for (const auto& watched : watched_) {
      if (watched->arrived == 0) continue;
      --watched->arrived;
      return watched->signal;
    }
    if (drained) break;
    // Drain, then look once more: what came in between is not lost.
    uint64_t count;
    const ssize_t got = read(event_.get(), &count, sizeof(count));
    static_cast<void>(got);  // EAGAIN: it was empty.
  }
  return 0;
}

void SignalWatch::Handle(int signal) {
  const int saved_errno = errno;
  ++g_handlers_running;
  Target& target = g_targets[signal];
  if (std::atomic<int>* arrived = target.arrived; arrived != nullptr) {
    ++*arrived;
    const uint64_t one = 1;
    const ssize_t written = write(target.event, &one, sizeof(one));
    static_cast<void>(written);  // Only a full counter fails: readable as well.
  }
  --g_handlers_running;
  errno = saved_errno;
}

}  // namespace fio
