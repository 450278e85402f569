// A Waker lets any thread end the Poller::Wait() of another thread.
//
//   absl::StatusOr<Waker> waker = Waker::Create(*poller, kWakerToken);
//   ...                                          // Any thread:
//   queue.Push(work); waker->Wake();
//   ...                                          // The one that waits:
//   if (event.token() == kWakerToken) { waker->Acknowledge(); queue.PopAll(); }
//
// A poller may have many wakers. A waker may outlive its poller; Wake() then
// has no effect. In a forked child do not call Wake() on an inherited waker,
// only destroy it: the descriptor is shared, and the wake would reach the
// parent.
//
// Thread safety: any thread and signal handlers may call Wake(). Call the rest
// on the thread that waits.

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

// The kind of descriptor that Wake() writes to.
enum class WakerKind : uint8_t {
  kAuto,     // kEventFd if the system grants one and the poller can watch it;
             // otherwise kPipe.
  kEventFd,  // eventfd(2): one descriptor. Never read if the poller reports
             // each edge.
  kPipe,     // pipe(2): two descriptors.
};

class Waker {
 public:
  // `poller` reports wakes as events with `token`. Errors: the errno of the
  // system call that failed; those of Poller::Add(); kUnimplemented if the
  // system does not have `kind`.
  static absl::StatusOr<Waker> Create(Poller& poller, Token token,
                                      WakerKind kind = WakerKind::kAuto);

  // REQUIRES: no other thread is inside of Wake().
  Waker(Waker&& other) noexcept;
  Waker& operator=(Waker&& other) noexcept;
  ~Waker();

  // The Wait() that is running, or else the next one, returns an event with the
  // token. The first call after Acknowledge() costs one system call. Further
  // calls before the next Acknowledge() cause no further event and cost one
  // load each.
  //
  // After Acknowledge() the waiting thread sees what the caller wrote before
  // Wake(), if it was written under a mutex or to an atomic variable that both
  // sides use with memory_order_seq_cst, the default. After a store with
  // memory_order_release the caller needs
  // std::atomic_thread_fence(std::memory_order_seq_cst) before Wake().
  void Wake() {
    if (!pending_.load(std::memory_order_seq_cst)) WakeFirst();
  }

  // Call this when Wait() has returned an event with the token, and before
  // looking for the reason of the wake-up: from now on Wake() causes an event
  // again. Without this call there are no further events.
  void Acknowledge();

  // Makes the poller forget the waker, as the destructor does. From now on
  // Wake() has no effect, and the waker may be destroyed on any thread. Other
  // threads may be inside of Wake(). REQUIRES: the poller lives.
  void Unregister();

 private:
  Waker(Poller& poller, Token token, UniqueFd read_end, UniqueFd write_end,
        bool drains);

  void WakeFirst();

  std::weak_ptr<Poller> poller_;
  Token token_;
  UniqueFd read_end_;
  UniqueFd write_end_;  // None if read_end_ is both, an eventfd.
  bool drains_;         // Whether what was written must be read.
  std::atomic<bool> pending_{false};
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_WAKER_H_
