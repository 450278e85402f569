#include "fio/core/poller/fd_watch.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/poller.h"

namespace fio {

absl::StatusOr<FdWatch> FdWatch::Create(Poller& poller, int fd, Token token,
                                        Interest interest, Trigger trigger) {
  absl::Status added = poller.Add(fd, token, interest, trigger);
  if (!added.ok()) return added;
  return FdWatch(poller, fd, token);
}

FdWatch::FdWatch(FdWatch&& other) noexcept
    : poller_(std::move(other.poller_)),
      fd_(std::exchange(other.fd_, -1)),
      token_(other.token_) {}

FdWatch& FdWatch::operator=(FdWatch&& other) noexcept {
  if (this != &other) {
    Reset();
    poller_ = std::move(other.poller_);
    fd_ = std::exchange(other.fd_, -1);
    token_ = other.token_;
  }
  return *this;
}

absl::Status FdWatch::Modify(Token token, Interest interest, Trigger trigger) {
  const std::shared_ptr<Poller> poller = poller_.lock();
  if (poller == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("modify the watch of fd ", fd_, ": it watches nothing"));
  }
  absl::Status modified = poller->Modify(fd_, token, interest, trigger);
  if (!modified.ok()) return modified;
  poller->Discard(token_);
  token_ = token;
  return absl::OkStatus();
}

void FdWatch::MarkDrained(Interest interest) {
  if (const std::shared_ptr<Poller> poller = poller_.lock()) {
    poller->MarkDrained(fd_, interest);
  }
}

void FdWatch::Reset() {
  if (const std::shared_ptr<Poller> poller = poller_.lock()) {
    // It fails only for a descriptor that was closed, which ends it as well.
    poller->Remove(fd_, token_).IgnoreError();
  }
  poller_.reset();
  fd_ = -1;
}

}  // namespace fio
