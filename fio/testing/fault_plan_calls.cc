#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>

#include "absl/container/inlined_vector.h"
#include "absl/log/absl_check.h"
#include "fio/base/syscalls.h"
#include "fio/testing/fault_plan.h"

namespace fio::testing {
namespace {

using Call = FaultPlan::Call;
using Options = FaultPlan::Options;

// The functions of a table have no place for a plan in their arguments.
constinit std::atomic<FaultPlan*> live_plan = nullptr;
// How many plans have begun to end, and how many FaultPlan::Use may use one.
constinit std::atomic<uint64_t> ended_plans = 0;
constinit std::atomic<int> uses = 0;
// Those that were in force before the plan.
constinit std::atomic<const Syscalls*> replaced = nullptr;

// Sets an option to the value that it has.
bool Renew(const Syscalls& sys, int fd, int level, int option) {
  int value;
  socklen_t size = sizeof(value);
  if (sys.getsockopt(fd, level, option, &value, &size) != 0) return false;
  // Linux doubles what it is given here; see socket(7).
  if (level == SOL_SOCKET && option == SO_SNDBUF) value /= 2;
  return sys.setsockopt(fd, level, option, &value, size) == 0;
}

// Makes edge-triggered pollers report `fd` again, as the kernel would some time
// after an EAGAIN or a short count of its own. Linux reports a ready socket
// again when one of these options is set, even to the same value: the first for
// TCP's readers, the others for its writers and for those of all other sockets.
// Anything else has none of the options.
void WakePollers(const Syscalls& sys, int fd) {
  Renew(sys, fd, SOL_SOCKET, SO_RCVLOWAT);
  if (!Renew(sys, fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT)) {
    Renew(sys, fd, SOL_SOCKET, SO_SNDBUF);
  }
}

int Fail(int error) {
  errno = error;
  return -1;
}

// The first `size` bytes of the pieces of `message`.
absl::InlinedVector<iovec, 16> FirstBytes(const msghdr& message, size_t size) {
  absl::InlinedVector<iovec, 16> pieces;
  for (size_t i = 0; size > 0; ++i) {
    pieces.push_back(message.msg_iov[i]);
    pieces.back().iov_len = std::min(pieces.back().iov_len, size);
    size -= pieces.back().iov_len;
  }
  return pieces;
}

size_t TotalBytes(const msghdr& message) {
  size_t total = 0;
  for (size_t i = 0; i < message.msg_iovlen; ++i) {
    total += message.msg_iov[i].iov_len;
  }
  return total;
}

uint64_t MovedBytes(const mmsghdr* messages, int count) {
  uint64_t total = 0;
  for (int i = 0; i < count; ++i) total += messages[i].msg_len;
  return total;
}

}  // namespace

// What a call of the table has of the plan: nothing, if that has ended since
// the caller took the table. A plan does not end while it is used, but it may
// while the call is in the kernel.
class FaultPlan::Use {
 public:
  Use() {
    Begin();
    ended_plans_ = ended_plans;
    plan_ = live_plan;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() { End(); }

  // Calls `kernel`, which may block, and returns what that does. Keeps errno.
  template <typename Kernel>
  auto WithoutPlan(Kernel kernel) {
    End();
    const auto result = kernel();
    Begin();
    // A plan that is made where this one was is another.
    if (ended_plans != ended_plans_) plan_ = nullptr;
    return result;
  }

  // Those of the plan.
  Verdict Judge(Call call, int fd, size_t size = 0) {
    if (plan_ == nullptr) return {.error = 0, .size = size};
    return plan_->Judge(call, fd, size);
  }
  bool Moved(Call call, int fd, uint64_t bytes) {
    return plan_ != nullptr && plan_->Moved(call, fd, bytes);
  }
  void Opened(int fd, int listener = kNoFd) {
    if (plan_ != nullptr) plan_->Opened(fd, listener);
  }
  void Closing(int fd) {
    if (plan_ != nullptr) plan_->Closing(fd);
  }
  int FindTarget(const pollfd* fds, nfds_t count) const {
    return plan_ != nullptr ? plan_->FindTarget(fds, count) : kNoFd;
  }
  std::shared_ptr<PollFunction> poll_function() const {
    return plan_ != nullptr ? plan_->poll_function() : nullptr;
  }

 private:
  // The order of these and of ~FaultPlan()'s writes and reads is total: either
  // that waits for this use, or this use sees that the plan has ended.
  static void Begin() { ++uses; }
  static void End() {
    if (--uses == 0) uses.notify_all();
  }

  uint64_t ended_plans_;
  FaultPlan* plan_;
};

// What takes the places of the functions that were in force before.
struct FaultPlan::Table {
  static const Syscalls& Below() { return *replaced.load(); }

