#include "fio/core/tls/reload_tls.h"

#include <memory>
#include <utility>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/reactor.h"
#include "fio/core/tls/internal/context_of_url.h"
#include "fio/core/tls/tls_factory.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/url.h"
#include "fio/tls/tls_ticket_keys.h"

namespace fio {

void ReloadTls(Reactor& reactor, std::shared_ptr<TlsSlot> slot) {
  reactor.lifecycle().Add(LifecycleEvent::kOnReload, [slot = std::move(slot)] {
    const absl::Status reloaded = slot->Reload();
    ABSL_LOG_IF(ERROR, !reloaded.ok())
        << "the certificate stays as it is: " << reloaded;
  });
}

SecureTransport ReloadedTls(Reactor& reactor) {
  return [&reactor](
             const Url& url,
             TransportRequest::Role role) -> absl::StatusOr<TransportFactory> {
    // Made once, and before the workers are forked: keys that each of them made
    // at a reload would be good there alone.
    absl::StatusOr<std::shared_ptr<TlsTicketKeys>> keys =
        TlsTicketKeys::Create();
    if (!keys.ok()) return keys.status();
    absl::StatusOr<std::shared_ptr<TlsSlot>> slot =
        TlsSlot::Create([url, role, keys = *std::move(keys)] {
          return core_internal::ContextOfUrl(url, role, keys);
        });
    if (!slot.ok()) return slot.status();
    ReloadTls(reactor, *slot);
    return TlsFactory(*std::move(slot));
  };
}

}  // namespace fio
