#include "fio/core/listen_options.h"

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fio/core/internal/choose_transport.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/proxy_options.h"
#include "fio/sock/url.h"

namespace fio {

using core_internal::ChooseTransport;

absl::Status CheckListenOptions(const ListenOptions& options) {
  if (options.on_open == nullptr) {
    return absl::InvalidArgumentError("on_open is missing");
  }
  if (options.back_off <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("back_off is not positive");
  }
  if (options.handshake_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("handshake_timeout is not positive");
  }
  if (const std::string_view fault = options.limits.Fault(); !fault.empty()) {
    return absl::InvalidArgumentError(fault);
  }
  return options.proxy.has_value() ? options.proxy->Check() : absl::OkStatus();
}

absl::StatusOr<ListenOptions> CompleteListenOptions(const Url& url,
                                                    ListenOptions options) {
  if (url.kind() == Url::Kind::kDatagram) {
    return absl::InvalidArgumentError("datagrams make no connections");
  }
  absl::Status checked = ApplyQuery(url, options.proxy);
  if (checked.ok()) checked = CheckListenOptions(options);
  if (!checked.ok()) return checked;
  absl::StatusOr<TransportFactory> made =
      ChooseTransport(url, TransportRequest::Role::kServer, options.transport,
                      std::exchange(options.secure, nullptr));
  if (!made.ok()) return made.status();
  if (*made != nullptr) {
    options.transport = [make = *std::move(made),
                         url](const TransportRequest& request) {
      TransportRequest of_url = request;
      of_url.url = &url;
      return make(of_url);
    };
  }
  return options;
}

}  // namespace fio
