#include "fio/core/poller/signal_watch.h"

#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/signalfd.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/spin_wait.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/internal/event_fd.h"
#include "fio/core/poller/internal/pipe.h"

namespace fio {
namespace {

// That a watch has a signal. What a handler may touch is lock-free.
struct Subscription {
  Subscription(int signal_arg, int event_arg)
      : signal(signal_arg), event(event_arg) {}

  const int signal;
  const int event;  // To write to.
  const pid_t owner = getpid();
  std::atomic<int> arrived{0};
  std::atomic<Subscription*> next{nullptr};
};
static_assert(std::atomic<int>::is_always_lock_free);
static_assert(std::atomic<Subscription*>::is_always_lock_free);

// Dispositions belong to the process, and so does this.
struct Slot {
  std::atomic<Subscription*> first{nullptr};  // Changed under g_mutex.
  struct sigaction old = {};                  // Under g_mutex.
};
std::array<Slot, NSIG> g_slots;
std::atomic<int> g_handlers_running{0};
// Not an absl::Mutex, which does not survive a fork() with threads waiting.
std::mutex g_mutex;

// A child of fork() has neither the threads that may have run a handler nor the
// one that may have held the mutex.
void SurviveForks() {
  [[maybe_unused]] static const int registered =
      pthread_atfork([] { g_mutex.lock(); }, [] { g_mutex.unlock(); },
                     [] {
                       g_handlers_running = 0;
                       g_mutex.unlock();
                     });
}

void Write(int event) {
  const uint64_t one = 1;  // As large as an eventfd wants it; a pipe takes all.
  const ssize_t written = write(event, &one, sizeof(one));
  static_cast<void>(written);  // Only what is full fails: readable as well.
}

void Drain(int event) {
  std::array<char, 512> bytes;
  ssize_t got;
  do {
    got = read(event, bytes.data(), bytes.size());
  } while (got == ssize_t{bytes.size()} || (got < 0 && errno == EINTR));
}

void Handle(int signal) {
  const int saved_errno = errno;
  ++g_handlers_running;
  // What a forked child has inherited is not for it: it shares descriptors with
  // the parent, after vfork(2) even the memory.
  const pid_t self = getpid();
  for (Subscription* it = g_slots[signal].first; it != nullptr; it = it->next) {
    if (it->owner != self) continue;
    ++it->arrived;
    Write(it->event);
  }
  --g_handlers_running;
  errno = saved_errno;
}

absl::Status Subscribe(Subscription& added) {
  SurviveForks();
  const std::lock_guard lock(g_mutex);
  Slot& slot = g_slots[added.signal];
  Subscription* const first = slot.first;
  added.next = first;
  slot.first = &added;  // Before the handler is installed.
  if (first != nullptr) return absl::OkStatus();
  struct sigaction action = {};
  action.sa_handler = &Handle;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  if (sigaction(added.signal, &action, &slot.old) == 0) return absl::OkStatus();
  slot.first = nullptr;
  return ErrnoToStatus(errno, absl::StrCat("sigaction ", added.signal));
}

// `removed` must not die before AwaitHandlers().
void Unsubscribe(Subscription& removed) {
  const std::lock_guard lock(g_mutex);
  Slot& slot = g_slots[removed.signal];
  if (slot.first == &removed && removed.next == nullptr) {
    sigaction(removed.signal, &slot.old, nullptr);
  }
  std::atomic<Subscription*>* link = &slot.first;
  while (*link != &removed) link = &link->load()->next;
  *link = removed.next.load();
}

// A handler that began before may still be at work on another thread, with the
// memory and the descriptor that are about to die. It runs a few instructions.
void AwaitHandlers() {
  SpinWait wait;
  while (g_handlers_running != 0) wait.Pause();
}

class HandlerWatch final : public SignalWatch {
 public:
  // `write_end` is none where what is read is also written to.
  HandlerWatch(UniqueFd fd, UniqueFd write_end)
      : SignalWatch(std::move(fd)), write_end_(std::move(write_end)) {}

  ~HandlerWatch() override {
    for (const auto& it : subscriptions_) Unsubscribe(*it);
    AwaitHandlers();
  }

  absl::Status Install(int signal) {
    auto added = std::make_unique<Subscription>(signal, event());
    absl::Status subscribed = Subscribe(*added);
    if (subscribed.ok()) subscriptions_.push_back(std::move(added));
    return subscribed;
  }

  int Next() override {
    if (getpid() != owner_) return 0;
    if (const int signal = Take(); signal != 0) return signal;
    // Drain, then look once more: what came in between is not lost.
    Drain(fd());
    const int signal = Take();
    if (signal != 0) Wake();  // There may be more, and it is drained.
    return signal;
  }

 private:
  int event() const { return write_end_ ? write_end_.get() : fd(); }

