#include "fio/tls/internal/context_core.h"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/credential.h"
#include "fio/tls/internal/library_callbacks.h"
#include "fio/tls/internal/library_error.h"
#include "fio/tls/internal/trust_store.h"
#include "fio/tls/tls_certificate.h"
#include "fio/tls/tls_choice.h"
#include "fio/tls/tls_options.h"
#include "fio/tls/tls_ticket_keys.h"
#include "fio/tls/tls_trust.h"
#include "fio/tls/tls_version.h"

namespace fio::tls_internal {
namespace {

constexpr size_t kMostProtocolBytes = 255;  // RFC 7301, section 3.1
constexpr size_t kMostProtocolsBytes = 65535;

absl::Status Invalid(std::string_view option, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("TlsContext: ", option, ": ", why));
}

int ContextIndex() {
  static const int index =
      SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

uint16_t WireVersion(TlsVersion version) {
  return version == TlsVersion::kTls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

// What is taken from peers: the library leaves out Ed25519 and P-521.
constexpr uint16_t kSignatures[] = {
    SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ED25519,
    SSL_SIGN_RSA_PSS_RSAE_SHA256,    SSL_SIGN_RSA_PKCS1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384,
    SSL_SIGN_RSA_PKCS1_SHA384,       SSL_SIGN_ECDSA_SECP521R1_SHA512,
    SSL_SIGN_RSA_PSS_RSAE_SHA512,    SSL_SIGN_RSA_PKCS1_SHA512,
};

bool Takes(const TlsClientHello& hello, TlsCertificate::KeyType type) {
  switch (type) {
    case TlsCertificate::KeyType::kEcdsa:
      return hello.takes_ecdsa;
    case TlsCertificate::KeyType::kEd25519:
      return hello.takes_ed25519;
    case TlsCertificate::KeyType::kRsa:
      break;
  }
  return true;
}

absl::Status CheckProtocols(const std::vector<std::string>& alpn) {
  size_t bytes = 0;
  for (const std::string& name : alpn) {
    if (name.empty() || name.size() > kMostProtocolBytes) {
      return Invalid("alpn", absl::StrCat("\"", name.substr(0, 40),
                                          "\" has not 1 to 255 bytes"));
    }
    bytes += name.size() + 1;
  }
  return bytes <= kMostProtocolsBytes
             ? absl::OkStatus()
             : Invalid("alpn", "all names together have more than 65535 bytes");
}

absl::Status Use(SSL_CTX* library, const TlsCertificate& certificate) {
  const Credential& credential = certificate.credential();
  bool used =
      SSL_CTX_use_certificate(library, credential.chain[0].get()) == 1 &&
      SSL_CTX_use_PrivateKey(library, credential.key.get()) == 1;
  for (size_t i = 1; used && i < credential.chain.size(); ++i) {
    used = SSL_CTX_add1_chain_cert(library, credential.chain[i].get()) == 1;
  }
  return used ? absl::OkStatus() : Invalid("certificates", LibraryReason());
}

// A ticket is of use only where the same is asked of clients.
void SetSessionContext(SSL_CTX* library, TlsClientCertificates asked,
                       const TrustStore* trust) {
  std::string all = absl::StrCat("fio ", static_cast<int>(asked), " ");
  if (trust != nullptr) all += trust->fingerprint;
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const uint8_t*>(all.data()), all.size(), digest);
  SSL_CTX_set_session_id_context(library, digest, sizeof(digest));
}

void SetTrust(SSL_CTX* library, const TrustStore& trust) {
  X509_STORE_up_ref(trust.store.get());
  SSL_CTX_set_cert_store(library, trust.store.get());
  for (const auto& authority : trust.authorities) {
    SSL_CTX_add_client_CA(library, authority.get());
  }
}

}  // namespace

ContextCore::ContextCore(TlsServerOptions options)
    : protocol_(options), server_(std::move(options)), sessions_(0) {}

ContextCore::ContextCore(TlsClientOptions options)
    : protocol_(options),
      client_(std::move(options)),
      sessions_(client_->max_sessions) {}

absl::StatusOr<std::unique_ptr<ContextCore>> ContextCore::Server(
    TlsServerOptions options) {
  std::unique_ptr<ContextCore> core(new ContextCore(std::move(options)));
  absl::Status status = core->SetUpServer();
  if (!status.ok()) return status;
  return core;
}

absl::StatusOr<std::unique_ptr<ContextCore>> ContextCore::Client(
    TlsClientOptions options) {
  std::unique_ptr<ContextCore> core(new ContextCore(std::move(options)));
  absl::Status status = core->SetUpClient();
  if (!status.ok()) return status;
  return core;
}

const ContextCore& ContextCore::Of(const SSL_CTX* library) {
  return *static_cast<const ContextCore*>(
      SSL_CTX_get_ex_data(library, ContextIndex()));
}

const TrustStore* ContextCore::trust() const {
  return trust_.has_value() ? trust_->store() : nullptr;
}

absl::Status ContextCore::SetUpServer() {
  if (server_->certificates.empty() && server_->choose == nullptr) {
    return Invalid("certificates", "there is none");
  }
  if (server_->client_certificates != TlsClientCertificates::kNone) {
    if (!server_->trust.has_value()) {
      return Invalid("trust", "it is required for client_certificates");
    }
    trust_ = server_->trust;
  }
  if (server_->tickets) {
    ticket_keys_ = server_->ticket_keys;
    if (ticket_keys_ == nullptr) {
      auto keys = TlsTicketKeys::Create();
      if (!keys.ok()) return keys.status();
      ticket_keys_ = *std::move(keys);
    }
  }
  if (server_->certificates.empty()) return AddContext(nullptr);
  const std::vector<TlsCertificate>& certificates = server_->certificates;
  for (size_t i = 0; i < certificates.size(); ++i) {
    absl::Status added = AddContext(&certificates[i]);
    if (!added.ok()) return added;
    for (const std::string& name : certificates[i].names()) {
      names_.Add(name, i);
    }
    if (certificates[i].names() == certificates[0].names()) first_.push_back(i);
  }
  return absl::OkStatus();
}

absl::Status ContextCore::SetUpClient() {
  trust_ = client_->trust;
  if (!trust_.has_value()) {
    absl::StatusOr<TlsTrust> system = TlsTrust::System();
    if (!system.ok()) return system.status();
    trust_ = *std::move(system);
  }
  return AddContext(client_->certificate.has_value() ? &*client_->certificate
                                                     : nullptr);
}

absl::Status ContextCore::AddContext(const TlsCertificate* certificate) {
  ClearLibraryErrors();
  bssl::UniquePtr<SSL_CTX> library(SSL_CTX_new(TLS_method()));
  if (library == nullptr ||
      SSL_CTX_set_ex_data(library.get(), ContextIndex(), this) != 1) {
    return absl::ResourceExhaustedError("TlsContext: out of memory");
  }
  absl::Status set = SetProtocol(library.get());
  if (set.ok() && certificate != nullptr) {
    set = Use(library.get(), *certificate);
  }
  if (!set.ok()) return set;
  if (is_server()) {
    SetServerCallbacks(library.get(), *this);
    SetSessionContext(library.get(), server_->client_certificates, trust());
  } else {
    SetClientCallbacks(library.get(), *this);
  }
  if (trust() != nullptr) SetTrust(library.get(), *trust());
  contexts_.push_back(std::move(library));
  return absl::OkStatus();
}

absl::Status ContextCore::SetProtocol(SSL_CTX* library) {
  const ProtocolOptions& options = protocol();
  if (options.min_version > options.max_version) {
    return Invalid("min_version", "it is above max_version");
  }
  SSL_CTX_set_min_proto_version(library, WireVersion(options.min_version));
  SSL_CTX_set_max_proto_version(library, WireVersion(options.max_version));
  if (SSL_CTX_set_strict_cipher_list(library, options.ciphers.c_str()) != 1) {
    return Invalid("ciphers", LibraryReason());
  }
  SSL_CTX_set_options(library, SSL_OP_CIPHER_SERVER_PREFERENCE);  // And groups.
  SSL_CTX_set_max_cert_list(library, options.max_peer_chain_bytes);
  SSL_CTX_set_verify_algorithm_prefs(library, kSignatures,
                                     std::size(kSignatures));
  if (absl::Status set = SetGroups(library); !set.ok()) return set;
  if (absl::Status checked = CheckProtocols(options.alpn); !checked.ok()) {
    return checked;
  }
  SSL_CTX_set_mode(library, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return absl::OkStatus();
}

// Asks for them one by one, so that those of a newer library come with it.
absl::Status ContextCore::SetGroups(SSL_CTX* library) {
  groups_.clear();
  for (const std::string& group : protocol().groups) {
    if (SSL_CTX_set1_curves_list(library, group.c_str()) == 1) {
      groups_.push_back(group);
    }
  }
  ClearLibraryErrors();
  const std::string all = absl::StrJoin(groups_, ":");
  if (groups_.empty() || SSL_CTX_set1_curves_list(library, all.c_str()) != 1) {
    ClearLibraryErrors();
    return Invalid("groups",
                   absl::StrCat("the library has none of \"",
                                absl::StrJoin(protocol().groups, ", "), "\""));
  }
  return absl::OkStatus();
}

SSL_CTX* ContextCore::Choose(const TlsClientHello& hello) const {
  if (server_->certificates.empty()) return nullptr;
  absl::Span<const size_t> found = names_.Find(hello.server_name);
  if (found.empty()) {
    const bool refuses = server_->unknown_name == TlsUnknownName::kRefuse;
    if (!hello.server_name.empty() && refuses) return nullptr;
    found = first_;
  }
  for (const size_t index : found) {
    if (Takes(hello, server_->certificates[index].key_type())) {
      return contexts_[index].get();
    }
  }
  return contexts_[found.front()].get();  // The library says what is missing.
}

}  // namespace fio::tls_internal
