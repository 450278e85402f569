#include "fio/tls/tls_context.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/tls/internal/context_core.h"
#include "fio/tls/internal/handshake_counts.h"
#include "fio/tls/tls_options.h"

namespace fio {

using tls_internal::ContextCore;
using tls_internal::HandshakeCounts;

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Server(
    TlsServerOptions options) {
  absl::StatusOr<std::unique_ptr<ContextCore>> core =
      ContextCore::Server(std::move(options));
  if (!core.ok()) return core.status();
  return std::shared_ptr<const TlsContext>(new TlsContext(*std::move(core)));
}

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Client(
    TlsClientOptions options) {
  absl::StatusOr<std::unique_ptr<ContextCore>> core =
      ContextCore::Client(std::move(options));
  if (!core.ok()) return core.status();
  return std::shared_ptr<const TlsContext>(new TlsContext(*std::move(core)));
}

TlsContext::TlsContext(std::unique_ptr<ContextCore> core)
    : core_(std::move(core)) {}

TlsContext::~TlsContext() = default;

bool TlsContext::is_server() const { return core_->is_server(); }

bool TlsContext::chooses() const {
  return core_->is_server() && core_->server().choose != nullptr;
}

const std::vector<std::string>& TlsContext::groups() const {
  return core_->groups();
}

const std::vector<std::string>& TlsContext::alpn() const {
  return core_->protocol().alpn;
}

const TlsCertificate* TlsContext::certificate() const {
  if (!core_->is_server()) {
    const auto& own = core_->client().certificate;
    return own.has_value() ? &*own : nullptr;
  }
  const std::vector<TlsCertificate>& all = core_->server().certificates;
  return all.empty() ? nullptr : &all.front();
}

TlsStats TlsContext::stats() const {
  HandshakeCounts::Values values = core_->counts().values();
  return {.handshakes = values.done,
          .resumed = values.resumed,
          .failed = values.failed,
          .failures = {values.failures.begin(), values.failures.end()}};
}

}  // namespace fio
