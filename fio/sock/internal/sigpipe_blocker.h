// For system calls that raise SIGPIPE and have no flag against it, such as
// sendfile(2). During its lifetime a SigpipeBlocker keeps SIGPIPE from its
// thread; none is pending afterwards. fio does not change the process-wide
// disposition, which belongs to the application. Costs two system calls.
//
// Thread safety: concerns the calling thread alone.

#ifndef FIO_SOCK_INTERNAL_SIGPIPE_BLOCKER_H_
#define FIO_SOCK_INTERNAL_SIGPIPE_BLOCKER_H_

#include <csignal>

namespace fio::sock_internal {

class SigpipeBlocker {
 public:
  SigpipeBlocker();
  SigpipeBlocker(const SigpipeBlocker&) = delete;
  SigpipeBlocker& operator=(const SigpipeBlocker&) = delete;
  // Keeps errno.
  ~SigpipeBlocker();

  // The call gave EPIPE, so that a signal is pending.
  void Raised() { raised_ = true; }

 private:
  sigset_t old_mask_;
  bool pending_before_ = false;
  bool raised_ = false;
};

}  // namespace fio::sock_internal

#endif  // FIO_SOCK_INTERNAL_SIGPIPE_BLOCKER_H_
