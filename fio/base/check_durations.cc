#include "fio/base/check_durations.h"

#include <initializer_list>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace fio {

absl::Status CheckNotNegative(std::string_view options,
                              std::initializer_list<NamedDuration> durations) {
  for (const auto& [name, value] : durations) {
    if (value >= absl::ZeroDuration()) continue;
    return absl::InvalidArgumentError(absl::StrCat(options, "::", name, ": ",
                                                   absl::FormatDuration(value),
                                                   " is negative"));
  }
  return absl::OkStatus();
}

}  // namespace fio
