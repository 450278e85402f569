#include "fio/sock/socket.h"

#include <limits.h>
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
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fio/base/clock.h"
#include "fio/base/errno_status.h"
#include "fio/base/fork_count.h"
#include "fio/base/free_list.h"
#include "fio/base/monotonic_time.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/environment.h"
#include "fio/sock/file_range.h"
#include "fio/sock/internal/fd_address.h"
#include "fio/sock/internal/plain_io.h"
#include "fio/sock/internal/tcp_past.h"
#include "fio/sock/io_result.h"
#include "fio/sock/shared_bytes.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/sock/watermarks.h"
#include "fio/sock/write_queue.h"

namespace fio {

using sock_internal::PlainRead;
using sock_internal::PlainWrite;
using sock_internal::TcpPast;

namespace {

// How much unread input is dropped at once when a socket closes.
constexpr size_t kSinkBytes = size_t{16} << 10;
constexpr int kSinkReads = 64;

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

// So that close(2) does not block. A time of 0 does not block: it resets.
void DoNotLinger(int fd) {
  linger on_close = {};
  socklen_t size = sizeof(on_close);
  if (Sys().getsockopt(fd, SOL_SOCKET, SO_LINGER, &on_close, &size) != 0 ||
      on_close.l_onoff == 0 || on_close.l_linger == 0) {
    return;
  }
  on_close.l_onoff = 0;
  Sys().setsockopt(fd, SOL_SOCKET, SO_LINGER, &on_close, sizeof(on_close));
}

void ResetAtClose(int fd) {
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  Sys().setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

// Resets a connection, for other processes that have a copy of `fd`, too:
// ResetAtClose() does so only when the last copy is closed.
void Reset(int fd) {
  sockaddr nobody = {};
  nobody.sa_family = AF_UNSPEC;
  if (Sys().connect(fd, &nobody, sizeof(nobody)) == 0) return;
  if (errno == EINVAL) {  // A Unix socket, which knows no reset.
    Sys().shutdown(fd, SHUT_RDWR);
  } else {
    ResetAtClose(fd);
  }
}

}  // namespace

// What was given back by Unread().
struct Socket::UnreadBytes {
  static size_t Take(std::string& bytes, absl::Span<char> out) {
    const size_t size = bytes.copy(out.data(), out.size());
    bytes.erase(0, size);
    return size;
  }

  std::string above;  // The transport.
  std::string below;
};

struct Socket::State {
  static constexpr size_t kBytes = 128;
  void* operator new(size_t) { return FreeList<kBytes>::Take(); }
  void operator delete(void* state) { FreeList<kBytes>::Give(state); }

  WriteQueue queue;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Environment> environment;
  std::unique_ptr<Watermarks> watermarks;
  std::unique_ptr<UnreadBytes> unread;
  std::unique_ptr<SocketData> data;
  uint64_t counted_memory = 0;  // See CountMemory().
  Watermarks::Level level = Watermarks::Level::kLow;
  // Transports that were replaced inside their own calls; destroyed when these
  // have returned.
  std::vector<std::unique_ptr<Transport>> retired;
};

void Socket::DeleteState::operator()(State* state) const { delete state; }

// Marks that callbacks may be running. What they end or replace is destroyed
// when they have returned.
class Socket::Busy {
 public:
  explicit Busy(Socket& socket) : socket_(socket), before_(socket.flags_) {
    socket.Set(kBusy);
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    if ((before_ & kBusy) != 0) return;
    socket_.Clear(kBusy);
    socket_.AfterCallbacks(before_);
  }

