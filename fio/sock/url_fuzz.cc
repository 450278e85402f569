#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/sock/url.h"

// Any text is refused with a message, or is a Url that prints as text of which
// Parse() makes the same Url.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<fio::Url> url = fio::Url::Parse(text);
  if (!url.ok()) {
    ABSL_CHECK(absl::IsInvalidArgument(url.status()));
    ABSL_CHECK(!url.status().message().empty());
    return 0;
  }
  const std::string printed = url->ToString();
  const absl::StatusOr<fio::Url> again = fio::Url::Parse(printed);
  ABSL_CHECK_OK(again.status());
  ABSL_CHECK(*again == *url) << printed;
  return 0;
}
