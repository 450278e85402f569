#include "fio/tls/tls_memory_client.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_testing {
namespace {

SSL_CTX* ClientContext() {
  static SSL_CTX* const context = SSL_CTX_new(TLS_method());
  return context;
}

}  // namespace

MemoryClient::MemoryClient() : ssl_(SSL_new(ClientContext())) {
  SSL* const ssl = ssl_.get();
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  ABSL_CHECK_EQ(SSL_set_tlsext_host_name(ssl, "localhost"), 1);
  SSL_set_connect_state(ssl);
  Step();
}

void MemoryClient::Receive(std::string_view wire) {
  BIO_write(SSL_get_rbio(ssl_.get()), wire.data(),
            static_cast<int>(wire.size()));
  Step();
}

void MemoryClient::Step() {
  if (failed_) return;
  if (!done_) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    done_ = result == 1;
    if (!done_) Note(result);
  }
  if (!is_open()) return;
  char piece[4096];
  int bytes = 0;
  while ((bytes = SSL_read(ssl_.get(), piece, sizeof(piece))) > 0) {
    received_.append(piece, static_cast<size_t>(bytes));
  }
  Note(bytes);
}

// Its end is none of it.
void MemoryClient::Note(int result) {
  const int error = SSL_get_error(ssl_.get(), result);
  failed_ = error != SSL_ERROR_WANT_READ && error != SSL_ERROR_ZERO_RETURN;
  ERR_clear_error();
}

std::string MemoryClient::TakeOutput() {
  BIO* const bio = SSL_get_wbio(ssl_.get());
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  BIO_mem_contents(bio, &bytes, &size);
  std::string output(reinterpret_cast<const char*>(bytes), size);
  BIO_reset(bio);
  return output;
}

void MemoryClient::Send(std::string_view bytes) {
  if (bytes.empty()) return;
  ERR_clear_error();
  const int written =
      SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
  if (written <= 0) Note(written);
}

std::string MemoryClient::TakeReceived() {
  return std::exchange(received_, std::string());
}

}  // namespace fio::tls_testing