 private:
  Socket& socket_;
  const uint32_t before_;
};

Socket::Socket(Socket&& other) noexcept
    : fd_(std::move(other.fd_)),
      flags_(other.flags_),
      error_(other.error_),
      rest_(std::move(other.rest_)) {
  other.flags_ = 0;
  other.error_ = 0;
  ABSL_DCHECK(!Has(kBusy)) << "a Socket was moved by its own callback";
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this == &other) return *this;
  End();
  fd_ = std::move(other.fd_);
  flags_ = other.flags_;
  error_ = other.error_;
  other.flags_ = 0;
  other.error_ = 0;
  rest_ = std::move(other.rest_);
  return *this;
}

Socket::State& Socket::state() {
  if (State* const state = rest_.state()) return *state;
  auto* const state = new State;
  if (rest_.has_bytes()) {
    auto [bytes, sent] = rest_.TakeBytes();
    state->queue.Append(std::move(bytes), sent);
  }
  rest_.SetState(state);
  return *state;
}

Transport* Socket::transport() const {
  const State* const state = rest_.state();
  return state == nullptr ? nullptr : state->transport.get();
}

void Socket::ReleaseIdleState() {
  const State* const state = rest_.state();
  if (state != nullptr && state->queue.empty() && !state->transport &&
      !state->environment && !state->watermarks && state->retired.empty() &&
      state->unread == nullptr && state->data == nullptr &&
      state->counted_memory == 0) {
    rest_ = {};
  }
}

void Socket::AfterCallbacks(uint32_t flags_before) {
  State* const state = rest_.state();
  if (state != nullptr && !state->retired.empty()) {
    std::exchange(state->retired, {}).clear();
  }
  if (Has(kOver)) {
    EndLater();
  } else if (Has((kClosing | kShutdownWrite) & ~flags_before) && !Has(kHeld)) {
    static_cast<void>(Flush());
  }
}

absl::Status Socket::ClosedError(const char* call) {
  return ErrnoToStatus(EBADF, absl::StrCat(call, " on a closed socket"));
}

// --- Connecting ---

IoResult Socket::FinishConnect() {
  if (!IsValid()) return {.error = EBADF};
  if (peer_address().size() != 0) return {};
  const TcpPast past = sock_internal::TcpPastOf(fd());
  // Read() returns the bytes that have come since, and then the reset.
  if (past == TcpPast::kEstablished) return {};
  int error = TakeError();
  // The kernel returns an error once; libkqueue may have taken it.
  if (error == 0 && past == TcpPast::kNotEstablished) error = ECONNREFUSED;
  if (error == 0 || error == EAGAIN) return {.error = EAGAIN};
  EndLater();
  return {.error = error};
}

int Socket::TakeError() {
  if (!IsValid()) return EBADF;
  int error = 0;
  socklen_t size = sizeof(error);
  return Sys().getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0
             ? error
             : errno;
}

// --- Reading ---

IoResult Socket::Read(absl::Span<char> out) {
  if (!IsValid() || Has(kClosing)) return {.error = EBADF};
  if (out.empty()) return {.error = EAGAIN};
  if (rest_.empty()) return Account(PlainRead(fd(), out), out.size(), true);
  if (const size_t bytes = TakeUnread(out)) return {.bytes = bytes};
  if (!has_transport()) return Account(PlainRead(fd(), out), out.size(), true);
  const Busy busy(*this);
  const IoResult read = transport()->Read(*this, out);
  // It may have something to send now: an answer, or what it took earlier.
  if (!read.failed()) Set(kHeldBack);
  return Account(read, out.size(), false);
}

// What Read() returns before it asks the transport or the kernel.
size_t Socket::TakeUnread(absl::Span<char> out) {
  State* const state = rest_.state();
  if (state == nullptr || state->unread == nullptr) return 0;
  UnreadBytes& unread = *state->unread;
  size_t bytes = UnreadBytes::Take(unread.above, out);
  if (bytes == 0 && !has_transport()) {
    bytes = UnreadBytes::Take(unread.below, out);
  }
  if (bytes > 0) Clear(kDrained);
  ReleaseUnread();
  return bytes;
}

void Socket::ReleaseUnread() {
  if (unread_bytes() > 0) return;
  rest_.state()->unread = nullptr;
  if (!Has(kBusy)) ReleaseIdleState();
}

void Socket::Unread(std::string_view bytes) {
  if (bytes.empty() || !IsValid()) return;
  std::unique_ptr<UnreadBytes>& unread = state().unread;
  if (unread == nullptr) unread = std::make_unique<UnreadBytes>();
  unread->above.insert(0, bytes);
}

size_t Socket::unread_bytes() const {
  const State* const state = rest_.state();
  if (state == nullptr || state->unread == nullptr) return 0;
  return state->unread->above.size() + state->unread->below.size();
}

IoResult Socket::ReadRaw(absl::Span<char> out) {
  if (!IsValid()) return {.error = EBADF};
  State* const state = rest_.state();
  if (state != nullptr && state->unread != nullptr) {
    const size_t bytes = UnreadBytes::Take(state->unread->below, out);
    if (bytes > 0) {
      Set(kRawRead);
      return {.bytes = bytes};
    }
  }
  const IoResult read = PlainRead(fd(), out);
  Clear(kRawEmpty);
  if (read.would_block()) {
    Set(kRawEmpty);
  } else if (read.ok() || read.failed()) {
    Set(read.bytes > 0 ? kRawRead : kRawRead | kRawEnded);
  }
  return read;
}

IoResult Socket::WriteRaw(absl::Span<const iovec> pieces) {
  if (!IsValid()) return {.error = EBADF};
  const IoResult written = PlainWrite(fd(), pieces);
  if (written.would_block()) Set(kRawFull);
  return written;
}

void Socket::CloseFailed() {
  if (!IsValid()) return;
  DropQueue();
  Set(kFarewell | kLingers | kHeldBack);
  Close();
}

Transport::Handshake Socket::Shake() {
  Clear(kRawRead | kRawEmpty | kRawFull);
  const Busy busy(*this);
  return transport()->Shake(*this);
}

IoResult Socket::Account(const IoResult& read, size_t asked, bool plain) {
  // What a transport gives says nothing about the kernel, except when it has
  // nothing.
  const bool at_end = read.ok() && read.bytes == 0;
  if (read.would_block() || (plain && at_end) ||
      (plain && read.ok() && read.bytes < asked && ShortReadEmptied())) {
    Set(kDrained);
  } else {
    Clear(kDrained);
  }
  if (read.error == ENOTCONN) return {.error = EAGAIN};
  if (read.failed()) {
    EndLater();
  } else if (at_end) {
    Set(kEnded);
    if (error_ != 0) {
      EndLater();
    } else if (!Has(kHalfOpen)) {
      Close();
    }
  }
  return read;
}

// Whether a short read has left nothing in the kernel. If that is not certain,
// checks it with HoldDescriptor(); without it the answer is not needed.
bool Socket::ShortReadEmptied() {
  if (ShortReadEmpties()) return true;
  if (!Has(kHeld)) return false;
  char byte;
  return PlainRead(fd(), absl::MakeSpan(&byte, 1), MSG_PEEK).would_block();
}

bool Socket::ShortReadEmpties() {
  if (Has(kShortAsks)) {
    int protocol = 0;
    socklen_t size = sizeof(protocol);
    if (Sys().getsockopt(fd(), SOL_SOCKET, SO_PROTOCOL, &protocol, &size) !=
        0) {
      return false;
    }
    SetShortRead(protocol == IPPROTO_TCP ? ShortRead::kEmpties
                                         : ShortRead::kSaysNothing);
  }
  return Has(kShortEmpties);
}

IoResult Socket::Peek() {
  char byte;
  return Peek(absl::MakeSpan(&byte, 1));
}

IoResult Socket::Peek(absl::Span<char> out) {
  if (!IsValid()) return {.error = EBADF};
  if (out.empty()) return {.error = EAGAIN};
  const IoResult peek = PlainRead(fd(), out, MSG_PEEK);
  if (peek.ok() && peek.bytes == 0) Set(kEnded);
  if (peek.bytes > 0) Clear(kDrained);
  return peek;
}

// --- Writing ---

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

IoResult Socket::Write(std::string_view bytes) {
  return Queue(bytes.size(), bytes);
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
  if (Has(kBusy) || pending_calls() > 0) return {.error = EAGAIN};
  pieces = pieces.first(std::min<size_t>(pieces.size(), IOV_MAX));
  const size_t size = TotalBytes(pieces);
  if (size == 0) return {};
  if (!has_transport()) {
    const IoResult written =
        PlainWrite(fd(), pieces, more == More::kYes ? MSG_MORE : 0);
    if (written.bytes > 0) {
      more == More::kYes ? Set(kHeldBack) : Clear(kHeldBack);
    }
    if (written.bytes < size) Set(kMayLinger);
    if (written.failed()) WriteFailed(written.error);
    return written;
  }
  const Busy busy(*this);
  const IoResult written = transport()->Write(*this, pieces);
  if (written.bytes < size) Set(kMayLinger);
  if (written.failed()) WriteFailed(written.error);
  return written;
}

PendingWrites Socket::pending() const {
  if (const State* const state = rest_.state()) return state->queue.pending();
  const size_t bytes = rest_.bytes().size();
  return {.calls = bytes == 0 ? size_t{0} : 1,
          .bytes = bytes,
          .memory_bytes = bytes};
}

size_t Socket::pending_calls() const { return pending().calls; }

uint64_t Socket::pending_bytes() const { return pending().bytes; }

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
  if (Has(kClosing)) return Has(kLingering);
  return !Has(kEnded) && level() == Watermarks::Level::kLow;
}

