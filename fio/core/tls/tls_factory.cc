#include "fio/core/tls/tls_factory.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/loop.h"
#include "fio/core/tls/internal/context_of_url.h"
#include "fio/core/tls/tls_slot.h"
#include "fio/core/transport_factory.h"
#include "fio/sock/transport.h"
#include "fio/sock/url.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_ticket_keys.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"

namespace fio {

using Role = TransportRequest::Role;

namespace {

std::unique_ptr<Transport> MakeTransport(
    std::shared_ptr<const TlsContext> context,
    const TransportRequest& request) {
  const bool serves = request.role == Role::kServer;
  if (context == nullptr || context->is_server() != serves) return nullptr;
  TlsTransportOptions options;
  if (!serves && request.url != nullptr) {
    options.server_name = request.url->host();
    options.session_key =
        absl::StrCat(options.server_name, " ", request.peer_address);
  }
  if (context->chooses()) {
    options.resume = [loop = request.loop.handle(), id = request.connection] {
      loop.ResumeHandshake(id);
    };
  }
  return std::make_unique<TlsTransport>(std::move(context), std::move(options));
}

std::string Get(const Url& url, std::string_view key) {
  return std::string(url.Find(key).value_or(""));
}

std::vector<std::string> GetList(const Url& url, std::string_view key) {
  const std::string list = Get(url, key);
  if (list.empty()) return {};
  return absl::StrSplit(list, ',');
}

// `error`, which names a file or a value, with the keys of the url that it is
// of.
absl::Status OfKey(std::string_view key, const absl::Status& error) {
  return absl::Status(error.code(), absl::StrCat(key, ": ", error.message()));
}

absl::StatusOr<std::optional<TlsCertificate>> CertificateOf(const Url& url) {
  const std::string file = Get(url, "cert");
  if (file.empty()) {
    if (Get(url, "key").empty()) return std::optional<TlsCertificate>();
    return absl::InvalidArgumentError("the url has a key without a cert");
  }
  const std::string key = Get(url, "key");
  absl::StatusOr<TlsCertificate> read =
      TlsCertificate::FromFiles(file, key.empty() ? file : key);
  if (read.ok()) return *std::move(read);
  return OfKey(key.empty() ? "cert, without a key=FILE" : "cert and key",
               read.status());
}

absl::StatusOr<TlsCertificate> ServerCertificateOf(const Url& url) {
  absl::StatusOr<std::optional<TlsCertificate>> given = CertificateOf(url);
  if (!given.ok()) return given.status();
  const std::vector<std::string> names = GetList(url, "self_signed");
  if (given->has_value() != names.empty()) {
    return absl::InvalidArgumentError(
        given->has_value()
            ? "the url has both cert and self_signed"
            : "the url names no certificate: cert=FILE or self_signed=NAME");
  }
  if (given->has_value()) return **std::move(given);
  absl::StatusOr<TlsCertificate> made = TlsCertificate::SelfSigned(names);
  if (made.ok()) return made;
  return OfKey("self_signed", made.status());
}

absl::StatusOr<std::optional<TlsTrust>> TrustOf(const Url& url) {
  const std::string file = Get(url, "ca");
  if (file.empty()) return std::optional<TlsTrust>();
  absl::StatusOr<TlsTrust> read = TlsTrust::FromFile(file);
  if (read.ok()) return *std::move(read);
  return OfKey("ca", read.status());
}

absl::StatusOr<std::shared_ptr<const TlsContext>> ServerOf(
    const Url& url, std::shared_ptr<TlsTicketKeys> ticket_keys) {
  if (url.Find("server_name").has_value()) {
    return absl::InvalidArgumentError(
        "server_name is for who connects; a server has its certificate's");
  }
  absl::StatusOr<TlsCertificate> certificate = ServerCertificateOf(url);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<std::optional<TlsTrust>> trust = TrustOf(url);
  if (!trust.ok()) return trust.status();
  TlsServerOptions options;
  options.alpn = GetList(url, "alpn");
  options.certificates = {*std::move(certificate)};
  options.trust = *std::move(trust);
  options.ticket_keys = std::move(ticket_keys);
  if (options.trust.has_value()) {
    options.client_certificates = TlsClientCertificates::kRequired;
  }
  return TlsContext::Server(std::move(options));
}

absl::StatusOr<std::shared_ptr<const TlsContext>> ClientOf(const Url& url) {
  absl::StatusOr<std::optional<TlsCertificate>> certificate =
      CertificateOf(url);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<std::optional<TlsTrust>> trust = TrustOf(url);
  if (!trust.ok()) return trust.status();
  TlsClientOptions options;
  options.alpn = GetList(url, "alpn");
  options.certificate = *std::move(certificate);
  options.trust = *std::move(trust);
  options.server_name = Get(url, "server_name");
  return TlsContext::Client(std::move(options));
}

}  // namespace

TransportFactory TlsFactory(std::shared_ptr<const TlsContext> context) {
  return [context = std::move(context)](const TransportRequest& request) {
    return MakeTransport(context, request);
  };
}

TransportFactory TlsFactory(std::shared_ptr<const TlsSlot> slot) {
  return [slot = std::move(slot)](const TransportRequest& request) {
    return MakeTransport(slot->current(), request);
  };
}

absl::StatusOr<TransportFactory> TlsOfUrl(const Url& url, Role role) {
  absl::StatusOr<std::shared_ptr<const TlsContext>> context =
      TlsContextOfUrl(url, role);
  if (!context.ok()) return context.status();
  return TlsFactory(*std::move(context));
}

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContextOfUrl(
    const Url& url, Role role) {
  return core_internal::ContextOfUrl(url, role, nullptr);
}

absl::StatusOr<std::shared_ptr<const TlsContext>> core_internal::ContextOfUrl(
    const Url& url, Role role, std::shared_ptr<TlsTicketKeys> ticket_keys) {
  return role == Role::kServer ? ServerOf(url, std::move(ticket_keys))
                               : ClientOf(url);
}

std::function<void(Connection&)> OpenByAlpn(
    std::vector<AlpnProtocol> protocols) {
  ABSL_CHECK(!protocols.empty()) << "OpenByAlpn: no protocol";
  return [protocols = std::move(protocols)](Connection& connection) {
    const TlsInfo* const tls = TlsInfo::Of(connection.transport());
    const std::string_view agreed = tls == nullptr ? "" : tls->alpn();
    const auto found = std::find_if(
        protocols.begin(), protocols.end(),
        [agreed](const AlpnProtocol& one) { return one.name == agreed; });
    if (agreed.empty()) {
      protocols.front().on_open(connection);
    } else if (found != protocols.end()) {
      found->on_open(connection);
    } else {
      connection.Abort();
    }
  };
}

}  // namespace fio
