// Two sides of a TLS connection in one thread, for tests of this package.

#ifndef FIO_TLS_TLS_TEST_UTIL_H_
#define FIO_TLS_TLS_TEST_UTIL_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_transport.h"

namespace fio::tls_testing {

using Context = std::shared_ptr<const TlsContext>;

// For "localhost", 127.0.0.1 and "*.example.org"; made once.
const TlsCertificate& OurCertificate();
// A new one for `name`.
TlsCertificate CertificateFor(const std::string& name);

// With OurCertificate(), unless the options have others.
Context Server(TlsServerOptions options = {});
// Trusts OurCertificate(), unless the options have another trust.
Context Client(TlsClientOptions options = {});

// A connection whose ends are driven by hand.
class Pair {
 public:
  Pair(Context server, Context client,
       TlsTransportOptions client_options = {.server_name = "localhost"},
       testing::LoopbackPair sockets = testing::LoopbackPair::Tcp());

  // Shakes both until neither can go on. True if both are done.
  bool Shake();
  Transport::Handshake ShakeServer();
  Transport::Handshake ShakeClient();

  Socket& server() { return sockets_.near; }
  Socket& client() { return sockets_.far; }
  TlsTransport& server_tls() { return *server_tls_; }
  TlsTransport& client_tls() { return *client_tls_; }
  const TlsInfo& server_info() { return *TlsInfo::Of(server_tls_); }
  const TlsInfo& client_info() { return *TlsInfo::Of(client_tls_); }
  const absl::Status& server_failure() const { return server_failure_; }
  const absl::Status& client_failure() const { return client_failure_; }

  // Writes on one side, and reads until all has come on the other one.
  bool Carries(Socket& from, Socket& to, std::string_view bytes);
  bool CarriesBothWays();

 private:
  testing::LoopbackPair sockets_;
  TlsTransport* server_tls_;
  TlsTransport* client_tls_;
  Transport::Handshake server_state_ = Transport::Handshake::kMore;
  Transport::Handshake client_state_ = Transport::Handshake::kMore;
  absl::Status server_failure_, client_failure_;
};

}  // namespace fio::tls_testing

#endif  // FIO_TLS_TLS_TEST_UTIL_H_
