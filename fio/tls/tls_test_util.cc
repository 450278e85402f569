#include "fio/tls/tls_test_util.h"

#include <poll.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"

namespace fio::tls_testing {
namespace {

using Handshake = Transport::Handshake;

TlsTransport* SetTls(Socket& socket, Context context,
                     TlsTransportOptions options) {
  auto transport =
      std::make_unique<TlsTransport>(std::move(context), std::move(options));
  TlsTransport* const set = transport.get();
  ABSL_CHECK_OK(socket.SetTransport(std::move(transport)));
  socket.SetShaking(true);
  socket.HoldDescriptor(true);  // The transport stays until the test ends.
  return set;
}

Handshake ShakeOne(Socket& socket, Handshake state, absl::Status* failure) {
  if (state == Handshake::kDone || state == Handshake::kFailed) return state;
  state = socket.Shake(failure);
  if (state == Handshake::kDone) socket.SetShaking(false);
  if (state == Handshake::kFailed) {
    socket.SetShaking(false);
    socket.CloseFailed();
    static_cast<void>(socket.Flush());
  }
  return state;
}

// Loopback delivers at once, but not within the call.
void AwaitAny(const Socket& a, const Socket& b) {
  pollfd both[] = {{.fd = a.fd(), .events = POLLIN, .revents = 0},
                   {.fd = b.fd(), .events = POLLIN, .revents = 0}};
  poll(both, 2, -1);
}

bool IsOver(Handshake state) {
  return state == Handshake::kDone || state == Handshake::kFailed;
}

}  // namespace

const TlsCertificate& OurCertificate() {
  static const TlsCertificate* const certificate = [] {
    auto made =
        TlsCertificate::SelfSigned({"localhost", "127.0.0.1", "*.example.org"});
    ABSL_CHECK_OK(made);
    return new TlsCertificate(*std::move(made));
  }();
  return *certificate;
}

TlsCertificate CertificateFor(const std::string& name) {
  auto made = TlsCertificate::SelfSigned({name});
  ABSL_CHECK_OK(made);
  return *std::move(made);
}

Context Server(TlsServerOptions options) {
  if (options.certificates.empty() && options.choose == nullptr) {
    options.certificates = {OurCertificate()};
  }
  auto context = TlsContext::Server(std::move(options));
  ABSL_CHECK_OK(context);
  return *std::move(context);
}

Context Client(TlsClientOptions options) {
  if (!options.trust.has_value()) {
    options.trust = *TlsTrust::FromPem(OurCertificate().chain_pem());
  }
  auto context = TlsContext::Client(std::move(options));
  ABSL_CHECK_OK(context);
  return *std::move(context);
}

Pair::Pair(Context server, Context client, TlsTransportOptions client_options,
           testing::LoopbackPair sockets)
    : sockets_(std::move(sockets)),
      server_tls_(SetTls(sockets_.near, std::move(server), {})),
      client_tls_(
          SetTls(sockets_.far, std::move(client), std::move(client_options))) {
  sockets_.near.AllowHalfOpen();
}

Handshake Pair::ShakeServer() {
  return server_state_ =
             ShakeOne(sockets_.near, server_state_, &server_failure_);
}

Handshake Pair::ShakeClient() {
  return client_state_ =
             ShakeOne(sockets_.far, client_state_, &client_failure_);
}

bool Pair::Shake() {
  for (;;) {
    ShakeClient();
    ShakeServer();
    if (server_state_ == Handshake::kSuspended) return false;
    if (IsOver(client_state_) && IsOver(server_state_)) {
      return client_state_ == Handshake::kDone &&
             server_state_ == Handshake::kDone;
    }
    AwaitAny(sockets_.near, sockets_.far);
  }
}

bool Pair::Carries(Socket& from, Socket& to, std::string_view bytes) {
  if (!from.Write(bytes).ok()) return false;
  std::string carried;
  while (carried.size() < bytes.size()) {
    const IoResult flushed = from.Flush();
    if (flushed.failed()) return false;
    char piece[4096];
    const IoResult read = to.Read(absl::MakeSpan(piece));
    if (read.failed() || (read.ok() && read.bytes == 0)) return false;
    carried.append(piece, read.bytes);
    if (read.bytes == 0) AwaitAny(to, to);
  }
  return carried == bytes;
}

bool Pair::CarriesBothWays() {
  return Carries(client(), server(), "a question") &&
         Carries(server(), client(), "an answer");
}

}  // namespace fio::tls_testing
