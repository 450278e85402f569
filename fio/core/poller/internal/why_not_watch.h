// WhyNotWatch() refuses the descriptors that epoll_ctl(2) refuses, for other
// backends: poll(2) and kqueue(2) accept regular files and report them as
// ready.
//
// Thread safety: any thread.

#ifndef FIO_CORE_POLLER_INTERNAL_WHY_NOT_WATCH_H_
#define FIO_CORE_POLLER_INTERNAL_WHY_NOT_WATCH_H_

namespace fio::poller_internal {

// The errno with which to refuse `fd`, or 0: EBADF if it is not open, EPERM for
// a regular file or a directory.
int WhyNotWatch(int fd);

}  // namespace fio::poller_internal

#endif  // FIO_CORE_POLLER_INTERNAL_WHY_NOT_WATCH_H_
