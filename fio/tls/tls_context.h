// A TlsContext is what many TLS connections have in common: certificates, keys,
// whom to trust, and which versions and protocols to speak. It is built once,
// checked then, and never changes.
//
//   auto certificate = fio::TlsCertificate::FromFiles("cert.pem", "key.pem");
//   if (!certificate.ok()) return fio::ExitWith(certificate.status());
//   auto context = fio::TlsContext::Server({.certificates = {*certificate}});
//   if (!context.ok()) return fio::ExitWith(context.status());
//   auto transport = std::make_unique<fio::TlsTransport>(*context);
//
// Each connection holds a reference, so a context lives as long as its last
// connection. To change a certificate, build a new context and use that for new
// connections.
//
// The defaults are those of today: TLS 1.2 and 1.3, forward secrecy and AEAD
// alone, no compression, no renegotiation, no early data. docs/tls.md says why.
//
// Thread safety: thread-safe. It may be made before fork(2), and used by the
// parent and its children.

#ifndef FIO_TLS_TLS_CONTEXT_H_
#define FIO_TLS_TLS_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fio/tls/tls_options.h"

namespace fio {

namespace tls_internal {
class ContextCore;
}

// What the connections of a context have done, in this process. A context that
// replaces it (TlsSlot) counts from zero.
struct TlsStats {
  uint64_t handshakes = 0;  // That are done.
  uint64_t resumed = 0;     // Of these.
  uint64_t failed = 0;
  // Why, in words, and how often. The 64 reasons that came first; the others
  // are counted as "other".
  std::vector<std::pair<std::string, uint64_t>> failures;
};

class TlsContext {
 public:
  // Errors: kInvalidArgument, with the name of the option and what is wrong.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Server(
      TlsServerOptions options);
  // The same, and those of TlsTrust::System().
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Client(
      TlsClientOptions options = {});

  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ~TlsContext();

  bool is_server() const;
  // Whether TlsServerOptions::choose is set, so that handshakes may wait.
  bool chooses() const;
  // The groups of the key exchange that the library has, of those asked for.
  const std::vector<std::string>& groups() const;
  // As in the options.
  const std::vector<std::string>& alpn() const;
  // The first certificate; null if there is none.
  const TlsCertificate* certificate() const;

  TlsStats stats() const;

  // For fio/tls itself.
  const tls_internal::ContextCore& core() const { return *core_; }

 private:
  explicit TlsContext(std::unique_ptr<tls_internal::ContextCore> core);

  const std::unique_ptr<tls_internal::ContextCore> core_;
};

}  // namespace fio

#endif  // FIO_TLS_TLS_CONTEXT_H_
