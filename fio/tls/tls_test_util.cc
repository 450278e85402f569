#include "fio/tls/tls_test_util.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "fio/base/unique_fd.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/internal/secret_file.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"
#include "gtest/gtest.h"

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
  socket.HoldDescriptor(true);
  return set;
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

std::string TestData(std::string_view name) {
  auto text = tls_internal::ReadFile(
      absl::StrCat("fio/tls/testdata/certificates/", name),
      tls_internal::Readers::kAnybody);
  ABSL_CHECK_OK(text);
  return *std::move(text);
}

TlsCertificate TestCertificate(std::string_view name) {
  auto certificate =
      TlsCertificate::FromPem(TestData(absl::StrCat(name, ".pem")),
                              TestData(absl::StrCat(name, ".key.pem")));
  ABSL_CHECK_OK(certificate);
  return *std::move(certificate);
}

TlsTrust TrustIn(const TlsCertificate& certificate) {
  auto trust = TlsTrust::FromPem(certificate.chain_pem());
  ABSL_CHECK_OK(trust);
  return *std::move(trust);
}

std::string TempPath(std::string_view name) {
  const char* const folder = std::getenv("TEST_TMPDIR");
  const auto* const test =
      ::testing::UnitTest::GetInstance()->current_test_info();
  std::string path = absl::StrCat(folder == nullptr ? "/tmp" : folder, "/",
                                  test->name(), "-", getpid(), "-", name);
  unlink(path.c_str());
  return path;
}

std::string TempFile(std::string_view name, std::string_view text,
                     mode_t mode) {
  std::string path = TempPath(name);
  const UniqueFd fd = UniqueFd::Created(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  ABSL_CHECK(fd) << path;
  ABSL_CHECK_EQ(write(fd.get(), text.data(), text.size()),
                static_cast<ssize_t>(text.size()));
  ABSL_CHECK_EQ(fchmod(fd.get(), mode), 0);
  return path;
}

// Loopback delivers at once, but not within the call.
void AwaitAny(const Socket& a, const Socket& b) {
  pollfd both[] = {{.fd = a.fd(), .events = POLLIN, .revents = 0},
                   {.fd = b.fd(), .events = POLLIN, .revents = 0}};
  poll(both, 2, -1);
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
    options.trust = TrustIn(OurCertificate());
  }
  auto context = TlsContext::Client(std::move(options));
  ABSL_CHECK_OK(context);
  return *std::move(context);
}

Side::Side(Socket socket, Context context, TlsTransportOptions options)
    : socket_(std::move(socket)),
      tls_(SetTls(socket_, std::move(context), std::move(options))) {
  socket_.AllowHalfOpen();
}

bool Side::is_over() const {
  return state_ == Handshake::kDone || state_ == Handshake::kFailed;
}

Handshake Side::Shake() {
  if (is_over()) return state_;
  state_ = socket_.Shake(&failure_);
  if (is_over()) socket_.SetShaking(false);
  if (state_ == Handshake::kFailed) {
    socket_.CloseFailed();
    static_cast<void>(socket_.Flush());
  }
  return state_;
}

Pair::Pair(Context server, Context client, TlsTransportOptions client_options,
           testing::LoopbackPair sockets, TlsTransportOptions server_options)
    : server_(std::move(sockets.near), std::move(server),
              std::move(server_options)),
      client_(std::move(sockets.far), std::move(client),
              std::move(client_options)) {}

bool Pair::Shake() {
  for (;;) {
    client_.Shake();
    server_.Shake();
    if (server_.state() == Handshake::kSuspended) return false;
    if (client_.is_over() && server_.is_over()) {
      return client_.state() == Handshake::kDone &&
             server_.state() == Handshake::kDone;
    }
    AwaitAny(client_.socket(), server_.socket());
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
