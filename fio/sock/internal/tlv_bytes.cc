#include "fio/sock/internal/tlv_bytes.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fio::sock_internal {

std::string WhyNoTlv(std::string_view rest) {
  if (rest.size() < kTlvStartBytes) {
    return absl::StrCat("a TLV has at least 3 bytes, but ", rest.size(),
                        " is all that is left");
  }
  return absl::StrFormat(
      "TLV 0x%02x has a value of %d bytes, but %d is all that is left",
      LoadBig<1>(rest), LoadBig<2>(rest.substr(1)),
      rest.size() - kTlvStartBytes);
}

}  // namespace fio::sock_internal
