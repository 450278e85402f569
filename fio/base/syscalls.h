// The table of the system calls that fio makes on descriptors. By default the
// calls go to the kernel. A test replaces the table by one that injects faults
// (fio/testing/fault_plan.h): calls that are partial, interrupted or refused.
//
// Some calls do not use the table: read(2) and write(2) of wakers and signal
// watches, since signal handlers make them; kevent(2); fcntl(2) of descriptors
// that a service manager passes.
//
// Thread safety: any thread may call Sys(). A table that replaces the kernel's
// must be thread-safe itself.

#ifndef FIO_BASE_SYSCALLS_H_
#define FIO_BASE_SYSCALLS_H_

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>

namespace fio {

namespace base_internal {

// glibc has it since 2.36.
inline int PidfdOpen(pid_t process, unsigned flags) {
#if defined(SYS_pidfd_open)
  return static_cast<int>(::syscall(SYS_pidfd_open, process, flags));
#else
  static_cast<void>(process);
  static_cast<void>(flags);
  errno = ENOSYS;
  return -1;
#endif
}

inline int IntIoctl(int fd,
                    unsigned long request,  // NOLINT(google-runtime-int)
                    int* value) {
  return ::ioctl(fd, request, value);
}
}  // namespace base_internal

// Each behaves like the system call of the same name, errno included.
struct Syscalls {
  int (*socket)(int domain, int type, int protocol) = ::socket;
  int (*socketpair)(int domain, int type, int protocol,
                    int* fds) = ::socketpair;
  int (*bind)(int fd, const sockaddr* address, socklen_t size) = ::bind;
  int (*listen)(int fd, int backlog) = ::listen;
  int (*connect)(int fd, const sockaddr* address, socklen_t size) = ::connect;
  int (*accept4)(int fd, sockaddr* address, socklen_t* size,
                 int flags) = ::accept4;
  int (*getsockname)(int fd, sockaddr* address,
                     socklen_t* size) = ::getsockname;
  int (*getpeername)(int fd, sockaddr* address,
                     socklen_t* size) = ::getpeername;
  int (*setsockopt)(int fd, int level, int name, const void* value,
                    socklen_t size) = ::setsockopt;
  int (*getsockopt)(int fd, int level, int name, void* value,
                    socklen_t* size) = ::getsockopt;
  // For requests whose argument is an int.
  int (*ioctl)(int fd, unsigned long request,  // NOLINT(google-runtime-int)
               int* value) = base_internal::IntIoctl;
  int (*shutdown)(int fd, int how) = ::shutdown;
  ssize_t (*recv)(int fd, void* out, size_t size, int flags) = ::recv;
  ssize_t (*send)(int fd, const void* bytes, size_t size, int flags) = ::send;
  ssize_t (*sendmsg)(int fd, const msghdr* message, int flags) = ::sendmsg;
  int (*recvmmsg)(int fd, mmsghdr* messages, unsigned count, int flags,
                  timespec* timeout) = ::recvmmsg;
  int (*sendmmsg)(int fd, mmsghdr* messages, unsigned count,
                  int flags) = ::sendmmsg;
  ssize_t (*pread)(int fd, void* out, size_t size, off_t offset) = ::pread;
  ssize_t (*sendfile)(int fd, int file, off_t* offset,
                      size_t size) = ::sendfile;
  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms) = ::poll;
  int (*epoll_create1)(int flags) = ::epoll_create1;
  int (*epoll_ctl)(int epoll, int operation, int fd,
                   epoll_event* event) = ::epoll_ctl;
  int (*epoll_wait)(int epoll, epoll_event* events, int size,
                    int timeout_ms) = ::epoll_wait;
  int (*eventfd)(unsigned count, int flags) = ::eventfd;
  int (*signalfd)(int fd, const sigset_t* signals, int flags) = ::signalfd;
  int (*pidfd_open)(pid_t process, unsigned flags) = base_internal::PidfdOpen;
  int (*pipe2)(int* fds, int flags) = ::pipe2;
  // The third argument, where there is one, is an int.
  int (*fcntl)(int fd, int command, ...) = ::fcntl;
  int (*close)(int fd) = ::close;
};

inline constexpr Syscalls kKernel;

namespace base_internal {
inline constinit std::atomic<const Syscalls*> current_syscalls = &kKernel;
inline constinit thread_local uint64_t calls_of_this_thread = 0;
}  // namespace base_internal

// Returns the current table, for one call, which is counted. Do not keep the
// reference.
inline const Syscalls& Sys() {
  ++base_internal::calls_of_this_thread;
  return *base_internal::current_syscalls.load(std::memory_order_acquire);
}

// How many calls this thread has made through the table.
inline uint64_t SystemCallsOfThisThread() {
  return base_internal::calls_of_this_thread;
}

// For tests: makes `table` the current table of all threads and returns the
// previous one. `table` must live until it is replaced and none of its calls
// runs any more.
inline const Syscalls* ReplaceSyscalls(const Syscalls* table) {
  return base_internal::current_syscalls.exchange(table,
                                                  std::memory_order_acq_rel);
}

}  // namespace fio

#endif  // FIO_BASE_SYSCALLS_H_
