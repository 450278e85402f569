#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/proxy_header.h"
#include "fio/sock/proxy_transport.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"

namespace {

using fio::ProxyHeaderResult;
using fio::ProxyTransport;
using Handshake = fio::Transport::Handshake;
using Kind = fio::ProxyHeaderResult::Kind;

// A socket takes no more without its peer reading: bytes, and pieces of them.
constexpr size_t kMostBytes = 16 << 10;
constexpr size_t kMostPieces = 100;

Handshake Expected(Kind kind) {
  switch (kind) {
    case Kind::kNeedsMore:
      return Handshake::kMore;
    case Kind::kHeader:
      return Handshake::kDone;
    case Kind::kInvalid:
      break;
  }
  return Handshake::kFailed;
}

std::string ReadRest(fio::Socket& socket) {
  std::string rest;
  char bytes[1000];
  for (;;) {
    const fio::IoResult read = socket.Read(absl::MakeSpan(bytes));
    if (read.bytes == 0) return rest;
    rest.append(bytes, read.bytes);
  }
}

}  // namespace

// The first byte chooses the options and whether the transport is then removed,
// the second how large the pieces are in which the rest arrives.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 2),
                               std::min(size - 2, kMostBytes));
  fio::ProxyHeaderOptions options;
  options.versions =
      static_cast<fio::ProxyHeaderOptions::Versions>(1 + (data[0] & 3) % 3);
  constexpr size_t kLimits[] = {536, 16, 60, 300};
  options.max_v2_bytes = kLimits[(data[0] >> 2) & 3];
  const bool removes = (data[0] & 16) != 0;
  const size_t step =
      data[1] == 0 ? bytes.size() + 1
                   : std::max<size_t>(data[1], bytes.size() / kMostPieces + 1);

  fio::testing::LoopbackPair pair = fio::testing::LoopbackPair::Unix();
  auto transport = std::make_unique<ProxyTransport>(options);
  const ProxyTransport& proxy = *transport;
  ABSL_CHECK_OK(pair.near.SetTransport(std::move(transport)));
  Handshake state = Handshake::kMore;
  for (size_t begin = 0; begin < bytes.size(); begin += step) {
    const std::string_view piece = bytes.substr(begin, step);
    ABSL_CHECK_EQ(pair.far.TryWrite(piece).bytes, piece.size());
    if (state != Handshake::kMore) continue;
    state = pair.near.Shake();
    // What has arrived decides, however it was cut.
    const ProxyHeaderResult so_far =
        fio::ParseProxyHeader(bytes.substr(0, begin + step), options);
    ABSL_CHECK(state == Expected(so_far.kind));
  }
  const ProxyHeaderResult whole = fio::ParseProxyHeader(bytes, options);
  ABSL_CHECK(state == Expected(whole.kind));
  ABSL_CHECK(proxy.header() == whole.header);
  ABSL_CHECK_EQ(proxy.status(), whole.error);
  if (state != Handshake::kDone) return 0;
  if (removes) ABSL_CHECK_OK(pair.near.SetTransport(nullptr));
  ABSL_CHECK_EQ(ReadRest(pair.near), bytes.substr(whole.bytes));
  return 0;
}