  // For calls that the plan refuses or lets pass.
  template <Call kCall, auto kEntry, typename... Args>
  static int Pass(int fd, Args... args) {
    if (const int error = Use().Judge(kCall, fd).error) return Fail(error);
    return (Below().*kEntry)(fd, args...);
  }

  // For calls that move bytes or messages: `kernel(size)` makes the call for
  // as many as the plan allows and `bytes(result)` tells what it has moved.
  template <typename Kernel, typename Bytes>
  static ssize_t Move(Call call, int fd, size_t size, Kernel kernel,
                      Bytes bytes) {
    Use plan;
    const Verdict verdict = plan.Judge(call, fd, size);
    if (verdict.error == EAGAIN) WakePollers(Below(), fd);
    if (verdict.error != 0) return Fail(verdict.error);
    const ssize_t result =
        plan.WithoutPlan([&]() -> ssize_t { return kernel(verdict.size); });
    if (result < 0) return result;
    const bool reset = plan.Moved(call, fd, bytes(result));
    if (reset || verdict.size < size) WakePollers(Below(), fd);
    return result;
  }
  static uint64_t Same(ssize_t result) { return result; }

  // For calls that make one descriptor out of nothing.
  template <Call kCall, auto kEntry, typename... Args>
  static int Make(Args... args) {
    Use plan;
    if (const int error = plan.Judge(kCall, kNoFd).error) return Fail(error);
    const int fd = plan.WithoutPlan([&] { return (Below().*kEntry)(args...); });
    if (fd >= 0) plan.Opened(fd);
    return fd;
  }

  // For calls that make two: `make(fds)`.
  template <typename MakePair>
  static int MakeTwo(Call call, int* fds, MakePair make) {
    Use plan;
    if (const int error = plan.Judge(call, kNoFd).error) return Fail(error);
    const int result = plan.WithoutPlan([&] { return make(fds); });
    if (result != 0) return result;
    plan.Opened(fds[0]);
    plan.Opened(fds[1]);
    return 0;
  }

  static int Socketpair(int domain, int type, int protocol, int* fds) {
    return MakeTwo(Call::kSocketpair, fds, [&](int* out) {
      return Below().socketpair(domain, type, protocol, out);
    });
  }

  static int Pipe2(int* fds, int flags) {
    return MakeTwo(Call::kPipe2, fds,
                   [&](int* out) { return Below().pipe2(out, flags); });
  }

  static int Signalfd(int fd, const sigset_t* signals, int flags) {
    Use plan;
    if (const int error = plan.Judge(Call::kSignalfd, fd).error) {
      return Fail(error);
    }
    const int result =
        plan.WithoutPlan([&] { return Below().signalfd(fd, signals, flags); });
    if (fd < 0 && result >= 0) plan.Opened(result);
    return result;
  }

  static int Fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    const int argument = va_arg(arguments, int);
    va_end(arguments);
    Use plan;
    if (const int error = plan.Judge(Call::kFcntl, fd).error) {
      return Fail(error);
    }
    const int result =
        plan.WithoutPlan([&] { return Below().fcntl(fd, command, argument); });
    const bool makes = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    if (makes && result >= 0) plan.Opened(result);
    return result;
  }

  static int Accept4(int listener, sockaddr* address, socklen_t* size,
                     int flags) {
    Use plan;
    if (const int error = plan.Judge(Call::kAccept4, listener).error) {
      return Fail(error);
    }
    const int fd = plan.WithoutPlan(
        [&] { return Below().accept4(listener, address, size, flags); });
    if (fd >= 0) plan.Opened(fd, listener);
    return fd;
  }

  static int Connect(int fd, const sockaddr* address, socklen_t size) {
    const int error = Use().Judge(Call::kConnect, fd).error;
    if (error != 0 && error != EINTR) return Fail(error);
    const int result = Below().connect(fd, address, size);
    const bool goes_on = result == 0 || errno == EINPROGRESS;
    return error == EINTR && goes_on ? Fail(EINTR) : result;
  }

  static ssize_t Recv(int fd, void* out, size_t size, int flags) {
    return Move(
        Call::kRecv, fd, size,
        [&](size_t room) { return Below().recv(fd, out, room, flags); },
        [&](ssize_t result) {
          return (flags & MSG_PEEK) != 0 ? 0 : Same(result);
        });
  }

  static ssize_t Send(int fd, const void* bytes, size_t size, int flags) {
    return Move(
        Call::kSend, fd, size,
        [&](size_t part) { return Below().send(fd, bytes, part, flags); },
        Same);
  }

  static ssize_t Sendmsg(int fd, const msghdr* message, int flags) {
    const size_t size = TotalBytes(*message);
    return Move(
        Call::kSendmsg, fd, size,
        [&](size_t part) {
          if (part == size) return Below().sendmsg(fd, message, flags);
          auto pieces = FirstBytes(*message, part);
          msghdr shorter = *message;
          shorter.msg_iov = pieces.data();
          shorter.msg_iovlen = pieces.size();
          return Below().sendmsg(fd, &shorter, flags);
        },
        Same);
  }

