#include "fio/core/process/worker_end.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"

namespace fio {
namespace {

UniqueFd OpenPidFd(pid_t process) {
  return UniqueFd::Created(Sys().pidfd_open(process, 0));
}

bool IsReadable(int fd) {
  pollfd ready = {.fd = fd, .events = POLLIN, .revents = 0};
  return Sys().poll(&ready, 1, 0) == 1;
}

}  // namespace

WorkerEnd::WorkerEnd(int place, pid_t root, uint64_t id, UniqueFd channel,
                     UniqueFd reports)
    : place_(place),
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
  if (!reports_) return;
  // Waits if the root is slow. Fails only if the root has died, which Next()
  // tells.
  while (Sys().send(reports_.get(), &id_, sizeof(id_), MSG_NOSIGNAL) < 0 &&
         errno == EINTR) {
    continue;
  }
  reports_.Reset();
}

WorkerEnd::Request WorkerEnd::Next() {
  const bool at_end = !ReadChannel();
  Request request = {.stop = stop_, .root_died = false};
  if (!told_death_ && (at_end || RootHasDied())) {
    told_death_ = true;
    request.root_died = true;
  }
  return request;
}

bool WorkerEnd::ReadChannel() {
  for (;;) {
    uint8_t levels[16];
    const ssize_t got =
        Sys().recv(channel_.get(), levels, sizeof(levels), MSG_DONTWAIT);
    if (got == 0) return false;
    if (got < 0 && errno == EINTR) continue;
    // What is not EAGAIN is ECONNRESET, an end as well.
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    for (ssize_t i = 0; i < got; ++i) {
      stop_ = std::max(stop_, static_cast<StopLevel>(levels[i]));
    }
  }
}

bool WorkerEnd::RootHasDied() {
  if (root_pidfd_ && IsReadable(root_pidfd_.get())) return true;
  return getppid() != root_;
}

}  // namespace fio
