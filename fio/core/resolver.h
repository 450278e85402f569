// A Resolver finds the addresses of urls without blocking a loop.
//
// IP addresses, paths, localhost (see url.h) and the names of /etc/hosts are
// answered at once. That file is read for each question about a name, unless it
// is larger than 256 KiB.
// For any other name the system is asked. That can take many seconds, for
// example while a name server is down, so it happens outside of the loop:
//
//   - on threads, which start when a name comes and end when no name is left;
//   - or in child processes, one for each name, see InProcesses().
//
// A name is asked for once, however many questions wait for it: questions whose
// urls differ only in the port, or in schemes of the same kind, share one
// answer. Up to kAtATime names are asked for at the same time; further names
// wait. So a name whose server does not answer delays other names only when
// there are kAtATime of that kind.
//
// A Resolver may be destroyed at any time. The destructor does not wait for
// threads.
//
// Thread safety: every method but the destructor and CancelAll() from any
// thread. In a child of fork(2) an inherited Resolver must only be destroyed.

#ifndef FIO_CORE_RESOLVER_H_
#define FIO_CORE_RESOLVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {

namespace core_internal {
class AskProcesses;
class NameTable;
}  // namespace core_internal

class Resolver {
 public:
  using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

  // Resolves a name that /etc/hosts does not have. It may block. Called on
  // several threads at the same time, or in a child process.
  using Function = std::function<Addresses(const Url&)>;
  using Done = absl::AnyInvocable<void(Addresses) &&>;

  // Names one question. Never reused by a Resolver.
  enum class QuestionId : uint64_t { kNone = 0 };

  // How many names are asked for at the same time, and how many more may wait.
  static constexpr int kAtATime = 8;
  static constexpr int kWaiting = 1024;

  // Asks on threads.
  explicit Resolver(Function ask = &fio::Resolve);

  // Asks in child processes. For a process that forks workers: a child that is
  // forked while another thread holds a lock of the C library can never take
  // that lock, so such a process must not have threads. The resolver starts and
  // reads children on the thread of `loop`, which must outlive it. Destroy the
  // resolver on that thread, too.
  //
  // The children are forked by fork(2) and end by _exit(2): no exit handler and
  // no Lifecycle callback runs in them. They have all signals blocked, no
  // descriptor of this process, and are killed if this process ends or the
  // question is cancelled. They are reaped by pid. A `waitpid(-1, ...)` of the
  // program may reap them first; no answer is lost then.
  static std::unique_ptr<Resolver> InProcesses(Loop& loop,
                                               Function ask = &fio::Resolve);

  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  // As CancelAll().
  ~Resolver();

  // Calls `done` once, as a task of the loop, with the answer: what
  // fio::Resolve() or, for a name, the function of the constructor returned.
  // Never inside of Resolve().
  //
  // Further errors, each with "resolve" and the url in the message:
  // kResourceExhausted if too many names wait or no thread can be started; with
  // child processes the errno of the system call that failed, and kUnavailable
  // if the child ended without an answer.
  //
  // If the loop ends first, `done` is destroyed without being called, on any
  // thread.
  QuestionId Resolve(const Url& url, const LoopHandle& loop, Done done);

  // Cancels the question and destroys `done`. If this is called on the loop's
  // thread, `done` does not run after this returns. If no other question waits
  // for the name, a look-up that has not begun is dropped; one that has begun
  // is killed in a child process, but finishes on a thread. Does nothing for a
  // question that is answered or unknown.
  void Cancel(QuestionId question);

  // Cancels all questions. Kills child processes and waits for their end; does
  // not wait for threads. REQUIRES: no other thread is inside of this object.
  void CancelAll();

  // How many threads or child processes are resolving names now.
  int asking() const;

 private:
  Resolver(Loop* loop, Function ask);

  // Threads share it, and may outlive the resolver.
  std::shared_ptr<core_internal::NameTable> names_;
  // Null if threads ask.
  std::shared_ptr<core_internal::AskProcesses> processes_;
};

}  // namespace fio

#endif  // FIO_CORE_RESOLVER_H_
