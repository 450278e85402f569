#include "fio/core/poller/child_watch.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/epoll.h>
#endif

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/signal_watch.h"
#include "fio/core/poller/signals_unblocked.h"

namespace fio {
namespace {

// waitid(2) without waiting: 0 or an errno. Afterwards info->si_pid is 0 if the
// child has not ended.
int WaitId(idtype_t type, id_t id, int options, siginfo_t* info) {
  *info = {};
  while (waitid(type, id, info, WEXITED | WNOHANG | options) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

// What waitpid(2) would have said.
int WaitStatus(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

// Reaps `child`, identified by `type` and `id`; nothing if it has not ended. An
// error means that it was already reaped.
std::optional<ChildExit> Reap(idtype_t type, id_t id, pid_t child) {
  siginfo_t info;
  if (WaitId(type, id, 0, &info) != 0) {
    return ChildExit{.pid = child, .status = std::nullopt};
  }
  if (info.si_pid == 0) return std::nullopt;
  return ChildExit{.pid = child, .status = WaitStatus(info)};
}

// Whether `child` has ended; it is not reaped.
absl::StatusOr<bool> HasEnded(pid_t child) {
  siginfo_t info;
  const int error = WaitId(P_PID, static_cast<id_t>(child), WNOWAIT, &info);
  if (error == 0) return info.si_pid != 0;
  const std::string what = absl::StrCat("waitid child ", child);
  if (error != ECHILD) return ErrnoToStatus(error, what);
  return absl::NotFoundError(absl::StrCat(what, ": no child of this process"));
}

absl::Status WatchedAlready(pid_t child) {
  return absl::AlreadyExistsError(
      absl::StrCat("watch child ", child, ": watched already"));
}

absl::Status NotWatched(pid_t child) {
  return absl::NotFoundError(
      absl::StrCat("forget child ", child, ": not watched"));
}

// In a forked child descriptors are shared with the parent, so that a change
// there would be one here.
absl::Status CheckOwner(pid_t owner) {
  if (getpid() == owner) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this ChildWatch belongs to process ", owner));
}

}  // namespace

class ChildWatch::BySigChld final : public ChildWatch {
 public:
  static absl::StatusOr<std::unique_ptr<ChildWatch>> Create() {
    absl::StatusOr<std::unique_ptr<SignalWatch>> signals =
        SignalWatch::Create({SIGCHLD});
    if (!signals.ok()) return signals.status();
    return std::make_unique<BySigChld>(*std::move(signals));
  }

  explicit BySigChld(std::unique_ptr<SignalWatch> signals)
      : ChildWatch(signals->fd()), signals_(std::move(signals)) {}

  absl::Status Add(pid_t child) override {
    absl::Status owned = CheckOwner(owner_);
    if (!owned.ok()) return owned;
    if (children_.count(child) != 0) return WatchedAlready(child);
    const absl::StatusOr<bool> ended = HasEnded(child);
    if (!ended.ok()) return ended.status();
    children_.insert(child);
    if (*ended) {  // Its signal came too early.
      look_ = true;
      signals_->Wake();
    }
    return absl::OkStatus();
  }

  absl::Status Remove(pid_t child) override {
    absl::Status owned = CheckOwner(owner_);
    if (!owned.ok()) return owned;
    return children_.erase(child) != 0 ? absl::OkStatus() : NotWatched(child);
  }

  std::optional<ChildExit> Next() override {
    if (getpid() != owner_) return std::nullopt;
    do {
      auto it = children_.lower_bound(next_);
      while (it != children_.end()) {
        next_ = *it + 1;
        std::optional<ChildExit> exit =
            Reap(P_PID, static_cast<id_t>(*it), *it);
        if (!exit.has_value()) {
          ++it;
          continue;
        }
        children_.erase(it);
        return exit;
      }
      next_ = kNobody;
    } while (StartPass());
    return std::nullopt;
  }

 private:
  static constexpr pid_t kNobody = std::numeric_limits<pid_t>::max();

  // One signal may be for many children, and many for one: after any number of
  // signals, each child is checked once. A child that ends from now on causes
  // another signal.
  bool StartPass() {
    bool due = std::exchange(look_, false);
    while (signals_->Next() != 0) due = true;
    if (!due) return false;
    signals_->Wake();  // Until the pass is over there may be more to tell.
    next_ = 0;
    return true;
  }

  const pid_t owner_ = getpid();
  const std::unique_ptr<SignalWatch> signals_;
  const SignalsUnblocked unblocked_{{SIGCHLD}};
  std::set<pid_t> children_;
  pid_t next_ = kNobody;  // Where the pass under way goes on.
  bool look_ = false;     // A pass is due without a signal.
};

#if defined(__linux__)

namespace {

UniqueFd OpenPidFd(pid_t process) {
  return UniqueFd::Created(Sys().pidfd_open(process, 0));
}

std::optional<ChildExit> ReapByPidFd(const UniqueFd& pidfd, pid_t child) {
  return Reap(P_PIDFD, static_cast<id_t>(pidfd.get()), child);
}

// Tries pidfd_open(2) and waitid(2) on this process, which is not its own
// child.
absl::Status CheckPidFd() {
  const UniqueFd self = OpenPidFd(getpid());
  if (!self) return ErrnoToStatus(errno, "pidfd_open");
  siginfo_t info;
  const int error =
      WaitId(P_PIDFD, static_cast<id_t>(self.get()), WNOWAIT, &info);
  if (error == ECHILD) return absl::OkStatus();
  return absl::UnimplementedError("waitid: does not know pidfds");
}

}  // namespace

// The pid of a child that somebody else has reaped may come back as another
// child's, so children are reaped by their pidfd: that one never does.
class ChildWatch::ByPidFd final : public ChildWatch {
 public:
  static absl::StatusOr<std::unique_ptr<ChildWatch>> Create() {
    absl::Status checked = CheckPidFd();
    if (!checked.ok()) return checked;
    UniqueFd epoll = UniqueFd::Created(Sys().epoll_create1(EPOLL_CLOEXEC));
    if (!epoll) return ErrnoToStatus(errno, "epoll_create1");
    return std::make_unique<ByPidFd>(std::move(epoll));
  }

  // A forked child that still has the descriptors keeps them in the epoll, but
  // not this process: nobody waits for that any more.
  explicit ByPidFd(UniqueFd epoll)
      : ChildWatch(epoll.get()), epoll_(std::move(epoll)) {}

  absl::Status Add(pid_t child) override {
    absl::Status owned = CheckOwner(owner_);
    if (!owned.ok()) return owned;
    if (children_.count(child) != 0) return WatchedAlready(child);
    absl::Status ours = HasEnded(child).status();
    if (!ours.ok()) return ours;
    UniqueFd pidfd = OpenPidFd(child);
    if (!pidfd) {
      return ErrnoToStatus(errno, absl::StrCat("pidfd_open child ", child));
    }
    epoll_event event = {.events = EPOLLIN, .data = {}};
    event.data.u64 = static_cast<uint64_t>(child);
    if (Sys().epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) !=
        0) {
      return ErrnoToStatus(errno, absl::StrCat("epoll_ctl child ", child));
    }
    children_.emplace(child, std::move(pidfd));
    return absl::OkStatus();
  }

  absl::Status Remove(pid_t child) override {
    absl::Status owned = CheckOwner(owner_);
    if (!owned.ok()) return owned;
    const auto it = children_.find(child);
    if (it == children_.end()) return NotWatched(child);
    Forget(it);
    return absl::OkStatus();
  }

  std::optional<ChildExit> Next() override {
    if (getpid() != owner_) return std::nullopt;
    epoll_event event;
    if (Sys().epoll_wait(epoll_.get(), &event, 1, 0) != 1) return std::nullopt;
    const auto it = children_.find(static_cast<pid_t>(event.data.u64));
    if (it == children_.end()) return std::nullopt;
    std::optional<ChildExit> exit = ReapByPidFd(it->second, it->first);
    if (exit.has_value()) Forget(it);
    return exit;
  }

 private:
  void Forget(std::map<pid_t, UniqueFd>::iterator it) {
    // Closing is not enough where a forked child has the descriptor as well.
    // The kernel refuses it for no lasting cause.
    constexpr int kTries = 3;
    for (int i = 0; i < kTries; ++i) {
      if (Sys().epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.get(),
                          nullptr) == 0) {
        break;
      }
    }
    children_.erase(it);
  }

  const pid_t owner_ = getpid();
  const UniqueFd epoll_;
  std::map<pid_t, UniqueFd> children_;
};

#else

class ChildWatch::ByPidFd {
 public:
  static absl::StatusOr<std::unique_ptr<ChildWatch>> Create() {
    return absl::UnimplementedError("pidfd_open: not on this system");
  }
};

#endif

absl::StatusOr<std::unique_ptr<ChildWatch>> ChildWatch::Create(
    ChildMechanism mechanism) {
  if (mechanism == ChildMechanism::kSigChld) return BySigChld::Create();
  absl::StatusOr<std::unique_ptr<ChildWatch>> watch = ByPidFd::Create();
  if (watch.ok() || mechanism == ChildMechanism::kPidFd) return watch;
  return BySigChld::Create();
}

}  // namespace fio
