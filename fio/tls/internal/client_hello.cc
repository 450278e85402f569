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

bool TakesEcdsa(const SSL_CLIENT_HELLO& hello) {
  CBS schemes;
  if (!GetExtension(hello, TLSEXT_TYPE_signature_algorithms, &schemes)) {
    return false;
  }
  uint16_t scheme;
  while (CBS_get_u16(&schemes, &scheme) == 1) {
    for (const uint16_t ecdsa : kEcdsaSchemes) {
      if (scheme == ecdsa) return true;
    }
  }
  return false;
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
  read.takes_ecdsa = TakesEcdsa(hello);
  return read;
}

}  // namespace fio::tls_internal
