// An FdWatch is a registration that ends itself: Poller::Add() when it is made,
// Poller::Remove() when it dies.
//
//   absl::StatusOr<FdWatch> watch = FdWatch::Create(
//       *poller, fd, token, Interest::kReadable, Trigger::kEdge);
//
// It does not own the descriptor, which must stay open while the watch lives:
// destroy the watch first. If the poller has gone it ends without a call.
//
// Thread safety: none; different ones may be used by different threads, and the
// rules of Poller::Remove() hold.

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

  // As Poller::Modify(), and its previous token is told no more, as with
  // Remove(). Errors: those of Poller::Modify(), and kFailedPrecondition if it
  // watches nothing; then nothing has changed.
  absl::Status Modify(Token token, Interest interest, Trigger trigger);

  // Poller::MarkDrained().
  void MarkDrained(Interest interest);

  // Ends the watch now.
  void Reset();

  // What it watches; -1 for nothing.
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
