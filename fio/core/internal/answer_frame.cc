#include "fio/core/internal/answer_frame.h"

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"

namespace fio::core_internal {
namespace {

using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

// A frame is the code of the status in one byte; then the text of an error, or
// addresses, each as its size in one byte and so many bytes of sockaddr.
constexpr auto kLastCode =
    static_cast<uint8_t>(absl::StatusCode::kUnauthenticated);

std::optional<Addresses> DecodeAddresses(std::string_view bytes) {
  std::vector<SocketAddress> addresses;
  while (!bytes.empty()) {
    const size_t size = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    sockaddr_storage storage = {};
    if (size > bytes.size() || size > sizeof(storage)) return std::nullopt;
    std::memcpy(&storage, bytes.data(), size);
    bytes.remove_prefix(size);
    const absl::StatusOr<SocketAddress> address =
        SocketAddress::FromSockaddr(reinterpret_cast<const sockaddr*>(&storage),
                                    static_cast<socklen_t>(size));
    if (!address.ok()) return std::nullopt;
    addresses.push_back(*address);
  }
  return addresses;
}

}  // namespace

std::string EncodeAnswer(const Addresses& answer) {
  std::string frame(1, static_cast<char>(answer.status().code()));
  if (!answer.ok()) {
    frame += answer.status().message().substr(0, kMaxAnswerFrame - 1);
    return frame;
  }
  for (const SocketAddress& address : *answer) {
    if (frame.size() + 1 + address.size() > kMaxAnswerFrame) break;
    frame += static_cast<char>(address.size());
    frame.append(reinterpret_cast<const char*>(address.data()), address.size());
  }
  return frame;
}

std::optional<Addresses> DecodeAnswer(std::string_view frame) {
  if (frame.empty() || frame.size() > kMaxAnswerFrame) return std::nullopt;
  const auto code = static_cast<uint8_t>(frame.front());
  frame.remove_prefix(1);
  if (code == 0) return DecodeAddresses(frame);
  if (code > kLastCode) return std::nullopt;
  return absl::Status(static_cast<absl::StatusCode>(code), frame);
}

}  // namespace fio::core_internal
