// Two sides of a TLS connection in one thread, for tests of this package.

#ifndef FIO_TLS_TLS_TEST_UTIL_H_
#define FIO_TLS_TLS_TEST_UTIL_H_

#include <sys/stat.h>

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
#include "fio/tls/tls_trust.h"

namespace fio::tls_testing {

using Context = std::shared_ptr<const TlsContext>;

// For "localhost", 127.0.0.1 and "*.example.org"; made once.
const TlsCertificate& OurCertificate();
// A new one for `name`.
TlsCertificate CertificateFor(const std::string& name);

// The text of testdata/certificates/NAME.
std::string TestData(std::string_view name);
// Of NAME.pem and NAME.key.pem there.
TlsCertificate TestCertificate(std::string_view name);
// Believes what `certificate` shows.
TlsTrust TrustIn(const TlsCertificate& certificate);

// A file in a folder of this test; returns its path. Without `text` it is not
// there.
std::string TempPath(std::string_view name);
std::string TempFile(std::string_view name, std::string_view text,
                     mode_t mode = S_IRUSR | S_IWUSR);

// With OurCertificate(), unless the options have others.
Context Server(TlsServerOptions options = {});
// Trusts OurCertificate(), unless the options have another trust.
Context Client(TlsClientOptions options = {});

// One end of a connection, driven by hand. Its transport stays until this is
// destroyed.
class Side {
 public:
  Side(Socket socket, Context context, TlsTransportOptions options);

  // As Transport::Shake(); when it is over, what it came to. One that has
  // failed closes.
  Transport::Handshake Shake();

  Socket& socket() { return socket_; }
  TlsTransport& tls() { return *tls_; }
  Transport::Handshake state() const { return state_; }
  bool is_over() const;
  const absl::Status& failure() const { return failure_; }

 private:
  Socket socket_;
  TlsTransport* tls_;
  Transport::Handshake state_ = Transport::Handshake::kMore;
  absl::Status failure_;
};

// A connection whose ends are driven by hand.
class Pair {
 public:
  Pair(Context server, Context client,
       TlsTransportOptions client_options = {.server_name = "localhost"},
       testing::LoopbackPair sockets = testing::LoopbackPair::Tcp(),
       TlsTransportOptions server_options = {});

  // Shakes both until neither can go on. True if both are done.
  bool Shake();
  Transport::Handshake ShakeServer() { return server_.Shake(); }
  Transport::Handshake ShakeClient() { return client_.Shake(); }

  Socket& server() { return server_.socket(); }
  Socket& client() { return client_.socket(); }
  TlsTransport& server_tls() { return server_.tls(); }
  TlsTransport& client_tls() { return client_.tls(); }
  const TlsInfo& server_info() { return *TlsInfo::Of(&server_tls()); }
  const TlsInfo& client_info() { return *TlsInfo::Of(&client_tls()); }
  const absl::Status& server_failure() const { return server_.failure(); }
  const absl::Status& client_failure() const { return client_.failure(); }

  // Writes on one side, and reads until all has come on the other one.
  bool Carries(Socket& from, Socket& to, std::string_view bytes);
  bool CarriesBothWays();

 private:
  Side server_, client_;
};

// Waits until one of them may be read.
void AwaitAny(const Socket& a, const Socket& b);

}  // namespace fio::tls_testing

#endif  // FIO_TLS_TLS_TEST_UTIL_H_
