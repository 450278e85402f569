#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/sock/file_range.h"
#include "fio/sock/internal/plain_io.h"
#include "fio/sock/internal/socket_state.h"
#include "fio/sock/internal/write_node.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"
#include "fio/sock/write_queue.h"

namespace fio {

using sock_internal::PlainWrite;
using sock_internal::WriteBlock;

namespace {

constexpr absl::Duration kMemoryPause = absl::Milliseconds(10);

// As poll(2) wants it: rounded up, so that a deadline has passed afterwards.
int TimeoutMs(absl::Duration left) {
  const int64_t ms =
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
  return static_cast<int>(
      std::clamp<int64_t>(ms, 0, std::numeric_limits<int>::max()));
}

size_t TotalBytes(absl::Span<const iovec> pieces) {
  size_t total = 0;
  for (const iovec& piece : pieces) total += piece.iov_len;
  return total;
}

}  // namespace

size_t Socket::unacknowledged_bytes() const {
  int bytes = 0;
  if (!IsValid() || Sys().ioctl(fd(), SIOCOUTQ, &bytes) != 0) return 0;
  return static_cast<size_t>(std::max(bytes, 0));
}

template <typename... Bytes>
IoResult Socket::Queue(uint64_t size, Bytes&&... bytes) {
  if (const int error = WriteError()) return {.error = error};
  if (size == 0) return {};
  State& state = this->state();
  state.queue.Append(std::forward<Bytes>(bytes)...);
  if (state.watermarks != nullptr && level() == Watermarks::Level::kOver) {
    Abort();
    return {.error = ENOBUFS};
  }
  return {.bytes = size};
}

static_assert(sock_internal::kMostBlockBytes < Socket::kShortBytes);

// The first, which begins a block, or one that does not fit behind others.
IoResult Socket::WriteFirst(std::string_view bytes) {
  if (!rest_.empty() || bytes.empty() || !is_open()) {
    return Queue(bytes.size(), bytes);
  }
  WriteBlock* const block =
      WriteBlock::New(bytes.size(), WriteBlock::Place::kFirst);
  if (block == nullptr) return Queue(bytes.size(), bytes);
  block->AppendCall(bytes);
  rest_.SetCopied(block);
  return {.bytes = bytes.size()};
}

IoResult Socket::Write(absl::Cord bytes) {
  const size_t size = bytes.size();
  return Queue(size, std::move(bytes));
}

IoResult Socket::Write(FileRange file) {
  const uint64_t size = file.length();
  return Queue(size, std::move(file));
}

IoResult Socket::Write(SharedBytes bytes, size_t sent) {
  ABSL_DCHECK_LE(sent, bytes.size());
  const size_t size = bytes.size() - sent;
  if (!rest_.empty() || size == 0 || !is_open()) {
    return Queue(size, std::move(bytes), sent);
  }
  rest_.SetBytes(std::move(bytes), sent);
  return {.bytes = size};
}

IoResult Socket::TryWrite(std::string_view bytes, More more) {
  const iovec piece = {.iov_base = const_cast<char*>(bytes.data()),
                       .iov_len = bytes.size()};
  return TryWrite(absl::MakeConstSpan(&piece, 1), more);
}

IoResult Socket::TryWrite(absl::Span<const iovec> pieces, More more) {
  if (const int error = WriteError()) return {.error = error};
  if (Has(kBusy) || has_pending()) return {.error = EAGAIN};
  pieces = pieces.first(std::min<size_t>(pieces.size(), IOV_MAX));
  const size_t size = TotalBytes(pieces);
  if (size == 0) return {};
  const State* const state = rest_.state();
  if (state == nullptr || state->transport == nullptr) {
    const IoResult written =
        WriteBelow(pieces, more == More::kYes ? MSG_MORE : 0);
    if (written.bytes > 0) {
      more == More::kYes ? Set(kHeldBack) : Clear(kHeldBack);
    }
    if (written.bytes < size) Set(kMayLinger);
    if (written.failed()) WriteFailed(written.error);
    return written;
  }
  const Busy busy(*this);
  const IoResult written = transport()->Write(*this, pieces);
  Set(kHeldBack);  // It may have taken more than the kernel.
  if (written.bytes < size) Set(kMayLinger);
  if (written.failed()) WriteFailed(written.error);
  return written;
}

PendingWrites Socket::PendingInState() const {
  const State& state = *rest_.state();
  PendingWrites pending =
      state.driver == nullptr ? state.queue.pending() : PendingWithDriver();
  if (state.transport != nullptr) {
    const size_t held = state.transport->held_bytes().unsent;
    pending.bytes += held;
    pending.memory_bytes += held;
  }
  return pending;
}

bool Socket::HasPendingInState() const {
  const State& state = *rest_.state();
  return state.queue.pending_calls() > 0 ||
         (state.driver != nullptr && PendingWithDriver().calls > 0);
}

absl::Status Socket::SetNoDelay(bool no_delay) {
  if (!IsValid()) return ClosedError("SetNoDelay");
  const int value = no_delay ? 1 : 0;
  if (Sys().setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value)) !=
      0) {
    return ErrnoToStatus(errno,
                         absl::StrCat("setsockopt TCP_NODELAY fd ", fd()));
  }
  return absl::OkStatus();
}

