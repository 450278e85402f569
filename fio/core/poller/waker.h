// A Waker ends another thread's Poller::Wait().
//
// Thread safety: Wake() from any thread and from a signal handler.

#ifndef FIO_CORE_POLLER_WAKER_H_
#define FIO_CORE_POLLER_WAKER_H_

#include <utility>

#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"

namespace fio {

class Waker {
 public:
  // Wakes show up in `poller` as an event with `token`, by an eventfd(2). A
  // waker may outlive the poller; Wake() then does nothing. Errors: the errno
  // of the system call that failed.
  static absl::StatusOr<Waker> Create(Poller& poller, Token token);

  // The Wait() under way, or else the next one, tells of the token. Several
  // wakes before that Wait() returns may be told as one. Costs a system call.
  void Wake() const;

 private:
  explicit Waker(UniqueFd event) : event_(std::move(event)) {}

  UniqueFd event_;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_WAKER_H_
