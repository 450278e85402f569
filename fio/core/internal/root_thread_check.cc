#include "fio/core/internal/root_thread_check.h"

#include <string>
#include <vector>

#include "absl/log/absl_log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "fio/core/process/other_threads.h"
#include "fio/core/reactor_options.h"

namespace fio::core_internal {
namespace {

RootThreads Resolve(RootThreads asked) {
#ifdef NDEBUG
  constexpr RootThreads kDefault = RootThreads::kWarn;
#else
  constexpr RootThreads kDefault = RootThreads::kRefuse;
#endif
  return asked == RootThreads::kDefault ? kDefault : asked;
}

}  // namespace

RootThreadCheck::RootThreadCheck(RootThreads asked) : does_(Resolve(asked)) {}

absl::Status RootThreadCheck::MayFork(int place) {
  if (does_ == RootThreads::kAllow) return absl::OkStatus();
  const std::vector<std::string> others = FindOtherThreads();
  if (others.empty()) return absl::OkStatus();
  const std::string what =
      absl::StrCat("fork worker ", place, ": the root has ", others.size(),
                   others.size() == 1 ? " other thread (" : " other threads (",
                   absl::StrJoin(others, ", "),
                   "); start threads in kOnStart, which runs in the workers");
  if (does_ == RootThreads::kRefuse) {
    return absl::FailedPreconditionError(what);
  }
  ABSL_LOG(WARNING) << what;
  does_ = RootThreads::kAllow;  // It is said once.
  return absl::OkStatus();
}

}  // namespace fio::core_internal