void Socket::SetWatermarks(const Watermarks& watermarks) {
  if (!IsValid()) return;
  state().watermarks = std::make_unique<Watermarks>(watermarks);
}

Watermarks::Level Socket::level() const {
  State* const state = rest_.state();
  if (state == nullptr || state->watermarks == nullptr) {
    return Watermarks::Level::kLow;
  }
  state->level = state->watermarks->Judge(pending(), state->level);
  return state->level;
}

bool Socket::wants_read() const {
  if (!IsValid()) return false;
  if (ending_.closing) return ending_.lingering;
  return !reading_.ended && level() == Watermarks::Level::kLow;
}

bool Socket::WantsWrite() const {
  if (!IsValid() || error_ != 0) return false;
  return HasQueued() || Has(kHeldBack) ||
         (driver() != nullptr && PendingWithDriver().calls > 0) ||
         (ending_.closing && !ending_.lingering) ||
         (ending_.write_shut && !ending_.fin_sent);
}

inline IoResult Socket::SendPlain(std::string_view bytes) {
  const IoResult written = PlainWrite(fd(), bytes);
  if (written.bytes > 0) Clear(kHeldBack);
  return written;
}

IoResult Socket::Flush(uint64_t budget) {
  WriteBlock* const block = rest_.copied();
  // What most have queued: bytes that leave by one send(2).
  if (block != nullptr && block->size() <= budget && IsValid() && error_ == 0 &&
      !Has(kBusy | kHeldBack)) {
    const std::string_view bytes = block->left_over();
    const IoResult written = PlainWrite(fd(), bytes);
    if (written.bytes == bytes.size()) {
      delete rest_.TakeCopied();
      if (is_open()) return written;
    } else {
      rest_.Forget(written.bytes);
    }
    return FlushOn(written, budget);
  }
  if (!IsValid()) return {.error = EBADF};
  if (Has(kBusy) || IsShaking()) return {.error = EAGAIN};
  if (error_ != 0) return {.error = static_cast<int>(error_)};
  IoResult flushed;
  if (rest_.has_bytes()) {
    flushed = FlushAlone(budget);
    if (!IsValid()) return {.bytes = flushed.bytes, .error = ECONNABORTED};
  }
  if (rest_.empty() && is_open() && !Has(kHeldBack)) return flushed;
  return FlushOn(flushed, budget);
}

// One SharedBytes, or a block.
IoResult Socket::FlushAlone(uint64_t budget) {
  const IoResult written = SendPlain(rest_.bytes().substr(0, budget));
  if (written.bytes == 0) return written;
  const Busy busy(*this);
  rest_.Forget(written.bytes);
  return written;
}