  int Take() {
    for (const auto& it : subscriptions_) {
      if (it->arrived == 0) continue;
      --it->arrived;
      return it->signal;
    }
    return 0;
  }

  void Wake() override { Write(event()); }

  const pid_t owner_ = getpid();
  const UniqueFd write_end_;
  std::vector<std::unique_ptr<Subscription>> subscriptions_;
};

// `write_end` is as in HandlerWatch.
absl::StatusOr<std::unique_ptr<SignalWatch>> InstallAll(
    absl::Span<const int> signals, UniqueFd fd, UniqueFd write_end) {
  auto watch =
      std::make_unique<HandlerWatch>(std::move(fd), std::move(write_end));
  for (const int signal : signals) {
    absl::Status installed = watch->Install(signal);
    if (!installed.ok()) return installed;  // The destructor undoes the rest.
  }
  return watch;
}

absl::StatusOr<std::unique_ptr<SignalWatch>> CreateSelfPipe(
    absl::Span<const int> signals) {
  absl::StatusOr<poller_internal::Pipe> pipe = poller_internal::OpenPipe();
  if (!pipe.ok()) return pipe.status();
  return InstallAll(signals, std::move(pipe->read_end),
                    std::move(pipe->write_end));
}

absl::StatusOr<std::unique_ptr<SignalWatch>> CreateEventFd(
    absl::Span<const int> signals) {
  absl::StatusOr<UniqueFd> event = poller_internal::OpenEventFd();
  if (!event.ok()) return event.status();
  return InstallAll(signals, *std::move(event), UniqueFd());
}

#if defined(__linux__)

class SignalFdWatch final : public SignalWatch {
 public:
  SignalFdWatch(UniqueFd fd, const sigset_t& signals)
      : SignalWatch(std::move(fd)) {
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    sigemptyset(&blocked_);
    for (int signal = 1; signal < NSIG; ++signal) {
      if (sigismember(&signals, signal) == 1 &&
          sigismember(&before, signal) == 0) {
        sigaddset(&blocked_, signal);
      }
    }
  }

  ~SignalFdWatch() override {
    if (pthread_equal(pthread_self(), thread_) == 0) return;
    // In a forked child as well: this reads the caller's signals, not those of
    // the process that created the descriptor.
    while (Read() != 0) continue;
    pthread_sigmask(SIG_UNBLOCK, &blocked_, nullptr);
  }

  int Next() override { return getpid() == owner_ ? Read() : 0; }

 private:
  int Read() {
    signalfd_siginfo info;
    ssize_t got;
    do {
      got = read(fd(), &info, sizeof(info));
    } while (got < 0 && errno == EINTR);
    return got == ssize_t{sizeof(info)} ? static_cast<int>(info.ssi_signo) : 0;
  }

  const pid_t owner_ = getpid();
  const pthread_t thread_ = pthread_self();
  sigset_t blocked_;  // By this.
};

absl::StatusOr<std::unique_ptr<SignalWatch>> CreateSignalFd(
    absl::Span<const int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    // signalfd(2) overlooks the first two; sigaction(2) says EINVAL.
    if (signal == SIGKILL || signal == SIGSTOP ||
        sigaddset(&set, signal) != 0) {
      return ErrnoToStatus(EINVAL, absl::StrCat("signalfd ", signal));
    }
  }
  UniqueFd fd =
      UniqueFd::Created(Sys().signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return ErrnoToStatus(errno, "signalfd");
  return std::make_unique<SignalFdWatch>(std::move(fd), set);
}

#else

absl::StatusOr<std::unique_ptr<SignalWatch>> CreateSignalFd(
    absl::Span<const int> /*signals*/) {
  return absl::UnimplementedError("signalfd: not on this system");
}

#endif

absl::Status Check(absl::Span<const int> signals) {
  for (const int signal : signals) {
    if (signal <= 0 || signal >= NSIG) {
      return absl::InvalidArgumentError(
          absl::StrCat("watch signal ", signal, ": no such signal"));
    }
    if (std::count(signals.begin(), signals.end(), signal) > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("watch signal ", signal, ": named twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SignalWatch>> SignalWatch::Create(
    absl::Span<const int> signals, SignalMechanism mechanism) {
  absl::Status checked = Check(signals);
  if (!checked.ok()) return checked;
  switch (mechanism) {
    case SignalMechanism::kEventFd:
      return CreateEventFd(signals);
    case SignalMechanism::kSelfPipe:
      return CreateSelfPipe(signals);
    case SignalMechanism::kSignalFd:
      return CreateSignalFd(signals);
    case SignalMechanism::kAuto:
      break;
  }
  absl::StatusOr<UniqueFd> event = poller_internal::OpenEventFd();
  if (!event.ok()) return CreateSelfPipe(signals);
  return InstallAll(signals, *std::move(event), UniqueFd());
}

}  // namespace fio
