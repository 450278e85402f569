// What a TlsContext has: the library's contexts, one for each certificate, and
// what is decided for each connection.
//
// Thread safety: const functions are thread-safe.

#ifndef FIO_TLS_INTERNAL_CONTEXT_CORE_H_
#define FIO_TLS_INTERNAL_CONTEXT_CORE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/handshake_counts.h"
#include "fio/tls/internal/server_names.h"
#include "fio/tls/internal/session_cache.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_choice.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_ticket_keys.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"

namespace fio::tls_internal {

// What both kinds of options have.
struct ProtocolOptions {
  template <typename Options>
  explicit ProtocolOptions(const Options& options)
      : min_version(options.min_version),
        max_version(options.max_version),
        ciphers(options.ciphers),
        groups(options.groups),
        alpn(options.alpn),
        key_log(options.key_log),
        max_peer_chain_bytes(options.max_peer_chain_bytes) {}

  TlsVersion min_version, max_version;
  std::string ciphers;
  std::vector<std::string> groups, alpn;
  std::function<void(std::string_view line)> key_log;
  size_t max_peer_chain_bytes;
};

class ContextCore {
 public:
  // See TlsContext.
  static absl::StatusOr<std::unique_ptr<ContextCore>> Server(
      TlsServerOptions options);
  static absl::StatusOr<std::unique_ptr<ContextCore>> Client(
      TlsClientOptions options);

  ContextCore(const ContextCore&) = delete;
  ContextCore& operator=(const ContextCore&) = delete;

  // That of a connection, or of a certificate.
  static const ContextCore& Of(const SSL_CTX* library);

  bool is_server() const { return server_.has_value(); }
  const ProtocolOptions& protocol() const { return protocol_; }
  // REQUIRES: is_server().
  const TlsServerOptions& server() const { return *server_; }
  // REQUIRES: !is_server().
  const TlsClientOptions& client() const { return *client_; }
  const std::vector<std::string>& groups() const { return groups_; }
  // Null if insecure, or if clients are not asked for a certificate.
  const TrustStore* trust() const;
  TlsTicketKeys* ticket_keys() const { return ticket_keys_.get(); }

  // For new connections.
  SSL_CTX* library() const { return contexts_.front().get(); }

  // The context with the certificate for a client. Null: it is refused.
  SSL_CTX* Choose(const TlsClientHello& hello) const;

  SessionCache& sessions() const { return sessions_; }
  HandshakeCounts& counts() const { return counts_; }

 private:
  explicit ContextCore(TlsServerOptions options);
  explicit ContextCore(TlsClientOptions options);

  absl::Status SetUpServer();
  absl::Status SetUpClient();
  absl::Status AddContext(const TlsCertificate* certificate);
  absl::Status SetProtocol(SSL_CTX* library);
  absl::Status SetGroups(SSL_CTX* library);

  const ProtocolOptions protocol_;
  const std::optional<TlsServerOptions> server_;
  const std::optional<TlsClientOptions> client_;
  std::optional<TlsTrust> trust_;
  std::shared_ptr<TlsTicketKeys> ticket_keys_;
  std::vector<std::string> groups_;
  std::vector<bssl::UniquePtr<SSL_CTX>> contexts_;  // As the certificates.
  ServerNames names_;
  std::vector<size_t> first_;  // Those for a client that asks for no name.
  mutable SessionCache sessions_;
  mutable HandshakeCounts counts_;
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_CONTEXT_CORE_H_
