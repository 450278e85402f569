#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/base/fork_count.h"
#include "fio/base/syscalls.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/environment.h"
#include "fio/sock/internal/socket_state.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/transport.h"

namespace fio {

namespace {

// How much unread input is dropped at once when a socket closes.
constexpr size_t kSinkBytes = size_t{16} << 10;
constexpr int kSinkReads = 64;

// How much of a peer is dropped that may still listen to last words.
constexpr uint16_t kLastWordsBytes = 0xffff;

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

IoResult Socket::ShutdownWrite() {
  if (!IsValid()) return {.error = EBADF};
  ending_.write_shut = true;
  return Flush();
}

IoResult Socket::ShutdownRead() {
  if (!IsValid()) return {.error = EBADF};
  reading_.half_open = true;
  return {.error = ShutdownBelow(SHUT_RD)};
}

void Socket::Close() {
  if (!IsValid() || ending_.closing) return;
  ending_.closing = true;
  if (error_ != 0) {
    EndLater();
  } else if (!Has(kBusy | kHeld)) {
    static_cast<void>(Flush());
  }
}

void Socket::Abort() {
  if (!IsValid()) return;
  ending_.aborted = true;
  EndLater();
}

// Ends now, unless a callback is running or the owner does it.
void Socket::EndLater() {
  ending_.over = true;
  if (!Has(kBusy | kHeld)) End();
}

void Socket::End() {
  auto rest = std::move(rest_);
  UniqueFd fd = std::move(fd_);
  const bool aborted = ending_.aborted;
  // Otherwise it is only dropped, and a copy in another process may go on.
  const bool ends_copies = ending_.over && !Has(kForsaken);
  const bool must_tell_end =
      !(ending_.fin_sent || ending_.lingering) && ForksMade() > 0;
  const bool may_linger =
      !Has(kForsaken) && (Has(kMayLinger) || ForksMade() > 0);
  reading_ = {};
  ending_ = {};
  flags_ = 0;
  error_ = 0;
  rest.DropBytes();
  State* const state = rest.state();
  if (state != nullptr) {
    state->queue.Clear();
    state->transport = nullptr;
    state->retired = nullptr;
    if (SocketDriver* const driver = state->driver) {
      using Ending = SocketDriver::Ending;
      const Ending ending = ends_copies ? Ending::kClose : Ending::kDrop;
      driver->End(std::move(fd), aborted ? Ending::kReset : ending);
    }
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
  ending_.over = true;
  auto rest = std::move(rest_);
  rest.DropBytes();
  State* const state = rest.state();
  if (state == nullptr) return;
  state->queue.Clear();
  state->transport = nullptr;
  SocketDriver* const driver = state->driver;
  if (state->environment != nullptr) state->environment->Close();
  // It ends with the descriptor.
  if (driver != nullptr) this->state().driver = driver;
}

void Socket::Forget() { static_cast<void>(fd_.Release()); }

void Socket::Forsake() {
  Set(kForsaken);
  ending_.over = true;
  ending_.aborted = false;
}

UniqueFd Socket::Release() {
  ABSL_CHECK(driver() == nullptr) << "Socket::Release: a driver has it";
  UniqueFd fd = std::move(fd_);
  End();
  return fd;
}

// Runs when all was sent: the closing message, then the end.
IoResult Socket::EndWriting() {
  if (!(ending_.closing || ending_.write_shut)) return {};
  // Written by a callback, after Flush() had found the queue empty.
  if (has_pending()) return {.error = EAGAIN};
  if (!ending_.farewell_said) {
    ending_.farewell_said = true;
    const bool says = has_transport() && transport()->BeforeClose(*this);
    if (IsShaking()) {  // The farewell will be that of another transport.
      ending_.farewell_said = false;
      return {};
    }
    if (says) {
      const IoResult left = FlushTransport();
      if (!left.ok()) return left;
      if (has_pending()) return {.error = EAGAIN};  // Of a driver.
    }
  }
  if (ending_.closing) {
    const IoResult read = ReadToClose();
    if (!read.ok()) return read;
    EndLater();
  } else if (!ending_.fin_sent) {
    ending_.fin_sent = true;
    return {.error = ShutdownBelow(SHUT_WR)};
  }
  return {};
}

// No error when no byte of the peer is unread: with unread bytes, close(2)
// would reset (RFC 2525, section 2.17). After the first such byte the peer has
// to close.
IoResult Socket::ReadToClose() {
  // A transport tells an end of its own, behind which bytes may be unread.
  if (reading_.ended && (!has_transport() || rest_.state()->raw.ended)) {
    return {};
  }
  if (ending_.lingers) AwaitPeersClose();
  // Without HoldDescriptor(), kDrained may be wrong: urgent data.
  if (reading_.drained && Has(kHeld) && !ending_.lingering) return {};
  char sink[kSinkBytes];
  for (int i = 0; i < kSinkReads; ++i) {
    const IoResult read = ReadBelow(absl::MakeSpan(sink));
    if (read.out_of_memory()) return read;
    if (read.would_block()) {
      reading_.drained = true;
      return {.error = ending_.lingering ? EAGAIN : 0};
    }
    if (read.bytes == 0 || HasDroppedEnough(read.bytes)) return {};
    AwaitPeersClose();
  }
  reading_.drained = false;
  return {.error = EAGAIN};
}

// Of a transport that has failed.
void Socket::CloseWithLastWords() {
  reading_.drained = false;
  state().drops_at_most = kLastWordsBytes;
  CloseFailed();
}

bool Socket::HasDroppedEnough(size_t bytes) {
  State* const state = rest_.state();
  if (state == nullptr || state->drops_at_most == 0) return false;
  if (bytes >= state->drops_at_most) return true;
  state->drops_at_most -= static_cast<uint16_t>(bytes);
  return false;
}

void Socket::AwaitPeersClose() {
  if (ending_.lingering) return;
  ending_.lingering = true;
  static_cast<void>(ShutdownBelow(SHUT_WR));
}

// Ends one direction. Returns 0 or an errno.
int Socket::ShutdownBelow(int how) {
  if (SocketDriver* const driver = this->driver()) {
    return how == SHUT_RD ? driver->ShutdownRead() : driver->ShutdownWrite();
  }
  return Sys().shutdown(fd(), how) == 0 ? 0 : errno;
}

// Bytes are missing from the stream, so it must end with a reset, not a normal
// end.
void Socket::WriteFailed(int error) {
  error_ = static_cast<uint32_t>(error);
  ending_.aborted = true;
  Clear(kHeldBack);
  DropQueue();
  if ((ending_.closing || reading_.ended) || !MayHaveBytes()) EndLater();
}

// What a transport holds, only reading tells, and an owner goes on reading.
bool Socket::MayHaveBytes() {
  if (has_transport() && Has(kHeld)) return true;
  if (SocketDriver* const driver = this->driver()) {
    return !driver->Came().empty() || !driver->following().ended;
  }
  const IoResult peek = Peek();
  return peek.bytes > 0 || peek.out_of_memory();
}

}  // namespace fio
