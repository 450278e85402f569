#include "fio/core/process/supervisor_options.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/base/check_durations.h"

namespace fio::process_internal {

absl::Status Check(const SupervisorOptions& options) {
  if (options.workers < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "SupervisorOptions::workers: ", options.workers, " is less than 1"));
  }
  if (options.max_leaving < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("SupervisorOptions::max_leaving: ", options.max_leaving,
                     " is less than 1"));
  }
  return CheckNotNegative("SupervisorOptions",
                          {{"first_delay", options.first_delay},
                           {"max_delay", options.max_delay},
                           {"min_lifetime", options.min_lifetime},
                           {"stop_timeout", options.stop_timeout},
                           {"drain_time", options.drain_time},
                           {"cut_off_timeout", options.cut_off_timeout}});
}

}  // namespace fio::process_internal
