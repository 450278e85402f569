#include "fio/tls/tls_raw_client.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "fio/testing/loopback_pair.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_test_util.h"

namespace fio::tls_testing {

RawClient::RawClient(int fd, const SetUp& set_up, SSL_SESSION* session)
    : context_(SSL_CTX_new(TLS_method())) {
  SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(context_.get(), Keep);
  if (set_up) set_up(context_.get());
  ssl_.reset(SSL_new(context_.get()));
  SSL_set_app_data(ssl_.get(), this);
  ABSL_CHECK_EQ(SSL_set_fd(ssl_.get(), fd), 1);
  if (session != nullptr) SSL_set_session(ssl_.get(), session);
  SSL_set_connect_state(ssl_.get());
}

int RawClient::Shake() {
  ERR_clear_error();
  return SSL_get_error(ssl_.get(), SSL_do_handshake(ssl_.get()));
}

int RawClient::Write(std::string_view bytes) {
  ERR_clear_error();
  return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
}

std::string RawClient::Read(int* error) {
  std::string all;
  char piece[4096];
  ERR_clear_error();
  for (;;) {
    const int bytes = SSL_read(ssl_.get(), piece, sizeof(piece));
    if (bytes <= 0) {
      *error = SSL_get_error(ssl_.get(), bytes);
      return all;
    }
    all.append(piece, static_cast<size_t>(bytes));
  }
}

int RawClient::Reason() { return ERR_GET_REASON(ERR_peek_error()); }

int RawClient::Keep(SSL* ssl, SSL_SESSION* session) {
  static_cast<RawClient*>(SSL_get_app_data(ssl))->session_.reset(session);
  return 1;
}

RawPair::RawPair(Context server, const RawClient::SetUp& set_up,
                 SSL_SESSION* session)
    : sockets_(testing::LoopbackPair::Unix()),
      server_(std::move(sockets_.near), std::move(server), {}),
      client_(sockets_.far.fd(), set_up, session) {}

int RawPair::Shake() {
  constexpr int kMostFlights = 10;
  int error = SSL_ERROR_WANT_READ;
  for (int i = 0; i < kMostFlights && error == SSL_ERROR_WANT_READ; ++i) {
    error = client_.Shake();
    reason_ = RawClient::Reason();
    server_.Shake();
  }
  return error;
}

}  // namespace fio::tls_testing
