#include "fio/core/internal/choose_transport.h"

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"

namespace fio::core_internal {

absl::StatusOr<TransportFactory> ChooseTransport(
    const Url& url, TransportRequest::Role role,
    const TransportFactory& transport, const SecureTransport& secure) {
  const std::string_view options = role == TransportRequest::Role::kServer
                                       ? "ListenOptions"
                                       : "ConnectorOptions";
  if (transport != nullptr) {
    const std::string_view key = url.FindAny(Url::Keys::kOfTls);
    if (key.empty()) return transport;
    return absl::InvalidArgumentError(absl::StrCat(
        "'", key, "' is not used, since ", options,
        "::transport is set; leave it out, or set `secure` instead"));
  }
  if (!url.is_secure()) return nullptr;
  if (secure == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "its scheme needs TLS; set ", options, "::secure, or choose tcp"));
  }
  absl::StatusOr<TransportFactory> made = secure(url, role);
  if (made.ok() && *made == nullptr) {
    return absl::InternalError(
        absl::StrCat(options, "::secure has made no transport"));
  }
  return made;
}

}  // namespace fio::core_internal
