// A FaultPlan makes system calls fail. While it exists, it replaces the table
// of fio/base/syscalls.h: it forwards each call to the previous table, the
// kernel's or a SimulatedNetwork's, but makes some calls partial, interrupted
// or refused. These are chosen at random, from a seed, or requested one by one:
//
//   LoopbackPair pair = LoopbackPair::Tcp();
//   FaultPlan plan({.seed = 7, .short_write = 0.5, .interrupted = 0.1});
//   plan.Target(pair.near.fd());
//   plan.ResetAt(pair.near.fd(), 1000);
//   plan.FailNext(FaultPlan::Call::kAccept4, EMFILE);
//
// ForEachCall() repeats a piece of code and fails each of its system calls
// once: the first in the first run, the second in the second, and so on.
//
// The same seed and the same calls in the same order make the same faults.
// Calls that a test makes without the table, such as ::send(), neither fail nor
// count.
//
// An edge-triggered poller misses no event: after a call that returned EAGAIN,
// was partial or reached a reset, the plan makes the kernel report the
// descriptor again. There are two exceptions: a listener, and reading from a
// Unix socket that is not watched for writing or whose own buffer is full.
//
// A child of fork(2) has its own copy of the plan and its counts.
//
// Thread safety: any thread may call any function of a plan that exists. Other
// threads may make calls of the table while a plan is created or destroyed:
// such a call has no faults, or those of the plan, but it never uses a plan
// that has ended.

#ifndef FIO_TESTING_FAULT_PLAN_H_
#define FIO_TESTING_FAULT_PLAN_H_

#include <poll.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "fio/base/syscalls.h"

namespace fio::testing {

class FaultPlan {
 public:
  // The entries of Syscalls, in their order.
  enum class Call {
    kSocket,
    kSocketpair,
    kBind,
    kListen,
    kConnect,
    kAccept4,
    kGetsockname,
    kGetpeername,
    kSetsockopt,
    kGetsockopt,
    kIoctl,
    kShutdown,
    kRecv,
    kSend,
    kSendmsg,
    kRecvmmsg,
    kSendmmsg,
    kPread,
    kSendfile,
    kPoll,
    kEpollCreate1,
    kEpollCtl,
    kEpollWait,
    kEventfd,
    kSignalfd,
    kPidfdOpen,
    kPipe2,
    kFcntl,
    kClose,
  };
  // The name in the manual, such as "accept4".
  static std::string_view NameOf(Call call);

  // How likely a call is to fail in each way, from 0 for never to 1 for always.
  struct Options {
    uint64_t seed = 1;
    // Whether every descriptor is a target, and the calls that name none, such
    // as socket(), are targets too. By default only Target() makes a target, so
    // that the far ends of a test see no faults.
    bool all_descriptors = false;

    // Of n bytes, or n messages of a recvmmsg(), 1 to n - 1 are asked for:
    // recv, recvmmsg, pread.
    double short_read = 0;
    // Of n bytes, or n messages of a sendmmsg(), 1 to n - 1 are offered: send,
    // sendmsg, sendmmsg, sendfile. For streams: a datagram would be cut, too.
    double short_write = 0;
    // EAGAIN: accept4 and all that read or write a socket.
    double would_block = 0;
    // EINTR: connect, accept4, poll, epoll_wait, close, and all that read or
    // write. At most kMaxInterrupts in a row for each descriptor and call, so
    // that a loop of retries ends. An interrupted connect goes on in the
    // background.
    double interrupted = 0;
    // ENOBUFS: send, sendmsg, sendmmsg.
    double no_buffers = 0;
    // ENOMEM: socket, accept4, recv, send, sendmsg, sendfile, epoll_ctl.
    double no_memory = 0;
    // EMFILE: every call that makes a descriptor, but fcntl.
    double no_descriptors = 0;
    // EPIPE, without SIGPIPE, for this and every later write: send, sendmsg,
    // sendmmsg, sendfile.
    double broken_pipe = 0;
  };
  static constexpr int kMaxInterrupts = 3;

  // Makes the plan's table the current one of all threads. REQUIRES: no other
  // FaultPlan exists; a SimulatedNetwork that is created later is destroyed
  // first.
  explicit FaultPlan(const Options& options);
  FaultPlan() : FaultPlan(Options()) {}
  FaultPlan(const FaultPlan&) = delete;
  FaultPlan& operator=(const FaultPlan&) = delete;
  // Restores the previous table. Waits for a function of OnPoll() that another
  // thread runs, but for no call that is in the kernel: what that does is not
  // told to this plan, nor to a later one.
  ~FaultPlan();

  // The settings of a descriptor below are valid until it is closed through the
  // table, or until a call of the table returns its number as a new descriptor.

  // The faults of Options apply to `fd`, and to every socket accepted from it.
  void Target(int fd);

  // After `bytes` more have been written on `fd`, every read and write of it
  // fails with ECONNRESET. The write that reaches this byte is cut there, but a
  // sendmmsg() is sent whole. The peer is not affected. `fd` need not be a
  // target.
  void ResetAt(int fd, uint64_t bytes);
  // The same for bytes read. Bytes read with MSG_PEEK do not count.
  void ResetAtRead(int fd, uint64_t bytes);

