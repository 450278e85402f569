#include "fio/core/process/worker_end.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "fio/base/errno_status.h"
#include "fio/base/signals_blocked.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"

namespace fio {

using process_internal::Order;
using process_internal::Report;

namespace {

UniqueFd OpenPidFd(pid_t process) {
  return UniqueFd::Created(Sys().pidfd_open(process, 0));
}

bool IsReadable(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  return Sys().poll(&ready, 1, 0) == 1;
}

// --- The watchdog ---

struct Watchdog {
  using Events = decltype(pollfd::events);

  int fd;         // Has `events` when the root has died.
  Events events;  // 0 for a socket: poll(2) always reports its end.
  int poll_ms;    // How often to compare getppid(2); -1 for never.
  pid_t root;
  int grace_ms;  // Until the end.
  std::function<void()> on_root_death;
};

// Does not use the table of system calls: tests must not inject faults here.
void* RunWatchdog(void* argument) {
  const std::unique_ptr<Watchdog> watchdog(static_cast<Watchdog*>(argument));
  pollfd root = {.fd = watchdog->fd, .events = watchdog->events, .revents = 0};
  while (::poll(&root, 1, watchdog->poll_ms) <= 0) {
    if (watchdog->poll_ms >= 0 && getppid() != watchdog->root) break;
  }
  watchdog->on_root_death();
  ::poll(nullptr, 0, watchdog->grace_ms);
  kill(getpid(), SIGKILL);
  return nullptr;
}

absl::Status StartDetached(void* (*run)(void*), void* argument) {
  constexpr size_t kStackBytes = size_t{64} << 10;  // Sanitizers need as much.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  const SignalsBlocked blocked;
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, run, argument);
  pthread_attr_destroy(&attributes);
  return error == 0 ? absl::OkStatus()
                    : ErrnoToStatus(error, "watchdog: pthread_create");
}

}  // namespace

WorkerEnd::WorkerEnd(int place, uint64_t generation, pid_t root, uint64_t id,
                     UniqueFd channel, UniqueFd reports)
    : place_(place),
      generation_(generation),
      root_(root),
      id_(id),
      channel_(std::move(channel)),
      reports_(std::move(reports)),
      root_pidfd_(OpenPidFd(root)),
      fds_({channel_.get()}) {
  // If the root has died already, the pid may be another process's by now. It
  // is not, if the root lives still.
  if (getppid() != root_) root_pidfd_.Reset();
  if (root_pidfd_) fds_.push_back(root_pidfd_.get());
}

void WorkerEnd::TellReady() {
  if (std::exchange(told_ready_, true)) return;
  unsent_.push_back({.worker = id_, .kind = Report::Kind::kReady});
  SendReports();
}

void WorkerEnd::TellDrains() {
  if (std::exchange(told_drains_, true)) return;
  unsent_.push_back({.worker = id_, .kind = Report::Kind::kDrains});
  SendReports();
}

bool WorkerEnd::SendReports() {
  while (!told_death_ && !unsent_.empty()) {
    const Report& report = unsent_.front();
    const ssize_t sent = Sys().send(reports_.get(), &report, sizeof(report),
                                    MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    // Next() reports the root's death.
    if (sent < 0) return false;
    unsent_.erase(unsent_.begin());
  }
  return true;
}

WorkerEnd::Request WorkerEnd::Next() {
  Request request;
  const bool at_end = !ReadChannel(request);
  request.stop = stop_;
  if (!told_death_ && (at_end || RootHasDied())) {
    told_death_ = true;
    request.root_died = true;
  }
  return request;
}

bool WorkerEnd::ReadChannel(Request& request) {
  for (;;) {
    Order order;
    const ssize_t got =
        Sys().recv(channel_.get(), &order, sizeof(order), MSG_DONTWAIT);
    if (got == 0) return false;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return true;  // Nothing, or an error: it stays readable.
    if (order.kind == Order::Kind::kLend) {
      request.lent.push_back(order.place);
    } else if (order.kind == Order::Kind::kReload) {
      request.reload = true;
    } else {
      stop_ = std::max(stop_, order.level);
    }
  }
}

bool WorkerEnd::RootHasDied() {
  if (root_pidfd_ && IsReadable(root_pidfd_.get())) return true;
  return getppid() != root_;
}

absl::Status WorkerEnd::StartWatchdog(
    absl::Duration grace, std::function<void()> on_root_death) const {
  constexpr absl::Duration kLongest = absl::Hours(24 * 24);  // Of an int's ms.
  const int watched = root_pidfd_ ? root_pidfd_.get() : channel_.get();
  // Its own: this object may die before the process does.
  UniqueFd fd(fcntl(watched, F_DUPFD_CLOEXEC, 3));
  if (!fd) return ErrnoToStatus(errno, "watchdog: fcntl F_DUPFD_CLOEXEC");
  auto watchdog = std::make_unique<Watchdog>(Watchdog{
      .fd = fd.get(),
      .events = static_cast<Watchdog::Events>(root_pidfd_ ? POLLIN : 0),
      .poll_ms = must_poll() ? static_cast<int>(
                                   absl::ToInt64Milliseconds(kPollInterval))
                             : -1,
      .root = root_,
      .grace_ms = static_cast<int>(
          absl::ToInt64Milliseconds(std::min(grace, kLongest))),
      .on_root_death = std::move(on_root_death)});
  absl::Status started = StartDetached(&RunWatchdog, watchdog.get());
  if (!started.ok()) return started;
  static_cast<void>(watchdog.release());
  static_cast<void>(fd.Release());
  return absl::OkStatus();
}

}  // namespace fio
