#include "fio/tls/internal/self_signed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/library_error.h"

namespace fio::tls_internal {
namespace {

// Browsers refuse one that is valid for more than 398 days.
constexpr long kValidSeconds = 365L * 24 * 3600;  // NOLINT: of the API.
constexpr long kBeforeSeconds = 3600;             // NOLINT
constexpr size_t kMostNameBytes = 253;            // RFC 1035, section 2.3.4
constexpr size_t kMostCommonNameBytes = 64;       // RFC 5280, ub-common-name

absl::Status Failed(std::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", LibraryReason()));
}

// The bytes of an IP address, or nothing.
std::string IpBytes(const std::string& text) {
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    return std::string(reinterpret_cast<const char*>(&v4), sizeof(v4));
  }
  in6_addr v6;
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) {
    return std::string(reinterpret_cast<const char*>(&v6), sizeof(v6));
  }
  return "";
}

bool IsHostName(std::string_view name) {
  if (name.empty() || name.size() > kMostNameBytes) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
           c == '.' || c == '_' || c == '*';
  });
}

bssl::UniquePtr<EVP_PKEY> NewKey() {
  const bssl::UniquePtr<EC_KEY> ec(
      EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  if (ec == nullptr || key == nullptr || EC_KEY_generate_key(ec.get()) != 1 ||
      EVP_PKEY_set1_EC_KEY(key.get(), ec.get()) != 1) {
    return nullptr;
  }
  return key;
}

bool AddName(GENERAL_NAMES* all, const std::string& name) {
  bssl::UniquePtr<GENERAL_NAME> one(GENERAL_NAME_new());
  const std::string ip = IpBytes(name);
  const std::string& bytes = ip.empty() ? name : ip;
  ASN1_STRING* const value =
      ip.empty() ? ASN1_IA5STRING_new() : ASN1_OCTET_STRING_new();
  if (one == nullptr || value == nullptr ||
      ASN1_STRING_set(value, bytes.data(), static_cast<int>(bytes.size())) !=
          1) {
    ASN1_STRING_free(value);
    return false;
  }
  GENERAL_NAME_set0_value(one.get(), ip.empty() ? GEN_DNS : GEN_IPADD, value);
  return bssl::PushToStack(all, std::move(one));
}

bool SetNames(X509* certificate, const std::vector<std::string>& names) {
  const bssl::UniquePtr<GENERAL_NAMES> all(GENERAL_NAMES_new());
  for (const std::string& name : names) {
    if (!AddName(all.get(), name)) return false;
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, all.get(), 0,
                           0) == 1;
}

bool AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const bssl::UniquePtr<X509_EXTENSION> extension(
      X509V3_EXT_nconf_nid(nullptr, &context, nid, value));
  return extension != nullptr &&
         X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool SetSubject(X509* certificate, std::string_view name) {
  name = name.substr(0, kMostCommonNameBytes);
  X509_NAME* const subject = X509_get_subject_name(certificate);
  return X509_NAME_add_entry_by_NID(
             subject, NID_commonName, MBSTRING_UTF8,
             reinterpret_cast<const uint8_t*>(name.data()),
             static_cast<int>(name.size()), -1, 0) == 1 &&
         X509_set_issuer_name(certificate, subject) == 1;
}

bool SetSerial(X509* certificate) {
  uint8_t bytes[16];
  RAND_bytes(bytes, sizeof(bytes));
  bytes[0] = static_cast<uint8_t>((bytes[0] & 0x7f) | 0x40);  // Positive.
  const bssl::UniquePtr<BIGNUM> number(
      BN_bin2bn(bytes, sizeof(bytes), nullptr));
  return number != nullptr &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) !=
             nullptr;
}

bool Fill(X509* certificate, EVP_PKEY* key,
          const std::vector<std::string>& names) {
  return X509_set_version(certificate, X509_VERSION_3) == 1 &&
         SetSerial(certificate) && SetSubject(certificate, names.front()) &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -kBeforeSeconds) !=
             nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), kValidSeconds) !=
             nullptr &&
         X509_set_pubkey(certificate, key) == 1 &&
         AddExtension(certificate, NID_basic_constraints,
                      "critical,CA:FALSE") &&
         AddExtension(certificate, NID_key_usage,
                      "critical,digitalSignature") &&
         AddExtension(certificate, NID_ext_key_usage,
                      "serverAuth,clientAuth") &&
         AddExtension(certificate, NID_subject_key_identifier, "hash") &&
         SetNames(certificate, names) &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

}  // namespace

absl::StatusOr<SelfSigned> MakeSelfSigned(
    const std::vector<std::string>& names) {
  if (names.empty()) return absl::InvalidArgumentError("it needs a name");
  for (const std::string& name : names) {
    if (IpBytes(name).empty() && !IsHostName(name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", name, "\" is neither the name of a host nor an IP address"));
    }
  }
  ClearLibraryErrors();
  SelfSigned made = {.certificate = bssl::UniquePtr<X509>(X509_new()),
                     .key = NewKey()};
  if (made.certificate == nullptr || made.key == nullptr ||
      !Fill(made.certificate.get(), made.key.get(), names)) {
    return Failed("a certificate cannot be made");
  }
  return made;
}

}  // namespace fio::tls_internal
