// Checks the durations of a struct of options.
//
// Thread safety: any thread.

#ifndef FIO_BASE_CHECK_DURATIONS_H_
#define FIO_BASE_CHECK_DURATIONS_H_

#include <initializer_list>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace fio {

struct NamedDuration {
  std::string_view name;
  absl::Duration value;
};

// OK if none is negative. Otherwise kInvalidArgument, with the first that is:
// "LoopOptions::stall: -1ms is negative".
absl::Status CheckNotNegative(std::string_view options,
                              std::initializer_list<NamedDuration> durations);

}  // namespace fio

#endif  // FIO_BASE_CHECK_DURATIONS_H_
