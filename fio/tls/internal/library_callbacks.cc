#include "fio/tls/internal/library_callbacks.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/choice_state.h"
#include "fio/tls/internal/client_hello.h"
#include "fio/tls/internal/context_core.h"
#include "fio/tls/internal/negotiation.h"
#include "fio/tls/internal/session_cache.h"
#include "fio/tls/tls_choice.h"
#include "fio/tls/tls_context.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_ticket_keys.h"

namespace fio::tls_internal {
namespace {

Negotiation* NegotiationOf(const SSL* ssl) {
  return static_cast<Negotiation*>(SSL_get_app_data(ssl));
}

std::string_view View(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Asks for a choice, once. True when it has been made.
bool IsChosen(Negotiation& negotiation, const TlsClientHello& hello) {
  const auto& choose = negotiation.context->core().server().choose;
  if (negotiation.choice == nullptr) {
    negotiation.choice = std::make_shared<ChoiceState>(negotiation.resume);
    choose(hello, TlsChoice(negotiation.choice));
  }
  switch (negotiation.choice->Wait()) {
    case ChoiceState::Answer::kNone:
      return false;
    case ChoiceState::Answer::kUse:
      negotiation.chosen = negotiation.choice->context();
      break;
    case ChoiceState::Answer::kOwn:
      break;
    case ChoiceState::Answer::kRefuse:
      negotiation.refuses_name = true;
      break;
  }
  return true;
}

ssl_select_cert_result_t SelectCertificate(const SSL_CLIENT_HELLO* hello) {
  SSL* const ssl = hello->ssl;
  Negotiation& negotiation = *NegotiationOf(ssl);
  const TlsClientHello read = ReadClientHello(*hello);
  const ContextCore* core = &negotiation.context->core();
  if (core->server().choose != nullptr && !IsChosen(negotiation, read)) {
    return ssl_select_cert_retry;
  }
  if (negotiation.chosen != nullptr) core = &negotiation.chosen->core();
  SSL_CTX* const library =
      negotiation.refuses_name ? nullptr : core->Choose(read);
  if (library == nullptr) {
    negotiation.refuses_name = true;  // RefuseName() tells the client.
    return ssl_select_cert_success;
  }
  SSL_set_SSL_CTX(ssl, library);
  if (negotiation.chosen != nullptr) {
    SSL_set_verify(ssl, VerifyMode(*core), VerifyCallbackOf(*core));
    SSL_set_max_cert_list(ssl, core->protocol().max_peer_chain_bytes);
  }
  return ssl_select_cert_success;
}

int RefuseName(SSL* ssl, int* alert, void* /*unused*/) {
  const Negotiation* const negotiation = NegotiationOf(ssl);
  if (negotiation == nullptr || !negotiation->refuses_name) {
    return SSL_TLSEXT_ERR_OK;
  }
  *alert = SSL_AD_UNRECOGNIZED_NAME;
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Our first protocol that the client has, too.
int SelectProtocol(SSL* ssl, const uint8_t** out, uint8_t* out_size,
                   const uint8_t* offered, unsigned offered_size,
                   void* /*unused*/) {
  const ContextCore& core = ContextCore::Of(SSL_get_SSL_CTX(ssl));
  CBS list;
  CBS_init(&list, offered, offered_size);
  for (const std::string& ours : core.protocol().alpn) {
    if (FindProtocol(list, [&ours](std::string_view theirs) {
          return theirs == ours;
        })) {
      *out = reinterpret_cast<const uint8_t*>(ours.data());
      *out_size = static_cast<uint8_t>(ours.size());
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;  // no_application_protocol
}

bool UseKey(const TlsTicketKeys::Key& key, const uint8_t* iv,
            EVP_CIPHER_CTX* cipher, HMAC_CTX* mac, bool encrypt) {
  return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr,
                           key.cipher.data(), iv, encrypt ? 1 : 0) == 1 &&
         HMAC_Init_ex(mac, key.mac.data(), key.mac.size(), EVP_sha256(),
                      nullptr) == 1;
}

// As SSL_CTX_set_tlsext_ticket_key_cb() wants it: -1 is an error, 0 an unknown
// key, 1 a good one, and 2 one that is good, but old.
int TicketKey(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher,
              HMAC_CTX* mac, int encrypt) {
  const Negotiation* const negotiation = NegotiationOf(ssl);
  if (negotiation == nullptr) return encrypt == 1 ? -1 : 0;
  TlsTicketKeys& keys = *negotiation->context->core().ticket_keys();
  if (encrypt == 1) {
    const TlsTicketKeys::Key key = keys.Current();
    std::memcpy(name, key.name.data(), key.name.size());
    RAND_bytes(iv, EVP_MAX_IV_LENGTH);
    return UseKey(key, iv, cipher, mac, true) ? 1 : -1;
  }
  const std::optional<TlsTicketKeys::Key> key =
      keys.Find(View(name, TlsTicketKeys::kNameBytes));
  if (!key.has_value()) return 0;
  if (!UseKey(*key, iv, cipher, mac, false)) return -1;
  return key->name == keys.Current().name ? 1 : 2;
}

void LogKey(const SSL* ssl, const char* line) {
  ContextCore::Of(SSL_get_SSL_CTX(ssl)).protocol().key_log(line);
}

// 1: it is ours now.
int KeepSession(SSL* ssl, SSL_SESSION* session) {
  const Negotiation* const negotiation = NegotiationOf(ssl);
  if (negotiation == nullptr) return 0;
  negotiation->context->core().sessions().Put(
      negotiation->session_key, bssl::UniquePtr<SSL_SESSION>(session));
  return 1;
}

int TakeAnybody(int /*verified*/, X509_STORE_CTX* /*store*/) { return 1; }

void SetBoth(SSL_CTX* library, const ContextCore& core) {
  if (core.protocol().key_log != nullptr) {
    SSL_CTX_set_keylog_callback(library, LogKey);
  }
  SSL_CTX_set_verify(library, VerifyMode(core), VerifyCallbackOf(core));
}

}  // namespace

void SetServerCallbacks(SSL_CTX* library, const ContextCore& core) {
  SetBoth(library, core);
  SSL_CTX_set_select_certificate_cb(library, SelectCertificate);
  SSL_CTX_set_tlsext_servername_callback(library, RefuseName);
  if (!core.protocol().alpn.empty()) {
    SSL_CTX_set_alpn_select_cb(library, SelectProtocol, nullptr);
  }
  SSL_CTX_set_session_cache_mode(library, SSL_SESS_CACHE_OFF);
  if (core.ticket_keys() != nullptr) {
    SSL_CTX_set_tlsext_ticket_key_cb(library, TicketKey);
  } else {
    SSL_CTX_set_options(library, SSL_OP_NO_TICKET);
  }
  SSL_CTX_set_early_data_enabled(library, core.server().early_data ? 1 : 0);
}

void SetClientCallbacks(SSL_CTX* library, const ContextCore& core) {
  SetBoth(library, core);
  std::string wire;
  for (const std::string& name : core.protocol().alpn) {
    wire += static_cast<char>(name.size());
    wire += name;
  }
  SSL_CTX_set_alpn_protos(library,
                          reinterpret_cast<const uint8_t*>(wire.data()),
                          static_cast<unsigned>(wire.size()));
  SSL_CTX_set_grease_enabled(library, 1);
  if (core.client().max_sessions > 0) {
    SSL_CTX_set_session_cache_mode(
        library, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(library, KeepSession);
  }
}

int VerifyMode(const ContextCore& core) {
  if (!core.is_server()) {
    return core.trust() == nullptr ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
  }
  switch (core.server().client_certificates) {
    case TlsClientCertificates::kNone:
      return SSL_VERIFY_NONE;
    case TlsClientCertificates::kOptional:
      return SSL_VERIFY_PEER;
    case TlsClientCertificates::kRequired:
      break;
  }
  return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

VerifyCallback VerifyCallbackOf(const ContextCore& core) {
  const bool anybody = core.is_server() && core.trust() == nullptr &&
                       VerifyMode(core) != SSL_VERIFY_NONE;
  return anybody ? TakeAnybody : nullptr;
}

}  // namespace fio::tls_internal
