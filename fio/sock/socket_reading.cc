#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/types/span.h"
#include "fio/base/syscalls.h"
#include "fio/sock/internal/driven_io.h"
#include "fio/sock/internal/plain_io.h"
#include "fio/sock/internal/socket_state.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/transport.h"

namespace fio {

using sock_internal::DrivenRead;
using sock_internal::PlainRead;

IoResult Socket::Read(absl::Span<char> out) {
  if (!IsValid() || ending_.closing) return {.error = EBADF};
  if (out.empty()) return {.error = EAGAIN};
  if (!ReadsKernel()) return ReadInState(out);
  const IoResult read = PlainRead(fd(), out);
  if (read.bytes == 0) return Account(read, true);
  reading_.drained = read.bytes < out.size() && ShortReadEmptied();
  return read;
}

// Whether nothing comes before what the kernel has, and nothing between.
inline bool Socket::ReadsKernel() const {
  const State* const state = rest_.state();
  return state == nullptr ||
         (state->unread == nullptr && state->transport == nullptr &&
          state->driver == nullptr);
}

IoResult Socket::ReadInState(absl::Span<char> out) {
  if (const size_t bytes = TakeUnread(out)) return {.bytes = bytes};
  if (!has_transport()) {
    return driver() == nullptr ? Read(out) : ReadDriven(*driver(), out);
  }
  const Busy busy(*this);
  rest_.state()->raw.empty = false;
  const IoResult read = transport()->Read(*this, out);
  // It may have something to send now: an answer, or what it took earlier.
  if (!read.failed()) Set(kHeldBack);
  if (read.error == EPROTO && IsValid() && error_ == 0) {
    CloseWithLastWords();
    return read;
  }
  const IoResult result = Account(read, false);
  if (read.bytes > 0) reading_.drained = TransportHasReadAll();
  return result;
}

IoResult Socket::ReadDriven(SocketDriver& driver, absl::Span<char> out) {
  const IoResult read = DrivenRead(driver, out);
  if (read.bytes == 0) return Account(read, true);
  reading_.drained = driver.Came().empty();
  return read;
}

// Whether neither the kernel nor the transport has any more.
bool Socket::TransportHasReadAll() const {
  const State* const state = rest_.state();
  return state != nullptr && state->transport != nullptr && state->raw.empty &&
         !state->transport->HasUnread();
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
  if (bytes > 0) reading_.drained = false;
  ReleaseUnread();
  return bytes;
}

void Socket::ReleaseUnread() {
  if (rest_.state()->unread->size() > 0) return;
  rest_.state()->unread = nullptr;
  if (!Has(kBusy)) ReleaseIdleState();
}

void Socket::Unread(std::string_view bytes) {
  if (bytes.empty() || !IsValid()) return;
  std::unique_ptr<UnreadBytes>& unread = state().unread;
  if (unread == nullptr) unread = std::make_unique<UnreadBytes>();
  unread->above.insert(0, bytes);
}

size_t Socket::UnreadInState() const {
  const State* const state = rest_.state();
  if (state->unread == nullptr) return 0;
  return state->unread->above.size() +
         (has_transport() ? 0 : state->unread->below.size());
}

IoResult Socket::ReadRaw(absl::Span<char> out) {
  if (!IsValid()) return {.error = EBADF};
  State* const state = rest_.state();
  IoResult read;
  if (state != nullptr && state->unread != nullptr) {
    read.bytes = UnreadBytes::Take(state->unread->below, out);
  }
  if (read.bytes == 0) {
    read = ReadBelow(out);
    if (state != nullptr) state->raw.NoteRead(read);
    if (state != nullptr && read.bytes > 0 && read.bytes < out.size()) {
      state->raw.empty = ShortReadEmpties();
    }
  } else {
    state->raw.read = true;
  }
  return read;
}

IoResult Socket::Account(const IoResult& read, bool plain) {
  // What a transport gives says nothing about the kernel, except when it has
  // nothing.
  const bool at_end = read.ok() && read.bytes == 0;
  reading_.drained = read.would_block() || (plain && at_end);
  if (read.error == ENOTCONN) return {.error = EAGAIN};
  // All that had come before a write failed has been read.
  const bool over = !plain && read.would_block() && error_ != 0;
  if (read.failed() || over) {
    EndLater();
  } else if (at_end) {
    reading_.ended = true;
    if (error_ != 0) {
      EndLater();
    } else if (!reading_.half_open) {
      Close();
    }
  }
  return read;
}

// Whether a short read has left nothing in the kernel. If that is not certain,
// checks it with HoldDescriptor(); without it the answer is not needed.
inline bool Socket::ShortReadEmptied() {
  if (ShortReadEmpties()) return true;
  if (!Has(kHeld)) return false;
  char byte;
  return PlainRead(fd(), absl::MakeSpan(&byte, 1), MSG_PEEK).would_block();
}

bool Socket::ShortReadEmpties() {
  if (reading_.short_asks) {
    int protocol = 0;
    socklen_t size = sizeof(protocol);
    if (Sys().getsockopt(fd(), SOL_SOCKET, SO_PROTOCOL, &protocol, &size) !=
        0) {
      return false;
    }
    SetShortRead(protocol == IPPROTO_TCP ? ShortRead::kEmpties
                                         : ShortRead::kSaysNothing);
  }
  return reading_.short_empties;
}

IoResult Socket::Peek() {
  char byte;
  return Peek(absl::MakeSpan(&byte, 1));
}

IoResult Socket::PeekRaw() {
  const State* const state = rest_.state();
  const bool below = state != nullptr && state->unread != nullptr &&
                     !state->unread->below.empty();
  return below ? IoResult{.bytes = 1} : Peek();
}

IoResult Socket::Peek(absl::Span<char> out) {
  if (!IsValid()) return {.error = EBADF};
  if (out.empty()) return {.error = EAGAIN};
  const IoResult peek = PeekBelow(out);
  if (peek.ok() && peek.bytes == 0) reading_.ended = true;
  if (peek.bytes > 0) reading_.drained = false;
  return peek;
}

}  // namespace fio
