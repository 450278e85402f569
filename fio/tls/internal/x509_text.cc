#include "fio/tls/internal/x509_text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/tls/internal/boringssl.h"
#include "fio/tls/internal/library_error.h"

namespace fio::tls_internal {
namespace {

std::string TextOf(BIO* bio) {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  if (BIO_mem_contents(bio, &bytes, &size) != 1) return "";
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

std::string IpText(std::string_view bytes) {
  char text[INET6_ADDRSTRLEN];
  const int family = bytes.size() == sizeof(in_addr)    ? AF_INET
                     : bytes.size() == sizeof(in6_addr) ? AF_INET6
                                                        : AF_UNSPEC;
  if (family == AF_UNSPEC ||
      inet_ntop(family, bytes.data(), text, sizeof(text)) == nullptr) {
    return "";
  }
  return text;
}

std::string_view BytesOf(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<size_t>(ASN1_STRING_length(string))};
}

std::string TextOf(const GENERAL_NAME* name) {
  switch (name->type) {
    case GEN_DNS:
      return absl::AsciiStrToLower(BytesOf(name->d.dNSName));
    case GEN_IPADD:
      return IpText(BytesOf(name->d.iPAddress));
    default:
      return "";
  }
}

}  // namespace

absl::StatusOr<std::vector<bssl::UniquePtr<X509>>> ParseCertificates(
    std::string_view pem) {
  ClearLibraryErrors();
  const bssl::UniquePtr<BIO> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::vector<bssl::UniquePtr<X509>> certificates;
  while (X509* const one =
             PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(one);
  }
  const uint32_t error = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(error) == ERR_LIB_PEM &&
                      ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (!at_end) {
    return absl::InvalidArgumentError(
        absl::StrCat("certificate ", certificates.size() + 1,
                     " cannot be read: ", LibraryReason()));
  }
  ClearLibraryErrors();
  if (certificates.empty()) {
    return absl::InvalidArgumentError("there is no certificate in it");
  }
  return certificates;
}

std::string CertificatePem(X509* certificate) {
  const bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) != 1) return "";
  return TextOf(bio.get());
}

std::string CertificateDer(X509* certificate) {
  uint8_t* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size < 0) return "";
  std::string text(reinterpret_cast<char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return text;
}

std::string Fingerprint(const X509* certificate) {
  uint8_t digest[SHA256_DIGEST_LENGTH];
  unsigned size = sizeof(digest);
  if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1) return "";
  return absl::BytesToHexString({reinterpret_cast<char*>(digest), size});
}

std::vector<std::string> NamesOf(X509* certificate) {
  std::vector<std::string> names;
  const bssl::UniquePtr<GENERAL_NAMES> all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (all == nullptr) return names;
  for (size_t i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    std::string name = TextOf(sk_GENERAL_NAME_value(all.get(), i));
    if (!name.empty()) names.push_back(std::move(name));
  }
  return names;
}

std::string NameText(const X509_NAME* name) {
  const bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  if (X509_NAME_print_ex(bio.get(), const_cast<X509_NAME*>(name), 0,
                         XN_FLAG_RFC2253) < 0) {
    return "";
  }
  return TextOf(bio.get());
}

absl::Time TimeOf(const ASN1_TIME* time) {
  const bssl::UniquePtr<ASN1_TIME> epoch(ASN1_TIME_set(nullptr, 0));
  int days = 0, seconds = 0;
  if (epoch == nullptr ||
      ASN1_TIME_diff(&days, &seconds, epoch.get(), time) != 1) {
    return absl::InfinitePast();
  }
  return absl::UnixEpoch() + absl::Hours(24) * days + absl::Seconds(seconds);
}

}  // namespace fio::tls_internal
