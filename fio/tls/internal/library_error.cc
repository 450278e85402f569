#include "fio/tls/internal/library_error.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "fio/tls/internal/boringssl.h"

namespace fio::tls_internal {
namespace {

std::string Words(const char* reason) {
  if (reason == nullptr) return "no reason";
  return absl::AsciiStrToLower(absl::StrReplaceAll(reason, {{"_", " "}}));
}

// A fatal alert of the peer has a reason of its own.
bool IsAlert(uint32_t error, int* alert) {
  if (ERR_GET_LIB(error) != ERR_LIB_SSL) return false;
  *alert = ERR_GET_REASON(error) - SSL_AD_REASON_OFFSET;
  return *alert >= 0 && *alert <= 255;
}

absl::Status StatusOf(uint32_t error, const SSL* ssl) {
  const int reason = ERR_GET_REASON(error);
  int alert = 0;
  if (IsAlert(error, &alert)) {
    return absl::PermissionDeniedError(
        absl::StrCat("the peer has refused: alert ", alert, ", ",
                     SSL_alert_desc_string_long(alert)));
  }
  if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
    switch (reason) {
      case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return absl::UnauthenticatedError(
            absl::StrCat("the peer's certificate is not trusted: ",
                         VerifyReason(SSL_get_verify_result(ssl))));
      case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return absl::UnauthenticatedError("the peer has shown no certificate");
      case SSL_R_HTTP_REQUEST:
      case SSL_R_HTTPS_PROXY_REQUEST:
        return absl::InvalidArgumentError(
            "the peer speaks HTTP without TLS (http request)");
      case SSL_R_WRONG_VERSION_NUMBER:  // Of a record, not of TLS.
        return absl::InvalidArgumentError(
            "what the peer sends is no TLS (wrong version number)");
      case SSL_R_NO_APPLICATION_PROTOCOL:
        return absl::InvalidArgumentError(
            "the peer speaks none of our application protocols");
      default:
        break;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("TLS: ", Words(ERR_reason_error_string(error))));
}

}  // namespace

void ClearLibraryErrors() { ERR_clear_error(); }

std::string LibraryReason() {
  const uint32_t error = ERR_peek_error();
  std::string words =
      error == 0 ? "no reason" : Words(ERR_reason_error_string(error));
  ERR_clear_error();
  return words;
}

absl::Status LibraryStatus(const ssl_st* ssl) {
  const uint32_t error = ERR_peek_error();
  absl::Status status = error == 0
                            ? absl::InternalError("TLS: the library has failed")
                            : StatusOf(error, ssl);
  ERR_clear_error();
  return status;
}

std::string VerifyReason(long result) {  // NOLINT(google-runtime-int)
  return X509_verify_cert_error_string(result);
}

}  // namespace fio::tls_internal