bool Socket::wants_write() const {
  if (!IsValid() || error_ != 0) return false;
  return pending_calls() > 0 || Has(kHeldBack) ||
         (Has(kClosing) && !Has(kLingering)) ||
         (Has(kShutdownWrite) && !Has(kFinSent));
}

IoResult Socket::Flush(uint64_t budget) {
  if (!IsValid()) return {.error = EBADF};
  if (Has(kBusy)) return {.error = EAGAIN};
  if (error_ != 0) return {.error = static_cast<int>(error_)};
  const Busy busy(*this);
  IoResult flushed = FlushQueue(budget);
  if (flushed.would_block()) Set(kMayLinger);
  if (flushed.ok() && pending_calls() == 0) {
    flushed.error = FlushTransport().error;
    if (flushed.ok()) flushed.error = EndWriting().error;
  }
  if (flushed.failed()) WriteFailed(flushed.error);
  if (!Has(kOver)) ReleaseIdleState();
  return flushed;
}

IoResult Socket::FlushQueue(uint64_t budget) {
  IoResult total;
  while (pending_calls() > 0 && total.bytes < budget) {
    const uint64_t before = pending_bytes();
    const IoResult flushed = FlushSome(budget - total.bytes);
    total.bytes += flushed.bytes;
    total.error = flushed.error;
    if (Has(kOver)) total.error = ECONNABORTED;
    if (!total.ok()) break;
    // A transport that takes nothing has no room, whatever it says.
    if (flushed.bytes == 0 && pending_bytes() == before) total.error = EAGAIN;
    if (!total.ok()) break;
  }
  return total;
}