  static int Recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags,
                      timespec* timeout) {
    return Move(
        Call::kRecvmmsg, fd, count,
        [&](unsigned part) {
          return Below().recvmmsg(fd, messages, part, flags, timeout);
        },
        [&](int result) { return MovedBytes(messages, result); });
  }

  static int Sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
    return Move(
        Call::kSendmmsg, fd, count,
        [&](unsigned part) {
          return Below().sendmmsg(fd, messages, part, flags);
        },
        [&](int result) { return MovedBytes(messages, result); });
  }

  static ssize_t Pread(int fd, void* out, size_t size, off_t offset) {
    return Move(
        Call::kPread, fd, size,
        [&](size_t room) { return Below().pread(fd, out, room, offset); },
        Same);
  }

  static ssize_t Sendfile(int fd, int file, off_t* offset, size_t size) {
    return Move(
        Call::kSendfile, fd, size,
        [&](size_t part) { return Below().sendfile(fd, file, offset, part); },
        Same);
  }

  static int Poll(pollfd* fds, nfds_t count, int timeout_ms) {
    Use plan;
    const int target = plan.FindTarget(fds, count);
    if (const int error = plan.Judge(Call::kPoll, target).error) {
      return Fail(error);
    }
    const std::shared_ptr<PollFunction> poll = plan.poll_function();
    if (poll != nullptr) return (*poll)(fds, count, timeout_ms);
    return plan.WithoutPlan(
        [&] { return Below().poll(fds, count, timeout_ms); });
  }

  static int EpollCtl(int epoll, int operation, int fd, epoll_event* event) {
    const int error = Use().Judge(Call::kEpollCtl, fd).error;
    if (error != 0) return Fail(error);
    return Below().epoll_ctl(epoll, operation, fd, event);
  }

  static int Close(int fd) {
    Use plan;
    const int error = plan.Judge(Call::kClose, fd).error;
    // Before the kernel may give the number to another thread.
    plan.Closing(fd);
    const int result = plan.WithoutPlan([&] { return Below().close(fd); });
    return result == 0 && error != 0 ? Fail(error) : result;
  }

  static constexpr Syscalls kEntries = {
      .socket = Make<Call::kSocket, &Syscalls::socket>,
      .socketpair = Socketpair,
      .bind = Pass<Call::kBind, &Syscalls::bind>,
      .listen = Pass<Call::kListen, &Syscalls::listen>,
      .connect = Connect,
      .accept4 = Accept4,
      .getsockname = Pass<Call::kGetsockname, &Syscalls::getsockname>,
      .getpeername = Pass<Call::kGetpeername, &Syscalls::getpeername>,
      .setsockopt = Pass<Call::kSetsockopt, &Syscalls::setsockopt>,
      .getsockopt = Pass<Call::kGetsockopt, &Syscalls::getsockopt>,
      .ioctl = Pass<Call::kIoctl, &Syscalls::ioctl>,
      .shutdown = Pass<Call::kShutdown, &Syscalls::shutdown>,
      .recv = Recv,
      .send = Send,
      .sendmsg = Sendmsg,
      .recvmmsg = Recvmmsg,
      .sendmmsg = Sendmmsg,
      .pread = Pread,
      .sendfile = Sendfile,
      .poll = Poll,
      .epoll_create1 = Make<Call::kEpollCreate1, &Syscalls::epoll_create1>,
      .epoll_ctl = EpollCtl,
      .epoll_wait = Pass<Call::kEpollWait, &Syscalls::epoll_wait>,
      .eventfd = Make<Call::kEventfd, &Syscalls::eventfd>,
      .signalfd = Signalfd,
      .pidfd_open = Make<Call::kPidfdOpen, &Syscalls::pidfd_open>,
      .pipe2 = Pipe2,
      .fcntl = Fcntl,
      .close = Close,
  };
  static_assert(sizeof(Syscalls) == kCalls * sizeof(&Close),
                "Call and the entries above are those of Syscalls");
};

FaultPlan::FaultPlan(const Options& options)
    : options_(options), random_(options.seed) {
  FaultPlan* none = nullptr;
  ABSL_CHECK(live_plan.compare_exchange_strong(none, this))
      << "Only one FaultPlan may live at a time";
  replaced = &Sys();
  ReplaceSyscalls(&Table::kEntries);
}

FaultPlan::~FaultPlan() {
  ReplaceSyscalls(replaced);
  live_plan = nullptr;
  ++ended_plans;
  for (int now = uses; now != 0; now = uses) uses.wait(now);
}

void FaultPlan::WakePollersOf(int fd) { WakePollers(Table::Below(), fd); }

}  // namespace fio::testing
