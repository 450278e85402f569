#include "fio/tls/tls_certificate.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/credential.h"
#include "fio/tls/internal/library_error.h"
#include "fio/tls/internal/secret_file.h"
#include "fio/tls/internal/self_signed.h"
#include "fio/tls/internal/x509_text.h"

namespace fio {

using tls_internal::Credential;

namespace {

constexpr int kLeastRsaBits = 2048;
constexpr int kLeastEcBits = 256;

absl::Status Invalid(std::string_view what, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", why));
}

absl::Status At(const std::string& file, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(file, ": ", status.message()));
}

int GivePassphrase(char* out, int size, int /*writes*/, void* given) {
  const auto& passphrase = *static_cast<const std::string_view*>(given);
  if (passphrase.size() > static_cast<size_t>(std::max(size, 0))) return -1;
  std::memcpy(out, passphrase.data(), passphrase.size());
  return static_cast<int>(passphrase.size());
}

absl::StatusOr<bssl::UniquePtr<EVP_PKEY>> ParseKey(
    std::string_view pem, std::string_view passphrase) {
  tls_internal::ClearLibraryErrors();
  const bssl::UniquePtr<BIO> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  bssl::UniquePtr<EVP_PKEY> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, GivePassphrase, &passphrase));
  if (key != nullptr) return key;
  const std::string reason = tls_internal::LibraryReason();
  if (reason == "no start line") return Invalid("key", "there is none in it");
  if (!absl::StrContains(pem, "ENCRYPTED")) {
    return Invalid("key", absl::StrCat("it cannot be read: ", reason));
  }
  if (passphrase.empty()) {
    return Invalid("key", "it is encrypted, and there is no passphrase");
  }
  return Invalid(
      "key", absl::StrCat("the passphrase is wrong, or the key is encrypted "
                          "in a way that is not supported: ",
                          reason));
}

absl::StatusOr<TlsCertificate::KeyType> TypeOf(const EVP_PKEY* key) {
  switch (EVP_PKEY_id(key)) {
    case EVP_PKEY_RSA:
      if (EVP_PKEY_bits(key) < kLeastRsaBits) {
        return Invalid("key", "an RSA key needs 2048 bits");
      }
      return TlsCertificate::KeyType::kRsa;
    case EVP_PKEY_EC:
      if (EVP_PKEY_bits(key) < kLeastEcBits) {
        return Invalid("key",
                       "it is neither of P-256 nor of P-384 nor of P-521");
      }
      return TlsCertificate::KeyType::kEcdsa;
    case EVP_PKEY_ED25519:
      return TlsCertificate::KeyType::kEd25519;
    default:
      return Invalid("key", "it is neither RSA nor ECDSA nor Ed25519");
  }
}

absl::StatusOr<std::shared_ptr<const Credential>> MakeCredential(
    std::vector<bssl::UniquePtr<X509>> chain, bssl::UniquePtr<EVP_PKEY> key) {
  X509* const own = chain.front().get();
  const absl::StatusOr<TlsCertificate::KeyType> type = TypeOf(key.get());
  if (!type.ok()) return type.status();
  if (X509_check_private_key(own, key.get()) != 1) {
    tls_internal::ClearLibraryErrors();
    return Invalid("key", "it is not that of the first certificate");
  }
  auto credential = std::make_shared<Credential>();
  credential->names = tls_internal::NamesOf(own);
  credential->not_after = tls_internal::TimeOf(X509_get0_notAfter(own));
  credential->type = *type;
  credential->chain = std::move(chain);
  credential->key = std::move(key);
  return credential;
}

}  // namespace

absl::StatusOr<TlsCertificate> TlsCertificate::FromFiles(
    const std::string& chain_file, const std::string& key_file,
    std::string_view passphrase) {
  const absl::StatusOr<std::string> chain =
      tls_internal::ReadFile(chain_file, tls_internal::Readers::kAnybody);
  if (!chain.ok()) return chain.status();
  absl::StatusOr<std::string> key =
      tls_internal::ReadFile(key_file, tls_internal::Readers::kNotEverybody);
  if (!key.ok()) return key.status();
  absl::StatusOr<TlsCertificate> made = FromPem(*chain, *key, passphrase);
  tls_internal::Wipe(*key);
  if (made.ok()) return made;
  const bool of_key = absl::StartsWith(made.status().message(), "key");
  return At(of_key ? key_file : chain_file, made.status());
}

absl::StatusOr<TlsCertificate> TlsCertificate::FromPem(
    std::string_view chain, std::string_view key, std::string_view passphrase) {
  auto certificates = tls_internal::ParseCertificates(chain);
  if (!certificates.ok()) return At("certificate", certificates.status());
  absl::StatusOr<bssl::UniquePtr<EVP_PKEY>> parsed = ParseKey(key, passphrase);
  if (!parsed.ok()) return parsed.status();
  auto credential =
      MakeCredential(*std::move(certificates), *std::move(parsed));
  if (!credential.ok()) return credential.status();
  return TlsCertificate(*std::move(credential));
}

absl::StatusOr<TlsCertificate> TlsCertificate::SelfSigned(
    const std::vector<std::string>& names) {
  absl::StatusOr<tls_internal::SelfSigned> made =
      tls_internal::MakeSelfSigned(names);
  if (!made.ok()) return At("self-signed certificate", made.status());
  std::vector<bssl::UniquePtr<X509>> chain;
  chain.push_back(std::move(made->certificate));
  auto credential = MakeCredential(std::move(chain), std::move(made->key));
  if (!credential.ok()) return credential.status();
  return TlsCertificate(*std::move(credential));
}

TlsCertificate::TlsCertificate(std::shared_ptr<const Credential> credential)
    : credential_(std::move(credential)) {}

const std::vector<std::string>& TlsCertificate::names() const {
  return credential_->names;
}

absl::Time TlsCertificate::not_after() const { return credential_->not_after; }

TlsCertificate::KeyType TlsCertificate::key_type() const {
  return credential_->type;
}

std::string TlsCertificate::chain_pem() const {
  std::string pem;
  for (const auto& certificate : credential_->chain) {
    pem += tls_internal::CertificatePem(certificate.get());
  }
  return pem;
}

std::string TlsCertificate::key_pem() const {
  const bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), credential_->key.get(), nullptr,
                                    nullptr, 0, nullptr, nullptr) != 1 ||
      BIO_mem_contents(bio.get(), &bytes, &size) != 1) {
    return "";
  }
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

}  // namespace fio