// REQUIRES: something is queued.
IoResult Socket::FlushSome(uint64_t limit) {
  State* const state = rest_.state();
  if (state == nullptr) {
    const std::string_view bytes = rest_.bytes().substr(0, limit);
    const iovec piece = {.iov_base = const_cast<char*>(bytes.data()),
                         .iov_len = bytes.size()};
    const IoResult written = PlainWrite(fd(), absl::MakeConstSpan(&piece, 1));
    if (written.bytes > 0) Clear(kHeldBack);
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

// What was sent with MSG_MORE.
void Socket::PushHeldBack() {
  if (!Has(kHeldBack) || has_transport()) return;
  Clear(kHeldBack);
  const int off = 0;
  Sys().setsockopt(fd(), IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
}

IoResult Socket::FlushTransport() {
  PushHeldBack();
  Clear(kHeldBack);
  if (!has_transport()) return {};
  IoResult left = transport()->Flush(*this);
  if (Has(kOver)) return {.error = ECONNABORTED};
  if (left.ok() && left.bytes > 0) left.error = EAGAIN;
  if (left.would_block() || left.out_of_memory()) Set(kHeldBack);
  return left;
}

// Runs when all was sent: the closing message, then the end.
IoResult Socket::EndWriting() {
  if (!Has(kClosing | kShutdownWrite)) return {};
  // Written by a callback, after Flush() had found the queue empty.
  if (pending_calls() > 0) return {.error = EAGAIN};
  if (!Has(kFarewell)) {
    Set(kFarewell);
    if (has_transport() && transport()->BeforeClose(*this)) {
      const IoResult left = FlushTransport();
      if (!left.ok()) return left;
    }
  }
  if (Has(kClosing)) {
    const IoResult read = ReadToClose();
    if (!read.ok()) return read;
    EndLater();
  } else if (!Has(kFinSent)) {
    Set(kFinSent);
    if (Sys().shutdown(fd(), SHUT_WR) != 0) return {.error = errno};
  }
  return {};
}

// No error when no byte of the peer is unread: with unread bytes, close(2)
// would reset (RFC 2525, section 2.17). After the first such byte the peer has
// to close.
IoResult Socket::ReadToClose() {
  if (Has(kEnded)) return {};
  if (Has(kLingers)) AwaitPeersClose();
  // Without HoldDescriptor(), kDrained may be wrong: urgent data.
  if (Has(kDrained) && Has(kHeld) && !Has(kLingering)) return {};
  char sink[kSinkBytes];
  for (int i = 0; i < kSinkReads; ++i) {
    const IoResult read = PlainRead(fd(), absl::MakeSpan(sink));
    if (read.out_of_memory()) return read;
    if (read.would_block()) {
      Set(kDrained);
      return {.error = Has(kLingering) ? EAGAIN : 0};
    }
    if (read.bytes == 0) return {};
    AwaitPeersClose();
  }
  Clear(kDrained);
  return {.error = EAGAIN};
}

void Socket::AwaitPeersClose() {
  if (Has(kLingering)) return;
  Set(kLingering);
  Sys().shutdown(fd(), SHUT_WR);
}

// Bytes are missing from the stream, so it must end with a reset, not a normal
// end.
void Socket::WriteFailed(int error) {
  error_ = static_cast<uint32_t>(error);
  Set(kAborted);
  Clear(kHeldBack);
  DropQueue();
  if (Has(kClosing | kEnded) || !MayHaveBytes()) EndLater();
}

bool Socket::MayHaveBytes() {
  const IoResult peek = Peek();
  return peek.bytes > 0 || peek.out_of_memory();
}

IoResult Socket::FlushUntil(const Clock& clock, MonotonicTime deadline) {
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
        .events = static_cast<int16_t>(Has(kLingering) ? POLLIN : POLLOUT),
        .revents = 0};
    Sys().poll(&ready, 1, TimeoutMs(wait));
  }
}

// --- Ending ---

IoResult Socket::ShutdownWrite() {
  if (!IsValid()) return {.error = EBADF};
  Set(kShutdownWrite);
  return Flush();
}

IoResult Socket::ShutdownRead() {
  if (!IsValid()) return {.error = EBADF};
  Set(kHalfOpen);
  return {.error = Sys().shutdown(fd(), SHUT_RD) == 0 ? 0 : errno};
}

void Socket::Close() {
  if (!IsValid() || Has(kClosing)) return;
  Set(kClosing);
  if (error_ != 0) {
    EndLater();
  } else if (!Has(kBusy | kHeld)) {
    static_cast<void>(Flush());
  }
}

void Socket::Abort() {
  if (!IsValid()) return;
  Set(kAborted);
  EndLater();
}

// Ends now, unless a callback is running or the owner does it.
void Socket::EndLater() {
  Set(kOver);
  if (!Has(kBusy | kHeld)) End();
}

void Socket::End() {
  auto rest = std::move(rest_);
  UniqueFd fd = std::move(fd_);
  const bool aborted = Has(kAborted);
  // Otherwise it is only dropped, and a copy in another process may go on.
  const bool ends_copies = Has(kOver) && !Has(kForsaken);
  const bool must_tell_end = !Has(kFinSent | kLingering) && ForksMade() > 0;
  const bool may_linger =
      !Has(kForsaken) && (Has(kMayLinger) || ForksMade() > 0);
  flags_ = 0;
  error_ = 0;
  rest.DropBytes();
  State* const state = rest.state();
  if (state != nullptr) {
    state->queue.Clear();
    state->transport = nullptr;
    state->retired.clear();
  }
  if (fd && aborted) {
    ends_copies ? Reset(fd.get()) : ResetAtClose(fd.get());
  } else if (fd) {
    if (may_linger) DoNotLinger(fd.get());
    if (ends_copies && must_tell_end) Sys().shutdown(fd.get(), SHUT_RDWR);
  }
  fd.Reset();
  if (state != nullptr && state->environment != nullptr) {
    state->environment->Close();
  }
}

void Socket::Discard() {
  Set(kOver);
  auto rest = std::move(rest_);
  rest.DropBytes();
  State* const state = rest.state();
  if (state == nullptr) return;
  state->queue.Clear();
  state->transport = nullptr;
  if (state->environment != nullptr) state->environment->Close();
}

void Socket::Forget() { static_cast<void>(fd_.Release()); }

void Socket::Forsake() {
  Set(kOver | kForsaken);
  Clear(kAborted);
}

UniqueFd Socket::Release() {
  UniqueFd fd = std::move(fd_);
  End();
  return fd;
}

// --- Data of the owner ---

void Socket::SetData(std::unique_ptr<SocketData> data) {
  state().data = std::move(data);
}

SocketData* Socket::data() const {
  const State* const state = rest_.state();
  return state == nullptr ? nullptr : state->data.get();
}

std::unique_ptr<SocketData> Socket::TakeData() {
  State* const state = rest_.state();
  return state == nullptr ? nullptr : std::move(state->data);
}

int64_t Socket::CountMemory() {
  State* const state = rest_.state();
  if (state == nullptr) return 0;  // A block that others share costs nothing.
  const uint64_t now = pending().memory_bytes + unread_bytes();
  const uint64_t before = std::exchange(state->counted_memory, now);
  if (now == 0 && !Has(kBusy)) ReleaseIdleState();
  return static_cast<int64_t>(now - before);
}

int64_t Socket::UncountMemory() {
  State* const state = rest_.state();
  if (state == nullptr) return 0;
  return -static_cast<int64_t>(std::exchange(state->counted_memory, 0));
}

// --- Transport ---

absl::Status Socket::SetTransport(std::unique_ptr<Transport> transport) {
  if (!IsValid()) return ClosedError("SetTransport");
  std::unique_ptr<Transport> replaced = ReplaceTransport(std::move(transport));
  if (replaced != nullptr && Has(kBusy)) {
    state().retired.push_back(std::move(replaced));
  }
  return absl::OkStatus();
}

std::unique_ptr<Transport> Socket::ReplaceTransport(
    std::unique_ptr<Transport> transport) {
  if (!IsValid()) return transport;
  PushHeldBack();
  State& state = this->state();
  if (UnreadBytes* const unread = state.unread.get()) {
    unread->below.insert(0, std::exchange(unread->above, std::string()));
  }
  return std::exchange(state.transport, std::move(transport));
}

bool Socket::has_transport() const { return transport() != nullptr; }

// --- Environment ---

absl::Status Socket::SetEnv(Environment::Key key, void* object,
                            Environment::OnClose on_close) {
  if (!IsValid()) {
    if (on_close != nullptr) std::move(on_close)(object);
    return ClosedError("SetEnv");
  }
  std::unique_ptr<Environment>& environment = state().environment;
  if (environment == nullptr) environment = std::make_unique<Environment>();
  return environment->Set(key, object, std::move(on_close));
}

void* Socket::GetEnv(Environment::Key key) const {
  const State* const state = rest_.state();
  return state == nullptr || state->environment == nullptr
             ? nullptr
             : state->environment->Get(key);
}

absl::Status Socket::UnsetEnv(Environment::Key key) {
  if (!IsValid()) return ClosedError("UnsetEnv");
  State* const state = rest_.state();
  return state == nullptr || state->environment == nullptr
             ? Environment().Unset(key)
             : state->environment->Unset(key);
}

absl::Status Socket::RemoveEnv(Environment::Key key) {
  if (!IsValid()) return ClosedError("RemoveEnv");
  State* const state = rest_.state();
  return state == nullptr || state->environment == nullptr
             ? Environment().Remove(key)
             : state->environment->Remove(key);
}

// --- Addresses ---

SocketAddress Socket::local_address() const {
  return sock_internal::LocalAddress(fd());
}

SocketAddress Socket::peer_address() const {
  return sock_internal::PeerAddress(fd());
}

}  // namespace fio
