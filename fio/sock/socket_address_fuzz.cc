#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/hash/hash.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/socket_address.h"

namespace {

using fio::SocketAddress;

// Its text and its bytes both give it back.
void CheckRoundTrips(const SocketAddress& address) {
  const std::string text = address.ToString();
  const absl::StatusOr<SocketAddress> parsed = SocketAddress::Parse(text);
  ABSL_CHECK_OK(parsed.status());
  ABSL_CHECK(*parsed == address) << text;
  ABSL_CHECK_EQ(absl::HashOf(*parsed), absl::HashOf(address)) << text;
  const absl::StatusOr<SocketAddress> copy =
      SocketAddress::FromSockaddr(address.data(), address.size());
  ABSL_CHECK_OK(copy.status());
  ABSL_CHECK(*copy == address) << text;
}

}  // namespace

// Any bytes, as text and as what a system call might have given, are refused
// with a message or are an address.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<SocketAddress> parsed = SocketAddress::Parse(text);
  const absl::StatusOr<SocketAddress> copied = SocketAddress::FromSockaddr(
      reinterpret_cast<const sockaddr*>(data), static_cast<socklen_t>(size));
  for (const auto& address : {parsed, copied}) {
    if (address.ok()) {
      CheckRoundTrips(*address);
    } else {
      ABSL_CHECK(absl::IsInvalidArgument(address.status()));
      ABSL_CHECK(!address.status().message().empty());
      ABSL_CHECK_LT(address.status().message().size(), 2'000u);
    }
  }
  if (parsed.ok()) ABSL_CHECK_EQ(parsed->ToString(), text);
  return 0;
}
