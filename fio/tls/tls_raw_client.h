// A client made of the library alone, for what fio's own never does: old
// versions, early data, other extensions.

#ifndef FIO_TLS_TLS_RAW_CLIENT_H_
#define FIO_TLS_TLS_RAW_CLIENT_H_

#include <functional>
#include <string>
#include <string_view>

#include "fio/testing/loopback_pair.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_test_util.h"

namespace fio::tls_testing {

class RawClient {
 public:
  using SetUp = std::function<void(SSL_CTX*)>;

  // Over `fd`, which outlives this. Trusts everybody.
  explicit RawClient(int fd, const SetUp& set_up = nullptr,
                     SSL_SESSION* session = nullptr);

  // As far as it goes without waiting. SSL_ERROR_NONE: it is done.
  int Shake();
  int Write(std::string_view bytes);
  // What is there. `error` is how it ended.
  std::string Read(int* error);

  // The first error in the library's queue: 1000 and the number of an alert.
  static int Reason();

  SSL* ssl() { return ssl_.get(); }
  // The newest that the server has given; null if none.
  SSL_SESSION* session() { return session_.get(); }

 private:
  static int Keep(SSL* ssl, SSL_SESSION* session);

  bssl::UniquePtr<SSL_CTX> context_;
  bssl::UniquePtr<SSL_SESSION> session_;
  bssl::UniquePtr<SSL> ssl_;
};

// A server of fio and such a client, on a Unix socket.
class RawPair {
 public:
  explicit RawPair(Context server, const RawClient::SetUp& set_up = nullptr,
                   SSL_SESSION* session = nullptr);

  // Both, until neither can go on. Returns what the client's part came to.
  int Shake();
  // RawClient::Reason() of that.
  int reason() const { return reason_; }

  Side& server() { return server_; }
  RawClient& client() { return client_; }

 private:
  testing::LoopbackPair sockets_;
  Side server_;
  RawClient client_;
  int reason_ = 0;
};

}  // namespace fio::tls_testing

#endif  // FIO_TLS_TLS_RAW_CLIENT_H_
