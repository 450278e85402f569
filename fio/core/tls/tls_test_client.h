// A client with TLS that a test drives by hand, beside a loop in the same
// thread or against another process.

#ifndef FIO_CORE_TLS_TLS_TEST_CLIENT_H_
#define FIO_CORE_TLS_TLS_TEST_CLIENT_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "fio/sock/socket.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/transport.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_info.h"
#include "fio/tls/tls_test_util.h"
#include "fio/tls/tls_transport.h"

namespace fio::tls_testing {

// A server that shows `certificate`, and a client that trusts what is in `pem`.
Context ServerWith(const TlsCertificate& certificate);
Context ClientTrusting(std::string_view pem);

class TestClient {
 public:
  // Connects, and says nothing yet.
  TestClient(const SocketAddress& address, Context context,
             TlsTransportOptions options = {.server_name = "localhost"});

  // One step of the handshake, without waiting.
  Transport::Handshake Shake();
  bool is_done() const { return state_ == Transport::Handshake::kDone; }
  bool is_over() const {
    return is_done() || state_ == Transport::Handshake::kFailed;
  }
  const absl::Status& failure() const { return failure_; }
  // REQUIRES: the socket is open.
  const TlsInfo& info() const { return *TlsInfo::Of(socket_.transport()); }
  Socket& socket() { return socket_; }

  // These wait, for a minute at most. False: the handshake has failed.
  bool ShakeToEnd();
  // Until there are so many, or the stream ends.
  std::string Receive(size_t bytes);
  std::string Ask(std::string_view question, size_t answer_bytes);

  // Without waiting: what there is.
  std::string Take();
  void Send(std::string_view bytes);

 private:
  bool Await(short events);

  Socket socket_;
  Transport::Handshake state_ = Transport::Handshake::kMore;
  absl::Status failure_;
};

}  // namespace fio::tls_testing

#endif  // FIO_CORE_TLS_TLS_TEST_CLIENT_H_
