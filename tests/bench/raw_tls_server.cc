#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>

#include "absl/log/absl_check.h"
#include "tests/bench/servers.h"
#include "tests/bench/tls_servers.h"

namespace fio::bench {
namespace {

constexpr int kBatch = 512;

char buffer[64 * 1024];

bssl::UniquePtr<BIO> Text(const std::string& text) {
  return bssl::UniquePtr<BIO>(
      BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

bssl::UniquePtr<SSL_CTX> NewContext() {
  bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  const std::string chain = BenchCertificate().chain_pem();
  const std::string key = BenchCertificate().key_pem();
  const bssl::UniquePtr<X509> certificate(
      PEM_read_bio_X509(Text(chain).get(), nullptr, nullptr, nullptr));
  const bssl::UniquePtr<EVP_PKEY> parsed(
      PEM_read_bio_PrivateKey(Text(key).get(), nullptr, nullptr, nullptr));
  ABSL_CHECK(SSL_CTX_use_certificate(context.get(), certificate.get()) == 1);
  ABSL_CHECK(SSL_CTX_use_PrivateKey(context.get(), parsed.get()) == 1);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

int Listen(OnListening on_listening) {
  const int one = 1;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  if (bind(listener, generic, size) != 0 || listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, generic, &size) != 0) {
    return -1;
  }
  on_listening(ntohs(address.sin_port));
  return listener;
}

void Accept(int epoll, int listener, SSL_CTX* context) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    if (fd < 0) return;
    SSL* const ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_accept_state(ssl);
    epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.ptr = ssl}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  }
}

// Waits for room by a blocking socket, which the loads here never need.
void WriteAll(SSL* ssl, const char* bytes, int size) {
  while (size > 0) {
    const int written = SSL_write(ssl, bytes, size);
    if (written <= 0) {
      if (SSL_get_error(ssl, written) != SSL_ERROR_WANT_WRITE) return;
      fcntl(SSL_get_fd(ssl), F_SETFL, 0);
      continue;
    }
    bytes += written;
    size -= written;
  }
}

void Echo(SSL* ssl) {
  int got;
  while ((got = SSL_read(ssl, buffer, sizeof(buffer))) > 0) {
    WriteAll(ssl, buffer, got);
  }
  const int error = SSL_get_error(ssl, got);
  if (error == SSL_ERROR_WANT_READ) return;
  const int fd = SSL_get_fd(ssl);
  if (error == SSL_ERROR_ZERO_RETURN) SSL_shutdown(ssl);
  SSL_free(ssl);
  close(fd);
}

}  // namespace

void ServeRawTls(OnListening on_listening) {
  std::signal(SIGPIPE, SIG_IGN);
  const bssl::UniquePtr<SSL_CTX> context = NewContext();
  const int listener = Listen(on_listening);
  if (listener < 0) return;
  const int epoll = epoll_create1(0);
  epoll_event own = {.events = EPOLLIN, .data = {.ptr = nullptr}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &own);
  epoll_event events[kBatch];
  for (;;) {
    const int count = epoll_wait(epoll, events, kBatch, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.ptr == nullptr) {
        Accept(epoll, listener, context.get());
      } else {
        Echo(static_cast<SSL*>(events[i].data.ptr));
      }
    }
  }
}

}  // namespace fio::bench
