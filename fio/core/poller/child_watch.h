// A ChildWatch reaps child processes, and makes a descriptor readable when one
// has ended.
//
//   auto watch = ChildWatch::Create();
//   poller->Add((*watch)->fd(), token, Interest::kReadable, Trigger::kLevel);
//   (*watch)->Add(pid);
//   ...
//   while (std::optional<ChildExit> exit = (*watch)->Next()) { ... }
//
// It reaps only the children that were added to it, by their pid, each once, in
// Next(). So a process may have several watches, and may wait for other
// children by itself. Add each child to one watch only.
//
// In a forked child an inherited watch reports nothing; destroying it there
// does not affect the parent.
//
// Thread safety: none. Each watch may belong to another thread.

#ifndef FIO_CORE_POLLER_CHILD_WATCH_H_
#define FIO_CORE_POLLER_CHILD_WATCH_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fio {

// How the watch learns that a child has ended.
enum class ChildMechanism : uint8_t {
  kAuto,   // kPidFd if the kernel grants it, otherwise kSigChld.
  kPidFd,  // A pidfd_open(2) for each child. Linux 5.4 or later.
  // A SignalWatch of SIGCHLD, which is unblocked in the creating thread while
  // the watch lives. Each signal costs one waitid(2) per child.
  kSigChld,
};

struct ChildExit {
  pid_t pid = 0;
  // The status as returned by waitpid(2), for WIFEXITED() and other macros.
  // None if it is lost: other code has reaped the child, or SIGCHLD is ignored.
  std::optional<int> status;
};

class ChildWatch {
 public:
  // kSigChld changes the disposition of SIGCHLD, as a SignalWatch does; destroy
  // such a watch on the thread that created it. Errors: the errno of the system
  // call that failed; kUnimplemented for a mechanism that this system does not
  // have.
  static absl::StatusOr<std::unique_ptr<ChildWatch>> Create(
      ChildMechanism mechanism = ChildMechanism::kAuto);

  ChildWatch(const ChildWatch&) = delete;
  ChildWatch& operator=(const ChildWatch&) = delete;
  // Does not reap any child.
  virtual ~ChildWatch() = default;

  // Next() will return `child` when it has ended, also if it has ended already.
  // Errors: kNotFound if it is no child of this process or was reaped;
  // kAlreadyExists if this watch has it; kFailedPrecondition in a forked child;
  // the errno of the system call that failed.
  virtual absl::Status Add(pid_t child) = 0;

  // Stops watching `child`; from now on the caller must reap it. Errors:
  // kNotFound if this watch does not have it, or Next() has returned it;
  // kFailedPrecondition in a forked child.
  virtual absl::Status Remove(pid_t child) = 0;

  // Readable while Next() may return a child. Level-triggered.
  int fd() const { return fd_; }

  // Reaps a child that has ended, stops watching it and returns it. Returns
  // nothing if there is none.
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
