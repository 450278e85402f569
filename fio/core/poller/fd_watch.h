// An FdWatch is a scoped registration: Create() calls Poller::Add(), the
// destructor calls Poller::Remove().
//
//   absl::StatusOr<FdWatch> watch = FdWatch::Create(
//       *poller, fd, token, Interest::kReadable, Trigger::kEdge);
//
// It does not own the descriptor. Destroy the watch before the descriptor is
// closed. If the poller is gone, the watch does nothing.
//
// Thread safety: none. Different watches may be used by different threads; the
// rules of Poller::Remove() apply.

#ifndef FIO_CORE_POLLER_FD_WATCH_H_
#define FIO_CORE_POLLER_FD_WATCH_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"

namespace fio {

class FdWatch {
 public:
  // Errors: those of Poller::Add().
  static absl::StatusOr<FdWatch> Create(Poller& poller, int fd, Token token,
                                        Interest interest, Trigger trigger);

  // Watches nothing.
  FdWatch() = default;
  FdWatch(FdWatch&& other) noexcept;
  FdWatch& operator=(FdWatch&& other) noexcept;
  ~FdWatch() { Reset(); }

  // As Poller::Modify(). The previous token is not reported any more, as after
  // Remove(). Errors, after which nothing has changed: those of
  // Poller::Modify(); kFailedPrecondition if it watches nothing.
  absl::Status Modify(Token token, Interest interest, Trigger trigger);

  // Poller::MarkDrained().
  void MarkDrained(Interest interest);

  // Ends the watch now.
  void Reset();

  // The descriptor; -1 if it watches nothing.
  int fd() const { return fd_; }
  Token token() const { return token_; }

 private:
  FdWatch(Poller& poller, int fd, Token token)
      : poller_(poller.handle()), fd_(fd), token_(token) {}

  std::weak_ptr<Poller> poller_;
  int fd_ = -1;
  Token token_ = 0;
};

}  // namespace fio

#endif  // FIO_CORE_POLLER_FD_WATCH_H_
