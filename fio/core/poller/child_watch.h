// A ChildWatch tells of child processes that have ended, as readiness of one
// descriptor: a reaper that dispatches by pid.
//
//   auto watch = ChildWatch::Create();
//   poller->Add((*watch)->fd(), token, Interest::kReadable, Trigger::kLevel);
//   (*watch)->Add(pid);
//   ...
//   while (std::optional<ChildExit> exit = (*watch)->Next()) { ... }
//
// It reaps the children that were added to it, each once and when it tells of
// it, and never asks for just any child. So several watches, and a program that
// waits for children of its own, share a process and take no status from each
// other; a child belongs to one of them.
//
// In a forked child a watch of the parent's tells nothing, and destroying it
// there changes nothing for the parent.
//
// Thread safety: none for one watch, but each may belong to another thread.

#ifndef FIO_CORE_POLLER_CHILD_WATCH_H_
#define FIO_CORE_POLLER_CHILD_WATCH_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fio {

// How to learn that a child has ended.
enum class ChildMechanism : uint8_t {
  kAuto,   // kPidFd if the kernel has it, or else kSigChld.
  kPidFd,  // A pidfd_open(2) for each child. Linux 5.4 or later.
  // A SignalWatch of SIGCHLD, which is unblocked in the creating thread while
  // the watch lives. Each signal costs one waitid(2) per child.
  kSigChld,
};

struct ChildExit {
  pid_t pid = 0;
  // As of waitpid(2), for WIFEXITED() and the like. None if the kernel has it
  // no more: somebody else reaped the child, or SIGCHLD is ignored.
  std::optional<int> status;
};

class ChildWatch {
 public:
  // kSigChld changes the disposition of SIGCHLD, as a SignalWatch does. Errors:
  // the errno of the system call that failed; kUnimplemented for a mechanism
  // that this system lacks.
  static absl::StatusOr<std::unique_ptr<ChildWatch>> Create(
      ChildMechanism mechanism = ChildMechanism::kAuto);

  ChildWatch(const ChildWatch&) = delete;
  ChildWatch& operator=(const ChildWatch&) = delete;
  // Reaps nobody.
  virtual ~ChildWatch() = default;

  // Next() will tell of `child`, also if it has ended already. Errors:
  // kNotFound if it is no child of this process, or reaped; kAlreadyExists if
  // it is watched here; kFailedPrecondition in a forked child; the errno of the
  // system call that failed.
  virtual absl::Status Add(pid_t child) = 0;

  // Forgets `child`, which is the caller's to reap from here on. Errors:
  // kNotFound if it is not watched here, or has been told; kFailedPrecondition
  // in a forked child.
  virtual absl::Status Remove(pid_t child) = 0;

  // Readable while Next() may have something to tell.
  int fd() const { return fd_; }

  // A child that has ended, reaped and watched no longer; nothing if there is
  // no more.
  virtual std::optional<ChildExit> Next() = 0;

 protected:
  explicit ChildWatch(int fd) : fd_(fd) {}

 private:
  class ByPidFd;
  class BySigChld;

  const int fd_;  // The subclass owns it.
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_CHILD_WATCH_H_
