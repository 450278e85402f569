#include "fio/core/poller/waker.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/base/unique_fd.h"
#include "fio/core/poller/event.h"
#include "fio/core/poller/internal/event_fd.h"
#include "fio/core/poller/internal/pipe.h"
#include "fio/core/poller/poller.h"

namespace fio {
namespace {

using poller_internal::OpenEventFd;
using poller_internal::OpenPipe;
using poller_internal::Pipe;

absl::StatusOr<Pipe> Open(WakerKind kind, const Poller& poller) {
  // libkqueue watches no eventfd.
  const bool avoids_event_fd =
      kind == WakerKind::kAuto && poller.kind() == PollerKind::kKqueue;
  if (kind == WakerKind::kPipe || avoids_event_fd) return OpenPipe();
  absl::StatusOr<UniqueFd> event = OpenEventFd();
  if (event.ok()) {  // It is both ends.
    return Pipe{.read_end = *std::move(event), .write_end = UniqueFd()};
  }
  if (kind == WakerKind::kEventFd) return event.status();
  return OpenPipe();
}

}  // namespace

absl::StatusOr<Waker> Waker::Create(Poller& poller, Token token,
                                    WakerKind kind) {
  absl::StatusOr<Pipe> ends = Open(kind, poller);
  if (!ends.ok()) return ends.status();
  // Each write to an eventfd is an edge, so it need not be read: the counter
  // can hold 2^64 writes.
  const bool edges = poller.tells_every_edge();
  const bool drains = !edges || ends->write_end;
  absl::Status added =
      poller.Add(ends->read_end.get(), token, Interest::kReadable,
                 edges ? Trigger::kEdge : Trigger::kLevel);
  if (!added.ok()) return added;
  return Waker(poller, token, std::move(ends->read_end),
               std::move(ends->write_end), drains);
}

Waker::Waker(Poller& poller, Token token, UniqueFd read_end, UniqueFd write_end,
             bool drains)
    : poller_(poller.handle()),
      token_(token),
      read_end_(std::move(read_end)),
      write_end_(std::move(write_end)),
      drains_(drains) {}

Waker::Waker(Waker&& other) noexcept
    : poller_(std::move(other.poller_)),
      token_(other.token_),
      read_end_(std::move(other.read_end_)),
      write_end_(std::move(other.write_end_)),
      drains_(other.drains_),
      pending_(other.pending_.load()) {}

Waker& Waker::operator=(Waker&& other) noexcept {
  if (this == &other) return *this;
  Unregister();
  poller_ = std::move(other.poller_);
  token_ = other.token_;
  read_end_ = std::move(other.read_end_);
  write_end_ = std::move(other.write_end_);
  drains_ = other.drains_;
  pending_ = other.pending_.load();
  return *this;
}

Waker::~Waker() { Unregister(); }

void Waker::Unregister() {
  if (const std::shared_ptr<Poller> poller = poller_.lock()) {
    poller->RemoveForClose(read_end_.get(), token_);
  }
  poller_.reset();
}

void Waker::WakeFirst() {
  if (pending_.exchange(true, std::memory_order_seq_cst)) return;
  const int saved_errno = errno;  // A signal handler must not change it.
  const uint64_t one = 1;
  const ssize_t written = write_end_
                              ? write(write_end_.get(), &one, 1)
                              : write(read_end_.get(), &one, sizeof(one));
  static_cast<void>(written);  // There is room: at most one is unread.
  errno = saved_errno;
}

void Waker::Acknowledge() {
  if (drains_) {
    uint64_t count;
    const ssize_t got = read(read_end_.get(), &count, sizeof(count));
    static_cast<void>(got);  // EAGAIN: the event was spurious.
  }
  // Last: a wake that finds the flag set is not written, and so not drained.
  pending_.exchange(false, std::memory_order_seq_cst);
}

}  // namespace fio
