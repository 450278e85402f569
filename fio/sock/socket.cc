#include "fio/sock/socket.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/errno_status.h"
#include "fio/base/syscalls.h"
#include "fio/sock/environment.h"
#include "fio/sock/internal/fd_address.h"
#include "fio/sock/internal/socket_state.h"
#include "fio/sock/internal/tcp_past.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/socket_driver.h"
#include "fio/sock/transport.h"

namespace fio {

using sock_internal::TcpPast;

void Socket::DeleteState::operator()(State* state) const { delete state; }

Socket::Socket(Socket&& other) noexcept
    : fd_(std::move(other.fd_)),
      reading_(other.reading_),
      ending_(other.ending_),
      flags_(other.flags_),
      error_(other.error_),
      rest_(std::move(other.rest_)) {
  other.reading_ = {};
  other.ending_ = {};
  other.flags_ = 0;
  other.error_ = 0;
  ABSL_DCHECK(!Has(kBusy)) << "a Socket was moved by its own callback";
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this == &other) return *this;
  if (!IsEmpty()) End();
  fd_ = std::move(other.fd_);
  reading_ = other.reading_;
  ending_ = other.ending_;
  flags_ = other.flags_;
  error_ = other.error_;
  other.reading_ = {};
  other.ending_ = {};
  other.flags_ = 0;
  other.error_ = 0;
  rest_ = std::move(other.rest_);
  return *this;
}

Socket::State& Socket::state() {
  if (State* const state = rest_.state()) return *state;
  auto* const state = new State;
  if (rest_.copied() != nullptr) {
    state->queue.Adopt(rest_.TakeCopied());
  } else if (rest_.has_bytes()) {
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
      !state->environment && !state->watermarks && state->retired == nullptr &&
      state->driver == nullptr && state->unread == nullptr &&
      state->data == nullptr && !state->shaking && state->counted_memory == 0) {
    rest_ = {};
  }
}

void Socket::AfterCallbacks(Ending before) {
  State* const state = rest_.state();
  if (state != nullptr && state->retired != nullptr) {
    std::exchange(state->retired, nullptr).reset();
  }
  DropQueueIfDue();
  if (ending_.over) {
    EndLater();
  } else if (((ending_.closing && !before.closing) ||
              (ending_.write_shut && !before.write_shut)) &&
             !Has(kHeld)) {
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
  if (const SocketDriver* const driver = this->driver()) {
    return driver->following().error;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  return Sys().getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0
             ? error
             : errno;
}

// --- Data of the owner ---

void Socket::SetData(std::unique_ptr<SocketData> data) {
  state().data = std::move(data);
}

SocketData* Socket::DataInState() const { return rest_.state()->data.get(); }

std::unique_ptr<SocketData> Socket::TakeData() {
  State* const state = rest_.state();
  return state == nullptr ? nullptr : std::move(state->data);
}

int64_t Socket::CountMemoryOfState() {
  State* const state = is_short() ? &this->state() : rest_.state();
  if (state == nullptr) return 0;  // A block that others share costs nothing.
  const uint64_t now = MemoryInState();
  const uint64_t before = std::exchange(state->counted_memory, now);
  if (now == 0 && !Has(kBusy)) ReleaseIdleState();
  return static_cast<int64_t>(now - before);
}

uint64_t Socket::MemoryInState() const {
  const State& state = *rest_.state();
  uint64_t bytes = PendingInState().memory_bytes;
  if (state.unread != nullptr) bytes += state.unread->size();
  if (state.transport != nullptr) bytes += state.transport->held_bytes().unread;
  return bytes;
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
    auto& retired = state().retired;
    if (retired == nullptr) {
      retired = std::make_unique<std::vector<std::unique_ptr<Transport>>>();
    }
    retired->push_back(std::move(replaced));
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

IoResult Socket::WriteRaw(absl::Span<const iovec> pieces) {
  if (!IsValid()) return {.error = EBADF};
  const IoResult written = WriteBelow(pieces, 0);
  State* const state = rest_.state();
  if (state != nullptr) state->raw.NoteWrite(written);
  return written;
}

bool Socket::raw_has_read() const {
  return rest_.state() != nullptr && rest_.state()->raw.read;
}

bool Socket::raw_is_empty() const {
  return rest_.state() != nullptr && rest_.state()->raw.empty;
}

bool Socket::raw_is_full() const {
  return rest_.state() != nullptr && rest_.state()->raw.full;
}

bool Socket::raw_had_no_memory() const {
  return rest_.state() != nullptr && rest_.state()->raw.starved;
}

bool Socket::raw_has_ended() const {
  return rest_.state() != nullptr && rest_.state()->raw.ended;
}

int Socket::raw_error() const {
  return rest_.state() == nullptr ? 0 : rest_.state()->raw.error;
}

bool Socket::TakeRawMoved() {
  State* const state = rest_.state();
  const bool moved = state != nullptr && state->raw.moved;
  if (moved) state->raw.moved = false;
  return moved;
}

void Socket::SetShaking(bool shaking) {
  if (shaking != IsShaking()) state().shaking = shaking;
}

void Socket::CloseFailed() {
  if (!IsValid()) return;
  if (Has(kBusy)) {
    state().drops_queue = true;
  } else {
    DropQueue();
  }
  Set(kHeldBack);
  ending_.farewell_said = true;
  ending_.lingers = true;
  Close();
}

Transport::Handshake Socket::Shake(absl::Status* failure) {
  State::Raw& raw = state().raw;
  raw = {.ended = raw.ended, .error = raw.error};
  const Busy busy(*this);
  if (SocketDriver* const driver = this->driver()) {
    static_cast<void>(CountLeft(*driver));  // So that the rest leaves.
  }
  Transport* const shaken = transport();
  const Transport::Handshake result = shaken->Shake(*this);
  if (result == Transport::Handshake::kFailed && failure != nullptr &&
      shaken == transport()) {
    *failure = shaken->status();
  }
  // Its last words may have met a full kernel.
  if (result == Transport::Handshake::kDone) Set(kHeldBack);
  return result;
}

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
