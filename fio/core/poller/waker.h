// A Waker ends another thread's Poller::Wait().
//
//   absl::StatusOr<Waker> waker = Waker::Create(*poller, kWakerToken);
//   ...                                          // Any thread:
//   queue.Push(work); waker->Wake();
//   ...                                          // The one that waits:
//   if (event.token() == kWakerToken) { waker->Acknowledge(); queue.PopAll(); }
//
// A poller may have many. A waker may outlive the poller; Wake() then does
// nothing. In a forked child, drop it: its wakes would reach the parent.
//
// Thread safety: Wake() from any thread and from a signal handler; the rest by
// the thread that waits.

#ifndef FIO_CORE_POLLER_WAKER_H_
#define FIO_CORE_POLLER_WAKER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"

namespace fio {

// What carries a wake to the kernel.
enum class WakerKind : uint8_t {
  kAuto,     // The first of the others that system and poller have.
  kEventFd,  // eventfd(2): one descriptor; where edges allow, it is never read.
  kPipe,     // pipe(2): two.
};

class Waker {
 public:
  // Wakes show up in `poller` as events with `token`. Errors: the errno of the
  // system call that failed; those of Poller::Add(); kUnimplemented if the
  // system lacks `kind`.
  static absl::StatusOr<Waker> Create(Poller& poller, Token token,
                                      WakerKind kind = WakerKind::kAuto);

  // Not while another thread is in Wake().
  Waker(Waker&& other) noexcept;
  Waker& operator=(Waker&& other) noexcept;
  ~Waker();

  // The Wait() under way, or else the next one, tells of the token. Until
  // Acknowledge() all further wakes are one with the first, and cost a load;
  // the first costs a system call.
  //
  // After Acknowledge() the waiting thread sees what the caller published
  // before Wake(): under a mutex, or in an atomic variable that both sides use
  // with seq_cst, as is the default. Whoever publishes by a mere release store
  // puts std::atomic_thread_fence(std::memory_order_seq_cst) after it.
  void Wake() {
    if (!pending_.load(std::memory_order_seq_cst)) WakeFirst();
  }

  // Call it when Wait() tells of the token, before looking for what the wake
  // was about: from here on Wake() wakes again. Without it no further wake is
  // told.
  void Acknowledge();

 private:
  Waker(Poller& poller, Token token, UniqueFd read_end, UniqueFd write_end,
        bool drains);

  void WakeFirst();
  void Unregister();

  std::weak_ptr<Poller> poller_;
  Token token_;
  UniqueFd read_end_;
  UniqueFd write_end_;  // None if read_end_ is both, an eventfd.
  bool drains_;         // Whether what was written must be read.
  std::atomic<bool> pending_{false};
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_WAKER_H_
