#include "fio/tls/internal/client_hello.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fio/tls/internal/boringssl.h"
#include "fio/tls/tls_choice.h"

namespace fio::tls_internal {
namespace {

// RFC 8446, section 4.2.3: ecdsa_secp256r1_sha256 and its like.
constexpr uint16_t kEcdsaSchemes[] = {SSL_SIGN_ECDSA_SECP256R1_SHA256,
                                      SSL_SIGN_ECDSA_SECP384R1_SHA384,
                                      SSL_SIGN_ECDSA_SECP521R1_SHA512};

bool GetExtension(const SSL_CLIENT_HELLO& hello, uint16_t type, CBS* list) {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  if (SSL_early_callback_ctx_extension_get(&hello, type, &bytes, &size) != 1) {
    return false;
  }
  CBS all;
  CBS_init(&all, bytes, size);
  return CBS_get_u16_length_prefixed(&all, list) == 1;
}

// Whether a suite of it may go with a key that is not RSA. Those of TLS 1.3 go
// with any.
bool HasSuiteBeyondRsa(const SSL_CLIENT_HELLO& hello) {
  const bool speaks_13 = SSL_get_max_proto_version(hello.ssl) >= TLS1_3_VERSION;
  CBS suites;
  CBS_init(&suites, hello.cipher_suites, hello.cipher_suites_len);
  uint16_t suite;
  while (CBS_get_u16(&suites, &suite) == 1) {
    const SSL_CIPHER* const cipher = SSL_get_cipher_by_value(suite);
    if (cipher == nullptr) continue;
    const int key = SSL_CIPHER_get_auth_nid(cipher);
    if (key == NID_auth_ecdsa || (key == NID_auth_any && speaks_13)) {
      return true;
    }
  }
  return false;
}

void ReadKeyTypes(const SSL_CLIENT_HELLO& hello, TlsClientHello* read) {
  CBS schemes;
  if (!GetExtension(hello, TLSEXT_TYPE_signature_algorithms, &schemes) ||
      !HasSuiteBeyondRsa(hello)) {
    return;
  }
  uint16_t scheme;
  while (CBS_get_u16(&schemes, &scheme) == 1) {
    if (scheme == SSL_SIGN_ED25519) read->takes_ed25519 = true;
    for (const uint16_t ecdsa : kEcdsaSchemes) {
      if (scheme == ecdsa) read->takes_ecdsa = true;
    }
  }
}

}  // namespace

TlsClientHello ReadClientHello(const SSL_CLIENT_HELLO& hello) {
  TlsClientHello read;
  const char* const name =
      SSL_get_servername(hello.ssl, TLSEXT_NAMETYPE_host_name);
  if (name != nullptr) read.server_name = name;
  CBS list;
  if (GetExtension(hello, TLSEXT_TYPE_application_layer_protocol_negotiation,
                   &list)) {
    FindProtocol(list, [&read](std::string_view protocol) {
      read.alpn.push_back(protocol);
      return false;
    });
  }
  ReadKeyTypes(hello, &read);
  return read;
}

}  // namespace fio::tls_internal
