#include "fio/testing/handshake_transport.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/testing/handshake_side.h"
#include "fio/testing/internal/random.h"

namespace fio::testing {

const char HandshakeTransport::kSide = 0;

HandshakeTransport::Options HandshakeTransport::Options::FromSeed(
    uint64_t seed) {
  testing_internal::Random random(~seed);
  Options options;
  options.script = HandshakeScript::FromSeed(seed);
  options.read_bytes = size_t{1} << random.Below(15);
  options.hold_bytes = size_t{1} << random.Below(15);
  options.says_farewell = random.Below(4) > 0;
  return options;
}

HandshakeTransport::HandshakeTransport(HandshakeSide::Role role,
                                       const Options& options,
                                       std::shared_ptr<Control> control)
    : options_(options),
      control_(control != nullptr ? std::move(control)
                                  : std::make_shared<Control>()),
      side_(role, options.script) {
  ++control_->alive_;
}

HandshakeTransport::~HandshakeTransport() {
  --control_->alive_;
  Called(nullptr, Call::kDestroyed);
}

void HandshakeTransport::Called(Socket* socket, Call call) const {
  if (options_.on_call != nullptr) options_.on_call(socket, call);
}

absl::Status HandshakeTransport::status() const {
  Called(nullptr, Call::kStatus);
  return side_.status();
}

const void* HandshakeTransport::Info(const void* key) const {
  return key == &kSide ? &side_ : nullptr;
}

Transport::Handshake HandshakeTransport::Shake(Socket& socket) {
  Called(&socket, Call::kShake);
  if (control_->resumed_) side_.Resume();
  for (;;) {
    const IoResult sent = SendOutput(socket);
    switch (side_.state()) {
      case HandshakeSide::State::kOpen:
        return Handshake::kDone;  // The rest of the output waits for Flush().
      case HandshakeSide::State::kFailed:
        return Handshake::kFailed;
      case HandshakeSide::State::kSuspended:
        return Handshake::kSuspended;
      case HandshakeSide::State::kShaking:
        break;
    }
    if (!sent.ok() || ReadWire(socket).bytes == 0) return Handshake::kMore;
    if (control_->resumed_) side_.Resume();
  }
}

IoResult HandshakeTransport::ReadWire(Socket& socket) {
  std::string wire(options_.read_bytes, '\0');
  const IoResult read = socket.ReadRaw(absl::MakeSpan(wire));
  side_.Receive(std::string_view(wire).substr(0, read.bytes));
  return read;
}

IoResult HandshakeTransport::Read(Socket& socket, absl::Span<char> out) {
  Called(&socket, Call::kRead);
  IoResult read = {.bytes = 1};
  while (side_.received().empty() && !side_.has_ended() &&
         side_.status().ok() && read.bytes > 0) {
    read = ReadWire(socket);
  }
  const size_t bytes = side_.received().copy(out.data(), out.size());
  side_.Take(bytes);
  control_->pending_ = side_.received().size();
  if (bytes > 0) return {.bytes = bytes};
  if (!side_.status().ok()) return {.error = EPROTO};
  if (side_.has_ended()) return {};
  if (read.ok() && options_.needs_farewell) return {.error = EPROTO};
  return read;
}

IoResult HandshakeTransport::Write(Socket& socket,
                                   absl::Span<const iovec> pieces) {
  Called(&socket, Call::kWrite);
  if (side_.state() != HandshakeSide::State::kOpen) return {.error = EPROTO};
  IoResult sent = SendOutput(socket);
  if (sent.failed()) return sent;
  size_t taken = 0;
  for (const iovec& piece : pieces) {
    std::string_view bytes(static_cast<const char*>(piece.iov_base),
                           piece.iov_len);
    while (!bytes.empty() && side_.output().size() < options_.hold_bytes) {
      const std::string_view part =
          bytes.substr(0, options_.script.record_bytes);
      side_.Send(part);
      taken += part.size();
      bytes.remove_prefix(part.size());
      sent = SendOutput(socket);
      if (sent.failed()) return {.bytes = 0, .error = sent.error};
    }
  }
  if (taken > 0) return {.bytes = taken};
  return {.error = sent.ok() ? EAGAIN : sent.error};
}

IoResult HandshakeTransport::Flush(Socket& socket) {
  Called(&socket, Call::kFlush);
  const IoResult sent = SendOutput(socket);
  return {.bytes = side_.output().size(), .error = sent.error};
}

// Sends what it holds as far as there is room. EAGAIN if something is left.
IoResult HandshakeTransport::SendOutput(Socket& socket) {
  while (!side_.output().empty()) {
    const std::string_view output = side_.output();
    const iovec piece = {.iov_base = const_cast<char*>(output.data()),
                         .iov_len = output.size()};
    const IoResult sent = socket.WriteRaw(absl::MakeConstSpan(&piece, 1));
    side_.Sent(sent.bytes);
    if (!sent.ok()) return {.error = sent.error};
    if (sent.bytes == 0) return {.error = EAGAIN};
  }
  return {};
}

bool HandshakeTransport::BeforeClose(Socket& socket) {
  Called(&socket, Call::kBeforeClose);
  if (!options_.says_farewell || side_.state() != HandshakeSide::State::kOpen) {
    return false;
  }
  side_.SayFarewell();
  return true;
}

}  // namespace fio::testing
