#include "fio/core/tls/tls_test_client.h"

#include <poll.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/types/span.h"
#include "fio/sock/connect.h"
#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"
#include "fio/tls/tls_trust.h"
#include "gtest/gtest.h"

namespace fio::tls_testing {

using Handshake = Transport::Handshake;

Context ServerWith(const TlsCertificate& certificate) {
  TlsServerOptions options;
  options.certificates = {certificate};
  return Server(std::move(options));
}

Context ClientTrusting(std::string_view pem) {
  TlsClientOptions options;
  options.trust = *TlsTrust::FromPem(pem);
  return Client(std::move(options));
}

TestClient::TestClient(const SocketAddress& address, Context context,
                       TlsTransportOptions options) {
  auto connected = StartConnect(address);
  ABSL_CHECK_OK(connected);
  socket_ = *std::move(connected);
  Await(POLLOUT);
  const IoResult finished = socket_.FinishConnect();
  EXPECT_TRUE(finished.ok()) << "connect: errno " << finished.error;
  if (!socket_.is_open()) {
    state_ = Handshake::kFailed;
    failure_ = absl::UnavailableError("not connected");
    return;
  }
  ABSL_CHECK_OK(socket_.SetTransport(
      std::make_unique<TlsTransport>(std::move(context), std::move(options))));
  socket_.SetShaking(true);
}

Handshake TestClient::Shake() {
  if (is_over()) return state_;
  state_ = socket_.Shake(&failure_);
  if (is_over()) socket_.SetShaking(false);
  if (state_ == Handshake::kFailed) {
    socket_.CloseFailed();
    static_cast<void>(socket_.Flush());
  }
  return state_;
}

bool TestClient::Await(short events) {
  pollfd one = {.fd = socket_.fd(), .events = events, .revents = 0};
  if (socket_.fd() < 0) return false;
  const bool ready = poll(&one, 1, 60'000) == 1;
  EXPECT_TRUE(ready) << "nothing has come for a minute";
  return ready;
}

bool TestClient::ShakeToEnd() {
  while (Shake(), !is_over()) {
    if (!Await(POLLIN)) return false;
  }
  return is_done();
}

std::string TestClient::Receive(size_t bytes) {
  std::string received;
  char piece[4096];
  while (received.size() < bytes && socket_.fd() >= 0) {
    const IoResult read = socket_.Read(absl::MakeSpan(piece));
    if (read.would_block()) {
      static_cast<void>(socket_.Flush());
      if (!Await(POLLIN)) break;
      continue;
    }
    if (read.bytes == 0) break;
    received.append(piece, read.bytes);
  }
  return received;
}

std::string TestClient::Ask(std::string_view question, size_t answer_bytes) {
  Send(question);
  return Receive(answer_bytes);
}

std::string TestClient::Take() { return testing::ReadAvailable(socket_); }

void TestClient::Send(std::string_view bytes) {
  static_cast<void>(socket_.Write(bytes));
  static_cast<void>(socket_.Flush());
}

}  // namespace fio::tls_testing
