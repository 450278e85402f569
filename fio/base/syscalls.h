// The one table of system calls that fio/sock and fio/core/poller make on
// descriptors. It points at the kernel; a test points it at a plan of faults
// (fio/testing/fault_plan.h) and sees what happens when a call is cut short,
// interrupted or refused.
//
// Thread safety: Sys() from any thread. A table that replaces the kernel's must
// be thread-safe itself.

#ifndef FIO_BASE_SYSCALLS_H_
#define FIO_BASE_SYSCALLS_H_

#include <poll.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <ctime>

namespace fio {

// Each behaves as its namesake in section 2 of the manual, errno included.
struct Syscalls {
  int (*socket)(int domain, int type, int protocol) = ::socket;
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
  int (*close)(int fd) = ::close;
};

inline constexpr Syscalls kKernel;

namespace base_internal {
inline constinit std::atomic<const Syscalls*> current_syscalls = &kKernel;
inline constinit thread_local uint64_t calls_of_this_thread = 0;
}  // namespace base_internal

// The table in force, for one call.
inline const Syscalls& Sys() {
  ++base_internal::calls_of_this_thread;
  return *base_internal::current_syscalls.load(std::memory_order_acquire);
}

// How many calls this thread has made through the table.
inline uint64_t SystemCallsOfThisThread() {
  return base_internal::calls_of_this_thread;
}

// For tests: puts `table` in force, in all threads, and returns the one that
// was. `table` must live until it is replaced and no call in it runs.
inline const Syscalls* ReplaceSyscalls(const Syscalls* table) {
  return base_internal::current_syscalls.exchange(table,
                                                  std::memory_order_acq_rel);
}

}  // namespace fio

#endif  // FIO_BASE_SYSCALLS_H_
