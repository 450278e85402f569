#include "fio/sock/proxy_transport.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/socket.h"

namespace fio {
namespace {

constexpr size_t kPieceBytes = 512;

}  // namespace

Transport::Handshake ProxyTransport::Shake(Socket& socket) {
  Handshake state = done_          ? Handshake::kDone
                    : status_.ok() ? Handshake::kMore
                                   : Handshake::kFailed;
  while (state == Handshake::kMore) {
    char piece[kPieceBytes];
    const IoResult read = socket.ReadRaw(absl::MakeSpan(piece));
    if (read.failed()) return Fail(read.status("read a PROXY header"));
    if (!read.ok()) break;
    if (read.bytes == 0) {
      return Fail(absl::UnavailableError(
          "the peer has ended its stream before the end of its PROXY header"));
    }
    state = Take(socket, {piece, read.bytes});
  }
  return state;
}

Transport::Handshake ProxyTransport::Take(Socket& socket,
                                          std::string_view bytes) {
  if (!begun_.empty()) bytes = begun_.append(bytes);
  ProxyHeaderResult result = ParseProxyHeader(bytes, options_);
  switch (result.kind) {
    case ProxyHeaderResult::Kind::kInvalid:
      return Fail(std::move(result.error));
    case ProxyHeaderResult::Kind::kNeedsMore:
      if (begun_.empty()) begun_ = bytes;
      return Handshake::kMore;
    case ProxyHeaderResult::Kind::kHeader:
      break;
  }
  socket.Unread(bytes.substr(result.bytes));
  header_ = std::move(result.header);
  begun_ = std::string();
  done_ = true;
  return Handshake::kDone;
}

Transport::Handshake ProxyTransport::Fail(absl::Status status) {
  begun_ = std::string();
  status_ = std::move(status);
  return Handshake::kFailed;
}

}  // namespace fio