// What comes after the bytes alone.
IoResult Socket::FlushOn(IoResult flushed, uint64_t budget) {
  const Busy busy(*this);
  if (flushed.ok()) {
    const uint64_t before = flushed.bytes;
    const uint64_t left = budget - std::min(before, budget);
    flushed = driver() == nullptr ? FlushQueue(left) : FlushDriven(left);
    flushed.bytes += before;
  }
  if (flushed.would_block()) Set(kMayLinger);
  if (flushed.ok() && !HasQueued() && !IsShaking()) {
    flushed.error = FlushTransport().error;
    if (flushed.ok() && !IsShaking()) flushed.error = EndWriting().error;
  }
  if (flushed.failed()) WriteFailed(flushed.error);
  if (!ending_.over) ReleaseIdleState();
  return flushed;
}

IoResult Socket::FlushQueue(uint64_t budget) {
  IoResult total;
  while (HasQueued() && total.bytes < budget) {
    const uint64_t before = QueuedBytes();
    const IoResult flushed = FlushSome(budget - total.bytes);
    DropQueueIfDue();
    total.bytes += flushed.bytes;
    total.error = flushed.error;
    if (ending_.over) total.error = ECONNABORTED;
    if (IsShaking() && !total.failed()) total.error = 0;
    if (!total.ok() || IsShaking()) break;
    // A transport that takes nothing has no room, whatever it says.
    if (flushed.bytes == 0 && QueuedBytes() == before) total.error = EAGAIN;
    if (!total.ok()) break;
  }
  return total;
}

// REQUIRES: something is queued.
IoResult Socket::FlushSome(uint64_t limit) {
  State* const state = rest_.state();
  if (state == nullptr) {
    const IoResult written = SendPlain(rest_.bytes().substr(0, limit));
    rest_.Forget(written.bytes);
    return written;
  }
  if (state->transport == nullptr) {
    const IoResult written = state->queue.Flush(fd(), limit);
    if (written.bytes > 0) Clear(kHeldBack);
    return written;
  }
  return state->queue.Flush(
      [this](absl::Span<const iovec> pieces) {
        return transport()->Write(*this, pieces);
      },
      limit);
}

void Socket::DropQueue() {
  rest_.DropBytes();
  if (State* const state = rest_.state()) state->queue.Clear();
}

void Socket::DropQueueIfDue() {
  State* const state = rest_.state();
  if (state == nullptr || !std::exchange(state->drops_queue, false)) return;
  state->queue.Clear();
}

// What was sent with MSG_MORE.
void Socket::PushHeldBack() {
  if (!Has(kHeldBack) || has_transport() || driver() != nullptr) return;
  Clear(kHeldBack);
  const int off = 0;
  Sys().setsockopt(fd(), IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
}

bool Socket::IsShaking() const {
  const State* const state = rest_.state();
  return state != nullptr && state->shaking;
}

IoResult Socket::FlushTransport() {
  PushHeldBack();
  Clear(kHeldBack);
  if (!has_transport()) return {};
  IoResult left = transport()->Flush(*this);
  if (ending_.over) return {.error = ECONNABORTED};
  if (IsShaking() && !left.failed()) return {};  // That is another transport.
  if (left.ok() && left.bytes > 0) left.error = EAGAIN;
  if (left.would_block() || left.out_of_memory()) Set(kHeldBack);
  return left;
}

IoResult Socket::FlushUntil(const Clock& clock, MonotonicTime deadline) {
  ABSL_CHECK(driver() == nullptr) << "Socket::FlushUntil: a driver has it";
  for (;;) {
    const IoResult flushed = Flush();
    if (flushed.ok() || flushed.failed()) return flushed;
    const absl::Duration left = deadline - clock.Now();
    if (left <= absl::ZeroDuration()) return {.error = ETIMEDOUT};
    // No descriptor becomes ready when there is memory again.
    const absl::Duration wait =
        flushed.would_block() ? left : std::min(left, kMemoryPause);
    pollfd ready = {
        .fd = flushed.would_block() ? fd() : -1,
        .events = static_cast<int16_t>(ending_.lingering ? POLLIN : POLLOUT),
        .revents = 0};
    Sys().poll(&ready, 1, TimeoutMs(wait));
  }
}

}  // namespace fio