  // The next `count` calls of this kind fail with `error` and do not reach the
  // kernel, whether the descriptor is a target or not. A second order for the
  // same call begins when the first one is used up. A close that fails has
  // closed the descriptor nonetheless, as on Linux. REQUIRES: `error` and
  // `count` are positive.
  void FailNext(Call call, int error, int count = 1);
  // The same for calls on `fd` only. REQUIRES: `call` names one descriptor,
  // which poll and the calls that make a new descriptor do not.
  void FailNextOn(int fd, Call call, int error, int count = 1);

  // The n-th call from now on fails with `error` and does not reach the kernel;
  // a close that fails has closed nonetheless. All calls of the table and of
  // all threads count, the first is number 1. The other faults of the plan stay
  // as they are. A later FailNth() replaces one that has not failed its call.
  // REQUIRES: `n` and `error` are positive.
  void FailNth(uint64_t n, int error);
  // Cancels FailNth(), if its call has not come. For a test of only a part of a
  // run: call it where that part ends.
  void CancelFailNth();
  // The call that FailNth() made fail; none if it has not come (yet).
  std::optional<Call> nth_failed() const;

  // Calls `poll` instead of poll(2), on the calling thread, so that a test can
  // advance a ManualClock instead of waiting. nullptr restores poll(2). `poll`
  // may use the plan. It must be thread-safe if several threads poll.
  using PollFunction =
      absl::AnyInvocable<int(pollfd* fds, nfds_t count, int timeout_ms)>;
  void OnPoll(PollFunction poll);

  // How many calls were made, including those that failed.
  uint64_t calls(Call call) const;
  uint64_t calls() const;
  // How many of them this plan made fail or partial.
  uint64_t faults() const;

  // The descriptors that calls of the table have created and none has closed,
  // in ascending order. Empty after a test without leaks.
  std::vector<int> open_descriptors() const;

 private:
  // See fault_plan_calls.cc.
  class Use;
  struct Table;

  // Instead of the descriptor, in calls that name none.
  static constexpr int kNoFd = -1;
  static constexpr size_t kCalls = static_cast<size_t>(Call::kClose) + 1;
  static constexpr uint64_t kNever = UINT64_MAX;

  // The state of one descriptor.
  struct Descriptor {
    bool opened_here = false;
    bool target = false;
    bool broken_pipe = false;
    uint64_t readable_bytes = kNever;  // Until ResetAtRead()'s; 0 is a reset.
    uint64_t writable_bytes = kNever;  // Until ResetAt()'s; 0 is a reset.
    std::array<uint8_t, kCalls> interrupts = {};  // In a row.
  };

  // A request of FailNext(), with the count that is left.
  struct Failure {
    std::optional<int> fd;  // None: any descriptor.
    Call call;
    int error;
    int count;
  };

  // A request of FailNth().
  struct Nth {
    uint64_t left;  // The call that finds 1 here fails.
    int error;
  };

  // The result for a call: an errno, or 0 and how much it may move.
  struct Verdict {
    int error = 0;
    size_t size = 0;
  };

  // Counts the call and decides. `size` is what the caller asks to move, in
  // bytes or messages; `fd` is kNoFd if the call names no descriptor.
  Verdict Judge(Call call, int fd, size_t size = 0);
  int FindError(Call call, int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int TakeNth(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int TakeFailure(Call call, int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int DrawError(Call call, int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t ChooseSize(Call call, int fd, size_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Draw(double likelihood) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsTarget(int fd) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Descriptor* Find(int fd) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Has edge-triggered pollers report `fd` again.
  static void WakePollersOf(int fd);

  // Record what a call has done. Moved() returns true if it reached a reset.
  bool Moved(Call call, int fd, uint64_t bytes);
  void Opened(int fd, int listener);
  void Closing(int fd);

  // The first target among `fds`, or kNoFd.
  int FindTarget(const pollfd* fds, nfds_t count) const;
  std::shared_ptr<PollFunction> poll_function() const;

  const Options options_;

  mutable absl::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::map<int, Descriptor> descriptors_ ABSL_GUARDED_BY(mutex_);
  std::vector<Failure> failures_ ABSL_GUARDED_BY(mutex_);
  std::optional<Nth> nth_ ABSL_GUARDED_BY(mutex_);
  std::optional<Call> nth_failed_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<PollFunction> poll_ ABSL_GUARDED_BY(mutex_);
  std::array<uint64_t, kCalls> calls_ ABSL_GUARDED_BY(mutex_) = {};
  uint64_t faults_ ABSL_GUARDED_BY(mutex_) = 0;
};

// For each of `errors`: runs `body` again and again, with a new plan each time,
// in which the n-th system call of the run fails, for n = 1, 2, 3, ... It ends
// after the first run that makes fewer than n calls, or has called
// CancelFailNth() before the n-th. Returns how many runs had a call that
// failed.
//
//   ForEachCall({ENOMEM, EMFILE}, [](FaultPlan& plan, std::string_view fault) {
//     SCOPED_TRACE(fault);  // "call 7 fails: Cannot allocate memory"
//     ... start ...
//     plan.CancelFailNth();
//     ... check that it works, or that an error was returned ...
//   });
//
// To learn which call it was, ask plan.nth_failed(). REQUIRES: no FaultPlan
// exists; `body` makes a bounded number of calls, or cancels.
int ForEachCall(
    absl::Span<const int> errors,
    absl::FunctionRef<void(FaultPlan& plan, std::string_view fault)> body);

// How many descriptors this process has open, from /proc/self/fd. Those of
// sanitizers and gtest count, too, so compare two results.
int CountOpenDescriptors();

}  // namespace fio::testing

#endif  // FIO_TESTING_FAULT_PLAN_H_
