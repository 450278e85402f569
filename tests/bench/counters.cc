#include "tests/bench/counters.h"

#include <dlfcn.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <numeric>

#include "absl/base/config.h"

namespace fio::bench {
namespace {

constinit Counters unread;
constinit Counters* current = &unread;

}  // namespace

uint64_t Counts::all_calls() const {
  return std::accumulate(calls.begin(), calls.end(), uint64_t{0});
}

Counts& Counts::operator+=(const Counts& other) {
  for (size_t i = 0; i < kCallKinds; ++i) calls[i] += other.calls[i];
  allocations += other.allocations;
  return *this;
}

Counts operator-(Counts a, const Counts& b) {
  for (size_t i = 0; i < kCallKinds; ++i) a.calls[i] -= b.calls[i];
  a.allocations -= b.allocations;
  return a;
}

Counts Counters::Read() const {
  Counts counts;
  for (size_t i = 0; i < kCallKinds; ++i) {
    counts.calls[i] = calls_[i].load(std::memory_order_relaxed);
  }
  counts.allocations = allocations_.load(std::memory_order_relaxed);
  return counts;
}

void CountInto(Counters& counters) { current = &counters; }

#if !defined(ABSL_HAVE_ADDRESS_SANITIZER) && \
    !defined(ABSL_HAVE_THREAD_SANITIZER)

// The wrappers have C++ names of their own, beside libc's declarations, and
// libc's names for the linker.

namespace {

// libc's own function of a name that this file defines as well.
template <typename Function>
Function* Libc(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define FIO_COUNTED(KIND, RESULT, NAME, PARAMETERS, ARGUMENTS) \
  RESULT Counted_##NAME PARAMETERS __asm__(#NAME);             \
  RESULT Counted_##NAME PARAMETERS {                           \
    static auto* const libc = Libc<RESULT PARAMETERS>(#NAME);  \
    current->Count(Call::KIND);                                \
    return libc ARGUMENTS;                                     \
  }

// For one whose third argument is an int, a pointer or nothing.
#define FIO_COUNTED_VARIADIC(NAME, REQUEST)                        \
  int Counted_##NAME(int fd, REQUEST request, ...) __asm__(#NAME); \
  int Counted_##NAME(int fd, REQUEST request, ...) {               \
    static auto* const libc = Libc<int(int, REQUEST, ...)>(#NAME); \
    va_list list;                                                  \
    va_start(list, request);                                       \
    void* const argument = va_arg(list, void*);                    \
    va_end(list);                                                  \
    current->Count(Call::kOther);                                  \
    return libc(fd, request, argument);                            \
  }

FIO_COUNTED(kAccept, int, accept, (int fd, sockaddr* peer, socklen_t* size),
            (fd, peer, size))
FIO_COUNTED(kAccept, int, accept4,
            (int fd, sockaddr* peer, socklen_t* size, int flags),
            (fd, peer, size, flags))

FIO_COUNTED(kEpollCtl, int, epoll_ctl,
            (int epoll, int operation, int fd, epoll_event* event),
            (epoll, operation, fd, event))

FIO_COUNTED(kWait, int, epoll_wait,
            (int epoll, epoll_event* events, int size, int timeout_ms),
            (epoll, events, size, timeout_ms))
FIO_COUNTED(kWait, int, epoll_pwait,
            (int epoll, epoll_event* events, int size, int timeout_ms,
             const sigset_t* signals),
            (epoll, events, size, timeout_ms, signals))
FIO_COUNTED(kWait, int, epoll_pwait2,
            (int epoll, epoll_event* events, int size, const timespec* timeout,
             const sigset_t* signals),
            (epoll, events, size, timeout, signals))
FIO_COUNTED(kWait, int, poll, (pollfd * fds, nfds_t count, int timeout_ms),
            (fds, count, timeout_ms))

FIO_COUNTED(kReceive, ssize_t, read, (int fd, void* out, size_t size),
            (fd, out, size))
FIO_COUNTED(kReceive, ssize_t, readv, (int fd, const iovec* out, int count),
            (fd, out, count))
FIO_COUNTED(kReceive, ssize_t, recv,
            (int fd, void* out, size_t size, int flags), (fd, out, size, flags))
FIO_COUNTED(kReceive, ssize_t, recvfrom,
            (int fd, void* out, size_t size, int flags, sockaddr* from,
             socklen_t* from_size),
            (fd, out, size, flags, from, from_size))
FIO_COUNTED(kReceive, ssize_t, recvmsg, (int fd, msghdr* message, int flags),
            (fd, message, flags))

FIO_COUNTED(kSend, ssize_t, write, (int fd, const void* bytes, size_t size),
            (fd, bytes, size))
FIO_COUNTED(kSend, ssize_t, writev, (int fd, const iovec* bytes, int count),
            (fd, bytes, count))
FIO_COUNTED(kSend, ssize_t, send,
            (int fd, const void* bytes, size_t size, int flags),
            (fd, bytes, size, flags))
FIO_COUNTED(kSend, ssize_t, sendto,
            (int fd, const void* bytes, size_t size, int flags,
             const sockaddr* to, socklen_t to_size),
            (fd, bytes, size, flags, to, to_size))
FIO_COUNTED(kSend, ssize_t, sendmsg, (int fd, const msghdr* message, int flags),
            (fd, message, flags))
FIO_COUNTED(kSend, ssize_t, sendfile,
            (int fd, int file, off_t* offset, size_t size),
            (fd, file, offset, size))

FIO_COUNTED(kClose, int, close, (int fd), (fd))

FIO_COUNTED(kOther, int, shutdown, (int fd, int how), (fd, how))
FIO_COUNTED(kOther, int, setsockopt,
            (int fd, int level, int name, const void* value, socklen_t size),
            (fd, level, name, value, size))
FIO_COUNTED(kOther, int, getsockopt,
            (int fd, int level, int name, void* value, socklen_t* size),
            (fd, level, name, value, size))
FIO_COUNTED(kOther, int, getsockname,
            (int fd, sockaddr* address, socklen_t* size), (fd, address, size))
FIO_COUNTED(kOther, int, getpeername,
            (int fd, sockaddr* address, socklen_t* size), (fd, address, size))
FIO_COUNTED(kOther, int, socket, (int domain, int type, int protocol),
            (domain, type, protocol))
FIO_COUNTED(kOther, int, eventfd, (unsigned value, int flags), (value, flags))
FIO_COUNTED(kOther, int, timerfd_settime,
            (int fd, int flags, const itimerspec* time, itimerspec* old_time),
            (fd, flags, time, old_time))

FIO_COUNTED_VARIADIC(fcntl, int)
FIO_COUNTED_VARIADIC(fcntl64, int)
FIO_COUNTED_VARIADIC(ioctl, unsigned long)  // NOLINT(google-runtime-int)

#undef FIO_COUNTED
#undef FIO_COUNTED_VARIADIC

using Word = long;  // NOLINT(google-runtime-int): syscall(2) says so.

// Passes on as many arguments as the kernel takes at most, as libc's does.
Word CountedSyscall(Word number, ...) __asm__("syscall");
Word CountedSyscall(Word number, ...) {
  static auto* const libc = Libc<Word(Word, ...)>("syscall");
  Word arguments[6];
  va_list list;
  va_start(list, number);
  for (Word& argument : arguments) argument = va_arg(list, Word);
  va_end(list);
  current->Count(number == SYS_close ? Call::kClose : Call::kOther);
  const auto& [a, b, c, d, e, f] = arguments;
  return libc(number, a, b, c, d, e, f);
}

// What glibc's allocator is called for those who define malloc themselves.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

void* CountedMalloc(size_t size) __asm__("malloc");
void* CountedMalloc(size_t size) {
  current->CountAllocation();
  return __libc_malloc(size);
}

void* CountedCalloc(size_t count, size_t size) __asm__("calloc");
void* CountedCalloc(size_t count, size_t size) {
  current->CountAllocation();
  return __libc_calloc(count, size);
}

void* CountedRealloc(void* memory, size_t size) __asm__("realloc");
void* CountedRealloc(void* memory, size_t size) {
  current->CountAllocation();
  return __libc_realloc(memory, size);
}

void* CountedMemalign(size_t alignment, size_t size) __asm__("memalign");
void* CountedMemalign(size_t alignment, size_t size) {
  current->CountAllocation();
  return __libc_memalign(alignment, size);
}

void* CountedAlignedAlloc(size_t alignment,
                          size_t size) __asm__("aligned_alloc");
void* CountedAlignedAlloc(size_t alignment, size_t size) {
  return CountedMemalign(alignment, size);
}

int CountedPosixMemalign(void** memory, size_t alignment,
                         size_t size) __asm__("posix_memalign");
int CountedPosixMemalign(void** memory, size_t alignment, size_t size) {
  void* const found = CountedMemalign(alignment, size);
  if (found == nullptr) return ENOMEM;
  *memory = found;
  return 0;
}

#endif

}  // namespace fio::bench
